"""Memorisation: the distance of a generated vocal to the nearest training example."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE

FINGERPRINT_SIZE = (64, 64)  # bands, frames: 80 ms, finer than a note


class Nearest(NamedTuple):
    """distance: in [0, sqrt(2)]. index: of the nearest fingerprint."""

    distance: float
    index: int


def fingerprint(pixels: np.ndarray) -> np.ndarray:
    """A vocal's image at low resolution: float32, shape (4096,), of unit length; zeros for silence.

    Args:
        pixels: uint8, shape (n_mels, frames), the vocal alone or the excess of an edit (`excess_image`). Its darkness, the
            magnitude to the power 0.25, is close to a log-mel spectrogram and 0 in silence.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise DataError(f"a fingerprint needs uint8 images of shape (height, width), not {pixels.dtype} {pixels.shape}")
    darkness = cv2.resize((SILENCE - pixels).astype(np.float32), FINGERPRINT_SIZE[::-1], interpolation=cv2.INTER_AREA).ravel()
    length = float(np.linalg.norm(darkness))
    return darkness / length if length else darkness


def fingerprints(images: Iterable[np.ndarray]) -> np.ndarray:
    """float32, shape (images, 4096), 16 MB a thousand; the images may come from a generator."""
    vectors = [fingerprint(pixels) for pixels in images]
    return np.stack(vectors) if vectors else np.zeros((0, FINGERPRINT_SIZE[0] * FINGERPRINT_SIZE[1]), np.float32)


def nearest_distance(pixels: np.ndarray, training: np.ndarray) -> Nearest:
    """Distance of a vocal to the nearest training example, independent of loudness.

    Args:
        pixels: uint8, shape (n_mels, frames).
        training: float32, shape (images, 4096), from `fingerprints`.

    Returns:
        The Euclidean distance of unit vectors: 0 for a copy, sqrt(2) for vocals without a common pixel.

    Raises:
        DataError: no training examples.
    """
    if not len(training):
        raise DataError("nearest_distance: no training images to compare with")
    distances = np.linalg.norm(training - fingerprint(pixels), axis=1)
    index = int(distances.argmin())
    return Nearest(float(distances[index]), index)

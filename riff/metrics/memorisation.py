"""Did a model paint a vocal, or recite one? The distance to the nearest training example."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE

FINGERPRINT_SIZE = (64, 64)  # bands, frames: 80 ms, finer than a note


class Nearest(NamedTuple):
    """distance: in [0, sqrt(2)], since ink is never negative. place: of the nearest picture among the others."""

    distance: float
    place: int


def fingerprint(pixels: np.ndarray) -> np.ndarray:
    """A small picture of a vocal's outlines: float32, shape (4096,), of unit length; zeros for silence.

    Args:
        pixels: uint8, shape (n_mels, frames), the vocal alone or the excess of an edit (`excess_image`). Its ink, the
            magnitude to the power 0.25, is close to a log-mel spectrogram and falls to 0 in silence.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise DataError(f"a fingerprint is taken of uint8 pictures of shape (height, width), not {pixels.dtype} {pixels.shape}")
    ink = cv2.resize((SILENCE - pixels).astype(np.float32), FINGERPRINT_SIZE[::-1], interpolation=cv2.INTER_AREA).ravel()
    length = float(np.linalg.norm(ink))
    return ink / length if length else ink


def fingerprints(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """float32, shape (pictures, 4096); 16 MB a thousand. Pictures may come one by one."""
    taken = [fingerprint(pixels) for pixels in pictures]
    return np.stack(taken) if taken else np.zeros((0, FINGERPRINT_SIZE[0] * FINGERPRINT_SIZE[1]), np.float32)


def nearest_distance(picture: np.ndarray, others: np.ndarray) -> Nearest:
    """Distance of a vocal to the nearest of many, independent of loudness.

    Args:
        picture: uint8, shape (n_mels, frames).
        others: float32, shape (pictures, 4096), from `fingerprints`.

    Returns:
        The Euclidean distance of unit vectors: 0 for a copy, sqrt(2) for vocals that share no pixel.

    Raises:
        DataError: nothing to compare with.
    """
    if not len(others):
        raise DataError("nearest_distance: no training pictures to compare with")
    distances = np.linalg.norm(others - fingerprint(picture), axis=1)
    place = int(distances.argmin())
    return Nearest(float(distances[place]), place)

"""Canny edges of a spectrogram image: the input of the ControlNet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from riff.errors import OptionError
from riff.files import atomic_path, write_bytes
from riff.spectrogram.png import encode_png

CANNY_LOW = 100
CANNY_HIGH = 200
FOLLOWED, MISSED = (0, 122, 116), (226, 60, 40)  # teal and red, distinguishable with common colour blindness


def canny_edges(pixels: np.ndarray, low: int = CANNY_LOW, high: int = CANNY_HIGH) -> np.ndarray:
    """Canny edges (Canny, PAMI 1986) by OpenCV with a 3x3 Sobel operator.

    Args:
        pixels: uint8, shape (height, width).
        low, high: hysteresis thresholds on the gradient, in grey levels.

    Returns:
        uint8, shape (height, width), 255 on an edge and 0 elsewhere.

    Raises:
        OptionError: low is above high.
    """
    if low > high:
        raise OptionError(f"Canny thresholds: low {low} is above high {high}; give the lower threshold first")
    return cv2.Canny(np.ascontiguousarray(pixels), low, high)


def save_edges(path: str | Path, edges: np.ndarray) -> None:
    """Write an edge map as a lossless one-channel PNG."""
    write_bytes(path, edges_to_png(edges))


def edges_to_png(edges: np.ndarray) -> bytes:
    """The bytes that `save_edges` writes."""
    return encode_png(edges, lines=True)


def overlay_edges(pixels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Overlay edges on a lightened spectrogram image: teal within a pixel of the image's own edges, red elsewhere.

    Args:
        pixels: uint8, shape (height, width). edges: the same shape, an edge wherever nonzero.

    Returns:
        uint8, shape (height, width, 3).
    """
    near = cv2.dilate(canny_edges(pixels), np.ones((3, 3), np.uint8)) > 0
    lightened = 255 - (255 - pixels) // 3 * 2
    overlay = np.repeat(lightened[:, :, None], 3, axis=2)
    overlay[(edges > 0) & near] = FOLLOWED
    overlay[(edges > 0) & ~near] = MISSED
    return overlay


def save_overlay(path: str | Path, pixels: np.ndarray, edges: np.ndarray) -> None:
    """Write `overlay_edges` as a PNG."""
    with atomic_path(path) as temporary:
        Image.fromarray(overlay_edges(pixels, edges)).save(temporary, compress_level=6)

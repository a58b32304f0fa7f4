"""Edges of a spectrogram image: what the control sees of the accompaniment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from riff.errors import OptionError
from riff.files import atomic_path

CANNY_LOW = 100
CANNY_HIGH = 200


def canny_edges(pixels: np.ndarray, low: int = CANNY_LOW, high: int = CANNY_HIGH) -> np.ndarray:
    """Canny's edges (Canny, PAMI 1986), as OpenCV finds them with a 3x3 Sobel operator.

    Args:
        pixels: uint8, shape (height, width).
        low, high: hysteresis thresholds on the gradient, in grey levels.

    Returns:
        uint8, shape (height, width), 255 on an edge and 0 elsewhere.

    Raises:
        OptionError: low is above high.
    """
    if low > high:
        raise OptionError(f"--canny_low {low} is above --canny_high {high}; give the lower threshold first")
    return cv2.Canny(np.ascontiguousarray(pixels), low, high)


def save_edges(path: str | Path, edges: np.ndarray) -> None:
    """Write an edge map as a lossless one-channel PNG."""
    with atomic_path(path) as temporary:
        Image.fromarray(edges).save(temporary, compress_level=6)

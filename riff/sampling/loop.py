"""Loops: an image whose end joins its beginning, and a waveform that does."""

from __future__ import annotations

import numpy as np

from riff.errors import DataError

JOINT_S = 0.1  # of the cross-fade from the end into the beginning, the length of the analysis window


def to_circle(pixels: np.ndarray, period: float, factor: int) -> np.ndarray:
    """Stretch one turn of a loop to whole latent columns, by less than half a column, linearly between frames.

    Args:
        pixels: uint8, shape (height, frames). period: of the loop in frames, at most `frames`. factor: frames a latent column.

    Returns:
        uint8, shape (height, columns * factor); its first column follows its last.
    """
    length = max(1, round(period / factor)) * factor
    return _at(pixels, np.arange(length) * (period / length), pixels.shape[1])


def from_circle(circle: np.ndarray, period: float, frames: int) -> np.ndarray:
    """The inverse of `to_circle`, for any number of frames: those after a turn repeat its beginning."""
    length = circle.shape[1]
    return _at(circle, np.arange(frames) * (length / period) % length, length)


def _at(pixels: np.ndarray, positions: np.ndarray, length: int) -> np.ndarray:
    """The image at fractional frames, which go round after `length`."""
    before = np.floor(positions).astype(int)
    share = (positions - before).astype(np.float32)
    left, right = pixels[:, before % length].astype(np.float32), pixels[:, (before + 1) % length]
    return np.round(left + share * (right - left)).astype(np.uint8)


def joined(waveform: np.ndarray, samples: int) -> np.ndarray:
    """One turn of a loop, from a waveform that goes on after it: what follows is faded out over the beginning.

    Args:
        waveform: (..., more than `samples`); both ends of the cross-fade have the same magnitudes, and phases of their own.

    Raises:
        DataError: nothing follows.
    """
    over = waveform.shape[-1] - samples
    if over <= 0:
        raise DataError(f"a loop of {samples} samples needs a waveform that goes on after them")
    angle = (np.arange(over, dtype=np.float32) + 0.5) / over * (np.pi / 2)
    turn = waveform[..., :samples].copy()
    turn[..., :over] = np.sin(angle) * turn[..., :over] + np.cos(angle) * waveform[..., samples:]
    return turn

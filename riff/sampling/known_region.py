"""Inpainting along time: a spectrogram image that is known outside the frames to be generated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE

SOFT_COLUMNS = 3  # latent columns of the fade at a border between known and generated frames


@dataclass(frozen=True)
class KnownRegion:
    """The known part of an image, with its inpainting mask.

    Attributes:
        pixels: uint8, shape (n_mels, frames), the known image; its values in replaced frames do not matter.
        replace: bool, shape (frames,), True where frames are generated.
    """

    pixels: np.ndarray
    replace: np.ndarray

    @classmethod
    def nothing(cls, height: int, frames: int) -> KnownRegion:
        """Every frame is generated."""
        return cls(np.full((height, frames), SILENCE, np.uint8), np.ones(frames, bool))

    def padded(self, height: int, frames: int, factor: int) -> KnownRegion:
        """The same, padded at its end to whole latent columns of `factor` frames; the mask repeats its last value.

        Raises:
            DataError: the image or the mask differs from this height and number of frames.
        """
        if self.pixels.shape != (height, frames) or self.replace.shape != (frames,):
            sizes = f"{'x'.join(map(str, self.pixels.shape))} with a mask of {len(self.replace)} frames"
            raise DataError(f"a known image of {sizes} does not fit an output of {height}x{frames}")
        missing = -frames % factor
        return KnownRegion(pad_frames(self.pixels, factor, SILENCE), np.pad(self.replace, (0, missing), mode="edge"))

    def share(self, factor: int) -> np.ndarray:
        """Soft inpainting mask: float32, shape (frames,), [0, 1], 0 where the image is kept and 1 where it is generated.

        Its borders (`region_gain`) are a few latent columns long, and at most a third of the region.

        Args:
            factor: frames a latent column.
        """
        borders = np.flatnonzero(np.diff(self.replace.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).tolist()
        return region_gain(
            len(self.replace), ((start, stop, min(SOFT_COLUMNS * factor, (stop - start) // 3)) for start, stop in borders)
        )


def region_gain(length: int, regions: Iterable[tuple[int, int, int]]) -> np.ndarray:
    """1 inside the regions, exactly 0 outside, with raised-cosine borders that lie inside.

    Where a region reaches the beginning or the end of the signal it has no border.

    Args:
        regions: (first, end, length of a border) in samples or frames.

    Returns:
        float32, shape (length,), [0, 1].
    """
    gain = np.zeros(length, np.float32)
    for first, end, border in regions:
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(border) + 0.5) / max(1, border))
        gain[first:end] = 1.0
        if first > 0:
            gain[first : first + border] = rise
        if end < length:
            gain[end - border : end] = rise[::-1]
    return gain


def pad_frames(pixels: np.ndarray, factor: int, value: int) -> np.ndarray:
    """Pad an image, uint8 (height, frames), at its end with `value` to a multiple of `factor` frames."""
    return np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % factor)), constant_values=value)

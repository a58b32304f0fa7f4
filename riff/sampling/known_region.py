"""A picture that is known but for the frames to be painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riff.errors import DataError
from riff.spectrogram.image import SILENCE

SOFT_COLUMNS = 3  # latent columns over which what is painted fades in beside what is known


@dataclass(frozen=True)
class KnownRegion:
    """What is known of a picture, and where something new is painted.

    Attributes:
        pixels: uint8, shape (n_mels, frames), the known picture; what it shows where it is replaced does not matter.
        replace: bool, shape (frames,), True where something new is painted.
    """

    pixels: np.ndarray
    replace: np.ndarray

    @classmethod
    def nothing(cls, height: int, frames: int) -> KnownRegion:
        """Nothing is known, all is painted."""
        return cls(np.full((height, frames), SILENCE, np.uint8), np.ones(frames, bool))

    def padded(self, height: int, frames: int, factor: int) -> KnownRegion:
        """The same with whole latent columns, more of what stands at its end.

        Raises:
            DataError: a picture that is not of this height and number of frames, or frames to replace of another number.
        """
        if self.pixels.shape != (height, frames) or self.replace.shape != (frames,):
            sizes = f"{'x'.join(map(str, self.pixels.shape))} with {len(self.replace)} frames to choose from"
            raise DataError(f"a known picture of {sizes} does not fit one of {height}x{frames} to paint")
        missing = -frames % factor
        return KnownRegion(pad_frames(self.pixels, factor, SILENCE), np.pad(self.replace, (0, missing), mode="edge"))

    def share(self, factor: int) -> np.ndarray:
        """How much of each frame is painted: float32, shape (frames,), 0 where the picture is kept.

        Beside what is kept the share rises from 0 as a raised cosine, over a few latent columns or a third of what is painted,
        whichever is less; at the ends of the picture, where nothing is kept, it is 1.

        Args:
            factor: frames a latent column.
        """
        share = self.replace.astype(np.float32)
        edges = np.flatnonzero(np.diff(self.replace.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
        for start, stop in edges:
            length = min(SOFT_COLUMNS * factor, (stop - start) // 3)
            rise = np.sin(np.pi / 2 * (np.arange(length) + 0.5) / max(length, 1)) ** 2
            if start > 0:
                share[start : start + length] = rise
            if stop < len(share):
                share[stop - length : stop] = rise[::-1]
        return share


def pad_frames(picture: np.ndarray, factor: int, value: int) -> np.ndarray:
    """A picture with frames of one value at its end, so that their number is a multiple of `factor`; uint8 (height, frames)."""
    return np.pad(picture, ((0, 0), (0, -picture.shape[1] % factor)), constant_values=value)

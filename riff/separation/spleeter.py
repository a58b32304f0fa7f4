"""Deezer's Spleeter on PyTorch: the same parts as the original's, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from riff.separation.spleeter_model import ARCHITECTURES, SpleeterModel
from riff.separation.spleeter_weights import find_weights
from riff.separation.stems import Stems
from riff.separation.stereo import separate_in_stereo
from riff.separation.tensorflow_checkpoint import read_checkpoint

SAMPLE_RATE = 44_100
FRAME = 4096  # samples
HOP = 1024
FRAMES = 512  # that a network sees at once, 11.9 s; it sees each such segment for itself
BINS = 1024  # below 11,025 Hz; above, both parts are silent
WINDOW_GAIN = 2 / 3  # of a squared Hann window, four of which overlap


class SpleeterSeparator:
    """Spleeter's 2, 4 or 5 stems.

    A segment of 11.9 s is worked on at a time. Songs of another rate go there and back; a mono song goes in as two equal
    channels and comes out as their mean; more channels go in by twos. Above 11 kHz there is nothing in any part, and the
    parts do not quite sum to the song: that is Spleeter.

    Args:
        model_dir: folder of the checkpoint (see `find_weights`).

    Raises:
        ModelError: no weights and no way to get them, or not those of this number of stems.
    """

    name = "spleeter"

    def __init__(self, num_stems: int = 2, model_dir: Path | None = None, device: str = "cpu") -> None:
        folder = find_weights(num_stems, model_dir)
        self.model = SpleeterModel(ARCHITECTURES[num_stems], read_checkpoint(folder / "model"), folder).eval().to(device)
        self._device = device

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Split float32 (channels, samples); see `riff.separation.separator.Separator`."""
        parts = separate_in_stereo(self._separate_stereo, waveform, sample_rate, SAMPLE_RATE)
        return Stems(dict(zip(self.model.architecture.stems, parts, strict=True)))

    def _separate_stereo(self, song: np.ndarray) -> np.ndarray:
        """float32 (2, samples) at 44.1 kHz -> (stems, 2, samples)."""
        samples = song.shape[1]
        parts = np.empty((len(self.model.architecture.stems), 2, samples), np.float32)
        position = -FRAME  # the first frame lies before the song
        for block in self._blocks(song):
            first, last = max(position, 0), min(position + block.shape[2], samples)
            if first < last:
                parts[:, :, first:last] = block[:, :, first - position : last - position]
            position += block.shape[2]
        return parts

    def _blocks(self, song: np.ndarray) -> Iterator[np.ndarray]:
        """Yield (stems, 2, samples) blocks, one after the other, of the song with one frame of zeros before it."""
        window = torch.hann_window(FRAME, device=self._device)
        frames = -(-(song.shape[1] + FRAME) // HOP)
        overlap = torch.zeros(len(self.model.architecture.stems), 2, FRAME - HOP, device=self._device)
        for first in range(0, frames, FRAMES):
            count = min(FRAMES, frames - first)
            stretch = _stretch(song, first * HOP - FRAME, (count - 1) * HOP + FRAME)
            parts = self._mask(torch.from_numpy(stretch).to(self._device), window, count)
            parts[..., : FRAME - HOP] += overlap
            done = count * HOP
            overlap = parts[..., done:]
            yield parts[..., :done].cpu().numpy()
        yield overlap.cpu().numpy()

    @torch.no_grad()
    def _mask(self, stretch: torch.Tensor, window: torch.Tensor, count: int) -> torch.Tensor:
        """(2, samples) of `count` frames -> (stems, 2, samples), the ends still without their neighbours' share."""
        spectrum = torch.fft.rfft(stretch.unfold(1, FRAME, HOP) * window)[..., :BINS]  # (2, count, BINS)
        magnitude = torch.zeros(1, 2, FRAMES, BINS, device=self._device)
        magnitude[0, :, :count] = spectrum.abs()
        masks = self.model(magnitude)[:, 0, :, :count]  # (stems, 2, count, BINS)
        hops = FRAME // HOP
        parts = torch.zeros(len(masks), 2, count + hops - 1, HOP, device=self._device)
        for part, mask in zip(parts, masks, strict=True):  # one by one: the frames of five stems at once are 80 MB
            frames = torch.fft.irfft(mask * spectrum, n=FRAME) * (window * WINDOW_GAIN)
            pieces = frames.unflatten(2, (hops, HOP))  # (2, count, 4, HOP)
            for hop in range(hops):
                part[:, hop : hop + count] += pieces[:, :, hop]
        return parts.flatten(2)


def _stretch(song: np.ndarray, start: int, length: int) -> np.ndarray:
    """`song[:, start : start + length]` with zeros for what lies outside."""
    inside = song[:, max(0, start) : max(0, start + length)]
    before = max(0, -start)
    return np.pad(inside, ((0, 0), (before, length - before - inside.shape[1])))

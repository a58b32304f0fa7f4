"""Separators whose model takes stereo at one sample rate, applied to songs of any rate and number of channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from riff.audio.io import resample
from riff.separation.stems import Stems


class StereoSeparator(ABC):
    """Resamples a song to the model's rate and back, and separates its channels two at a time.

    A single channel is given to the model twice, and the result is the mean of the two.
    """

    name: str
    model_rate: int  # Hz

    @abstractmethod
    def separate_stereo(self, song: np.ndarray) -> Mapping[str, np.ndarray]:
        """float32 (2, samples) at `model_rate`, at least one sample -> stems by name, of the same shape."""

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Separate float32 (channels, samples); see `riff.separation.separator.Separator`."""
        song = resample(waveform, sample_rate, self.model_rate)
        song = song if song.shape[1] else np.zeros((len(song), 1), np.float32)  # one sample at 96 kHz is none at 44.1
        pairs = [song[first : first + 2] for first in range(0, len(song), 2)]
        separated = [self.separate_stereo(pair if len(pair) == 2 else np.repeat(pair, 2, axis=0)) for pair in pairs]
        if len(pairs[-1]) == 1:
            separated[-1] = {name: part.mean(axis=0, keepdims=True) for name, part in separated[-1].items()}
        stems = {name: np.concatenate([pair[name] for pair in separated]) for name in separated[0]}
        if sample_rate != self.model_rate:
            stems = {
                name: _with_length(resample(part, self.model_rate, sample_rate), waveform.shape[1]) for name, part in stems.items()
            }
        return Stems(stems)


def _with_length(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-padded, since resampling there and back may change the length by a sample."""
    return np.pad(waveform[:, :samples], ((0, 0), (0, max(0, samples - waveform.shape[1]))))

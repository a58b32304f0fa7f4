"""Songs of any rate and number of channels through a separator that knows only stereo at one rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from riff.audio.io import resample


def separate_in_stereo(
    separate: Callable[[np.ndarray], np.ndarray], waveform: np.ndarray, sample_rate: int, model_rate: int
) -> np.ndarray:
    """Resample there and back, and go through the channels by twos.

    A single channel goes in as two equal ones and comes out as their mean.

    Args:
        separate: float32 (2, samples) at `model_rate` -> float32 (stems, 2, samples).
        waveform: float32, shape (channels, samples).

    Returns:
        float32, shape (stems, channels, samples), as long as the waveform to the sample.
    """
    song = resample(waveform, sample_rate, model_rate)
    song = song if song.shape[1] else np.zeros((len(song), 1), np.float32)  # a single sample at 96 kHz is none at 44.1
    by_twos = []
    for first in range(0, len(song), 2):
        pair = song[first : first + 2]
        stems = separate(pair if len(pair) == 2 else np.repeat(pair, 2, axis=0))
        by_twos.append(stems if len(pair) == 2 else stems.mean(axis=1, keepdims=True))
    parts = np.concatenate(by_twos, axis=1) if len(by_twos) > 1 else by_twos[0]
    if sample_rate == model_rate:
        return parts
    return np.stack([_of_length(resample(part, model_rate, sample_rate), waveform.shape[1]) for part in parts])


def _of_length(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cut, or followed by zeros: there and back between two rates may differ by a sample."""
    return np.pad(waveform[:, :samples], ((0, 0), (0, max(0, samples - waveform.shape[1]))))

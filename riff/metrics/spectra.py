"""Distances of two magnitude spectrograms, lower is better.

Every function is deterministic and takes two waveforms of the same sample rate and length, which are downmixed. Phases are ignored;
a difference in gain counts.
"""

from __future__ import annotations

import librosa
import numpy as np
import torch
from numpy.typing import ArrayLike

from riff.errors import DataError
from riff.metrics.sounds import mono_pair
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import STANDARD

FFT, HOP = 2048, 512  # samples: 46 ms and 12 ms at 44.1 kHz, as in comparisons of vocoders
DYNAMIC_RANGE_DB = 80.0  # floor below the louder waveform's maximum


def log_mel_l1(waveform: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Mean absolute difference of the log-mel spectrograms, in dB.

    The mel spectrogram is that of this project's images (512 bands up to 10 kHz, magnitudes) as 20 log10, floored 80 dB below the
    louder waveform's maximum. It is the mel loss of HiFi-GAN (Kong et al., NeurIPS 2020), which is in nepers: 1 Np is 8.69 dB.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples).
        sample_rate: Hz.

    Returns:
        dB, [0, 80], lower is better; symmetric, invariant to a common gain. 0 for silence on both sides; for silence on one side
        the mean level of the other above the floor.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    params = STANDARD.at_rate(sample_rate)
    mel, reference_mel = (
        waveform_to_mel(torch.from_numpy(w), params).double().numpy() for w in _unit_peak(*mono_pair(waveform, reference))
    )
    return float(np.abs(_decibels(mel, reference_mel)).mean())


def log_spectral_distance(waveform: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Log-spectral distance: the mean over frames of the root mean square over frequencies of the difference in dB.

    Gray and Markel, "Distance Measures for Speech Processing" (IEEE TASSP 1976), on power spectra of 2048 samples every 512, up to
    10 kHz, each floored 80 dB below the louder waveform's maximum.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples).
        sample_rate: Hz.

    Returns:
        dB, [0, 80], lower is better; symmetric, invariant to a common gain. A gain on one side counts by its decibels. 0 for
        silence on both sides.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    magnitude, expected = (_magnitude(w, sample_rate) for w in _unit_peak(*mono_pair(waveform, reference)))
    return float(np.sqrt(np.square(_decibels(magnitude, expected)).mean(axis=0)).mean())


def spectral_convergence(waveform: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Spectral convergence: |S - S'| / |S|, Frobenius norms of magnitudes, S the reference's.

    Arik, Jun and Diamos, "Fast Spectrogram Inversion Using Multi-Head Convolutional Neural Networks" (IEEE SPL 2019), on
    spectra of 2048 samples every 512, up to 10 kHz. Loud bins dominate it, unlike the two distances in dB.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples).
        sample_rate: Hz.

    Returns:
        >= 0, lower is better; 1 for silence with a reference that is not silent, 0 if both are silent. Not symmetric, invariant to
        a common gain.

    Raises:
        DataError: empty, non-finite or differently long waveforms, or a silent reference of a waveform that is not silent.
    """
    magnitude, expected = (_magnitude(w, sample_rate) for w in _unit_peak(*mono_pair(waveform, reference)))
    if not expected.any():
        if magnitude.any():
            raise DataError("spectral_convergence: the reference is silent, so there is no ratio; leave this clip out")
        return 0.0
    return float(np.linalg.norm(magnitude - expected) / np.linalg.norm(expected))


def _unit_peak(waveform: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalise both by their common peak, so that quiet waveforms do not underflow in float32."""
    peak = max(np.abs(waveform).max(), np.abs(reference).max()) or 1.0
    return waveform / peak, reference / peak


def _magnitude(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """float64, shape (bins, frames); a short waveform is padded with silence."""
    padded = librosa.util.fix_length(waveform, size=max(len(waveform), FFT))
    bins = 1 + int(STANDARD.max_frequency * FFT / sample_rate)
    return np.abs(librosa.stft(padded, n_fft=FFT, hop_length=HOP))[:bins]


def _decibels(magnitude: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Ratio of two magnitude spectrograms, in dB."""
    floor = max(magnitude.max(), reference.max()) * 10 ** (-DYNAMIC_RANGE_DB / 20) or 1.0
    return 20 * np.log10(np.maximum(magnitude, floor) / np.maximum(reference, floor))

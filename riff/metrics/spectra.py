"""How far a sound's magnitudes are from another's, as numbers: distances, lower is better.

Every function is deterministic, takes two sounds at the same rate and length, which are mixed down, and asks for the same
loudness: a gain is a difference. Phases do not count.
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

FFT, HOP = 2048, 512  # samples: 46 ms and 12 ms at 44.1 kHz, as vocoders are compared
DYNAMIC_RANGE_DB = 80.0  # what is quieter against the louder sound's loudest point counts as this quiet


def log_mel_l1(waveform: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Mean absolute difference of the log-mel spectrograms, in dB.

    The mel spectrogram is the one that this project's pictures show (512 bands up to 10 kHz, magnitudes), as 20 log10, floored
    80 dB below the louder sound's maximum. It is the mel loss of HiFi-GAN (Kong et al., NeurIPS 2020), which is in nepers:
    1 Np is 8.69 dB.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples).
        sample_rate: Hz.

    Returns:
        dB, [0, 80], lower is better; symmetric, and unchanged by a gain on both. 0 for silence on both sides, on one side the
        mean height of the other above the floor.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    params = STANDARD.at_rate(sample_rate)
    ours, theirs = (
        waveform_to_mel(torch.from_numpy(w), params).double().numpy() for w in _unit_peak(*mono_pair(waveform, reference))
    )
    return float(np.abs(_decibels(ours, theirs)).mean())


def log_spectral_distance(waveform: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Log-spectral distance: the mean over frames of the root mean square over frequencies of the difference in dB.

    Gray and Markel, "Distance Measures for Speech Processing" (IEEE TASSP 1976), on power spectra of 2048 samples every 512, up to
    10 kHz, each floored 80 dB below the louder sound's maximum.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples).
        sample_rate: Hz.

    Returns:
        dB, [0, 80], lower is better; symmetric, and unchanged by a gain on both. A gain on one side alone is its decibels. 0 for
        silence on both sides.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    ours, theirs = (_magnitude(w, sample_rate) for w in _unit_peak(*mono_pair(waveform, reference)))
    return float(np.sqrt(np.square(_decibels(ours, theirs)).mean(axis=0)).mean())


def spectral_convergence(waveform: ArrayLike, reference: ArrayLike, sample_rate: int) -> float:
    """Spectral convergence: |S - S'| / |S|, Frobenius norms of magnitudes, S the reference's.

    Arik, Jun and Diamos, "Fast Spectrogram Inversion Using Multi-Head Convolutional Neural Networks" (IEEE SPL 2019), on
    spectra of 2048 samples every 512, up to 10 kHz. Loud places decide it, where the two distances in dB weigh all alike.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples).
        sample_rate: Hz.

    Returns:
        A ratio of 0 or more, lower is better; 1 for silence against a reference that sounds, 0 where both are silent. Not
        symmetric, and unchanged by a gain on both.

    Raises:
        DataError: empty, non-finite or differently long waveforms, or a silent reference of a sound that is not, for which
            there is no ratio.
    """
    ours, theirs = (_magnitude(w, sample_rate) for w in _unit_peak(*mono_pair(waveform, reference)))
    if not theirs.any():
        if ours.any():
            raise DataError("spectral_convergence: the reference is silent, so there is no ratio; leave this clip out")
        return 0.0
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def _unit_peak(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by one gain: however quiet they are, the transform's float32 has room for them."""
    peak = max(np.abs(ours).max(), np.abs(theirs).max()) or 1.0
    return ours / peak, theirs / peak


def _magnitude(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """float64, shape (bins, frames); a short waveform is followed by silence."""
    padded = librosa.util.fix_length(waveform, size=max(len(waveform), FFT))
    bins = 1 + int(STANDARD.max_frequency * FFT / sample_rate)
    return np.abs(librosa.stft(padded, n_fft=FFT, hop_length=HOP))[:bins]


def _decibels(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Level of each point of one magnitude spectrogram over that of the other, in dB."""
    floor = max(ours.max(), theirs.max()) * 10 ** (-DYNAMIC_RANGE_DB / 20) or 1.0
    return 20 * np.log10(np.maximum(ours, floor) / np.maximum(theirs, floor))

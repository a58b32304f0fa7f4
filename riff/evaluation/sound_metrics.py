"""How like two sounds are in harmony and rhythm, and how well one gives another back, as numbers.

Every function is deterministic, computes in float64, and takes its two sounds at the same rate and length. Where a score
is undefined because both sides are empty (silence) it is 1, and where only one side is, it is 0, so that a mean over songs
stays finite. `si_sdr` is in decibels and the exception: it says what it does.
"""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
from numpy.typing import ArrayLike

from riff.errors import DataError
from riff.evaluation.picture_metrics import correlation
from riff.spectrogram.params import STANDARD

CHROMA_FFT = 2**14  # 0.37 s at 44.1 kHz: tells semitones apart down to about 50 Hz
ONSET_FFT, ONSET_HOP = 2048, 512  # librosa's defaults
SILENT_FRAME = 1e-6  # -60 dB of the clip's loudest frame


def chroma_cosine(waveform_a: ArrayLike, waveform_b: ArrayLike, sample_rate: int, argmax: bool = False) -> float:
    """Likeness of harmony: the mean over frames of the cosine similarity of 12-bin chroma.

    The chroma is `librosa.feature.chroma_stft` of 2**14-sample frames at standard tuning. Frames that are silent (60 dB
    below the clip's loudest) on both sides are left out; silent on one side only, they count as 0. Chroma has no negative
    part, so unrelated music scores well above 0.

    Args:
        waveform_a, waveform_b: float, shape (samples,) or (channels, samples), which is mixed down.
        sample_rate: Hz.
        argmax: keep only each frame's strongest pitch class, as MusicGen's published chroma similarity does
            (Copet et al., NeurIPS 2023): the share of frames that agree on it, a much harder score.

    Returns:
        [0, 1], higher is better; symmetric, and independent of loudness.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    ours, theirs = mono_pair(waveform_a, waveform_b)

    def chroma(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        padded = librosa.util.fix_length(waveform, size=max(len(waveform), CHROMA_FFT))
        bins = librosa.feature.chroma_stft(
            y=padded, sr=sample_rate, norm=None, n_fft=CHROMA_FFT, hop_length=CHROMA_FFT // 4, tuning=0.0
        )  # shape (12, frames), energies
        energy = bins.sum(axis=0)
        if argmax:
            bins = np.eye(len(bins))[bins.argmax(axis=0)].T
        return bins / np.maximum(np.linalg.norm(bins, axis=0), np.finfo(np.float64).tiny), energy > SILENT_FRAME * energy.max()

    (bins_a, sounds_a), (bins_b, sounds_b) = chroma(ours), chroma(theirs)
    counted = sounds_a | sounds_b
    if not counted.any():
        return 1.0
    cosine = np.where(sounds_a & sounds_b, (bins_a * bins_b).sum(axis=0), 0.0)
    return float(np.clip(cosine[counted].mean(), 0.0, 1.0))


def onset_correlation(waveform_a: ArrayLike, waveform_b: ArrayLike, sample_rate: int) -> float:
    """Likeness of rhythm: Pearson's correlation of the onset strength envelopes.

    The envelope is `librosa.onset.onset_strength` (spectral flux in decibels, after Boeck and Widmer, DAFx 2013) of the band
    that a spectrogram image holds, up to 10 kHz.

    Args:
        waveform_a, waveform_b: float, shape (samples,) or (channels, samples), which is mixed down.
        sample_rate: Hz.

    Returns:
        [-1, 1], higher is better, 0 for independent noise (unrelated songs on similar beats score above it); symmetric, and
        independent of loudness. Without any onset (silence) on both sides 1, on one side 0.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    ours, theirs = mono_pair(waveform_a, waveform_b)
    top = min(STANDARD.max_frequency, sample_rate / 2)

    def envelope(waveform: np.ndarray) -> np.ndarray:
        # No centred frames: their padding would be an onset at the start of every clip.
        frames: dict[str, Any] = {"sr": sample_rate, "n_fft": ONSET_FFT, "hop_length": ONSET_HOP, "center": False}
        padded = librosa.util.fix_length(waveform, size=max(len(waveform), 2 * ONSET_FFT))
        mel = librosa.feature.melspectrogram(y=padded, fmax=top, **frames)
        decibels = librosa.power_to_db(mel, ref=np.max, amin=1e-30)
        return librosa.onset.onset_strength(S=decibels, **frames)[1:]  # the first frame has none before it

    return correlation(envelope(ours), envelope(theirs))


def si_sdr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019).

    10 log10(|a s|^2 / |a s - e|^2) with a = <e, s> / |s|^2, both signals without their means, all channels as one vector.

    Args:
        estimate, reference: float, the same shape, (samples,) or (channels, samples).

    Returns:
        dB, higher is better, unbounded; +inf for an exact multiple, -inf for an estimate that has nothing of the reference.

    Raises:
        DataError: empty, non-finite or differently shaped signals, or a silent reference, for which there is no ratio.
    """
    e, s = checked_waveform(estimate), checked_waveform(reference)
    if e.shape != s.shape:
        raise DataError(f"si_sdr: signals of shapes {e.shape} and {s.shape} cannot be compared; cut them to the same length")
    e, s = ((x - x.mean(axis=-1, keepdims=True)).ravel() for x in (e, s))
    power = s @ s
    if power == 0:
        raise DataError("si_sdr: the reference is silent, so there is no ratio; leave this clip out")
    wanted = (e @ s) / power * s
    signal, distortion = wanted @ wanted, np.square(wanted - e).sum()
    if signal == 0:
        return -np.inf
    return float(10 * np.log10(signal / distortion)) if distortion > 0 else np.inf


def mono_pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two sounds that can be compared, mixed down: float64, shape (samples,) each.

    Raises:
        DataError: see `checked_waveform`, or two lengths.
    """
    ours, theirs = (x.mean(axis=0) if x.ndim == 2 else x for x in (checked_waveform(a), checked_waveform(b)))
    if len(ours) != len(theirs):
        raise DataError(f"waveforms of {len(ours)} and {len(theirs)} samples cannot be compared; cut them to the same length")
    return ours, theirs


def checked_waveform(waveform: ArrayLike) -> np.ndarray:
    """A waveform as float64, shape (samples,) or (channels, samples).

    Raises:
        DataError: one of another type or shape, an empty one, or samples that are not finite.
    """
    samples = np.asarray(waveform)
    if samples.ndim not in (1, 2) or samples.size == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise DataError(
            f"a waveform must be float of shape (samples,) or (channels, samples), not {samples.dtype} of shape {samples.shape}"
        )
    if not np.isfinite(samples).all():
        raise DataError("a waveform holds NaN or infinite samples; clean it before comparing")
    return samples.astype(np.float64)

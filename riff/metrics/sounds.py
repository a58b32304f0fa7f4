"""Similarity of two waveforms in harmony and rhythm, and their signal-to-distortion ratio.

Every function is deterministic and computes in float64 on two waveforms of the same sample rate and length. A score that is
undefined because both are silent is 1, and 0 if only one is, so that a mean over songs stays finite (except `si_sdr`, in dB).
"""

from __future__ import annotations

from collections.abc import Callable

import librosa
import mir_eval
import numpy as np
from numpy.typing import ArrayLike

from riff.errors import DataError
from riff.metrics.images import correlation
from riff.spectrogram.params import STANDARD

CHROMA_FFT = 2**14  # 0.37 s at 44.1 kHz: resolves semitones down to about 50 Hz
ONSET_FFT, ONSET_HOP = 2048, 512  # librosa's defaults
EVENT_HOP = 256  # 6 ms at 44.1 kHz: a fraction of the tolerances below
ONSET_TOLERANCE_S, BEAT_TOLERANCE_S = 0.05, 0.07  # MIREX's
SILENT_FRAME = 1e-6  # -60 dB of the clip's loudest frame


def chroma_cosine(waveform_a: ArrayLike, waveform_b: ArrayLike, sample_rate: int, argmax: bool = False) -> float:
    """Similarity of harmony: the mean over frames of the cosine similarity of 12-bin chroma.

    The chroma is `librosa.feature.chroma_stft` of 2**14-sample frames at standard tuning. Frames that are silent (60 dB
    below the clip's loudest) on both sides are excluded; those silent on one side count as 0. Chroma is nonnegative, so
    unrelated music scores well above 0.

    Args:
        waveform_a, waveform_b: float, shape (samples,) or (channels, samples), which is downmixed.
        sample_rate: Hz.
        argmax: keep only each frame's strongest pitch class; the score, the share of frames that agree on it, is then much
            stricter. This is MusicGen's chroma similarity (Copet et al., NeurIPS 2023) as audiocraft computes it
            (`metrics/chroma_cosinesim.py` with `radix2_exp: 14`, `n_chroma: 12`, `argmax: true`), except that it
            counts frames of silence on both sides as agreement and uses reflect padding. It runs at 32 kHz, with frames of
            0.51 s; resample both waveforms to that for scores comparable with published ones.

    Returns:
        [0, 1], higher is better; symmetric, independent of loudness.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    mono_a, mono_b = mono_pair(waveform_a, waveform_b)

    def chroma(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        padded = librosa.util.fix_length(waveform, size=max(len(waveform), CHROMA_FFT))
        bins = librosa.feature.chroma_stft(
            y=padded, sr=sample_rate, norm=None, n_fft=CHROMA_FFT, hop_length=CHROMA_FFT // 4, tuning=0.0
        )  # shape (12, frames), energies
        energy = bins.sum(axis=0)
        if argmax:
            bins = np.eye(len(bins))[bins.argmax(axis=0)].T
        return bins / np.maximum(np.linalg.norm(bins, axis=0), np.finfo(np.float64).tiny), energy > SILENT_FRAME * energy.max()

    (bins_a, sounds_a), (bins_b, sounds_b) = chroma(mono_a), chroma(mono_b)
    counted = sounds_a | sounds_b
    if not counted.any():
        return 1.0
    cosine = np.where(sounds_a & sounds_b, (bins_a * bins_b).sum(axis=0), 0.0)
    return float(np.clip(cosine[counted].mean(), 0.0, 1.0))


def onset_correlation(waveform_a: ArrayLike, waveform_b: ArrayLike, sample_rate: int) -> float:
    """Similarity of rhythm: Pearson's correlation of the onset strength envelopes.

    The envelope is `librosa.onset.onset_strength` (spectral flux in decibels, after Boeck and Widmer, DAFx 2013) of the
    spectrogram image's band, up to 10 kHz.

    Args:
        waveform_a, waveform_b: float, shape (samples,) or (channels, samples), which is downmixed.
        sample_rate: Hz.

    Returns:
        [-1, 1], higher is better, 0 for independent noise and more for unrelated songs with similar beats; symmetric, independent
        of loudness. 1 without onsets (silence) on both sides, 0 on one side.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """
    mono_a, mono_b = mono_pair(waveform_a, waveform_b)
    return correlation(_onset_envelope(mono_a, sample_rate, ONSET_HOP), _onset_envelope(mono_b, sample_rate, ONSET_HOP))


def onset_f1(waveform: ArrayLike, reference: ArrayLike, sample_rate: int, tolerance_s: float = ONSET_TOLERANCE_S) -> float:
    """F1 of onset times, as in MIREX onset detection.

    Onsets of both waveforms are detected by `librosa.onset.onset_detect` on the envelope of `onset_correlation`, with a hop of 256
    samples, and matched one to one within `tolerance_s` (`mir_eval.onset.f_measure`; Raffel et al., ISMIR 2014). Two detections
    are compared, not a detection with the truth, so common errors do not show.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples), which is downmixed.
        sample_rate: Hz.
        tolerance_s: seconds.

    Returns:
        [0, 1], higher is better; symmetric, independent of loudness. 1 without onsets on both sides, 0 on one side. Unrelated
        music scores well above 0, since many onsets coincide by chance.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """

    def onsets(envelope: np.ndarray) -> np.ndarray:
        return librosa.onset.onset_detect(onset_envelope=envelope, sr=sample_rate, hop_length=EVENT_HOP, units="time")

    def agreement(expected: np.ndarray, detected: np.ndarray) -> float:
        return mir_eval.onset.f_measure(expected, detected, window=tolerance_s)[0]

    return _event_f1(waveform, reference, sample_rate, onsets, agreement)


def beat_f1(waveform: ArrayLike, reference: ArrayLike, sample_rate: int, tolerance_s: float = BEAT_TOLERANCE_S) -> float:
    """F1 of beat times, as in MIREX beat tracking.

    Beats of both waveforms are detected by `librosa.beat.beat_track` (Ellis, "Beat Tracking by Dynamic Programming", JNMR 2007)
    on the envelope of `onset_f1` and matched by `mir_eval.beat.f_measure`. The first five seconds, which are customarily excluded,
    are scored: clips are not longer. Beats at twice or half the rate score about 2/3.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples), which is downmixed.
        sample_rate: Hz.
        tolerance_s: seconds.

    Returns:
        [0, 1], higher is better; symmetric, independent of loudness. 1 without beats on both sides, 0 on one side.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """

    def beats(envelope: np.ndarray) -> np.ndarray:
        return librosa.beat.beat_track(onset_envelope=envelope, sr=sample_rate, hop_length=EVENT_HOP, units="time")[1]

    def agreement(expected: np.ndarray, detected: np.ndarray) -> float:
        return mir_eval.beat.f_measure(expected, detected, f_measure_threshold=tolerance_s)

    return _event_f1(waveform, reference, sample_rate, beats, agreement)


def _event_f1(
    waveform: ArrayLike,
    reference: ArrayLike,
    sample_rate: int,
    detect: Callable[[np.ndarray], np.ndarray],
    agreement: Callable[[np.ndarray, np.ndarray], float],
) -> float:
    """Agreement of the times, in seconds, detected in both onset envelopes; 1 without any on both sides."""
    detected, expected = (detect(_onset_envelope(w, sample_rate, EVENT_HOP)) for w in mono_pair(waveform, reference))
    if not len(detected) or not len(expected):
        return float(len(detected) == len(expected))
    return float(agreement(expected, detected))


def _onset_envelope(waveform: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """float32, shape (frames,), zeros for silence.

    Frames are not centred, since padding would be an onset at the start of every clip. Onsets are up to a frame early, in both
    waveforms alike.
    """
    top = min(STANDARD.max_frequency, sample_rate / 2)
    padded = librosa.util.fix_length(waveform, size=max(len(waveform), 2 * ONSET_FFT))
    mel = librosa.feature.melspectrogram(y=padded, sr=sample_rate, n_fft=ONSET_FFT, hop_length=hop, center=False, fmax=top)
    decibels = librosa.power_to_db(mel, ref=np.max, amin=1e-30)
    envelope = librosa.onset.onset_strength(S=decibels, sr=sample_rate, n_fft=ONSET_FFT, hop_length=hop, center=False)
    return envelope[1:]  # the first frame has no previous one


def si_sdr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019).

    10 log10(|a s|^2 / |a s - e|^2) with a = <e, s> / |s|^2, of signals without their means, all channels as one vector.

    Args:
        estimate, reference: float, the same shape, (samples,) or (channels, samples).

    Returns:
        dB, higher is better, unbounded; +inf for an exact multiple, -inf for an estimate orthogonal to the reference.

    Raises:
        DataError: empty, non-finite or differently shaped signals, or a silent reference.
    """
    e, s = checked_waveform(estimate), checked_waveform(reference)
    if e.shape != s.shape:
        raise DataError(f"si_sdr: signals of shapes {e.shape} and {s.shape} cannot be compared; cut them to the same length")
    e, s = ((x - x.mean(axis=-1, keepdims=True)).ravel() for x in (e, s))
    power = s @ s
    if power == 0:
        raise DataError("si_sdr: the reference is silent, so there is no ratio; leave this clip out")
    target = (e @ s) / power * s
    signal, distortion = target @ target, np.square(target - e).sum()
    if signal == 0:
        return -np.inf
    return float(10 * np.log10(signal / distortion)) if distortion > 0 else np.inf


def sdr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Signal-to-distortion ratio of the whole signal, 10 log10(|s|^2 / |s - e|^2) in dB (as in the Music Demixing Challenge 2021).

    Unlike `si_sdr`, a wrong level counts as distortion; arguments, range and errors are the same.
    """
    e, s = checked_waveform(estimate), checked_waveform(reference)
    if e.shape != s.shape or not s.any():
        raise DataError(f"sdr: signals of shapes {e.shape} and {s.shape}, which must agree, and a reference that is not silent")
    distortion = np.square(s - e).sum()
    return float(10 * np.log10(np.square(s).sum() / distortion)) if distortion > 0 else np.inf


def mono_pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Downmix two waveforms of one length: float64, shape (samples,) each.

    Raises:
        DataError: as `checked_waveform`, or different lengths.
    """
    mono_a, mono_b = (x.mean(axis=0) if x.ndim == 2 else x for x in (checked_waveform(a), checked_waveform(b)))
    if len(mono_a) != len(mono_b):
        raise DataError(f"waveforms of {len(mono_a)} and {len(mono_b)} samples cannot be compared; cut them to the same length")
    return mono_a, mono_b


def checked_waveform(waveform: ArrayLike) -> np.ndarray:
    """A waveform as float64, shape (samples,) or (channels, samples).

    Raises:
        DataError: another type or shape, no samples, or samples that are not finite.
    """
    samples = np.asarray(waveform)
    if samples.ndim not in (1, 2) or samples.size == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise DataError(
            f"a waveform must be float of shape (samples,) or (channels, samples), not {samples.dtype} of shape {samples.shape}"
        )
    if not np.isfinite(samples).all():
        raise DataError("a waveform holds NaN or infinite samples; clean it before comparing")
    return samples.astype(np.float64)

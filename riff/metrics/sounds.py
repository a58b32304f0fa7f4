"""How like two sounds are in harmony and rhythm, and how well one gives another back, as numbers.

Every function is deterministic, computes in float64, and takes its two sounds at the same rate and length. Where a score
is undefined because both sides are empty (silence) it is 1, and where only one side is, it is 0, so that a mean over songs
stays finite. `si_sdr` is in decibels and the exception: it says what it does.
"""

from __future__ import annotations

from collections.abc import Callable

import librosa
import mir_eval
import numpy as np
from numpy.typing import ArrayLike

from riff.errors import DataError
from riff.metrics.pictures import correlation
from riff.spectrogram.params import STANDARD

CHROMA_FFT = 2**14  # 0.37 s at 44.1 kHz: tells semitones apart down to about 50 Hz
ONSET_FFT, ONSET_HOP = 2048, 512  # librosa's defaults
EVENT_HOP = 256  # 6 ms at 44.1 kHz: a fraction of the tolerances below
ONSET_TOLERANCE_S, BEAT_TOLERANCE_S = 0.05, 0.07  # MIREX's
SILENT_FRAME = 1e-6  # -60 dB of the clip's loudest frame


def chroma_cosine(waveform_a: ArrayLike, waveform_b: ArrayLike, sample_rate: int, argmax: bool = False) -> float:
    """Likeness of harmony: the mean over frames of the cosine similarity of 12-bin chroma.

    The chroma is `librosa.feature.chroma_stft` of 2**14-sample frames at standard tuning. Frames that are silent (60 dB
    below the clip's loudest) on both sides are left out; silent on one side only, they count as 0. Chroma has no negative
    part, so unrelated music scores well above 0.

    Args:
        waveform_a, waveform_b: float, shape (samples,) or (channels, samples), which is mixed down.
        sample_rate: Hz.
        argmax: keep only each frame's strongest pitch class, so that the score is the share of frames that agree on it, a
            much harder one. This is MusicGen's chroma similarity (Copet et al., NeurIPS 2023) as audiocraft computes it
            (`metrics/chroma_cosinesim.py` with `radix2_exp: 14`, `n_chroma: 12`, `argmax: true`), but for two things: it
            counts frames of silence on both sides as agreement, and reflects the sound at its ends. It works at 32 kHz,
            where a frame lasts 0.51 s; resample both sounds to that for figures to be set beside published ones.

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
    return correlation(_onset_envelope(ours, sample_rate, ONSET_HOP), _onset_envelope(theirs, sample_rate, ONSET_HOP))


def onset_f1(waveform: ArrayLike, reference: ArrayLike, sample_rate: int, tolerance_s: float = ONSET_TOLERANCE_S) -> float:
    """Agreement of the moments at which notes and hits begin, as MIREX scores onset detection.

    Onsets are found in both sounds by `librosa.onset.onset_detect` on the envelope of `onset_correlation`, in steps of 256
    samples. An onset of one is right if it can be paired with one of the other that is at most `tolerance_s` away, each
    used once (`mir_eval.onset.f_measure`; Raffel et al., ISMIR 2014); the score is the harmonic mean of the right shares.
    What is compared is two detections, not a detection with the truth, so errors that both make do not show.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples), which is mixed down.
        sample_rate: Hz.
        tolerance_s: seconds, either way.

    Returns:
        [0, 1], higher is better; symmetric, and independent of loudness. Without any onset on both sides 1, on one side 0.
        Unrelated music scores well above 0, since in a few seconds many onsets fall near each other by chance.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """

    def onsets(envelope: np.ndarray) -> np.ndarray:
        return librosa.onset.onset_detect(onset_envelope=envelope, sr=sample_rate, hop_length=EVENT_HOP, units="time")

    def agreement(expected: np.ndarray, found: np.ndarray) -> float:
        return mir_eval.onset.f_measure(expected, found, window=tolerance_s)[0]

    return _event_f1(waveform, reference, sample_rate, onsets, agreement)


def beat_f1(waveform: ArrayLike, reference: ArrayLike, sample_rate: int, tolerance_s: float = BEAT_TOLERANCE_S) -> float:
    """Agreement of the beats, as MIREX scores beat tracking.

    Beats are found in both sounds by `librosa.beat.beat_track` (Ellis, "Beat Tracking by Dynamic Programming", JNMR 2007)
    on the envelope of `onset_f1`, and paired as onsets are (`mir_eval.beat.f_measure`). The customary cut of the first
    five seconds is left out: it would leave nothing of a clip. Beats found at twice or half the rate score about 2/3.

    Args:
        waveform, reference: float, shape (samples,) or (channels, samples), which is mixed down.
        sample_rate: Hz.
        tolerance_s: seconds, either way.

    Returns:
        [0, 1], higher is better; symmetric, and independent of loudness. Without any beat on both sides 1, on one side 0.

    Raises:
        DataError: empty, non-finite or differently long waveforms.
    """

    def beats(envelope: np.ndarray) -> np.ndarray:
        return librosa.beat.beat_track(onset_envelope=envelope, sr=sample_rate, hop_length=EVENT_HOP, units="time")[1]

    def agreement(expected: np.ndarray, found: np.ndarray) -> float:
        return mir_eval.beat.f_measure(expected, found, f_measure_threshold=tolerance_s)

    return _event_f1(waveform, reference, sample_rate, beats, agreement)


def _event_f1(
    waveform: ArrayLike,
    reference: ArrayLike,
    sample_rate: int,
    find: Callable[[np.ndarray], np.ndarray],
    agreement: Callable[[np.ndarray, np.ndarray], float],
) -> float:
    """Agreement of the times, in seconds, that are found in both sounds' onset envelopes; without any on both sides 1."""
    found, expected = (find(_onset_envelope(w, sample_rate, EVENT_HOP)) for w in mono_pair(waveform, reference))
    if not len(found) or not len(expected):
        return float(len(found) == len(expected))
    return float(agreement(expected, found))


def _onset_envelope(waveform: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """float32, shape (frames,), zeros for silence.

    Frames are not centred: their padding would be an onset at the start of every clip. What begins is seen up to a frame
    early, in both sounds of a comparison alike.
    """
    top = min(STANDARD.max_frequency, sample_rate / 2)
    padded = librosa.util.fix_length(waveform, size=max(len(waveform), 2 * ONSET_FFT))
    mel = librosa.feature.melspectrogram(y=padded, sr=sample_rate, n_fft=ONSET_FFT, hop_length=hop, center=False, fmax=top)
    decibels = librosa.power_to_db(mel, ref=np.max, amin=1e-30)
    envelope = librosa.onset.onset_strength(S=decibels, sr=sample_rate, n_fft=ONSET_FFT, hop_length=hop, center=False)
    return envelope[1:]  # the first frame has none before it


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

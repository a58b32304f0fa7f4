"""Whether a vocal belongs to its backing: its notes against the backing's chords and onsets, and how little it depends on the song.

Both scores are of notes, not of energy, so backing that leaks into an extracted vocal does not raise them. They are computed from
spectrogram images alone, in parts of a clip's length, and have no meaning by themselves: compare a vocal over its own backing with
the same vocal over other songs' (chance) and with the true vocal (`share_of_way`). A backing without chords has no harmony to fit,
one without onsets no rhythm.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import librosa
import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import find_peaks

from riff.errors import DataError
from riff.metrics.images import correlation
from riff.metrics.melody import PitchTrack
from riff.spectrogram.image import SILENCE
from riff.spectrogram.params import CLIP_FRAMES, STANDARD, SpectrogramParams

# Chosen on 40 true vocals of the demo songs' catalogue 11 against their own and all other backings, checked on catalogue 12.
CHROMA_RANGE = (150.0, 2_000.0)  # Hz: below, the bands are wider than semitones; above are overtones
PITCH_CLASS_WIDTH = 0.4  # semitones, a standard deviation
CHROMA_SMOOTHING = 10  # frames
KEY_WEIGHT = 0.3  # of the part's mean chroma against that of the moment
NOTE_STEP = 0.7  # semitones: smaller movement is vibrato
NOTE_FRAMES = 8  # shortest note, and the length over which pitches are compared
PITCH_DELAY = 4  # frames from an attack's largest flux until its pitch is clear, both seen through a window of ten frames
ONSET_TOLERANCE = 1  # frames, either way
MIN_NOTES = 3  # a part with fewer has no rhythm
MIN_VOICED = 10  # frames; a part with fewer has no harmony
# Of the backing's chroma, highest to mean: 1.08 for noise, 1.1 to 1.4 for drums alone; 1.2 and 1.4 for two real backings, at least
# 1.7 for the demo songs'.
MIN_CHROMA_CONTRAST = 1.15
MIN_ONSET_CONTRAST = 0.3  # standard deviation of the onset strength to its mean: 0.08 for noise, at least 0.9 for backings

TRUE_HARMONY, TRUE_RHYTHM = 0.38, 2.2  # means of those true vocals: the unit of `Fit.score`
MIN_FIT = 0.3  # of `Fit.score`; the shares that pass it stand in docs/experiments.md


class Fit(NamedTuple):
    """How well a vocal fits its backing; NaN where it has too few notes to tell, or the backing no chords or no onsets.

    Attributes:
        harmony: mean over the voiced frames of the chroma at the note's pitch class: 0 is the mean of all twelve, 1 the strongest.
        rhythm: the backing's onset strength at the note onsets, in standard deviations above its mean over all circular shifts of
            the onsets: 0 is chance.
    """

    harmony: float
    rhythm: float

    @property
    def score(self) -> float:
        """Mean of both, each relative to true vocals': about 0 by chance, 1 for a true vocal; NaN if neither is known."""
        parts = [part for part in (self.harmony / TRUE_HARMONY, self.rhythm / TRUE_RHYTHM) if not np.isnan(part)]
        return float(np.mean(parts)) if parts else float("nan")

    @property
    def fits(self) -> bool:
        """Whether a single vocal passes for one that was made for this backing; False if that is not known."""
        return self.score >= MIN_FIT

    @property
    def known(self) -> bool:
        return not np.isnan(self.score)

    def to_json(self) -> dict[str, float | bool | None]:
        """Harmony, rhythm and `fits`, null where not known."""
        numbers = {name: None if np.isnan(value) else value for name, value in self._asdict().items()}
        return {**numbers, "fits": self.fits if self.known else None}


UNKNOWN = Fit(float("nan"), float("nan"))


def score_fit(melody: PitchTrack, backing: np.ndarray, params: SpectrogramParams = STANDARD) -> Fit:
    """Score a vocal's melody over a backing, as means over parts of 512 frames weighted by voiced frames and notes.

    Args:
        melody: of the vocal, from `melody_of` or `added_melody`.
        backing: uint8, shape (n_mels, frames), the backing's spectrogram image, of as many frames.

    Raises:
        DataError: another number of frames.
    """
    if backing.shape != (params.n_mels, len(melody.note)):
        raise DataError(f"a melody of {len(melody.note)} frames and a backing of {backing.shape}; cut them to the same length")
    darkness = (SILENCE - backing[::-1].astype(np.float32)) / SILENCE
    onsets = note_onsets(melody)
    scores = []
    for first in range(0, len(melody.note), CLIP_FRAMES):
        part = slice(first, first + CLIP_FRAMES)
        notes = onsets[(onsets >= part.start) & (onsets < part.stop)] - first
        harmony = _harmony(melody.note[part], melody.voiced[part], darkness[:, part], params)
        scores.append((harmony, melody.voiced[part].sum(), _rhythm(notes, darkness[:, part]), len(notes)))
    harmony, voiced, rhythm, counts = np.array(scores).T
    return Fit(_weighted_mean(harmony, voiced), _weighted_mean(rhythm, counts))


def note_onsets(melody: PitchTrack) -> np.ndarray:
    """Frames in which a note begins: after a pause, or where the pitch moves by 0.7 semitones or more and stays there."""
    note, voiced = np.where(melody.voiced, melody.note, np.nan), melody.voiced
    step = np.zeros(len(note))
    for frame in np.flatnonzero(voiced):
        before, after = note[max(0, frame - NOTE_FRAMES) : frame], note[frame : frame + NOTE_FRAMES]
        if np.isfinite(before).any() and np.isfinite(after).sum() >= NOTE_FRAMES // 2:
            step[frame] = abs(np.nanmedian(after) - np.nanmedian(before))
    moves = find_peaks(step, height=NOTE_STEP, distance=NOTE_FRAMES)[0]
    paused = np.cumsum(np.pad(voiced, (NOTE_FRAMES // 2, 0)))
    silent_before = paused[NOTE_FRAMES // 2 :] - paused[: len(voiced)] == voiced
    onsets = np.union1d(moves, np.flatnonzero(voiced & silent_before))
    return onsets[np.diff(onsets, prepend=-NOTE_FRAMES) >= NOTE_FRAMES]


def dependence(vocals: Sequence[np.ndarray]) -> float:
    """How alike vocals of one seed over different songs are: the mean correlation of their images, uint8 of one shape, over all
    pairs; [-1, 1], 1 for a vocal that does not depend on the song.

    Raises:
        DataError: fewer than two.
    """
    if len(vocals) < 2:
        raise DataError(f"{len(vocals)} vocals; dependence on the song shows over two or more songs")
    return float(np.mean([correlation(a.ravel(), b.ravel()) for a, b in combinations(vocals, 2)]))


def share_of_way(value: float, floor: float, ceiling: float) -> float:
    """Where a score lies between its floor, 0, such as chance, and its ceiling, 1, the true vocal's; NaN if these do not differ."""
    return (value - floor) / (ceiling - floor) if ceiling != floor else float("nan")


def _harmony(note: np.ndarray, voiced: np.ndarray, darkness: np.ndarray, params: SpectrogramParams) -> float:
    """Harmony of a part; darkness is float32, shape (n_mels, frames), low bands first."""
    if voiced.sum() < MIN_VOICED:
        return float("nan")
    chroma = _pitch_classes(params) @ darkness**2  # the square root of magnitudes, shape (12, frames)
    local = gaussian_filter1d(chroma, CHROMA_SMOOTHING, axis=1)
    tiny = np.finfo(np.float32).tiny
    local = local / np.maximum(local.sum(axis=0), tiny)
    if len(local) * local.max(axis=0).mean() < MIN_CHROMA_CONTRAST:
        return float("nan")
    key = chroma.mean(axis=1, keepdims=True)
    chroma = (1 - KEY_WEIGHT) * local + KEY_WEIGHT * key / max(key.sum(), tiny)
    mean, highest = chroma.mean(axis=0), chroma.max(axis=0)
    sounding = chroma[np.round(note).astype(int) % 12, np.arange(len(note))]
    relative = np.divide(sounding - mean, highest - mean, out=np.zeros_like(mean), where=highest > mean)
    return float(relative[voiced].mean())


@lru_cache(maxsize=4)
def _pitch_classes(params: SpectrogramParams) -> np.ndarray:
    """Weights of the bands in each pitch class, C first: float32, shape (12, n_mels), rows sum to 1."""
    edges = librosa.mel_frequencies(params.n_mels + 2, fmin=params.min_frequency, fmax=params.max_frequency, htk=True)
    frequencies = edges[1:-1]
    notes = 69 + 12 * np.log2(frequencies / 440.0)
    distance = (notes - np.arange(12)[:, None] + 6) % 12 - 6
    weights = np.exp(-0.5 * (distance / PITCH_CLASS_WIDTH) ** 2)
    weights *= (frequencies >= CHROMA_RANGE[0]) & (frequencies <= CHROMA_RANGE[1])
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _rhythm(notes: np.ndarray, darkness: np.ndarray) -> float:
    """Rhythm of a part; notes are frames of onsets, darkness is float32, shape (n_mels, frames)."""
    if len(notes) < MIN_NOTES:
        return float("nan")
    flux = np.maximum(0.0, np.diff(darkness, axis=1, prepend=darkness[:, :1])).sum(axis=0).astype(np.float64)
    flux = np.roll(maximum_filter1d(gaussian_filter1d(flux, 1.0), 2 * ONSET_TOLERANCE + 1), PITCH_DELAY)
    if flux.std() <= MIN_ONSET_CONTRAST * flux.mean():
        return float("nan")
    train = np.bincount(notes, minlength=len(flux))
    by_shift = np.fft.irfft(np.conj(np.fft.rfft(train)) * np.fft.rfft(flux), len(flux))  # circular cross-correlation
    spread = by_shift.std()
    return float((by_shift[0] - by_shift.mean()) / spread) if spread > 1e-9 * abs(by_shift.mean()) else 0.0


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    counted = np.isfinite(values)
    return float(np.average(values[counted], weights=weights[counted])) if counted.any() else float("nan")

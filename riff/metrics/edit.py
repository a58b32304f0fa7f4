"""Was the edit performed? ScoredTake from the two pictures, without any network.

Everything is computed on the bands from 150 to 6,000 Hz of two spectrogram pictures, input and output, whose levels need
not be known: one gain brings the input to the output's level. What the output holds beyond the input's neighbourhood
(1.5 times the input's loudest within two bands and a frame, so that a blurred, noisy or louder copy holds nothing) is the
excess. A vocal was added if the excess has energy, if it sings one pitch at a time, if that pitch moves as voices move and
instruments with keys or frets do not, and if the rest of the input is still there. So a voice that neither glides nor swings
is missed, and a bowed or blown instrument would count. A vocal was removed if swapping the two pictures adds one.

The thresholds were chosen on the demo songs' catalogue 4 and checked on catalogue 3 by benchmarks/calibrate_edit.py, whose
result states the error rates. Real voices were not among them.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from riff.errors import DataError
from riff.metrics.melody import PitchTrack, follow_pitch, median_pitch
from riff.metrics.pictures import correlation, gradient_correlation
from riff.spectrogram.image import SILENCE
from riff.spectrogram.level import level_ratio
from riff.spectrogram.mel import band_of
from riff.spectrogram.params import STANDARD, SpectrogramParams

VOCAL_BAND = (150.0, 6_000.0)  # Hz
NEIGHBOURHOOD = (5, 3)  # bands, frames: how far an autoencoder smears
EXCESS_FACTOR = 1.5  # 3.5 dB: how much a copy's magnitudes scatter
AUDIBLE = 0.01  # of the output's mean energy a frame: an excess below it has no pitch
MARGIN = 7  # pixels, square: what surrounds the excess is not judged as backing

MIN_ADDED_ENERGY = 0.02
MIN_MELODY = 0.10
MIN_MOTION = 0.03
MIN_BACKING_KEPT = 0.5


class EditScores(NamedTuple):
    """How much of an edit an output picture is; each in [0, 1] (onset_agreement from -1), higher is better.

    Attributes:
        added_energy: the excess's share of the output's energy (squared magnitudes).
        melody: share of the frames in which the excess sings one clear pitch, in stretches of 60 ms or more.
        motion: share of the frames after which that pitch glides or swings by 0.15 to 1.5 semitones within 50 ms.
        backing_kept: correlation of the gradients where nothing was added, times the share of the input's energy that the
            output still holds.
        onset_agreement: correlation of the spectral flux where nothing was added.
        median_note: MIDI number of the added melody, NaN where there is none.
    """

    added_energy: float
    melody: float
    motion: float
    backing_kept: float
    onset_agreement: float
    median_note: float

    def to_json(self) -> dict[str, float | None]:
        """The scores by name; a melody's pitch that is not there is null."""
        return {name: None if np.isnan(value) else value for name, value in self._asdict().items()}

    @property
    def is_edit(self) -> bool:
        """A vocal was added and the backing kept."""
        return (
            self.added_energy >= MIN_ADDED_ENERGY
            and self.melody >= MIN_MELODY
            and self.motion >= MIN_MOTION
            and self.backing_kept >= MIN_BACKING_KEPT
        )

    @property
    def edit_score(self) -> float:
        """For ranking candidates: the geometric mean of melody, motion, backing_kept and onset_agreement."""
        return float((self.melody * self.motion * self.backing_kept * max(0.0, self.onset_agreement)) ** 0.25)


class Verdict(NamedTuple):
    """scores: see `EditScores`. performed: whether the edit counts. score: for ranking candidates, higher is better."""

    scores: EditScores
    performed: bool
    score: float


def score_edit(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> EditScores:
    """Judge whether `after` is `before` with a vocal added.

    Args:
        before, after: uint8, shape (n_mels, frames), spectrogram pictures of the input and the output, each against its
            own maximum or against a common one.

    Raises:
        DataError: pictures of another type or size, or not as high as the parameters have bands.
    """
    ours, theirs = (_magnitude(pixels, params) for pixels in (before, after))
    excess, lost = _beyond(before, after, params), _beyond(after, before, params)
    track = _track(excess, theirs, params)
    untouched = _untouched(excess, params)
    outlines = gradient_correlation(after, before, untouched) if untouched.any() else 0.0
    onsets = correlation(_flux(before, untouched), _flux(after, untouched)) if untouched.any() else 0.0
    return EditScores(
        added_energy=_share(excess, theirs),
        melody=float(track.sung.mean()),
        motion=float(track.moving.mean()),
        # Of a silent input nothing can be lost, and it has no outlines to compare.
        backing_kept=(1.0 - _share(lost, ours)) * max(0.0, outlines) if ours.any() else 1.0,
        onset_agreement=onsets,
        median_note=median_pitch(track),
    )


def is_removal(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> bool:
    """Whether `after` is `before` without its vocal; the arguments are `score_edit`'s."""
    return score_edit(after, before, params).is_edit


def judge(kind: str, before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> Verdict:
    """Whether `after` is what an instruction of this kind asks for.

    Args:
        kind: `add` a vocal, `remove` it (scored with the pictures swapped), or `noop`, leave everything as it is.
    """
    scores = score_edit(after, before, params) if kind == "remove" else score_edit(before, after, params)
    if kind != "noop":
        return Verdict(scores, scores.is_edit, scores.edit_score)
    changed = scores.is_edit or is_removal(before, after, params)
    score = scores.backing_kept * max(0.0, scores.onset_agreement)
    return Verdict(scores, not changed and scores.backing_kept >= MIN_BACKING_KEPT, score)


def excess_image(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> np.ndarray:
    """What was added, as a spectrogram picture against its own maximum: uint8, shape (n_mels, frames)."""
    excess = _beyond(before, after, params)
    ink = (excess / excess.max()) ** params.power_for_image if excess.any() else excess
    return np.round(SILENCE * (1.0 - ink[::-1])).astype(np.uint8)


def added_melody(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> PitchTrack:
    """The melody of what a picture holds beyond another one; the arguments are `score_edit`'s."""
    return _track(_beyond(before, after, params), _magnitude(after, params), params)


def melody_of(pixels: np.ndarray, params: SpectrogramParams = STANDARD) -> PitchTrack:
    """The melody of a picture that holds a vocal alone: uint8, shape (n_mels, frames)."""
    magnitude = _magnitude(pixels, params)
    return _track(magnitude, magnitude, params)


def _magnitude(pixels: np.ndarray, params: SpectrogramParams) -> np.ndarray:
    """float64, shape (n_mels, frames), low bands first, at most 1, zero outside the vocal's band."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or len(pixels) != params.n_mels:
        raise DataError(f"an edit is judged on uint8 pictures of {params.n_mels} rows; give spectrograms in the same form")
    ink = (SILENCE - pixels[::-1].astype(np.float64)) / SILENCE
    return ink ** (1.0 / params.power_for_image) * _vocal_band(params)


def _vocal_band(params: SpectrogramParams) -> np.ndarray:
    """bool, shape (n_mels, 1)."""
    low, high = band_of(VOCAL_BAND, params)
    bands = np.arange(params.n_mels)[:, None]
    return (bands >= low) & (bands <= high)


def _beyond(before: np.ndarray, after: np.ndarray, params: SpectrogramParams) -> np.ndarray:
    """Magnitudes of `after` beyond the neighbourhood of `before`, at the level of `after`."""
    if before.shape != after.shape:
        raise DataError(f"pictures of shapes {before.shape} and {after.shape} cannot be compared; cut them to the same size")
    loudest = cv2.dilate(_magnitude(before, params), np.ones(NEIGHBOURHOOD)) * level_ratio(before, after, params)
    return np.maximum(0.0, _magnitude(after, params) - EXCESS_FACTOR * loudest)


def _track(excess: np.ndarray, whole: np.ndarray, params: SpectrogramParams) -> PitchTrack:
    energy = excess**2
    audible = energy.sum(axis=0) > AUDIBLE * (whole**2).sum(axis=0).mean()
    return follow_pitch(energy, audible, params)


def _untouched(excess: np.ndarray, params: SpectrogramParams) -> np.ndarray:
    """bool, shape (n_mels, frames), as a picture: True in the vocal's band where nothing was added nearby."""
    grown = cv2.dilate((excess > 0).astype(np.uint8), np.ones((MARGIN, MARGIN), np.uint8)).astype(bool)
    return np.ascontiguousarray((~grown & _vocal_band(params))[::-1])


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """Of energy; 0 where there is none."""
    energy = float((whole**2).sum())
    return min(1.0, float((part**2).sum()) / energy) if energy else 0.0


def _flux(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean rise in ink from frame to frame over the pixels of a mask: float64, shape (frames - 1,)."""
    rise = np.maximum(0.0, -np.diff(pixels.astype(np.float64), axis=1)) * mask[:, 1:]
    return rise.sum(axis=0) / np.maximum(mask[:, 1:].sum(axis=0), 1)

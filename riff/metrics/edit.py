"""Whether an edit was performed, judged from the input and output images without a neural network.

Scores are computed on the bands from 150 to 6,000 Hz of the two spectrogram images, whose levels need not be known: one gain
matches the input to the output. The excess is the part of the output above 1.5 times the input's maximum within two bands and a
frame, so that a blurred, noisy or louder copy has none. A vocal was added if the excess has energy, is monophonic, has a pitch
that moves as voices do and fixed-pitch instruments do not, and if the rest of the input is kept. A voice without glides and
vibrato is therefore missed, and a bowed or blown instrument counts. A vocal was removed if swapping the images adds one.

An addition is performed if a vocal was added and fits the backing (riff/metrics/fit.py). Where the backing has neither chords nor
onsets, fit cannot be told, and the rest decides.

The thresholds were chosen on the demo songs' catalogue 4 and validated on catalogue 3 by benchmarks/calibrate_edit.py, whose
result states the error rates. Real voices were not among them.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from riff.errors import DataError
from riff.metrics.fit import UNKNOWN, Fit, score_fit
from riff.metrics.images import correlation, gradient_correlation
from riff.metrics.melody import PitchTrack, follow_pitch, median_pitch
from riff.spectrogram.image import SILENCE
from riff.spectrogram.level import level_ratio
from riff.spectrogram.mel import band_of
from riff.spectrogram.params import STANDARD, SpectrogramParams

VOCAL_BAND = (150.0, 6_000.0)  # Hz
NEIGHBOURHOOD = (5, 3)  # bands, frames: blur of an autoencoder
EXCESS_FACTOR = 1.5  # 3.5 dB: variation of a copy's magnitudes
AUDIBLE = 0.01  # of the output's mean energy a frame: a weaker excess has no pitch
MARGIN = 7  # pixels, square: surroundings of the excess that are not scored as backing

MIN_ADDED_ENERGY = 0.02
MIN_MELODY = 0.10
MIN_MOTION = 0.03
MIN_BACKING_KEPT = 0.5


class EditScores(NamedTuple):
    """Scores of an edit; each in [0, 1] (onset_agreement from -1), higher is better.

    Attributes:
        added_energy: the excess's share of the output's energy (squared magnitudes).
        melody: share of the frames in which the excess has one clear pitch, in segments of 60 ms or more.
        motion: share of the frames after which that pitch moves by 0.15 to 1.5 semitones within 50 ms.
        backing_kept: correlation of the gradients where nothing was added, times the share of the input's energy that the
            output keeps.
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
        """The scores by name, NaN as null."""
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
    """Whether an edit was performed.

    Attributes:
        scores: see `EditScores`. score: for ranking candidates, higher is better.
        fit: of an added vocal to the input.
    """

    scores: EditScores
    performed: bool
    score: float
    fit: Fit = UNKNOWN

    @property
    def shortcoming(self) -> str:
        """What an addition that was not performed lacks; empty if it was."""
        if self.performed:
            return ""
        if self.scores.is_edit:
            return "the vocal does not fit the backing"
        return "the backing was not kept" if self.scores.backing_kept < MIN_BACKING_KEPT else "no clear vocal was found"

    @property
    def shares(self) -> dict[str, float]:
        """Whether an addition counts, as 0 or 1: `performed`, and `edited`, which is that without fit."""
        return {"performed": float(self.performed), "edited": float(self.scores.is_edit)}

    @property
    def fit_scores(self) -> dict[str, float]:
        """`harmony`, `rhythm` and `fits` of an addition, without those that cannot be told."""
        return {name: float(value) for name, value in self.fit.to_json().items() if value is not None}

    @property
    def fit_text(self) -> str:
        """Whether an added vocal fits, and by what that is judged where not by both."""
        missing = [
            reason
            for value, reason in ((self.fit.harmony, "no chords to judge by"), (self.fit.rhythm, "no beats to judge by"))
            if np.isnan(value)
        ]
        answer = "cannot be told" if not self.fit.known else "yes" if self.fit.fits else "no"
        return f"{answer} ({', '.join(missing)})" if missing else answer


def addition(scores: EditScores, fit: Fit) -> Verdict:
    """The verdict on an added vocal. It is ranked by the geometric mean of the edit score's four factors and, where it is known,
    the fit, of which a true vocal's is enough."""
    if not fit.known:
        return Verdict(scores, scores.is_edit, scores.edit_score, fit)
    score = (scores.edit_score**4 * float(np.clip(fit.score, 0, 1))) ** 0.2
    return Verdict(scores, scores.is_edit and fit.fits, score, fit)


def score_edit(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> EditScores:
    """Score `after` as `before` with a vocal added.

    Args:
        before, after: uint8, shape (n_mels, frames), spectrogram images of input and output, each relative to its own maximum or
            both to a common one.

    Raises:
        DataError: images of another type or of different sizes, or of another height than the parameters' bands.
    """
    return _score(before, after, params)[0]


def score_addition(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> tuple[EditScores, Fit]:
    """`score_edit`, and how the melody that was added fits `before`."""
    scores, melody = _score(before, after, params)
    return scores, score_fit(melody, before, params)


def _score(before: np.ndarray, after: np.ndarray, params: SpectrogramParams) -> tuple[EditScores, PitchTrack]:
    """The scores, and the melody that was added."""
    input_magnitude, output_magnitude = (_magnitude(pixels, params) for pixels in (before, after))
    excess, lost = _excess(before, after, params), _excess(after, before, params)
    track = _track(excess, output_magnitude, params)
    untouched = _untouched(excess, params)
    gradients = gradient_correlation(after, before, untouched) if untouched.any() else 0.0
    onsets = correlation(_flux(before, untouched), _flux(after, untouched)) if untouched.any() else 0.0
    scores = EditScores(
        added_energy=_share(excess, output_magnitude),
        melody=float(track.voiced.mean()),
        motion=float(track.moving.mean()),
        # A silent input is always kept.
        backing_kept=(1.0 - _share(lost, input_magnitude)) * max(0.0, gradients) if input_magnitude.any() else 1.0,
        onset_agreement=onsets,
        median_note=median_pitch(track),
    )
    return scores, track


def is_removal(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> bool:
    """Whether `after` is `before` without its vocal; the arguments are `score_edit`'s."""
    return score_edit(after, before, params).is_edit


def judge(kind: str, before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> Verdict:
    """Whether `after` is `before` edited by an instruction of this kind.

    Args:
        kind: `add` a vocal, `remove` it (scored with the images swapped), or `noop`, change nothing.
    """
    if kind == "add":
        return addition(*score_addition(before, after, params))
    scores = score_edit(after, before, params) if kind == "remove" else score_edit(before, after, params)
    if kind == "remove":
        return Verdict(scores, scores.is_edit, scores.edit_score)
    changed = scores.is_edit or is_removal(before, after, params)
    score = scores.backing_kept * max(0.0, scores.onset_agreement)
    return Verdict(scores, not changed and scores.backing_kept >= MIN_BACKING_KEPT, score)


def excess_image(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> np.ndarray:
    """The excess as a spectrogram image relative to its own maximum: uint8, shape (n_mels, frames)."""
    excess = _excess(before, after, params)
    darkness = (excess / excess.max()) ** params.power_for_image if excess.any() else excess
    return np.round(SILENCE * (1.0 - darkness[::-1])).astype(np.uint8)


def added_melody(before: np.ndarray, after: np.ndarray, params: SpectrogramParams = STANDARD) -> PitchTrack:
    """The melody of the excess; the arguments are `score_edit`'s."""
    return _track(_excess(before, after, params), _magnitude(after, params), params)


def melody_of(pixels: np.ndarray, params: SpectrogramParams = STANDARD) -> PitchTrack:
    """The melody of the image of a vocal alone: uint8, shape (n_mels, frames)."""
    magnitude = _magnitude(pixels, params)
    return _track(magnitude, magnitude, params)


def _magnitude(pixels: np.ndarray, params: SpectrogramParams) -> np.ndarray:
    """float64, shape (n_mels, frames), low bands first, at most 1, zero outside the vocal band."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or len(pixels) != params.n_mels:
        raise DataError(f"an edit is scored on uint8 images of {params.n_mels} rows; give spectrogram images of that height")
    darkness = (SILENCE - pixels[::-1].astype(np.float64)) / SILENCE
    return darkness ** (1.0 / params.power_for_image) * _vocal_band(params)


def _vocal_band(params: SpectrogramParams) -> np.ndarray:
    """bool, shape (n_mels, 1)."""
    low, high = band_of(VOCAL_BAND, params)
    bands = np.arange(params.n_mels)[:, None]
    return (bands >= low) & (bands <= high)


def _excess(before: np.ndarray, after: np.ndarray, params: SpectrogramParams) -> np.ndarray:
    """The excess of `after` over `before`: magnitudes at the level of `after`."""
    if before.shape != after.shape:
        raise DataError(f"images of shapes {before.shape} and {after.shape} cannot be compared; cut them to the same size")
    loudest = cv2.dilate(_magnitude(before, params), np.ones(NEIGHBOURHOOD)) * level_ratio(before, after, params)
    return np.maximum(0.0, _magnitude(after, params) - EXCESS_FACTOR * loudest)


def _track(excess: np.ndarray, whole: np.ndarray, params: SpectrogramParams) -> PitchTrack:
    energy = excess**2
    audible = energy.sum(axis=0) > AUDIBLE * (whole**2).sum(axis=0).mean()
    return follow_pitch(energy, audible, params)


def _untouched(excess: np.ndarray, params: SpectrogramParams) -> np.ndarray:
    """bool, shape (n_mels, frames), in image orientation: True in the vocal band away from the excess."""
    dilated = cv2.dilate((excess > 0).astype(np.uint8), np.ones((MARGIN, MARGIN), np.uint8)).astype(bool)
    return np.ascontiguousarray((~dilated & _vocal_band(params))[::-1])


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """Share of the energy; 0 of silence."""
    energy = float((whole**2).sum())
    return min(1.0, float((part**2).sum()) / energy) if energy else 0.0


def _flux(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean increase of darkness from frame to frame over the pixels of a mask: float64, shape (frames - 1,)."""
    rise = np.maximum(0.0, -np.diff(pixels.astype(np.float64), axis=1)) * mask[:, 1:]
    return rise.sum(axis=0) / np.maximum(mask[:, 1:].sum(axis=0), 1)

"""Melody extraction from a spectrogram image by a harmonic sieve on the mel axis."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from riff.spectrogram.mel import band_of
from riff.spectrogram.params import STANDARD, SpectrogramParams

LOWEST_NOTE, HIGHEST_NOTE = 40.0, 84.0  # MIDI: 82 Hz, below a bass, to 1,047 Hz, a soprano's high C
NOTES_A_SEMITONE = 8
LOWEST_HARMONIC, HIGHEST_HARMONIC = (
    150.0,
    4_000.0,
)  # Hz: below is the bass guitar, above the bands are wider than the harmonics' spacing
SEPARATE_BANDS = 4.0  # minimum spacing of resolved harmonics
MIN_CLARITY = 0.4
SMOOTH_STEP = 0.6  # semitones from frame to frame within a segment
SEGMENT_MS = 50  # shorter segments are not voiced
MOVEMENT = (0.15, 1.5)  # semitones within SEGMENT_MS: above the grid's error, below a jump
REGISTER_BOUNDARY = 58.0  # MIDI, 233 Hz: the best threshold, right for 92 % of 200 demo singers, whose registers overlap
REGISTER_WORDS = {"female": r"female|wom[ae]n|lady|girls?|soprano", "male": r"male|m[ae]n|guy|boys?|baritone|tenor"}


class PitchTrack(NamedTuple):
    """One pitch a frame.

    Attributes:
        note: float64, shape (frames,), fractional MIDI numbers; valid where `voiced`.
        clarity: float64, shape (frames,), at most 1: the share of the energy on the pitch's harmonics, less that expected by
            chance.
        voiced: bool, shape (frames,): in a segment of 60 ms or more of one clear pitch without jumps.
        moving: bool, shape (frames,), the pitch moves by 0.15 to 1.5 semitones within the next 50 ms of the segment.
    """

    note: np.ndarray
    clarity: np.ndarray
    voiced: np.ndarray
    moving: np.ndarray


def track_of_contour(contour: np.ndarray) -> PitchTrack:
    """A tune, float64, MIDI numbers, NaN in rests, as a track that is clear in every note and moves nowhere."""
    voiced = np.isfinite(contour)
    return PitchTrack(np.nan_to_num(contour), voiced.astype(float), voiced, np.zeros_like(voiced))


def follow_pitch(energy: np.ndarray, audible: np.ndarray, params: SpectrogramParams = STANDARD) -> PitchTrack:
    """The clearest single pitch of every frame.

    A harmonic sieve (Duifhuis, Willems and Sluyter, JASA 1982) on the mel axis: for every candidate pitch the share of the
    energy on its harmonics, less the share of evenly distributed energy, which is larger for low pitches with their many
    harmonics.

    Args:
        energy: float, shape (n_mels, frames), >= 0, low bands first.
        audible: bool, shape (frames,), frames with enough energy to have a pitch.
    """
    sieve, reach, by_chance = _sieve(params)
    on_harmonics = (sieve @ energy) / np.maximum(reach @ energy, np.finfo(np.float64).tiny)
    clarity = (on_harmonics - by_chance) / (1.0 - by_chance)  # (candidates, frames)
    best = np.clip(clarity.argmax(axis=0), 1, len(clarity) - 2)
    frames = np.arange(clarity.shape[1])
    below, at, above = (clarity[best + offset, frames] for offset in (-1, 0, 1))
    curvature = below - 2 * at + above
    # The vertex of a parabola through three candidates is finer than the grid.
    vertex = np.divide(0.5 * (below - above), curvature, out=np.zeros_like(curvature), where=curvature < 0)
    note = LOWEST_NOTE + (best + np.clip(vertex, -1, 1)) / NOTES_A_SEMITONE
    lag = SEGMENT_MS // params.step_size_ms
    segment, voiced = _segments(note, audible & (at >= MIN_CLARITY), lag)
    moving = np.zeros_like(voiced)
    moved = np.abs(note[lag:] - note[:-lag])
    moving[:-lag] = voiced[:-lag] & voiced[lag:] & (segment[:-lag] == segment[lag:]) & (moved > MOVEMENT[0]) & (moved < MOVEMENT[1])
    return PitchTrack(note, clarity.max(axis=0), voiced, moving)


def _segments(note: np.ndarray, voiced: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Number each frame's segment of one smooth pitch, and mark the frames of segments longer than `lag`."""
    breaks = np.ones(len(note), bool)
    breaks[1:] = ~(voiced[1:] & voiced[:-1]) | (np.abs(np.diff(note)) > SMOOTH_STEP)
    segment = np.cumsum(breaks)
    return segment, voiced & (np.bincount(segment)[segment] > lag)


@lru_cache(maxsize=4)
def _sieve(params: SpectrogramParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each candidate's harmonics and the range up to its highest one, both (candidates, n_mels), and the harmonics' share of it."""
    notes = np.arange(LOWEST_NOTE, HIGHEST_NOTE + 1e-9, 1 / NOTES_A_SEMITONE)
    bands = np.arange(params.n_mels)
    lowest = band_of(LOWEST_HARMONIC, params)
    sieve, reach = np.zeros((2, len(notes), params.n_mels))
    for row, pitch in enumerate(440.0 * 2.0 ** ((notes - 69.0) / 12.0)):
        harmonics = pitch * np.arange(1, int(HIGHEST_HARMONIC / pitch) + 1)
        centres = band_of(harmonics, params)
        spacing = band_of(harmonics + pitch / 2, params) - band_of(harmonics - pitch / 2, params)
        resolved = (spacing > SEPARATE_BANDS) & (centres >= lowest)
        sieve[row] = np.exp(-0.5 * (bands - centres[resolved, None]) ** 2).max(axis=0)  # a line is about two bands wide
        reach[row] = bands <= centres[resolved].max() + spacing[resolved][-1] / 2
    inside = bands >= lowest
    sieve, reach = sieve * inside, reach * inside
    return sieve, reach, (sieve.sum(axis=1) / reach.sum(axis=1))[:, None]


def median_pitch(track: PitchTrack) -> float:
    """Median MIDI number of the voiced frames; NaN if there are none."""
    return float(np.median(track.note[track.voiced])) if track.voiced.any() else float("nan")


def register_of_prompt(prompt: str) -> str | None:
    """`female` or `male` if the prompt names exactly one of them, else None."""
    registers = [register for register, words in REGISTER_WORDS.items() if re.search(rf"\b({words})\b", prompt.lower())]
    return registers[0] if len(registers) == 1 else None


def register_obeyed(prompt: str, median_note: float) -> bool | None:
    """Whether a melody is in the register that its prompt names, above or below 233 Hz; None if it names none.

    Args:
        median_note: MIDI number, from `median_pitch`; False for NaN, no melody.
    """
    register = register_of_prompt(prompt)
    if register is None:
        return None
    return bool(median_note >= REGISTER_BOUNDARY if register == "female" else median_note < REGISTER_BOUNDARY)

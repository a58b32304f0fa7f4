"""The pitch that a picture sings: harmonics on the mel axis, followed through time."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from riff.spectrogram.mel import band_of
from riff.spectrogram.params import STANDARD, SpectrogramParams

LOWEST_NOTE, HIGHEST_NOTE = 40.0, 84.0  # MIDI: 82 Hz, under a bass, to 1,047 Hz, a soprano's high C
NOTES_A_SEMITONE = 8
LOWEST_HARMONIC, HIGHEST_HARMONIC = 150.0, 4_000.0  # Hz: below lies the bass, above the bands are wider than harmonics apart
SEPARATE_BANDS = 4.0  # harmonics closer than this on the mel axis are not told apart
MIN_CLARITY = 0.4
SMOOTH_STEP = 0.6  # semitones from one frame to the next that a voice may glide
STRETCH_MS = 50  # what is shorter is no note
MOVEMENT = (0.15, 1.5)  # semitones within STRETCH_MS: more than the grid's error, less than a jump
REGISTER_BOUNDARY = 58.0  # MIDI, 233 Hz: tells 92 % of 200 demo singers apart, more than any other; their registers overlap
REGISTER_WORDS = {"female": r"female|wom[ae]n|lady|girls?|soprano", "male": r"male|m[ae]n|guy|boys?|baritone|tenor"}


class PitchTrack(NamedTuple):
    """One pitch a frame.

    Attributes:
        note: float64, shape (frames,), MIDI numbers with fractions; means something where `sung`.
        clarity: float64, shape (frames,), at most 1: the share of the energy that lies on the pitch's harmonics, less what
            would lie there by chance.
        sung: bool, shape (frames,), in a stretch of 60 ms or more of one clear pitch that does not jump.
        moving: bool, shape (frames,), the stretch glides or swings by 0.15 to 1.5 semitones in the 50 ms that follow.
    """

    note: np.ndarray
    clarity: np.ndarray
    sung: np.ndarray
    moving: np.ndarray


def follow_pitch(energy: np.ndarray, audible: np.ndarray, params: SpectrogramParams = STANDARD) -> PitchTrack:
    """The clearest single pitch of every frame.

    A harmonic sieve (Duifhuis, Willems and Sluyter, JASA 1982) on the mel axis: for every candidate pitch the share of the
    energy that falls on its harmonics, less the share that would fall there if energy were spread evenly, so that a low
    pitch, whose many harmonics catch anything, does not win by default.

    Args:
        energy: float, shape (n_mels, frames), >= 0, low bands first.
        audible: bool, shape (frames,), frames that hold enough energy to have a pitch.
    """
    sieve, reach, by_chance = _sieve(params)
    caught = (sieve @ energy) / np.maximum(reach @ energy, np.finfo(np.float64).tiny)
    clarity = (caught - by_chance) / (1.0 - by_chance)  # (candidates, frames)
    best = np.clip(clarity.argmax(axis=0), 1, len(clarity) - 2)
    frames = np.arange(clarity.shape[1])
    below, at, above = (clarity[best + offset, frames] for offset in (-1, 0, 1))
    bend = below - 2 * at + above
    # A parabola through the best three candidates: its vertex is finer than the grid.
    vertex = np.divide(0.5 * (below - above), bend, out=np.zeros_like(bend), where=bend < 0)
    note = LOWEST_NOTE + (best + np.clip(vertex, -1, 1)) / NOTES_A_SEMITONE
    lag = STRETCH_MS // params.step_size_ms
    stretch, sung = _stretches(note, audible & (at >= MIN_CLARITY), lag)
    moving = np.zeros_like(sung)
    moved = np.abs(note[lag:] - note[:-lag])
    moving[:-lag] = sung[:-lag] & sung[lag:] & (stretch[:-lag] == stretch[lag:]) & (moved > MOVEMENT[0]) & (moved < MOVEMENT[1])
    return PitchTrack(note, clarity.max(axis=0), sung, moving)


def _stretches(note: np.ndarray, voiced: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Number every frame's stretch of one smooth pitch, and say which frames lie in one longer than `lag`."""
    breaks = np.ones(len(note), bool)
    breaks[1:] = ~(voiced[1:] & voiced[:-1]) | (np.abs(np.diff(note)) > SMOOTH_STEP)
    stretch = np.cumsum(breaks)
    return stretch, voiced & (np.bincount(stretch)[stretch] > lag)


@lru_cache(maxsize=4)
def _sieve(params: SpectrogramParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where every candidate's harmonics are, and how far up they reach: both (candidates, n_mels); the harmonics' share of it."""
    notes = np.arange(LOWEST_NOTE, HIGHEST_NOTE + 1e-9, 1 / NOTES_A_SEMITONE)
    bands = np.arange(params.n_mels)
    lowest = band_of(LOWEST_HARMONIC, params)
    sieve, reach = np.zeros((2, len(notes), params.n_mels))
    for row, pitch in enumerate(440.0 * 2.0 ** ((notes - 69.0) / 12.0)):
        harmonics = pitch * np.arange(1, int(HIGHEST_HARMONIC / pitch) + 1)
        places = band_of(harmonics, params)
        apart = band_of(harmonics + pitch / 2, params) - band_of(harmonics - pitch / 2, params)
        kept = (apart > SEPARATE_BANDS) & (places >= lowest)
        sieve[row] = np.exp(-0.5 * (bands - places[kept, None]) ** 2).max(axis=0)  # a line is about two bands wide
        reach[row] = bands <= places[kept].max() + apart[kept][-1] / 2
    inside = bands >= lowest
    sieve, reach = sieve * inside, reach * inside
    return sieve, reach, (sieve.sum(axis=1) / reach.sum(axis=1))[:, None]


def median_pitch(track: PitchTrack) -> float:
    """MIDI number over the sung frames; NaN where nothing is sung."""
    return float(np.median(track.note[track.sung])) if track.sung.any() else float("nan")


def register_of_prompt(prompt: str) -> str | None:
    """`female` or `male`, as the prompt says; None where it says neither or both."""
    said = [register for register, words in REGISTER_WORDS.items() if re.search(rf"\b({words})\b", prompt.lower())]
    return said[0] if len(said) == 1 else None


def register_obeyed(prompt: str, median_note: float) -> bool | None:
    """Whether a melody lies on the side of 233 Hz that its prompt asks for; None where the prompt names no register.

    Args:
        median_note: MIDI number, from `median_pitch`; NaN, no melody, obeys nothing.
    """
    register = register_of_prompt(prompt)
    if register is None:
        return None
    return bool(median_note >= REGISTER_BOUNDARY if register == "female" else median_note < REGISTER_BOUNDARY)

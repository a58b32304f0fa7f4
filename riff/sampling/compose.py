"""A tune for a backing, from its beats, chords and key: chord tones on the beats, scale steps between, phrases that come back."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import librosa
import numpy as np

from riff.audio.io import resample, to_channels
from riff.audio.notes import Note
from riff.metrics.melody import register_of_prompt

RATE, HOP = 22_050, 512
# Krumhansl and Kessler's (Psychological Review 1982) probe-tone profiles.
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7)}
RANGES = {"female": (57, 74), "male": (45, 62), None: (55, 70)}  # MIDI
DIATONIC_BONUS, STAY_BONUS = 0.08, 0.05  # of a chord's cosine similarity
DEFAULT_BEAT_S = 0.6
SHORTEST = RATE  # samples
PHRASE_BEATS = 8
# Note lengths in beats of the beats of a phrase; a negative one is a rest.
RHYTHMS = (
    (1, 1, 0.5, 0.5, 1, 1, 1, -2),
    (0.5, 0.5, 1, 1, 0.5, 0.5, 2, -2),
    (1.5, 0.5, 1, 1, 0.5, 0.5, 1.5, -1.5),
    (-0.5, 0.5, 0.5, 0.5, 1, 1, 2, -2),
    (2, 1, 0.5, 0.5, 1, 0.5, 1, -1.5),
)
FORM = (0, 0, 1, 0)  # which of two phrases comes, over and over


class Harmony(NamedTuple):
    """What is heard of a backing.

    Attributes:
        beats: float64, seconds, ascending: the beginnings of the beats and the end of the last one.
        chords: pitch classes of the triad of every beat. scale: pitch classes of the key.
    """

    beats: np.ndarray
    chords: list[frozenset[int]]
    scale: frozenset[int]


def harmony_of(backing: np.ndarray, sample_rate: int) -> Harmony:
    """The beats, chords and key of a backing, float32, shape (channels, samples); without beats one in 0.6 s is taken."""
    mono = resample(to_channels(backing, 1), sample_rate, RATE)[0]
    mono = librosa.util.fix_length(mono, size=max(len(mono), SHORTEST))
    beats = librosa.frames_to_time(librosa.beat.beat_track(y=mono, sr=RATE, hop_length=HOP, trim=False)[1], sr=RATE, hop_length=HOP)
    if len(beats) < 2:
        beats = np.arange(0.0, len(mono) / RATE, DEFAULT_BEAT_S)
    beats = np.append(beats, 2 * beats[-1] - beats[-2])
    chroma = librosa.feature.chroma_cqt(y=mono, sr=RATE, hop_length=HOP)
    edges = librosa.time_to_frames(beats, sr=RATE, hop_length=HOP)
    by_beat = np.stack([chroma[:, a : max(b, a + 1)].mean(axis=1) for a, b in pairwise(edges)])
    scale = _scale(chroma.mean(axis=1))
    return Harmony(beats, _chords(by_beat, scale), scale)


def _scale(chroma: np.ndarray) -> frozenset[int]:
    """Pitch classes of the key that fits best (Krumhansl and Schmuckler's algorithm)."""
    keys = [
        (np.corrcoef(np.roll(profile, tonic), chroma)[0, 1], tonic, mode)
        for mode, profile in (("major", MAJOR), ("minor", MINOR))
        for tonic in range(12)
    ]
    _, tonic, mode = max(keys)
    return frozenset((tonic + step) % 12 for step in SCALES[mode])


def _chords(chroma: np.ndarray, scale: frozenset[int]) -> list[frozenset[int]]:
    """The triad of every beat, chroma of shape (beats, 12): the best path that prefers the key's chords and staying."""
    triads = [frozenset((root + step) % 12 for step in steps) for steps in TRIADS.values() for root in range(12)]
    templates = np.array([[pitch in triad for pitch in range(12)] for triad in triads]) / np.sqrt(3)
    unit = chroma / np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    fit = unit @ templates.T + DIATONIC_BONUS * np.array([triad <= scale for triad in triads])
    total, back = fit[0], []
    for row in fit[1:]:
        moves = total[:, None] + STAY_BONUS * np.eye(len(triads))
        back.append(moves.argmax(axis=0))
        total = moves.max(axis=0) + row
    path = [int(total.argmax())]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    return [triads[state] for state in reversed(path)]


def compose_tune(harmony: Harmony, prompt: str = "", seed: int = 0) -> list[Note]:
    """Compose a tune: on the beat a chord tone near an arched line, off it a step of the scale; phrases end on long chord tones.

    Args:
        prompt: may name the register. seed: another one gives another tune.
    """
    beats, chords, scale = harmony
    rng = np.random.default_rng(seed)
    rhythms = [RHYTHMS[index] for index in rng.choice(len(RHYTHMS), 2, replace=False)]
    arches = [rng.uniform(-0.35, 0.35, PHRASE_BEATS * 2) for _ in rhythms]  # the same wherever the phrase comes back
    low, high = RANGES[register_of_prompt(prompt)]
    notes: list[Note] = []
    pitch = (low + high) // 2
    for number, first in enumerate(range(0, len(chords), PHRASE_BEATS)):
        phrase = FORM[number % len(FORM)]
        at = 0.0
        for index, length in enumerate(rhythms[phrase]):
            begin, end = first + at, first + at + abs(length)
            at += abs(length)
            if length < 0 or end > len(chords):
                continue
            height = np.sin(np.pi * min(1.0, (at + 1) / PHRASE_BEATS)) * 0.6 + arches[phrase][index]
            line = (low + high) / 2 + height * (high - low) / 2 - 2
            on_beat = begin % 1 == 0
            allowed = chords[int(begin)] if on_beat else scale
            near = [note for note in range(low, high + 1) if note % 12 in allowed]
            # Off the beat the nearest step; on it a compromise between the line and a small leap.
            cost = [abs(note - pitch) + (0.6 * abs(note - line) if on_beat else 3 * (note == pitch)) for note in near]
            pitch = near[int(np.argmin(cost))]
            start, stop = np.interp([begin, end - 0.08], np.arange(len(beats)), beats)
            notes.append(Note(float(start), float(stop), float(pitch)))
    return notes

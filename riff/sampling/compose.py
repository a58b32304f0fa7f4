"""A tune for a backing, from its beats, chords and key: chord tones on the beats, scale steps between, phrases that come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
BAR, PHRASE = 4, 8  # beats
# Note lengths in beats of the halves of a phrase; a negative one is a rest.
OPENINGS = (
    *((1, 1, 1, 1), (1, 0.5, 0.5, 2), (0.5, 0.5, 1, 2), (1.5, 0.5, 1, 1), (2, 1, 1), (1, 1, 2), (1.5, 0.5, 2), (1.5, 1.5, 1)),
    *((-0.5, 0.5, 0.5, 0.5, 2), (-1, 1, 1, 1), (-1, 0.5, 0.5, 2), (0.5, 0.5, 0.5, 0.5, 1, 1), (0.5, 1, 0.5, 1, 1), (2, 2)),
)
CLOSINGS = (
    *((1, 1, -2), (2, -2), (1, 1.5, -1.5), (0.5, 0.5, 1.5, -1.5), (1, 0.5, 0.5, -2), (0.5, 0.5, 2, -1), (1.5, 0.5, 1, -1)),
    *((2.5, -1.5), (1.5, 1, -1.5), (0.5, 0.5, 1, -2), (1, -3)),
)
FORMS = ("ABAC", "AABA", "ABAB", "AAAB")  # of phrases
LONGEST_LEAP = 7  # semitones between neighbouring strong notes, at no cost
GAP_BEATS = 0.08  # between notes
REPEAT_COST = 0.5  # of the same strong note again, in semitones


class Harmony(NamedTuple):
    """What is heard of a backing.

    Attributes:
        beats: float64, seconds, ascending: the beginnings of the beats and the end of the last one.
        chords: pitch classes of the triad of every beat. scale: pitch classes of the key. tonic: its first one.
    """

    beats: np.ndarray
    chords: list[frozenset[int]]
    scale: frozenset[int]
    tonic: int


def harmony_of(backing: np.ndarray, sample_rate: int) -> Harmony:
    """The beats, chords and key of a backing, float32, shape (channels, samples); without beats one in 0.6 s is taken."""
    mono = _mono(backing, sample_rate)
    beats = _beats(mono)
    if len(beats) < 2:
        beats = np.arange(0.0, len(mono) / RATE, DEFAULT_BEAT_S)
    beats = np.append(beats, 2 * beats[-1] - beats[-2])
    chroma = librosa.feature.chroma_cqt(y=mono, sr=RATE, hop_length=HOP)
    edges = librosa.time_to_frames(beats, sr=RATE, hop_length=HOP)
    by_beat = np.stack([chroma[:, a : max(b, a + 1)].mean(axis=1) for a, b in pairwise(edges)])
    scale, tonic = _key(chroma.mean(axis=1))
    return Harmony(beats, _chords(by_beat, scale), scale, tonic)


def beats_of(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Times of the beats of a recording, float32, shape (channels, samples): float64, seconds, ascending; empty without any."""
    return _beats(_mono(waveform, sample_rate))


def _mono(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """float32, shape (samples,), at `RATE`, a second long or more."""
    mono = resample(to_channels(waveform, 1), sample_rate, RATE)[0]
    return librosa.util.fix_length(mono, size=max(len(mono), SHORTEST))


def _beats(mono: np.ndarray) -> np.ndarray:
    frames = librosa.beat.beat_track(y=mono, sr=RATE, hop_length=HOP, trim=False)[1]
    return librosa.frames_to_time(frames, sr=RATE, hop_length=HOP)


def _key(chroma: np.ndarray) -> tuple[frozenset[int], int]:
    """Pitch classes and tonic of the key that fits best (Krumhansl and Schmuckler's algorithm)."""
    if chroma.std() == 0:  # silence
        return frozenset(SCALES["major"]), 0
    keys = [
        (np.corrcoef(np.roll(profile, tonic), chroma)[0, 1], tonic, mode)
        for mode, profile in (("major", MAJOR), ("minor", MINOR))
        for tonic in range(12)
    ]
    _, tonic, mode = max(keys)
    return frozenset((tonic + step) % 12 for step in SCALES[mode]), tonic


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


class _Event(NamedTuple):
    """A note to be: beats from the beginning of the song; height: wanted place in the register, 0 to 1; turn: -1 or 1, the side
    that a neighbour note lies on, 0 for a repeated one; strong: of the chord; final: ends the last phrase of a form."""

    begin: float
    end: float
    height: float
    turn: int
    strong: bool
    final: bool


def compose_tune(harmony: Harmony, prompt: str = "", seed: int = 0) -> list[Note]:
    """Compose a tune: strong notes are tones of the chord near an arched line, weak ones steps of the scale between them.

    Phrases of eight beats begin with a bar and come back, bent to their chords.

    Args:
        prompt: may name the register. seed: another one gives another tune.
    """
    low, high = RANGES[register_of_prompt(prompt)]
    rng = np.random.default_rng(seed)
    beats = len(harmony.chords)
    events = list(_write(rng, beats, _first_bar(harmony.chords))) or [_Event(0, beats, 0.5, 0, strong=True, final=False)]
    pitches: list[int | None] = [None] * len(events)
    before: int | None = None
    for index, event in enumerate(events):
        if event.strong:
            chord = harmony.chords[int(event.begin)]
            allowed = {harmony.tonic} if event.final and harmony.tonic in chord else chord
            before = pitches[index] = _nearest(_tones(allowed, low, high), low + event.height * (high - low), before)
    _fill(events, pitches, _tones(harmony.scale, low, high))
    times = [np.interp([event.begin, event.end - GAP_BEATS], np.arange(beats + 1), harmony.beats) for event in events]
    return [Note(float(start), float(end), float(pitch or low)) for (start, end), pitch in zip(times, pitches, strict=True)]


def _write(rng: np.random.Generator, beats: int, first_bar: int) -> Iterator[_Event]:
    """The events of phrases over so many beats, from the bar before `first_bar`, where the song begins within it."""
    form = FORMS[rng.integers(len(FORMS))]
    rhythms = {name: (*_one(rng, OPENINGS), *_one(rng, CLOSINGS)) for name in "ABC"}
    noise, turns = (
        {name: rng.normal(0, 0.25, 2 * PHRASE) for name in "ABC"},
        {name: rng.choice([-1, 0, 0, 1], 2 * PHRASE) for name in "ABC"},
    )
    span, centre, shape = rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.6), rng.choice([-1, 1, 1])
    for number, phrase in enumerate(range(first_bar - BAR if first_bar else 0, beats, PHRASE)):
        name, at = form[number % len(form)], 0.0
        lengths = rhythms[name]
        for index, length in enumerate(lengths):
            begin, at = at, at + abs(length)
            if length < 0 or phrase + begin < 0 or phrase + at > beats:
                continue
            height = centre + shape * span * (np.sin(np.pi * begin / PHRASE) - 0.5) + noise[name][index]
            last = index + 1 == len(lengths) or (lengths[index + 1] < 0 and begin >= BAR)
            strong = begin % BAR == 0 or length >= 2 or last
            final = last and number % len(form) == len(form) - 1
            yield _Event(phrase + begin, phrase + at, float(np.clip(height, 0, 1)), int(turns[name][index]), strong, final)


def _one(rng: np.random.Generator, rhythms: Sequence[Sequence[float]]) -> Sequence[float]:
    return rhythms[int(rng.integers(len(rhythms)))]


def _first_bar(chords: Sequence[frozenset[int]]) -> int:
    """The beat, 0 to 3, on which most chords begin: the first of a bar."""
    changes = [beat for beat in range(1, len(chords)) if chords[beat] != chords[beat - 1]]
    return int(np.argmax(np.bincount(np.array(changes, int) % BAR, minlength=BAR)))


def _tones(classes: Iterable[int], low: int, high: int) -> list[int]:
    return [note for note in range(low, high + 1) if note % 12 in classes]


def _nearest(tones: Sequence[int], wanted: float, before: int | None) -> int:
    """The tone nearest to the line, no long leap away from the one before, and rather not the same one."""

    def cost(note: int) -> float:
        leap = 0 if before is None else abs(note - before)
        return abs(note - wanted) + 4 * max(0, leap - LONGEST_LEAP) + REPEAT_COST * (leap == 0 and before is not None)

    return min(tones, key=cost)


def _fill(events: Sequence[_Event], pitches: list[int | None], scale: Sequence[int]) -> None:
    """Give every weak note a step of the scale on the way between its strong neighbours, or beside them where they are the same."""
    strong = [index for index, pitch in enumerate(pitches) if pitch is not None]
    for index, event in enumerate(events):
        if pitches[index] is not None:
            continue
        left = max((one for one in strong if one < index), default=None)
        right = min((one for one in strong if one > index), default=None)
        start = pitches[left] if left is not None else pitches[right] if right is not None else scale[len(scale) // 2]
        end = pitches[right] if right is not None else start
        first = left if left is not None else index - 1
        share = (index - first) / ((right if right is not None else index + 1) - first)
        between = start + share * (end - start)  # type: ignore[operator]
        if abs(end - start) < 2 and event.turn:  # type: ignore[operator]
            between += 2.2 * event.turn * ((index - first) % 2)
        pitches[index] = min(scale, key=lambda tone: abs(tone - between))

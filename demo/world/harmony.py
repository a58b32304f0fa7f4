"""Chords in a key: progressions written in Roman numerals, and the notes that a melody may sing over each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
SUFFIXES = {"": (), "7": (10,), "maj7": (11,), "6": (9,), "9": (10, 14)}


@dataclass(frozen=True)
class Chord:
    """root: semitones above the tonic. intervals: of its tones above the root, from the root up."""

    root: int
    intervals: tuple[int, ...]

    @property
    def classes(self) -> frozenset[int]:
        """Of its tones, semitones above the tonic modulo 12."""
        return frozenset((self.root + interval) % 12 for interval in self.intervals)


@cache
def chord(symbol: str) -> Chord:
    """A chord from its numeral, of the major scale: `vi` minor, `V7`, `bVII`, `Imaj7`, `ii7`, `io7` diminished."""
    match = re.fullmatch(r"(b?)([IV]+|[iv]+)(o?)(\w*)", symbol)
    assert match is not None, symbol
    flat, numeral, diminished, suffix = match.groups()
    root = SCALES["major"][NUMERALS.index(numeral.upper())] - len(flat)
    triad = (0, 3, 6) if diminished else (0, 4, 7) if numeral.isupper() else (0, 3, 7)
    return Chord(root % 12, triad + SUFFIXES[suffix])


def progression(symbols: str) -> tuple[Chord, ...]:
    return tuple(chord(symbol) for symbol in symbols.split())


def melody_classes(over: Chord, mode: str) -> frozenset[int]:
    """Pitch classes above the tonic that fit a chord: its own, and those of the scale no semitone from its foreign ones."""
    foreign = over.classes - set(SCALES[mode])
    return over.classes | {note for note in SCALES[mode] if not any((note - tone) % 12 in (1, 11) for tone in foreign)}


def ladder(classes: frozenset[int], tonic: int, low: int, high: int) -> list[int]:
    """MIDI notes from low to high whose class above the tonic is one of these."""
    return [note for note in range(low, high + 1) if (note - tonic) % 12 in classes]

"""Tunes that obey the harmony and the beat: chord tones on strong beats, passing and neighbour notes between, phrases that repeat.

A tune is written for four bars as a rhythm and a contour; over the same chords it gives the same notes, over others it bends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demo.song import Rng
from demo.world.form import SECTION_BARS, Bar, Meter
from demo.world.harmony import ladder, melody_classes

REST, NOTE = "_", "o"
FORMS = ("ABAB", "AABA", "AAAC", "ABCB")  # of bars; every second bar and the last one end a phrase
LONGEST_LEAP = 9  # semitones between neighbouring strong notes


@dataclass(frozen=True)
class Event:
    """A note of a tune in steps from the beginning of its bar.

    Attributes:
        height: wanted place in the register, 0 to 1. turn: -1 or 1, the side that a neighbour note lies on. last: ends a phrase.
    """

    step: int
    length: int
    height: float
    turn: int
    last: bool = False


@dataclass(frozen=True)
class Tune:
    """The events of each of four bars, and whether its end sounds final."""

    bars: tuple[tuple[Event, ...], ...]
    final: bool


@dataclass(frozen=True)
class TuneNote:
    """A note at its place in the song: steps, MIDI note; first and last of its phrase; strong where it has to be of the chord."""

    step: int
    length: int
    note: int
    first: bool
    last: bool
    strong: bool


def write_tune(rng: Rng, meter: Meter, rhythms: Sequence[str], cadences: Sequence[str], final: bool) -> Tune:
    """Draw rhythms and a contour.

    Args:
        rhythms, cadences: patterns of a bar, one character a step: `o` begins a note that lasts to the next mark, `_` a rest.
            Bars that end a phrase take a cadence.
    """
    form = FORMS[rng.integers(len(FORMS))]
    patterns = {name: str(rng.choice(rhythms)) for name in "ABC"}
    ends = [str(rng.choice(cadences)) for _ in range(2)]
    span, centre = rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.6)
    shape = int(rng.choice([-1, 1, 1]))
    contours = {name: rng.normal(0, 0.12, 2 * meter.steps) for name in "ABC"}
    turns = {name: rng.choice([-1, 1], 2 * meter.steps) for name in "ABC"}
    bars = []
    for place, name in enumerate(form):
        ending = place % 2 == 1 or (form == "AAAC" and place == 3)
        pattern = ends[place // 2] if ending else patterns[name]
        events = []
        marks = list(note_marks(pattern))
        for count, (step, length) in enumerate(marks):
            through = (place % 2 + step / meter.steps) / 2  # of the phrase
            height = centre + shape * span * (np.sin(np.pi * through) - 0.5) + contours[name][count]
            closing = ending and (count == len(marks) - 1 or pattern[step + length : step + length + 1] == REST)
            events.append(Event(step, length, float(height), int(turns[name][count]), closing))
        bars.append(tuple(events))
    return Tune(tuple(bars), final)


def note_marks(pattern: str) -> Iterator[tuple[int, int]]:
    """(step, length) of every note of a pattern; a note lasts to the next mark or the end."""
    marks = [step for step, mark in enumerate(pattern) if mark in (NOTE, REST)]
    for step, end in zip(marks, [*marks[1:], len(pattern)], strict=True):
        if pattern[step] == NOTE:
            yield step, end - step


def realise(tune: Tune, bars: Sequence[Bar], first_bar: int, meter: Meter, mode: str, low: int, high: int) -> list[TuneNote]:
    """A tune's notes over some bars of a song.

    Args:
        bars: at most four; first_bar: number of the first one in the song. low, high: MIDI notes of the register.
    """
    events = [(place, event) for place in range(min(len(bars), SECTION_BARS)) for event in tune.bars[bars[place].place]]
    strong = [_is_strong(event, meter) for _, event in events]
    notes: list[int | None] = [None] * len(events)
    before: int | None = None
    for i, (place, event) in enumerate(events):
        if not strong[i]:
            continue
        bar = bars[place]
        wanted = low + np.clip(event.height, 0, 1) * (high - low)
        classes = bar.chord.classes
        if event.last:  # a phrase rests on the chord: at the end on its root, else on its root, third or fifth
            closing = tune.final and place >= 2
            classes = frozenset((bar.chord.root + tone) % 12 for tone in bar.chord.intervals[: 1 if closing else 3])
        notes[i] = before = _nearest(_rungs(classes, bar, low, high), float(wanted), before)
    _fill_weak(events, notes, bars, mode, low, high)
    return _phrased(events, notes, strong, first_bar, meter)


def _rungs(classes: frozenset[int], bar: Bar, low: int, high: int) -> list[int]:
    """Of these classes, or where a narrow register has none, of the chord."""
    return ladder(classes, bar.tonic, low, high) or ladder(bar.chord.classes, bar.tonic, low, high)


def _is_strong(event: Event, meter: Meter) -> bool:
    """On a strong beat, long, or the end of a phrase."""
    return event.step % meter.strong == 0 or event.length >= meter.strong or event.last


def _nearest(choices: Sequence[int], wanted: float, before: int | None) -> int:
    """The tone nearest to the contour, no long leap away from the one before, and rather not the same one."""

    def cost(note: int) -> float:
        leap = 0 if before is None else abs(note - before)
        return abs(note - wanted) + 4 * max(0, leap - LONGEST_LEAP) + 1.5 * (leap == 0 and before is not None)

    return min(choices, key=cost)


def _fill_weak(
    events: Sequence[tuple[int, Event]], notes: list[int | None], bars: Sequence[Bar], mode: str, low: int, high: int
) -> None:
    """Give every weak note a step of the ladder between its strong neighbours, or beside them where they are the same."""
    anchors = [i for i, note in enumerate(notes) if note is not None]
    for i, (place, event) in enumerate(events):
        if notes[i] is not None:
            continue
        bar = bars[place]
        rungs = ladder(melody_classes(bar.chord, mode), bar.tonic, low, high)
        left = max((a for a in anchors if a < i), default=None)
        right = min((a for a in anchors if a > i), default=None)
        start = notes[left] if left is not None else notes[right] if right is not None else rungs[len(rungs) // 2]
        end = notes[right] if right is not None else start
        assert start is not None
        assert end is not None
        first = left if left is not None else i - 1
        share = (i - first) / ((right if right is not None else i + 1) - first)
        place_between = start + share * (end - start)
        if abs(end - start) < 2:  # a neighbour note, or the same again
            place_between += 2.2 * event.turn * ((i - first) % 2)
        notes[i] = min(rungs, key=lambda rung: abs(rung - place_between))


def _phrased(
    events: Sequence[tuple[int, Event]], notes: Sequence[int | None], strong: Sequence[bool], first_bar: int, meter: Meter
) -> list[TuneNote]:
    out: list[TuneNote] = []
    for (place, event), note, is_strong in zip(events, notes, strong, strict=True):
        assert note is not None
        step = (first_bar + place) * meter.steps + event.step
        first = not out or out[-1].last or step - (out[-1].step + out[-1].length) >= 2
        out.append(TuneNote(step, event.length, note, first, event.last, is_strong))
    return out

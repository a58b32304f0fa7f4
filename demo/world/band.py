"""The band: drums, bass and the other instruments of a style play the plan of a song."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from demo.song import SAMPLE_RATE, Rng
from demo.world.form import Bar, Plan
from demo.world.harmony import Chord
from demo.world.instrument_bank import drum, play_note
from demo.world.melody import realise, write_tune
from demo.world.styles import CADENCES, FILLS, VOCAL_RHYTHMS, Groove, Part, Style

PANS = {"hat": 0.3, "open hat": 0.3, "pedal hat": 0.3, "ride": -0.4, "crash": -0.3, "high tom": 0.4, "low tom": -0.4, "conga": 0.4}
PANS |= {"low conga": 0.2, "shaker": -0.5, "tambourine": 0.5, "cowbell": 0.3, "claves": -0.3}
SOFT_DB = -7.0
LOWEST_BASS = 28  # MIDI note, E1
SHORT_STEPS = 0.9
Wave = np.ndarray


class Track:
    """Two channels to which mono sounds are added, with a player's unsteadiness."""

    def __init__(self, samples: int, plan: Plan, rng: Rng) -> None:
        self.wave = np.zeros((2, samples))
        self._plan, self._rng = plan, rng

    def add(self, sound: Wave, step: float, decibels: float = 0.0, pan: float = 0.0) -> None:
        """Add a sound at a step of the song; pan runs from -1 (left) to 1."""
        at = self._plan.seconds(step) + self._rng.normal(0, 0.003)
        start = max(0, round(at * SAMPLE_RATE))
        kept = sound[: max(0, self.wave.shape[1] - start)] * 10 ** ((decibels + self._rng.normal(0, 1.0)) / 20)
        self.wave[0, start : start + len(kept)] += kept * min(1.0, 1 - pan)
        self.wave[1, start : start + len(kept)] += kept * min(1.0, 1 + pan)


def play_drums(rng: Rng, style: Style, groove: Groove, plan: Plan, samples: int, lively: bool) -> Wave:
    """Float64, shape (2, samples)."""
    track = Track(samples, plan, rng)
    kit = str(rng.choice(style.kits))
    pattern = dict(groove.drums[rng.integers(len(groove.drums))]) | (groove.lively if lively else {})
    fills = FILLS[plan.meter.steps]
    crashes = "crash" not in pattern and style.drum_level > -5
    for number, bar in enumerate(plan.bars):
        if bar.sounding == "held":
            continue
        half = plan.meter.steps // 2 if bar.fill and style.drum_level > -5 else plan.meter.steps
        hits = [
            (name, step, mark) for name, marks in pattern.items() for step, mark in enumerate(marks) if mark != "." and step < half
        ]
        if half < plan.meter.steps:
            fill = fills[rng.integers(len(fills))]
            hits += [(name, step, mark) for name, marks in fill.items() for step, mark in enumerate(marks) if mark != "."]
        if crashes and number and plan.bars[number - 1].fill:
            hits.append(("crash", 0, "o"))
        for name, step, mark in hits:
            accent = 0.0 if step % plan.meter.steps_a_beat == 0 else -2.0
            level = accent + (SOFT_DB if mark == "o" else 0.0)
            track.add(drum(kit, name), number * plan.meter.steps + step, level, PANS.get(name, 0.0))
    return track.wave


def play_bass(rng: Rng, style: Style, groove: Groove, plan: Plan, samples: int) -> Wave:
    """Float64, shape (2, samples)."""
    track = Track(samples, plan, rng)
    instrument, pattern = str(rng.choice(style.bass)), str(rng.choice(groove.bass))
    for number, bar in enumerate(plan.bars):
        if bar.sounding == "drums":
            continue
        following = plan.bars[min(number + 1, len(plan.bars) - 1)]
        marks = pattern if bar.sounding == "all" else "R" + "." * (len(pattern) - 1)
        for step, length, mark in spans(marks):
            if mark != "_":
                note = _bass_note(mark, bar, following)
                track.add(play_note(instrument, note, 0.92 * length * plan.step), number * plan.meter.steps + step)
    return track.wave


def spans(pattern: str) -> Iterator[tuple[int, int, str]]:
    """(step, length, mark) of every mark of a pattern; it lasts to the next one."""
    steps = [step for step, mark in enumerate(pattern) if mark != "."]
    for step, end in zip(steps, [*steps[1:], len(pattern)], strict=True):
        yield step, end - step, pattern[step]


def _bass_note(mark: str, bar: Bar, following: Bar) -> int:
    if mark == "a":
        return _bass_root(following) - 1
    number = {"R": 0, "3": 1, "5": 2, "7": 3}.get(mark)
    interval = 12 if number is None else bar.chord.intervals[min(number, len(bar.chord.intervals) - 1)]
    return _bass_root(bar) + interval


def _bass_root(bar: Bar) -> int:
    return LOWEST_BASS + (bar.tonic + bar.chord.root - LOWEST_BASS) % 12


def play_part(rng: Rng, part: Part, groove: Groove, plan: Plan, samples: int, singing: Sequence[tuple[int, int]]) -> Wave:
    """One of the other instruments, float64, shape (2, samples); power chords are played twice, once at each side.

    Args:
        singing: spans of steps in which somebody sings, which a lead leaves free.
    """
    track = Track(samples, plan, rng)
    instrument = str(rng.choice(part.instruments))
    pans = (-0.8, 0.8) if part.playing == "power" else (float(rng.uniform(-0.6, 0.6)),)
    for step, note, steps in _lead(rng, part, plan, singing) if part.playing == "lead" else _chords(rng, part, groove, plan):
        for pan in pans:
            track.add(play_note(instrument, note, steps * plan.step), step, 0.0, pan)
    return track.wave


def _chords(rng: Rng, part: Part, groove: Groove, plan: Plan) -> Iterator[tuple[float, int, float]]:
    """(step, note, length in steps) of chords, strummed a little, or of an arpeggio."""
    pattern = str(rng.choice(groove.chords))
    order, stride = rng.permutation(4), int(rng.choice([2, 2, 4]))
    for number, bar in enumerate(plan.bars):
        if bar.sounding == "drums":
            continue
        notes, first = voicing(bar, part), number * plan.meter.steps
        if part.playing == "arpeggio" and bar.sounding == "all":
            for count, step in enumerate(range(0, plan.meter.steps, stride)):
                yield first + step, [*notes, notes[0] + 12][order[count % 4] % (len(notes) + 1)], 1.5 * stride
            continue
        whole = part.playing == "pad" or bar.sounding == "held"
        for step, length, mark in spans("o" + "." * (plan.meter.steps - 1) if whole else pattern):
            for place, note in enumerate(notes):
                yield first + step + 0.05 * place, note, SHORT_STEPS if mark == "x" else 0.95 * length


def voicing(bar: Bar, part: Part) -> list[int]:
    """MIDI notes of a chord near the part's centre, from the lowest."""
    root = _near(bar.tonic + bar.chord.root, part.centre)
    if part.playing == "power":
        return [root, root + 7, root + 12]
    return sorted(_near(root + interval, part.centre) for interval in _kept(bar.chord))


def _kept(chord: Chord) -> tuple[int, ...]:
    """The four tones that a hand plays of a chord of five."""
    return chord.intervals if len(chord.intervals) <= 4 else (0, chord.intervals[1], *chord.intervals[3:])


def _near(note: int, centre: int) -> int:
    """The same class, within six semitones of the centre."""
    return centre - 6 + (note - centre + 6) % 12


def _lead(rng: Rng, part: Part, plan: Plan, singing: Sequence[tuple[int, int]]) -> Iterator[tuple[float, int, float]]:
    """(step, note, length in steps) of an answer in the singer's rests, or of a tune through the whole song."""
    meter = "4/4" if plan.meter.name == "4/4" else "12"
    density = str(rng.choice(["medium", "fast"]))
    tune = write_tune(rng, plan.meter, VOCAL_RHYTHMS[meter][density], CADENCES[meter][density], final=False)
    taken = np.zeros(len(plan.bars) * plan.meter.steps, bool)
    if rng.random() < 0.6:
        for start, end in singing:
            taken[start:end] = True
    for first, bars in sections(plan.bars):
        for note in realise(tune, bars, first, plan.meter, plan.mode, part.centre - 8, part.centre + 9):
            resting = plan.bars[note.step // plan.meter.steps].sounding == "drums"
            if not resting and not taken[note.step : note.step + 1 + note.length // 2].any():
                yield note.step, note.note, 0.95 * note.length


def sections(bars: Sequence[Bar]) -> Iterator[tuple[int, Sequence[Bar]]]:
    """(number of the first bar, bars) of each section; an intro is one of its own."""
    first = 0
    for number in range(1, len(bars) + 1):
        if number == len(bars) or bars[number].place == 0:
            yield first, bars[first:number]
            first = number

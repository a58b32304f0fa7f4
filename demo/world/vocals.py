"""The vocal part: tunes for verse and chorus, words, the singer's timing, harmonies and doubles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from demo.song import SAMPLE_RATE, Rng
from demo.world.band import sections
from demo.world.form import Plan
from demo.world.harmony import ladder, melody_classes
from demo.world.melody import Tune, TuneNote, realise, write_tune
from demo.world.singer import SungNote, Voice, sing
from demo.world.styles import CADENCES, REGISTERS, VOCAL_RHYTHMS
from demo.world.voice_bank import words

VOCALISES = ("oh", "ah", "la", "na", "da", "doo", "yeah", "hey")
LONGEST_SECONDS = 3.0  # of a note
SPANS = {"rap": 6}  # semitones of a part's range, by its rhythms; others have an octave
SPAN = 12
BREATH_SECONDS = 0.12


def write_vocals(rng: Rng, plan: Plan, density: str, gender: str) -> list[TuneNote]:
    """Notes for every section but the intro: the chorus lies higher than the verse and ends on the root."""
    low, high = REGISTERS[gender]
    span = SPANS.get(density, SPAN)
    bottom = int(rng.integers(low, high - span - 1))
    meter = "4/4" if plan.meter.name == "4/4" else "12"
    tunes = {}
    for name in ("verse", "chorus"):
        pace = "medium" if density == "rap" and name == "chorus" else density  # the hook is sung
        tunes[name] = write_tune(rng, plan.meter, VOCAL_RHYTHMS[meter][pace], CADENCES[meter][pace], final=name == "chorus")
    notes: list[TuneNote] = []
    for first, bars in sections(plan.bars):
        if bars[0].section == "intro":
            continue
        lift = 2 if bars[0].section == "chorus" else 0
        tune: Tune = tunes[bars[0].section]
        notes += realise(tune, bars, first, plan.meter, plan.mode, bottom + lift, min(bottom + lift + span, high))
    return notes


def harmony_above(notes: Sequence[TuneNote], plan: Plan) -> list[TuneNote]:
    """A second voice, about a third above the tune: two rungs up the ladder of what fits the chord."""
    out = []
    for note in notes:
        bar = plan.bars[note.step // plan.meter.steps]
        above = ladder(melody_classes(bar.chord, plan.mode), bar.tonic, note.note + 1, note.note + 12)
        out.append(replace(note, note=above[1]))
    return out


def with_words(rng: Rng, notes: Sequence[TuneNote], plan: Plan, rapped: bool) -> list[SungNote]:
    """Give the notes words and a singer's timing: the chorus has the same words each time, the verse new ones.

    Args:
        rapped: speak the verses.
    """
    vocabulary = list(VOCALISES) if rng.random() < 0.12 else words()
    hook = [str(word) for word in rng.choice(vocabulary, size=int(rng.integers(3, 8)))]
    late = rng.uniform(0.0, 0.02)
    sung: list[SungNote] = []
    place = 0
    for note, following in zip(notes, [*notes, None][1:], strict=True):
        bar_number, within = divmod(note.step, plan.meter.steps)
        bar = plan.bars[bar_number]
        place = 0 if bar.place == 0 and (not sung or within == 0) else place + 1
        word = hook[place % len(hook)] if bar.section == "chorus" else str(rng.choice(vocabulary))
        start = max(0.0, plan.seconds(note.step) + late + rng.normal(0, 0.008))
        end = plan.seconds(note.step + note.length) - (BREATH_SECONDS if note.last else rng.uniform(0.0, 0.05))
        if following is not None:
            end = min(end, plan.seconds(following.step) - 0.01)
        duration = float(np.clip(end - start, 0.06, LONGEST_SECONDS))
        accent = rng.normal(0, 0.8) + (1.0 if note.strong else 0.0) + (1.5 if bar.section == "chorus" else 0.0)
        fall = rng.uniform(1.0, 6.0) if rapped and bar.section == "verse" else 0.0
        sung.append(SungNote(start, duration, note.note, word, accent, note.first, note.last, fall))
    return sung


def perform(
    rng: Rng, notes: Sequence[TuneNote], plan: Plan, voice: Voice, samples: int, harmony: bool, double: bool, rapped: bool
) -> np.ndarray:
    """The singer in the middle, a harmony and a double at the sides: float64, shape (2, samples), dry."""
    lead = with_words(rng, notes, plan, rapped)
    wave = sing(lead, samples, voice, rng)
    out = np.stack([wave, wave])
    beside: list[tuple[list[SungNote], float]] = []
    if double:
        beside.append((lead, -8.0))
    if harmony:
        above = harmony_above(notes, plan)
        beside.append(([replace(sung, note=note.note, first=False) for sung, note in zip(lead, above, strict=True)], -7.0))
    for part, level in beside:
        delay = round(rng.uniform(0.008, 0.025) * SAMPLE_RATE)
        wave = np.roll(sing(part, samples, voice, rng), delay) * 10 ** (level / 20)
        wave[:delay] = 0
        pan = rng.uniform(0.3, 0.8) * rng.choice([-1, 1])
        out += np.stack([wave * min(1, 1 - pan), wave * min(1, 1 + pan)])
    return out

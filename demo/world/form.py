"""The plan of a song: its bars with their chords, sections, breaks and rests, for all parts alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.song import Rng
from demo.world.harmony import Chord, progression
from demo.world.styles import Meter, Style

SECTION_BARS = 4
ORDERS = (  # of sections; songs are excerpts and may begin anywhere
    ("verse", "chorus", "verse", "chorus"),
    ("verse", "verse", "chorus", "chorus"),
    ("chorus", "verse", "chorus", "verse"),
)


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        chord, tonic: the harmony; the tonic is a MIDI note and rises with a change of key.
        section: verse, chorus, or intro (nobody sings).
        place: number of the bar in its section, 0 to 3.
        sounding: what plays: all, drums (nobody else), or held (the band holds the chord, without drums).
        fill: whether the drums lead over into the next section.
    """

    chord: Chord
    tonic: int
    section: str
    place: int
    sounding: str = "all"
    fill: bool = False


@dataclass(frozen=True)
class Plan:
    """bars, and what time is like: meter, seconds a step (a sixteenth), and how late every second
    unit of so many steps comes (1/3 is a triplet)."""

    bars: tuple[Bar, ...]
    meter: Meter
    mode: str
    step: float
    swing: float
    swing_unit: int

    def seconds(self, step: float) -> float:
        """When a step of the song sounds; swing delays the offbeats."""
        unit = self.swing_unit
        whole, within = divmod(step, 2 * unit)
        straight = within / (2 * unit)
        bent = straight * (1 + self.swing) if straight <= 0.5 else (1 + self.swing) / 2 + (straight - 0.5) * (1 - self.swing)
        return (whole + bent) * 2 * unit * self.step


def plan(rng: Rng, style: Style, meter: Meter, mode: str, tempo: float, tonic: int, seconds: float) -> Plan:
    """Sections of four bars over one progression each, with at times an intro, a break, a change of key."""
    step = 60.0 / tempo / meter.steps_a_beat
    count = int(np.ceil(seconds / (step * meter.steps)))
    choices = style.progressions[mode]
    chords = {name: progression(str(rng.choice(choices))) for name in ("verse", "chorus")}
    order = ORDERS[rng.integers(len(ORDERS))]
    intro = int(rng.random() < 0.25)
    rises = rng.random() < 0.12
    breaks = rng.random() < 0.3
    bars = [Bar(chords[order[0]][0], tonic, "intro", 0)] * intro
    section, visits = 0, {"verse": 0, "chorus": 0}
    while len(bars) < count:
        name = order[section % len(order)]
        raised = tonic + (2 if rises and section >= 2 else 0)
        rest = str(rng.choice(["drums", "held"])) if breaks and section % 2 else "all"
        for place in range(SECTION_BARS):
            sounding = rest if place == SECTION_BARS - 1 else "all"
            fill = place == SECTION_BARS - 1 and rng.random() < 0.7
            over = chords[name][(SECTION_BARS * visits[name] + place) % len(chords[name])]
            bars.append(Bar(over, raised, name, place, sounding, fill))
        section, visits[name] = section + 1, visits[name] + 1
    swing = float(rng.uniform(*style.swing)) if style.swing[1] else 0.0
    return Plan(tuple(bars[:count]), meter, mode, step, swing, style.swing_unit)

"""Instructions for the edit model that are true of a song: many ways to ask for the voice that sings in it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from demo.world.styles import MOODS

# {mood}, {style}, {gender} are adjectives, {singer} is a noun with its article; "a" becomes "an" where it must.
TRAINING_TEMPLATES = (
    "add a {mood} {gender} vocal {style} melody",
    "add a {gender} vocal {style} melody, {mood}",
    "add {mood} {gender} vocals",
    "add a {mood} {style} vocal, sung by {singer}",
    "put a {mood} {gender} voice on top",
    "put {singer} on top, singing a {mood} {style} melody",
    "let {singer} sing over this {style} track, {mood}",
    "let {singer} sing a {mood} melody",
    "layer a {mood} {gender} {style} vocal over it",
    "layer {gender} singing over the band, {mood}",
    "give this {style} song a {mood} {gender} voice",
    "make it a song with {singer}, {mood}",
    "have {singer} sing a {mood} {style} tune",
    "bring in a {mood} {gender} singer",
    "I want to hear {singer} sing, {mood}",
    "write a {mood} {gender} vocal line for this {style} backing",
    "sing over this in a {mood} {gender} voice",
    "a {mood} {gender} {style} vocal on this track please",
)
# Never trained on: how the model takes these says whether it has learnt the words or the sentences.
HELD_OUT_TEMPLATES = (
    "now with a {mood} {gender} lead vocal",
    "overlay a {mood} {style} melody that {singer} sings",
    "it needs {singer}: make it {mood}",
    "insert {gender} vocals in a {mood} {style} mood",
    "could {singer} sing something {mood} here",
    "record a {mood} {gender} {style} voice over the backing",
)
SINGERS = {
    "female": ("a woman", "a female singer", "a female voice", "a lady"),
    "male": ("a man", "a male singer", "a male voice", "a guy"),
}


def moods_like(mood: str) -> tuple[str, ...]:
    """Every word for mood that is true of a song of which this one is: of the same mode, and as lively."""
    return {word: words for words in MOODS.values() for word in words}[mood]


def instructions(
    facts: Mapping[str, object], name: str, count: int = 6, templates: Sequence[str] = TRAINING_TEMPLATES, seed: int = 0
) -> list[str]:
    """Instructions that ask for a song's own vocal, true of its singer's register, its mood and its style.

    Args:
        facts: of the song, as `compose` gives them: gender, mood, style.
        name: of the song, or of a clip of it; with the seed it decides which instructions come, whatever else is made.
        count: at most this many, all different.
        templates: `TRAINING_TEMPLATES` or `HELD_OUT_TEMPLATES`, taken in turns.
    """
    draw = random.Random(f"{seed}|{name}")
    order = draw.sample(templates, len(templates))
    lines: list[str] = []
    for template in (order * count)[: count * len(order)]:
        line = _fill(template, facts, draw)
        if line not in lines:
            lines.append(line)
        if len(lines) == count:
            break
    return lines


def _fill(template: str, facts: Mapping[str, object], draw: random.Random) -> str:
    line = template.format(
        mood=draw.choice(moods_like(str(facts["mood"]))),
        style=facts["style"],
        gender=facts["gender"],
        singer=draw.choice(SINGERS[str(facts["gender"])]),
    )
    return re.sub(r"\b([aA]) (?=[aeiou])", r"\1n ", line)

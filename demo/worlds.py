"""The two worlds of demo songs, and what `demo:N`, `demo-v1:N` and `demo-v2:N` name."""

from __future__ import annotations

import re
from importlib import import_module

import numpy as np

from demo.song import Song

WORLDS = {1: "demo.composition", 2: "demo.world.compose"}
CURRENT = 1  # of the shipped models and songs
SEPARATED_STREAM = 17  # of random numbers, apart from those that a song is made of


def compose(world: int, seed: int, index: int, seconds: float) -> Song:
    """Song number `index` of a world's catalogue `seed`, the same on every machine; its prompt is the same at any length."""
    return import_module(WORLDS[world]).compose(seed, index, seconds)


def parse_songs(text: str) -> tuple[int, int] | None:
    """(world, number of songs) of `demo:N`, `demo-v1:N` or `demo-v2:N`; None for anything else, or no songs."""
    match = re.fullmatch(r"demo(?:-v([12]))?:(\d+)", text)
    return (int(match[1] or CURRENT), int(match[2])) if match and int(match[2]) else None


def is_separated(seed: int, index: int, share: float) -> bool:
    """Whether a song is among the share of its catalogue that is given a separated accompaniment."""
    return bool(np.random.default_rng([SEPARATED_STREAM, seed, index]).random() < share)

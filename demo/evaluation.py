"""Synthesised clips whose parts are known, for measuring."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from demo.instructions import HELD_OUT_TEMPLATES, instructions
from demo.world.compose import compose
from demo.world.singer import Voice
from riff.experiments.clips import ReferenceClip
from riff.spectrogram.params import CLIP_SAMPLES

SONG_SECONDS = 8.0
START = 60_000  # samples: past the beginning, where every song starts on the beat


def parse_songs(text: str) -> int | None:
    """The number of songs of `demo:N`; None for anything else, or no songs."""
    match = re.fullmatch(r"demo:(\d+)", text)
    return (int(match[1]) or None) if match else None


def demo_clips(
    catalogue: int, count: int, held_out_wording: bool = False, voices: Sequence[Voice | None] = (None,)
) -> list[ReferenceClip]:
    """One clip of each of the first `count` songs of a catalogue.

    Args:
        held_out_wording: ask for the vocals in words that no edit model of the demo songs was trained on.
        voices: that sing, in turns; None is the song's own singer.
    """
    clips = []
    for index in range(count):
        song = compose(catalogue, index, SONG_SECONDS, voices[index % len(voices)])
        part = slice(START, START + CLIP_SAMPLES)
        mix = song.mixture[:, part]
        backing = np.ascontiguousarray(mix - song.stems["vocals"][:, part])
        instruction = instructions(song.facts, song.name, 1, HELD_OUT_TEMPLATES)[0] if held_out_wording else ""
        clips.append(ReferenceClip(song.name, song.prompt, mix, backing, instruction))
    return clips

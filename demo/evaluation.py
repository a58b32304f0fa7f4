"""Synthesised clips whose parts are known, for measuring."""

from __future__ import annotations

import numpy as np

from demo.composition import compose
from riff.evaluation.control import TrueClip
from riff.spectrogram.params import CLIP_SAMPLES

SONG_SECONDS = 8.0
START = 60_000  # samples: past the beginning, where every song starts on the beat


def demo_clips(catalogue: int, count: int) -> list[TrueClip]:
    """One clip of each of the first `count` songs of a catalogue."""
    clips = []
    for index in range(count):
        song = compose(catalogue, index, SONG_SECONDS)
        part = slice(START, START + CLIP_SAMPLES)
        mix = song.mixture[:, part]
        clips.append(TrueClip(song.name, song.prompt, mix, np.ascontiguousarray(mix - song.stems["vocals"][:, part])))
    return clips

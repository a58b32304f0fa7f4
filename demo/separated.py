"""Songs over an accompaniment as users have it: taken out of the mix by Spleeter, with its residue."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from demo.song import Song
from riff.separation.separator import SeparationOptions, Separator, create_separator

STREAM = 17  # of random numbers, apart from those that a song is made of


def is_separated(seed: int, index: int, share: float) -> bool:
    """Whether a song is among the share of its catalogue that is given a separated accompaniment."""
    return bool(np.random.default_rng([STREAM, seed, index]).random() < share)


@cache
def _spleeter() -> Separator:
    return create_separator(SeparationOptions("spleeter"))


def with_separated_accompaniment(song: Song) -> Song:
    """The same song with the same vocals over what Spleeter leaves of the mix without them.

    Drums and bass stay; `other` is the rest of the separated accompaniment, so that the stems still sum to the mixture.

    Raises:
        ModelError: Spleeter's weights are not there and cannot be fetched.
    """
    accompaniment = _spleeter().separate(song.mixture, song.sample_rate).accompaniment
    other = accompaniment - song.stems["drums"] - song.stems["bass"]
    return replace(song, stems=song.stems | {"other": other}, facts=song.facts | {"separated": 1})

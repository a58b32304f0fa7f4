"""A song in parts, as both catalogues of demo songs make it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.instruments import SAMPLE_RATE

STEMS = ("vocals", "drums", "bass", "other")


@dataclass(frozen=True)
class Song:
    """A song in parts.

    Attributes:
        name: such as `pop-0003`.
        prompt: what is true of the vocal and the song.
        stems: vocals, drums, bass, other; float32, shape (2, samples), [-1, 1]; their sum is the mixture.
        facts: gender, style, mood, mode, tempo (beats a minute), tonic (MIDI note); of the larger world more.
        sample_rate: Hz.
    """

    name: str
    prompt: str
    stems: dict[str, np.ndarray]
    facts: dict[str, str | float | int]
    sample_rate: int = SAMPLE_RATE

    @property
    def mixture(self) -> np.ndarray:
        return sum((self.stems[stem] for stem in STEMS), np.zeros_like(self.stems["vocals"]))

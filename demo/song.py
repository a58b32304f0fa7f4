"""A synthesised song in parts, and the units that it is made in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 44_100
Rng = np.random.Generator
STEMS = ("vocals", "drums", "bass", "other")


@dataclass(frozen=True)
class Song:
    """A song in parts.

    Attributes:
        name: such as `pop-0003`.
        prompt: what is true of the vocal and the song.
        stems: vocals, drums, bass, other; float32, shape (2, samples), [-1, 1]; their sum is the mixture.
        facts: gender, style, mood, mode, tempo (beats a minute), tonic (MIDI note), meter, other true words.
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


def midi_to_hz(note: float) -> float:
    return 440.0 * 2.0 ** ((note - 69.0) / 12.0)


def seconds_to_samples(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE))

"""Spectral envelopes and aperiodicities of spoken syllables, as demo/make_voice_bank.py left them in voices.npz."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("voices.npz")
WORLD_RATE = 16_000  # Hz of the recordings that the envelopes are of
FRAME_SECONDS = 0.005
BANDS = 48  # points of an envelope, evenly spaced in mel up to 8 kHz
DB_PER_LEVEL, LOUDEST_DB = 1.0, 20.0  # an envelope's level n is LOUDEST_DB - n * DB_PER_LEVEL
MOST_RAISED_DB = 12.0  # over the loudest frame of the vowel


@dataclass(frozen=True)
class Syllable:
    """A spoken syllable in frames of 5 ms.

    Attributes:
        levels: power in dB at `band_frequencies`, float32, shape (frames, BANDS).
        noise: aperiodicity at 3 kHz, float32, shape (frames,), 0 (periodic) to 1 (noise).
        vowel: the first frame of the vowel, and the first one after it.
    """

    levels: np.ndarray
    noise: np.ndarray
    vowel: tuple[int, int]


def band_frequencies() -> np.ndarray:
    """Hz, float64, shape (BANDS,)."""
    top = 2595 * np.log10(1 + WORLD_RATE / 2 / 700)
    return 700 * (10 ** (np.linspace(0, top, BANDS) / 2595) - 1)


@cache
def _bank() -> dict[str, np.ndarray]:
    with np.load(PATH) as file:
        bank = dict(file)
    bank["envelopes"] = np.cumsum(bank.pop("steps"), axis=0, dtype=np.uint8)  # differences in time, modulo 256, as they pack best
    return bank


def words() -> list[str]:
    return _bank()["words"].tolist()


@cache
def syllable(voice: str, word: str) -> Syllable:
    """A word of one syllable as a voice speaks it, evened so that every frame of its vowel has a mean power of 0 dB.

    A spoken word falls in level towards its end; a sung vowel does not. The consonants keep their level against the vowel beside.
    """
    bank = _bank()
    row = bank["bounds"][bank["voices"].tolist().index(voice), bank["words"].tolist().index(word)]
    start, vowel, vowel_end, end = (int(frame) for frame in row)
    levels = LOUDEST_DB - DB_PER_LEVEL * bank["envelopes"][start:end].astype(np.float32)
    first, last = vowel - start, vowel_end - start
    power = 10 * np.log10(np.mean(10 ** (levels[first:last] / 10), axis=1))
    raised = np.clip(-power, None, power.max() * -1 + MOST_RAISED_DB)
    gain = np.interp(np.arange(len(levels)), np.arange(first, last), raised)
    noise = bank["noise"][start:end].astype(np.float32) / 255
    return Syllable(levels + gain[:, None].astype(np.float32), noise, (first, last))

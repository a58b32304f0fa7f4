"""Rendered notes of sampled instruments and hits of drum kits, as demo/make_instrument_bank.py left them in instruments/."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from demo.song import SAMPLE_RATE

FOLDER = Path(__file__).with_name("instruments")
RELEASE_SECONDS = 0.06
NOTE_LEVEL = 0.1  # RMS of a note's first half second


@cache
def _index() -> dict[str, dict[str, tuple[int, int]]]:
    return json.loads((FOLDER / "index.json").read_text())["sounds"]


@cache
def _recording(name: str) -> tuple[np.ndarray, int]:
    """All sounds of an instrument or a kit: float32, shape (samples,), and the sample rate."""
    return soundfile.read(FOLDER / f"{name}.ogg", dtype="float32")


def _sound(name: str, part: str) -> tuple[np.ndarray, int]:
    wave, rate = _recording(name)
    first, end = _index()[name][part]
    return wave[first:end], rate


@lru_cache(maxsize=400)
def _note(instrument: str, note: int) -> np.ndarray:
    """A whole note at 44.1 kHz, resampled from the nearest one of the bank."""
    name = instrument.replace(" ", "-")
    nearest = min(_index()[name], key=lambda key: abs(int(key) - note))
    wave, rate = _sound(name, nearest)
    shifted = soxr.resample(wave, rate * 2 ** ((note - int(nearest)) / 12), SAMPLE_RATE, quality="MQ")
    return shifted * (NOTE_LEVEL / np.sqrt(np.mean(shifted[: SAMPLE_RATE // 2] ** 2) + 1e-12))


def play_note(instrument: str, note: int, seconds: float) -> np.ndarray:
    """Float32, shape (samples,), at 44.1 kHz: faded out after so many seconds, or where the instrument has died away."""
    wave = _note(instrument, note)
    release = round(RELEASE_SECONDS * SAMPLE_RATE)
    wave = wave[: round(seconds * SAMPLE_RATE) + release].copy()
    fade = min(release, len(wave))
    wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return wave


@cache
def drum(kit: str, hit: str) -> np.ndarray:
    """A hit of a drum, float32, shape (samples,), at 44.1 kHz; the loudest one of a kit has a peak of 0.9."""
    return soxr.resample(*_sound(f"{kit}-kit", hit), SAMPLE_RATE, quality="MQ")

"""The median pitch of a recorded voice: known tones, and what has none."""

from __future__ import annotations

import numpy as np
import pytest

from riff.audio.pitch import median_note

RATE = 44_100


def voice(note: float, seconds: float = 2.0) -> np.ndarray:
    """Ten harmonics of one note with a vibrato of half a semitone: float32, shape (2, samples)."""
    time = np.arange(round(seconds * RATE)) / RATE
    hertz = 440 * 2 ** ((note + 0.5 * np.sin(2 * np.pi * 5.5 * time) - 69) / 12)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 11)) * 0.1
    return np.stack([wave, wave]).astype(np.float32)


@pytest.mark.parametrize("note", [45, 57, 70])
def test_a_voice_has_its_pitch(note: int) -> None:
    assert median_note(voice(note), RATE) == pytest.approx(note, abs=0.3)


def test_half_of_it_silent_changes_nothing() -> None:
    assert median_note(np.concatenate([voice(57), np.zeros((2, 3 * RATE), np.float32)], axis=1), RATE) == pytest.approx(57, abs=0.3)


@pytest.mark.parametrize("samples", [1, 500, 2 * RATE])
def test_silence_and_noise_have_none(samples: int) -> None:
    assert np.isnan(median_note(np.zeros((1, samples), np.float32), RATE))
    noise = np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype(np.float32)
    assert np.isnan(median_note(noise, RATE))

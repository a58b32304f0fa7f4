"""Clips at seven pitches, by either way of shifting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.pairs.clip_images import PITCH_SHIFTS, clip_images, shift_pitch
from riff.spectrogram.mel import band_of
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

TIME = np.arange(CLIP_SAMPLES) / STANDARD.sample_rate
MIDDLE = slice(40, -40)  # frames without the clip's ends


def tone(frequency: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * TIME)).astype(np.float32)[None]


@pytest.mark.parametrize("method", ["warp", "stretch"])
def test_a_tone_lies_where_the_shifted_tone_would(method: str) -> None:
    for clip in clip_images([tone(700)], [0], (0, -3, 2), pitch_method=method):
        rows = clip.images[0].pixels[:, MIDDLE].argmin(axis=0)
        expected = 511 - band_of(700 * 2 ** (clip.semitones / 12))
        assert np.abs(rows - expected).max() <= 2, (method, clip.semitones)


def test_warping_keeps_a_click_in_its_frame_and_shifting_the_sound_smears_it() -> None:
    click = np.zeros((1, CLIP_SAMPLES), np.float32)
    click[0, CLIP_SAMPLES // 2] = 1.0

    def spread(method: str, shift: int) -> float:
        """Frames that the click's loudness covers, as the standard deviation of its times."""
        (clip,) = clip_images([click], [0], (shift,), pitch_method=method)
        ink = ((255.0 - clip.images[0].pixels) ** 4).sum(axis=0)
        frames = np.arange(len(ink))
        mean = (ink * frames).sum() / ink.sum()
        assert mean == pytest.approx(CLIP_SAMPLES // 2 / STANDARD.hop_length, abs=1.0)
        return float(np.sqrt((ink * (frames - mean) ** 2).sum() / ink.sum()))

    assert spread("warp", 3) == pytest.approx(spread("warp", 0), rel=0.02)
    assert spread("stretch", 3) > spread("warp", 3)


@given(st.sampled_from(PITCH_SHIFTS), st.integers(1, 2))
@settings(max_examples=5, deadline=None)
def test_a_shifted_sound_keeps_its_form(shift: int, channels: int) -> None:
    sound = np.repeat(tone(440)[:, :20_000], channels, axis=0)
    shifted = shift_pitch(sound, shift)
    assert (shifted.shape, shifted.dtype) == (sound.shape, np.float32)
    assert (shifted is sound) == (shift == 0)

"""Clips are whole, in order and inside the song; a vocal is heard when it is there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riff.audio.clips import MIN_VOCAL_RATIO, cut_clips, rms, vocal_ratio

POSITIVE = st.integers(1, 5_000)


@given(num_samples=st.integers(0, 50_000), clip_samples=POSITIVE)
def test_clips_tile_the_song(num_samples: int, clip_samples: int) -> None:
    starts = cut_clips(num_samples, clip_samples)
    assert starts == [i * clip_samples for i in range(num_samples // clip_samples)]


@given(num_samples=st.integers(0, 50_000), clip_samples=POSITIVE, hop=POSITIVE)
def test_clips_with_a_hop_are_whole_and_all_there(num_samples: int, clip_samples: int, hop: int) -> None:
    starts = cut_clips(num_samples, clip_samples, hop)
    assert all(start + clip_samples <= num_samples for start in starts)
    assert all(b - a == hop for a, b in pairwise(starts))
    following = starts[-1] + hop if starts else 0
    assert following + clip_samples > num_samples


@pytest.mark.parametrize(("clip_samples", "hop"), [(0, None), (-1, 1), (10, 0)])
def test_a_clip_has_a_length(clip_samples: int, hop: int | None) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        cut_clips(100, clip_samples, hop)


def sine(amplitude: float) -> np.ndarray:
    return np.tile(amplitude * np.sin(np.arange(44_100) * 2 * np.pi / 100), (2, 1)).astype(np.float32)


def test_rms_of_a_sine() -> None:
    assert rms(sine(0.5)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-6)
    assert rms(np.zeros((2, 0), np.float32)) == 0
    assert rms(np.array([30_000, 30_000], np.int16)) == 30_000  # squares that wrap in int16


def test_vocal_ratio() -> None:
    assert vocal_ratio(sine(0.1), sine(0.4)) == pytest.approx(0.25)
    assert vocal_ratio(sine(0.4), sine(0.4)) == 1
    assert vocal_ratio(sine(0.4), sine(0.1)) == 1  # parts that cancel in the mix
    assert vocal_ratio(sine(0.01), sine(0.5)) < MIN_VOCAL_RATIO


@pytest.mark.parametrize("amplitude", [0.0, 1e-5])
def test_silence_has_no_vocal(amplitude: float) -> None:
    assert vocal_ratio(sine(amplitude), sine(amplitude)) == 0

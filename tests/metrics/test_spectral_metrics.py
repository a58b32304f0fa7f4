"""Distances of magnitudes are what their definitions give on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from riff.errors import DataError
from riff.metrics.spectra import log_mel_l1, log_spectral_distance, spectral_convergence

RATE = 44_100  # Hz
DISTANCES = (log_mel_l1, log_spectral_distance, spectral_convergence)
waveforms = hnp.arrays(np.float32, 3000, elements=st.floats(-1, 1, width=32))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """One second, about as loud in every band and frame, so that no point of it is near the floor."""
    return (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_sound_has_no_distance_to_itself_or_to_its_mirror(distance, noise):
    assert distance(noise, noise, RATE) == 0.0
    assert distance(-noise, noise, RATE) == pytest.approx(0.0, abs=1e-6)
    assert distance(np.stack([noise, noise]), noise, RATE) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("decibels", [-6.02, -1.0, 6.02, 12.0])
def test_a_gain_is_its_decibels_and_its_ratio(decibels, noise):
    gained = 10 ** (decibels / 20) * noise
    assert log_mel_l1(gained, noise, RATE) == pytest.approx(abs(decibels), abs=0.01)
    assert log_spectral_distance(gained, noise, RATE) == pytest.approx(abs(decibels), abs=0.05)
    assert spectral_convergence(gained, noise, RATE) == pytest.approx(abs(10 ** (decibels / 20) - 1))


def test_half_the_time_wrong_is_half_the_distance(noise):
    half = noise.copy()
    half[len(half) // 2 :] *= 2
    assert log_mel_l1(half, noise, RATE) == pytest.approx(3.01, abs=0.1)
    assert log_spectral_distance(half, noise, RATE) == pytest.approx(3.01, abs=0.1)
    # Of energies, not of decibels: half of them is off by their own size.
    assert spectral_convergence(half, noise, RATE) == pytest.approx(0.5**0.5, abs=0.03)


def test_silence_has_a_distance_from_sound_that_the_floor_bounds(noise):
    silence = np.zeros_like(noise)
    for distance in DISTANCES:
        assert distance(silence, silence, RATE) == 0.0
    assert spectral_convergence(silence, noise, RATE) == 1.0
    for distance in (log_mel_l1, log_spectral_distance):
        assert 40 < distance(silence, noise, RATE) == distance(noise, silence, RATE) <= 80


def test_what_is_80_db_below_the_loudest_point_does_not_count():
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    hum = np.sin(2 * np.pi * 5000 * time).astype(np.float32)
    for distance in (log_mel_l1, log_spectral_distance):
        audible, inaudible = (distance(tone + level * hum, tone, RATE) for level in (1e-2, 1e-5))
        assert audible > 20 * inaudible


def test_frequencies_above_the_images_band_do_not_count(noise):
    whistle = np.sin(2 * np.pi * 15_000 * np.arange(RATE) / RATE).astype(np.float32)
    for distance in DISTANCES:
        assert distance(noise + 0.05 * whistle, noise, RATE) < 0.1


@settings(max_examples=10, deadline=None)
@given(waveforms, waveforms, st.floats(1e-3, 1e3))
def test_distances_stay_in_their_ranges_and_ignore_a_common_gain(a, b, gain):
    for distance in (log_mel_l1, log_spectral_distance):
        found = distance(a, b, RATE)
        assert 0 <= found <= 80.001
        assert found == pytest.approx(distance(b, a, RATE))
        assert found == pytest.approx(distance(gain * a.astype(np.float64), gain * b.astype(np.float64), RATE), abs=0.05)
    if b.any():
        assert spectral_convergence(a, b, RATE) >= 0


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("other", "message"), [(np.zeros(50, np.float32), "same length"), (np.full(100, np.nan, np.float32), "NaN")]
)
def test_what_cannot_be_compared_is_refused(distance, other, message):
    with pytest.raises(DataError, match=message):
        distance(np.zeros(100, np.float32), other, RATE)


def test_there_is_no_ratio_to_a_silent_reference(noise):
    with pytest.raises(DataError, match="silent"):
        spectral_convergence(noise, np.zeros_like(noise), RATE)

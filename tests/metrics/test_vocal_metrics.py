"""A vocal's pitch and level against the true one's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from riff.errors import DataError
from riff.metrics.edit import added_melody, melody_of
from riff.metrics.melody import PitchTrack
from riff.metrics.vocals import level_error, raw_pitch_accuracy
from riff.spectrogram.image import waveform_to_image

RATE = 44_100  # Hz
FRAMES = 100


def track(note: float | np.ndarray, sung: slice = slice(None)) -> PitchTrack:
    voiced = np.zeros(FRAMES, bool)
    voiced[sung] = True
    return PitchTrack(np.broadcast_to(np.asarray(note, float), FRAMES), np.ones(FRAMES), voiced, np.zeros(FRAMES, bool))


def singing(note: float, seconds: float = 2.0) -> np.ndarray:
    """Ten harmonics with vibrato, at (1, samples)."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((note + 0.3 * np.sin(2 * np.pi * 5 * time) - 69) / 12)) / RATE
    harmonics = [np.sin(k * phase) / k for k in range(1, 11)]
    return np.sum(harmonics, axis=0, keepdims=True).astype(np.float32) / 8


@pytest.mark.parametrize(("cents", "expected"), [(0, 1), (40, 1), (-40, 1), (60, 0), (-60, 0), (1200, 0)])
def test_a_pitch_is_right_within_a_quarter_tone_and_in_its_octave(cents, expected):
    assert raw_pitch_accuracy(track(60 + cents / 100), track(60)) == expected


def test_only_frames_that_the_reference_sings_count():
    assert raw_pitch_accuracy(track(60), track(60, slice(0, 40))) == 1.0
    assert raw_pitch_accuracy(track(60, slice(30, 100)), track(60, slice(0, 40))) == 0.25
    half = np.where(np.arange(FRAMES) < 50, 60.0, 61.0)
    assert raw_pitch_accuracy(track(half), track(60)) == 0.5
    assert raw_pitch_accuracy(track(half), track(60), tolerance=101) == 1.0


def test_unvoiced_tracks_have_a_score():
    nothing = track(60, slice(0))
    assert raw_pitch_accuracy(nothing, nothing) == 1.0
    assert raw_pitch_accuracy(nothing, track(60)) == raw_pitch_accuracy(track(60), nothing) == 0.0


def test_tracks_of_two_lengths_are_refused():
    with pytest.raises(DataError, match="cut them to the same length"):
        raw_pitch_accuracy(PitchTrack(*(part[:50] for part in track(60))), track(60))


@given(st.floats(45, 80), st.floats(-12, 12))
def test_a_transposed_melody_is_wrong(note, interval):
    assume(abs(abs(interval) - 0.5) > 1e-6)
    assert raw_pitch_accuracy(track(note + interval), track(note)) == float(abs(interval) < 0.5)


def test_a_melody_is_extracted_over_a_backing():
    vocal = singing(62)
    backing = 0.2 * np.random.default_rng(0).standard_normal(vocal.shape).astype(np.float32)
    true = melody_of(waveform_to_image(torch.from_numpy(vocal)).pixels)
    before, right, wrong = (
        waveform_to_image(torch.from_numpy(part)).pixels for part in (backing, backing + vocal, backing + singing(64))
    )
    assert raw_pitch_accuracy(added_melody(before, right), true) > 0.8
    assert raw_pitch_accuracy(added_melody(before, wrong), true) < 0.1
    assert raw_pitch_accuracy(added_melody(before, before), true) == 0.0
    with pytest.raises(DataError, match="same size"):
        added_melody(before, right[:, :50])


@pytest.mark.parametrize(("gain", "expected"), [(1.0, 0.0), (2.0, 6.02), (0.5, 6.02), (100.0, 20.0), (0.0, 20.0)])
def test_the_levels_error_is_the_gain_in_lu_up_to_twenty(gain, expected):
    vocal = singing(62)
    backing = 0.3 * np.random.default_rng(0).standard_normal(vocal.shape).astype(np.float32)
    assert level_error(np.float32(gain) * vocal, vocal, backing, RATE) == pytest.approx(expected, abs=0.01)
    assert level_error(vocal, np.float32(gain) * vocal, backing, RATE) == pytest.approx(expected, abs=0.01)


def test_two_vocals_without_a_level_do_not_differ():
    silence = np.zeros((1, RATE), np.float32)
    assert level_error(silence, silence, singing(62, 1.0), RATE) == 0.0
    assert level_error(singing(62, 1.0), singing(60, 1.0), silence, RATE) == 0.0

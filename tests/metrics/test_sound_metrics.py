"""Metrics of waveforms agree with their definitions."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from riff.errors import DataError
from riff.metrics.sounds import beat_f1, chroma_cosine, onset_correlation, onset_f1, sdr, si_sdr

RATE = 22_050  # Hz
waveforms = hnp.arrays(np.float32, 700, elements=st.floats(-1, 1, width=32))
SOUND = np.zeros(100, np.float32)


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def chord(*notes: float, seconds: float = 2.0) -> np.ndarray:
    """A sum of decaying notes (MIDI numbers) with four harmonics each."""
    time = np.arange(int(seconds * RATE)) / RATE
    tones = [np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * time) / k for note in notes for k in (1, 2, 3, 4)]
    return (np.sum(tones, axis=0) * np.exp(-time) / 10).astype(np.float32)


def clicks(*times: float, seconds: float = 3.0, seed: int = 1, rate: int = RATE) -> np.ndarray:
    samples = np.zeros(int(seconds * rate), np.float32)
    burst = np.random.default_rng(seed).standard_normal(800) * np.exp(-np.arange(800) / 150)
    for time in times:
        start = int(time * rate)
        samples[start : start + 800] += burst.astype(np.float32)[: len(samples) - start]
    return samples


def test_chroma_depends_on_the_chord_and_not_on_octave_or_loudness():
    c_major = chord(60, 64, 67)
    assert chroma_cosine(c_major, c_major, RATE) == pytest.approx(1.0)
    assert chroma_cosine(c_major, -0.01 * c_major, RATE) == pytest.approx(1.0)
    assert chroma_cosine(c_major, chord(72, 76, 79), RATE) > 0.95
    assert chroma_cosine(c_major, chord(66, 70, 73), RATE) < 0.35  # a tritone up: no note in common


def test_strongest_pitch_class_alone_counts_agreeing_frames():
    low, high = chord(60, seconds=2.0), chord(66, seconds=2.0)
    first_half_right = np.concatenate([low, high])
    assert chroma_cosine(low, low, RATE, argmax=True) == 1.0
    assert chroma_cosine(low, high, RATE, argmax=True) == 0.0
    assert chroma_cosine(np.concatenate([low, low]), first_half_right, RATE, argmax=True) == pytest.approx(0.5, abs=0.1)


def test_strongest_pitch_classes_are_compared_as_musicgens_authors_do():
    # Their chain, written anew: power spectra of 2**14 samples, librosa's chroma filters, the largest of 12 bins.
    rate = 32_000
    chords = np.random.default_rng(0).integers(48, 72, (9, 3))
    ours, theirs = (np.concatenate([chord(*chords[i]) for i in song]) for song in ([0, 1, 2, 3, 4, 5], [0, 6, 2, 7, 4, 8]))

    def strongest(waveform: np.ndarray) -> torch.Tensor:
        window = torch.hann_window(2**14)
        spectra = torch.stft(torch.from_numpy(waveform), 2**14, 2**12, window=window, return_complex=True).abs().square()
        return (torch.from_numpy(librosa.filters.chroma(sr=rate, n_fft=2**14, tuning=0)) @ spectra).argmax(dim=0)

    expected = (strongest(ours) == strongest(theirs)).float().mean().item()
    frames = len(strongest(ours))
    assert 0.3 < expected < 0.7
    # The ends are reflected there and followed by silence here: two frames at each.
    assert chroma_cosine(ours, theirs, rate, argmax=True) == pytest.approx(expected, abs=4 / frames)


def test_frames_that_are_silent_on_both_sides_are_excluded_from_chroma():
    sound, silence = chord(60, 64, 67), np.zeros(4 * RATE, np.float32)
    sparse = np.concatenate([sound, silence])
    assert chroma_cosine(sparse, sparse, RATE) == pytest.approx(1.0)
    assert chroma_cosine(silence, silence, RATE) == 1.0
    assert chroma_cosine(sparse, np.zeros_like(sparse), RATE) == 0.0
    halves = chroma_cosine(np.concatenate([sound, sound]), np.concatenate([sound, np.zeros_like(sound)]), RATE)
    assert halves == pytest.approx(0.6, abs=0.12)


def test_onsets_agree_by_their_times_and_not_by_their_sound():
    hits = clicks(0.3, 0.8, 1.5, 1.9, 2.4)
    assert onset_correlation(hits, hits, RATE) == pytest.approx(1.0)
    assert onset_correlation(hits, 0.001 * hits, RATE) == pytest.approx(1.0)
    assert onset_correlation(hits, clicks(0.3, 0.8, 1.5, 1.9, 2.4, seed=9), RATE) > 0.9
    assert onset_correlation(hits, clicks(0.55, 1.15, 1.7, 2.15, 2.7), RATE) < 0.1


def test_sound_without_onsets_in_common_has_no_correlation(random):
    # Both clips begin in the middle of a sound, as every cut does: that is no onset.
    ours, theirs = random.standard_normal((2, 5 * RATE))
    assert abs(onset_correlation(ours, theirs, RATE)) < 0.1


def test_onsets_of_silence_are_defined():
    hits, silence = clicks(0.5), np.zeros(3 * RATE, np.float32)
    assert onset_correlation(silence, silence, RATE) == 1.0
    assert onset_correlation(hits, silence, RATE) == onset_correlation(silence, hits, RATE) == 0.0


ONSETS, BEATS = (0.3, 0.8, 1.5, 1.9, 2.4), tuple(np.arange(0.2, 5, 0.5))


@pytest.mark.parametrize(
    ("score", "times", "shift", "expected"),
    [(onset_f1, ONSETS, 0.04, 1), (onset_f1, ONSETS, 0.06, 0), (beat_f1, BEATS, 0.06, 1), (beat_f1, BEATS, 0.08, 0)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_onsets_count_within_50_ms_and_beats_within_70(score, times, shift, expected, sign):
    ours = clicks(*(np.array(times) + sign * shift), seconds=5.11, rate=44_100)
    assert score(ours, clicks(*times, seconds=5.11, rate=44_100), 44_100) == expected


def test_onsets_that_are_missing_or_too_many_count_once_each():
    few, many = clicks(0.3, 0.8, 1.5), clicks(0.3, 0.8, 1.1, 1.5, 1.9, 2.4)
    assert onset_f1(few, many, RATE) == onset_f1(many, few, RATE) == pytest.approx(2 * 3 / (3 + 6))


def test_beats_at_half_the_rate_are_two_thirds_right():
    fast = clicks(*np.arange(0.2, 10, 0.4), seconds=10)
    slow = clicks(*np.arange(0.2, 10, 0.8), seconds=10)
    assert beat_f1(slow, fast, RATE) == pytest.approx(2 / 3, abs=0.04)
    # Clips are shorter than the five seconds that beat scores customarily skip.
    assert beat_f1(clicks(*BEATS[:8], seconds=4), clicks(*BEATS[:8], seconds=4), RATE) == 1.0


@pytest.mark.parametrize("score", [onset_f1, beat_f1])
def test_onsets_and_beats_of_silence_are_defined(score):
    hits, silence = clicks(*BEATS, seconds=5.11), np.zeros(int(5.11 * RATE), np.float32)
    assert score(silence, silence, RATE) == 1.0
    assert score(hits, silence, RATE) == score(silence, hits, RATE) == 0.0
    assert score(hits, 0.001 * hits, RATE) == 1.0


def test_si_sdr_of_a_known_distortion():
    time = np.arange(RATE) / RATE
    sine, cosine = np.sin(2 * np.pi * 100 * time), np.cos(2 * np.pi * 100 * time)  # orthogonal over whole periods
    assert si_sdr(0.3 * sine, sine) > 200
    assert si_sdr(sine, sine) == np.inf
    assert si_sdr(sine + 0.1 * cosine, sine) == pytest.approx(20.0)
    assert si_sdr(-5 * (sine + 0.1 * cosine) + 0.7, 2 * sine) == pytest.approx(20.0)
    assert si_sdr(np.zeros_like(sine), sine) == -np.inf
    assert si_sdr(np.stack([sine, sine + 0.2**0.5 * cosine]), np.stack([sine, sine])) == pytest.approx(10.0, abs=0.3)


def test_sdr_counts_the_level_too():
    time = np.arange(1000) / 1000
    sine, cosine = np.sin(2 * np.pi * 10 * time), np.cos(2 * np.pi * 10 * time)
    assert sdr(sine, sine) == np.inf
    assert sdr(sine + 0.1 * cosine, sine) == pytest.approx(20.0)
    assert sdr(0.9 * sine, sine) == pytest.approx(20.0)
    with pytest.raises(DataError, match="not silent"):
        sdr(sine, 0 * sine)


def test_si_sdr_of_a_silent_reference_is_refused():
    with pytest.raises(DataError, match="silent"):
        si_sdr(np.ones(10), np.full(10, 0.5))


def test_channels_are_mixed_and_tensors_taken():
    left, right = chord(60), chord(67)
    stereo = torch.from_numpy(np.stack([left, right]))
    assert chroma_cosine(stereo, (left + right) / 2, RATE) == pytest.approx(1.0)
    assert onset_correlation(stereo, (left + right) / 2, RATE) == pytest.approx(1.0)


@settings(max_examples=10, deadline=None)
@given(waveforms, waveforms)
def test_sound_scores_are_symmetric_and_bounded_even_for_clips_shorter_than_a_frame(a, b):
    assert chroma_cosine(a, b, RATE) == pytest.approx(chroma_cosine(b, a, RATE))
    assert 0 <= chroma_cosine(a, b, RATE) <= 1
    assert onset_correlation(a, b, RATE) == pytest.approx(onset_correlation(b, a, RATE))
    assert -1 <= onset_correlation(a, b, RATE) <= 1
    for score in (onset_f1, beat_f1):
        assert score(a, b, RATE) == pytest.approx(score(b, a, RATE))
        assert 0 <= score(a, b, RATE) <= 1
        assert score(a, a, RATE) == 1


@pytest.mark.parametrize(
    ("score", "arguments", "message"),
    [
        (chroma_cosine, (SOUND, SOUND[:50], RATE), "same length"),
        (chroma_cosine, (SOUND, np.full(100, np.nan), RATE), "NaN"),
        (onset_correlation, (SOUND[:0], SOUND[:0], RATE), "shape"),
        (onset_correlation, (SOUND, np.zeros(100, np.int16), RATE), "int16"),
        (onset_f1, (SOUND, SOUND[:50], RATE), "same length"),
        (beat_f1, (SOUND, np.full(100, np.inf), RATE), "NaN"),
        (si_sdr, (SOUND, SOUND[:50]), "same length"),
        (si_sdr, (np.zeros((2, 2, 2)), np.zeros((2, 2, 2))), "shape"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(score, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        score(*arguments)
    assert "\n" not in str(caught.value)


def test_scores_do_not_change_their_arguments(random):
    sound = random.standard_normal(3000).astype(np.float32)
    kept = sound.copy()
    for score in (chroma_cosine, onset_correlation, onset_f1, beat_f1):
        score(sound, sound, RATE)
    si_sdr(sound, sound)
    np.testing.assert_array_equal(sound, kept)

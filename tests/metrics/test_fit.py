"""Fit: a melody on the chords and beats of a backing scores high, and loses what is taken from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from riff.errors import DataError
from riff.metrics.fit import dependence, note_onsets, score_fit, share_of_way
from riff.metrics.melody import PitchTrack
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import CLIP_FRAMES, CLIP_SAMPLES, STANDARD

RATE = STANDARD.sample_rate
BEAT = 0.48  # seconds; no divisor of the clip, so that circular shifts have no second match
CHORDS = ((60, 64, 67), (65, 69, 72), (67, 71, 74))  # C, F and G, a chord of three beats each


def tone(note: float, seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 440.0 * 2 ** ((note - 69) / 12)
    envelope = np.exp(-4 * time) * np.minimum(1, time / 0.005) * np.minimum(1, (seconds - time) / 0.2)
    return envelope * sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 5))


@pytest.fixture(scope="module")
def backing() -> np.ndarray:
    """Image of struck chords, one a beat."""
    song = np.zeros(CLIP_SAMPLES + RATE)
    for beat in range(int(CLIP_SAMPLES / RATE / BEAT)):
        first = round(beat * BEAT * RATE)
        for note in CHORDS[beat // 3 % 3]:
            sound = tone(note - 12, 0.9)
            song[first : first + len(sound)] += sound
    return waveform_to_image(torch.from_numpy(song[None, :CLIP_SAMPLES].astype(np.float32))).pixels


def melody(transpose: float = 0.0, delay_s: float = 0.0) -> PitchTrack:
    """The chords' notes, one a beat in irregular order, as a track of a clip."""
    note, sung = np.full(CLIP_FRAMES, 60.0), np.zeros(CLIP_FRAMES, bool)
    for beat in range(1, 10):
        if beat == 6:
            continue
        first = round((beat * BEAT + delay_s) * 100)
        note[first : first + 40] = CHORDS[beat // 3 % 3][beat * 2 % 3] + transpose
        sung[first : first + 40] = True
    return PitchTrack(note, sung.astype(float), sung, sung)


def test_chord_tones_on_the_beat_fit(backing: np.ndarray) -> None:
    fit = score_fit(melody(), backing)
    assert fit.harmony > 0.6
    assert fit.rhythm > 2
    assert fit.fits


def test_a_semitone_costs_harmony_alone(backing: np.ndarray) -> None:
    fit, off = score_fit(melody(), backing), score_fit(melody(transpose=1), backing)
    assert off.harmony < 0.1
    assert off.rhythm == fit.rhythm
    assert score_fit(melody(transpose=12), backing).harmony == pytest.approx(fit.harmony)  # a singer of another register


def test_a_third_of_a_beat_costs_rhythm(backing: np.ndarray) -> None:
    fit, late = score_fit(melody(), backing), score_fit(melody(delay_s=BEAT / 3), backing)
    assert late.rhythm < 0.5
    assert late.harmony > 0.6 * fit.harmony


def test_the_backings_level_does_not_matter(backing: np.ndarray) -> None:
    quieter = (255 - np.round((255 - backing.astype(float)) * 0.8)).astype(np.uint8)
    np.testing.assert_allclose(score_fit(melody(), quieter), score_fit(melody(), backing), atol=0.02)


def test_nothing_sung_is_no_number_and_does_not_fit(backing: np.ndarray) -> None:
    silent = PitchTrack(*np.zeros((2, CLIP_FRAMES)), *np.zeros((2, CLIP_FRAMES), bool))
    fit = score_fit(silent, backing)
    assert np.isnan(fit).all()
    assert not fit.fits
    one_note = PitchTrack(np.full(CLIP_FRAMES, 60.0), np.ones(CLIP_FRAMES), *np.ones((2, CLIP_FRAMES), bool))
    pedal = score_fit(one_note, backing)
    assert np.isfinite(pedal.harmony)
    assert np.isnan(pedal.rhythm)  # one note has none


def test_without_chords_or_beats_there_is_nothing_to_fit(backing: np.ndarray) -> None:
    assert not score_fit(melody(), np.full_like(backing, 255)).known
    noise = np.random.default_rng(0).normal(0, 0.1, (1, CLIP_SAMPLES)).astype(np.float32)
    assert not score_fit(melody(), waveform_to_image(torch.from_numpy(noise)).pixels).known
    for beat in range(int(CLIP_SAMPLES / RATE / BEAT)):  # bursts have beats alone
        first = round(beat * BEAT * RATE)
        noise[:, first + RATE // 20 : first + round(BEAT * RATE)] *= 0.01
    fit = score_fit(melody(), waveform_to_image(torch.from_numpy(noise)).pixels)
    assert np.isnan(fit.harmony)
    assert fit.rhythm > 2
    assert fit.fits
    assert fit.to_json() == {"harmony": None, "rhythm": fit.rhythm, "fits": True}


def test_a_long_song_is_the_mean_of_its_parts(backing: np.ndarray) -> None:
    twice = PitchTrack(*(np.concatenate([part, part]) for part in melody()))
    np.testing.assert_allclose(score_fit(twice, np.tile(backing, 2)), score_fit(melody(), backing), atol=0.05)


def test_notes_begin_after_pauses_and_at_steps() -> None:
    note = np.full(100, 60.0)
    note[30:60] += 0.3 * np.sin(np.arange(30))  # vibrato
    note[60:] = 62.0
    sung = np.ones(100, bool)
    sung[:5] = sung[40:46] = False
    assert note_onsets(PitchTrack(note, note, sung, sung)).tolist() == [5, 46, 60]


def test_dependence_and_the_share_of_the_way() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64), np.uint8))
    assert abs(dependence(images)) < 0.05
    assert dependence([images[0]] * 3) == pytest.approx(1)
    assert share_of_way(0.3, 0.2, 0.4) == pytest.approx(0.5)
    with pytest.raises(DataError, match="two or more songs"):
        dependence(images[:1])
    with pytest.raises(DataError, match="same length"):
        score_fit(melody(), np.zeros((512, 100), np.uint8))

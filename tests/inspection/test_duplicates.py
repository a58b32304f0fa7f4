"""The same recording is found under another name, and what only sounds alike is not."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.inspection.duplicates import Clip, band_image, changes, correlation, find_matches, repeats
from riff.spectrogram.image import waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

RATE = STANDARD.sample_rate
CLIPS = 3


@cache
def music(seed: int) -> np.ndarray:
    """Notes with overtones at times of their own, and hits of noise: float32, shape (samples,), three clips and a second."""
    rng = np.random.default_rng(seed)
    samples = CLIPS * CLIP_SAMPLES + RATE
    sound = np.zeros(samples, np.float32)
    begin = 0
    while begin < samples:
        length = min(int(RATE * rng.uniform(0.12, 0.5)), samples - begin)
        time = np.arange(length) / RATE
        pitch = 110 * 2 ** (rng.integers(0, 30) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8)) * np.exp(-3 * time)
        hit = rng.standard_normal(length) * np.exp(-30 * time) * rng.uniform(0, 0.5)
        sound[begin : begin + length] = 0.2 * (note + hit)
        begin += length
    return sound


def heard(sound: np.ndarray, first: int = 0) -> list[Clip]:
    """The whole clips of a sound, numbered from `first` on."""
    clips = []
    for index in range(len(sound) // CLIP_SAMPLES):
        clip = torch.from_numpy(sound[index * CLIP_SAMPLES : (index + 1) * CLIP_SAMPLES])
        start = index * CLIP_SAMPLES / RATE
        clips.append(Clip(first + index, start, band_image(waveform_to_image(clip).pixels)))
    return clips


def coded(sound: np.ndarray, kind: str, subtype: str) -> np.ndarray:
    """The sound through a lossy format."""
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format=kind, subtype=subtype, compression_level=0.5)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


@pytest.fixture(scope="module")
def others() -> dict[str, list[Clip]]:
    return {f"song {seed}": heard(music(seed), 100 * seed) for seed in range(1, 5)}


@pytest.mark.parametrize(
    ("change", "offset_s"),
    [
        (lambda sound: sound, 0.0),
        (lambda sound: 0.1 * sound, 0.0),
        (lambda sound: np.concatenate([np.zeros(round(0.8 * RATE), np.float32), sound]), 0.8),
        (lambda sound: coded(sound, "OGG", "VORBIS"), 0.0),
        (lambda sound: coded(sound, "MP3", "MPEG_LAYER_III"), 0.0),
    ],
    ids=["as it is", "softer", "later", "ogg", "mp3"],
)
def test_a_recording_is_known_again(change, offset_s: float, others: dict[str, list[Clip]]) -> None:  # type: ignore[no-untyped-def]
    songs = {**others, "a copy": heard(change(music(2)), 1_000)}
    (found,) = find_matches(songs)
    assert (found.first, found.second, found.same_recording) == ("a copy", "song 2", True)
    assert found.offset_s == pytest.approx(-offset_s, abs=0.05)
    assert set(found.first_clips) <= {1_000, 1_001, 1_002}
    assert set(found.second_clips) <= {200, 201, 202}


def test_songs_that_have_nothing_in_common(others: dict[str, list[Clip]]) -> None:
    assert find_matches(others) == []
    assert find_matches({}) == []


def test_a_loop_that_two_songs_use_makes_them_no_one_song(others: dict[str, list[Clip]]) -> None:
    """One clip of three is shared: reported, but not as a copy."""
    mixed = np.concatenate([music(9)[:CLIP_SAMPLES], music(1)[CLIP_SAMPLES : 2 * CLIP_SAMPLES], music(8)[:CLIP_SAMPLES]])
    (found,) = find_matches({**others, "mixed": heard(mixed, 1_000)})
    assert (found.first_clips, found.second_clips, found.same_recording) == ((1_001,), (101,), False)


def test_a_loop_within_a_song_is_a_repeat() -> None:
    loop = music(3)[:CLIP_SAMPLES]
    clips = heard(np.concatenate([loop, music(4)[:CLIP_SAMPLES], loop, loop]))
    assert repeats(clips) == [2, 3]
    assert repeats([]) == []
    assert find_matches({"looped": clips, "another": heard(music(5), 50)}) == []


def test_silence_is_nothing_in_common() -> None:
    silent = [Clip(number, 5.11 * number, np.zeros((25, 256), np.uint8)) for number in range(3)]
    assert find_matches({"one": silent, "two": silent}) == []
    assert repeats(silent) == []


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1))
@settings(max_examples=20, deadline=None)
def test_a_correlation_knows_no_loudness(seed: int, gain: float) -> None:
    bands = np.random.default_rng(seed).integers(0, 200, (25, 64)).astype(np.float32)
    assert correlation(changes(bands), changes(gain * bands)) == pytest.approx(1.0, abs=1e-4)
    assert correlation(changes(bands), changes(255 - bands)) == pytest.approx(-1.0, abs=1e-4)
    assert correlation(changes(bands), changes(np.zeros_like(bands))) == 0.0

"""The second world of demo songs: the same from a seed, true in its words, sung in tune with its chords."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demo.world.styles import STYLES
from demo.worlds import compose, is_separated, parse_songs
from riff.metrics.edit import melody_of
from riff.metrics.fit import score_fit
from riff.metrics.melody import median_pitch
from riff.spectrogram.image import waveform_to_image

SECONDS = 6.0


@pytest.fixture(scope="module")
def songs():
    """One of each style."""
    return [compose(2, 31, index, SECONDS) for index in range(len(STYLES))]


def test_songs_depend_on_seed_and_number_alone(songs) -> None:
    np.testing.assert_array_equal(compose(2, 31, 3, SECONDS).mixture, songs[3].mixture)
    assert not np.array_equal(compose(2, 32, 3, SECONDS).mixture, songs[3].mixture)
    assert {song.facts["style"] for song in songs} == set(STYLES)
    assert compose(2, 31, 3, 9.0).prompt == songs[3].prompt


def test_stems_sum_and_do_not_clip(songs) -> None:
    for song in songs:
        assert song.mixture.dtype == np.float32
        assert song.mixture.shape == (2, round(SECONDS * song.sample_rate))
        assert 0.1 < np.abs(song.mixture).max() <= 1
        assert np.abs(song.stems["vocals"]).max() > 0.01
        assert str(song.facts["gender"]) in song.prompt
        assert str(song.facts["style"]) in song.prompt


def test_vocals_are_sung_in_tune_with_their_own_backing(songs) -> None:
    images = [
        [waveform_to_image(torch.from_numpy(part)) for part in (song.stems["vocals"], song.mixture - song.stems["vocals"])]
        for song in songs
    ]
    melodies = [melody_of(vocal.pixels) for vocal, _ in images]
    assert np.mean([melody.voiced.mean() for melody in melodies]) > 0.3
    own = np.nanmean([score_fit(melody, backing.pixels).harmony for melody, (_, backing) in zip(melodies, images, strict=True)])
    others = [
        score_fit(melody, backing.pixels).harmony
        for number, melody in enumerate(melodies)
        for other, (_, backing) in enumerate(images)
        if other != number
    ]
    assert own > np.nanmean(others) + 0.2
    by_gender = {
        gender: np.nanmean([median_pitch(m) for m, s in zip(melodies, songs, strict=True) if s.facts["gender"] == gender])
        for gender in ("female", "male")
    }
    assert by_gender["female"] > by_gender["male"] + 4


def test_names_of_catalogues() -> None:
    assert parse_songs("demo:4") == parse_songs("demo-v1:4") == (1, 4)
    assert parse_songs("demo-v2:12") == (2, 12)
    assert parse_songs("demo:0") is parse_songs("demo-v3:2") is parse_songs("folder") is None
    shares = [is_separated(1, index, 0.5) for index in range(200)]
    assert 70 < sum(shares) < 130
    assert shares == [is_separated(1, index, 0.5) for index in range(200)]

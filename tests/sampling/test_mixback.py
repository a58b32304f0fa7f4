"""The new vocal over the untouched accompaniment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.audio.clips import check_regions
from riff.audio.io import read_audio, write_audio
from riff.audio.loudness import block_loudness, loudness_against
from riff.errors import OptionError
from riff.sampling.mixback import (
    VOCAL_LU,
    OutsideRegions,
    auto_gain_db,
    crossfade_gain,
    full_scale_gain,
    mix_back,
    original_vocal_lu,
    spread_vocal,
)

RATES = (22_050, 44_100, 48_000)


def noise(channels: int, samples: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


def tone(seconds: float, frequency: float = 440.0, level: float = 0.2, rate: int = 44_100) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency / rate * np.arange(round(seconds * rate)))).astype(np.float32)


@given(
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([1, 2, 6]),
    samples=st.integers(0, 40_000),
    vocal_samples=st.integers(0, 40_000),
    level=st.sampled_from([0.1, 0.2, 0.5]),
    gain_db=st.one_of(st.none(), st.floats(-40, 60)),
)
@settings(max_examples=40, deadline=None)
def test_any_mix_is_its_parts(
    rate: int, channels: int, samples: int, vocal_samples: int, level: float, gain_db: float | None
) -> None:
    backing = noise(channels, samples, level)
    before = backing.copy()
    made = mix_back(noise(1, vocal_samples, seed=1)[0], backing, rate, gain_db)
    np.testing.assert_array_equal(backing, before)
    assert made.sample_rate == rate
    for part in (made.mix, made.accompaniment, made.vocal):
        assert part.shape == (channels, samples)
        assert part.dtype == np.float32
        assert np.abs(part).max(initial=0.0) <= 1
    np.testing.assert_array_equal(made.mix, made.accompaniment + made.vocal)
    np.testing.assert_array_equal(made.accompaniment, before * full_scale_gain(before))
    assert (made.song_gain_db == 0) == (np.abs(before).max(initial=0.0) <= 1)
    assert made.limited_db <= 0
    if gain_db is not None:
        assert made.gain_db == gain_db
    length = round(vocal_samples * rate / 44_100)
    assert not made.vocal[:, length:].any()  # followed by silence


def test_a_silent_vocal_leaves_the_accompaniment_to_the_bit() -> None:
    backing = noise(2, 50_000)
    made = mix_back(np.zeros(50_000, np.float32), backing, 44_100)
    np.testing.assert_array_equal(made.mix, backing)
    assert (made.gain_db, made.song_gain_db, made.limited_db) == (0.0, 0.0, 0.0)


def test_silence_under_silence_is_silence() -> None:
    made = mix_back(np.zeros(30_000, np.float32), np.zeros((2, 30_000), np.float32), 44_100)
    assert not made.mix.any()
    assert made.gain_db == made.limited_db == 0.0


def test_nothing_above_the_vocals_band_is_lost() -> None:
    backing = np.stack([tone(1.0, 15_000, rate=48_000), tone(1.0, 500, rate=48_000)])
    made = mix_back(tone(1.0), backing, 48_000, gain_db=-6.0)
    assert made.limited_db == 0.0
    above = np.abs(np.fft.rfft(made.mix[0] - backing[0]))[11_000:]  # bins of 1 Hz
    assert above.max() < 1e-3 * np.abs(np.fft.rfft(backing[0])).max()


def test_the_limiter_lowers_the_vocal_alone_and_only_near_peaks() -> None:
    rate, peak = 44_100, 40_000
    backing = noise(2, 2 * rate, level=0.05)
    backing[0, peak - 5 : peak + 5] = 0.95
    vocal = tone(2.0, level=0.4)
    made = mix_back(vocal, backing, rate, gain_db=0.0)
    np.testing.assert_array_equal(made.accompaniment, backing)
    assert -20 < made.limited_db < -12  # 0.05 of 0.4 is left at the peak
    near = slice(peak - 250, peak + 250)  # 5.7 ms
    changed = np.flatnonzero(np.abs(made.vocal[0] - vocal) > 1e-6)
    assert near.start < changed.min() < changed.max() < near.stop
    np.testing.assert_array_equal(made.vocal[0], made.vocal[1])  # one gain for all channels: nothing moves to a side
    shape = made.vocal[0, near] / np.where(np.abs(vocal[near]) > 0.01, vocal[near], np.nan)
    assert np.nanmax(np.abs(np.diff(shape))) < 0.05  # it falls and rises smoothly


def test_a_long_vocal_is_limited_by_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    backing, vocal = noise(2, 30_000, 0.3), tone(0.7, level=0.9)
    whole = mix_back(vocal, backing, 44_100, gain_db=0.0)
    monkeypatch.setattr("riff.sampling.mixback.BLOCK", 1_000)
    by_blocks = mix_back(vocal, backing, 44_100, gain_db=0.0)
    np.testing.assert_allclose(by_blocks.vocal, whole.vocal, atol=1e-6)
    assert by_blocks.limited_db == pytest.approx(whole.limited_db)


@pytest.mark.parametrize("level", [0.05, 0.2, 0.9])
def test_a_region_changes_neither_the_songs_level_nor_a_sample_outside(level: float) -> None:
    """Lowering the region alone would duck the backing there by up to 16 dB."""
    rate = 44_100
    song = noise(2, 4 * rate, seed=2)
    song *= np.float32(1.0 / np.abs(song).max())  # a loud master
    backing = song - noise(2, 4 * rate, level=0.002, seed=3)
    backing = np.clip(backing, -1, 1)
    heard = crossfade_gain(4 * rate, rate, [(1.0, 3.0)])
    made = mix_back(tone(4.0, level=level), backing, rate, gain_db=12.0, outside=OutsideRegions(song, heard))
    np.testing.assert_array_equal(made.mix[:, heard == 0], song[:, heard == 0])
    np.testing.assert_array_equal(made.accompaniment[:, heard == 1], backing[:, heard == 1])
    np.testing.assert_array_equal(made.mix, made.accompaniment + made.vocal)
    assert np.abs(made.mix).max() <= 1
    assert made.song_gain_db == 0


def test_a_song_above_full_scale_is_lowered_as_a_whole() -> None:
    rate = 44_100
    song = noise(2, 2 * rate, seed=2)
    song *= np.float32(1.5 / np.abs(song).max())
    backing = song * np.float32(0.5)
    heard = crossfade_gain(2 * rate, rate, [(0.5, 1.0)])
    made = mix_back(tone(2.0), backing, rate, gain_db=0.0, outside=OutsideRegions(song, heard))
    assert made.song_gain_db == pytest.approx(20 * np.log10(1 / 1.5), abs=1e-3)
    np.testing.assert_allclose(made.mix[:, heard == 0], song[:, heard == 0] / 1.5, atol=1e-6)
    np.testing.assert_allclose(made.accompaniment[:, heard == 1], backing[:, heard == 1] / 1.5, atol=1e-6)
    for part in (made.mix, made.accompaniment, made.vocal):
        assert np.abs(part).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_a_surround_mix_has_its_singer_in_the_centre_or_in_front(channels: int) -> None:
    vocal = tone(1.0)
    made = mix_back(vocal, noise(channels, 44_100, 0.05), 44_100, gain_db=0.0)
    sounding = np.flatnonzero(made.vocal.any(axis=1)).tolist()
    assert sounding == ([2] if 5 <= channels <= 8 else [0, 1][:channels])  # FL FR FC LFE ...
    folded = spread_vocal(vocal, channels)
    stereo = folded[:2] + folded[2:3].sum(axis=0) * np.float32(np.sqrt(0.5))  # ITU-R BS.775
    np.testing.assert_allclose(stereo, np.stack([vocal] * min(2, channels)), atol=1e-6)


@given(
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([1, 2]),
    difference=st.floats(-8, 8),
    offset=st.floats(-3, 3),
    backing_level=st.floats(0.01, 0.3),
)
@settings(max_examples=10, deadline=None)
def test_automatic_gain_reaches_the_target_loudness(
    rate: int, channels: int, difference: float, offset: float, backing_level: float
) -> None:
    backing = noise(channels, 4 * rate, backing_level)
    backing[:, : 2 * rate] *= 0.5  # the quieter part is sung over, and only that counts
    vocal = np.zeros((channels, 4 * rate), np.float32)
    vocal[:, : 3 * rate // 2] = noise(1, 3 * rate // 2, backing_level * 0.5 * 10 ** (difference / 20), seed=1)
    gain = auto_gain_db(vocal, backing, rate, offset)
    assert gain == pytest.approx(offset - difference, abs=1.0)  # the phrase's last blocks are partly empty
    louder = vocal * np.float32(10 ** (gain / 20))
    assert loudness_against(louder, backing, rate) == pytest.approx(offset, abs=0.5)


def test_automatic_gain_has_a_maximum_and_no_minimum() -> None:
    backing = noise(2, 88_200)
    assert auto_gain_db(noise(2, 88_200, 0.002), backing, 44_100) == 12.0
    assert auto_gain_db(noise(2, 88_200, 5.0), backing, 44_100) == pytest.approx(VOCAL_LU - 34, abs=0.1)
    assert auto_gain_db(noise(2, 88_200, 1e-6), backing, 44_100) == 0.0  # below -70 LUFS


@pytest.mark.parametrize("samples", [0, 1, 10_000, 17_639, 17_640])
def test_sounds_shorter_than_a_block_have_a_gain(samples: int) -> None:
    backing, vocal = noise(2, samples), noise(2, samples, 0.2, seed=1)
    gain = auto_gain_db(vocal, backing, 44_100)
    assert gain == pytest.approx(VOCAL_LU - 6 if samples > 1 else 0, abs=0.5)


def test_loudness_is_that_of_the_standard() -> None:
    # EBU Tech 3341: a stereo sine of 1 kHz at -23 dBFS a channel is -23 LUFS.
    sine = np.tile(tone(2.0, 1_000, 10 ** (-23 / 20), 48_000), (2, 1))
    assert block_loudness(sine, 48_000) == pytest.approx(-23, abs=0.1)
    assert len(block_loudness(sine, 48_000)) == 17
    assert np.isneginf(block_loudness(np.zeros((2, 48_000), np.float32), 48_000)).all()
    assert block_loudness(np.tile(sine, (5, 1)), 48_000) == pytest.approx(-23, abs=0.1)  # ten channels, as a stereo mix


@pytest.mark.parametrize(
    ("channel", "channels", "weight"), [(2, 6, 1), (3, 6, 0), (5, 6, 1.41), (3, 8, 0), (4, 8, 1), (7, 8, 1.41)]
)
def test_surround_channels_have_the_weights_of_the_standard(channel: int, channels: int, weight: float) -> None:
    sound = np.zeros((channels, 48_000), np.float32)
    sound[channel] = tone(1.0, 1_000, 10 ** (-23 / 20), 48_000)
    with np.errstate(divide="ignore"):
        assert block_loudness(sound, 48_000) == pytest.approx(-26 + 10 * np.log10(weight), abs=0.1)


def test_residue_of_a_separation_is_no_vocal() -> None:
    backing = noise(2, 88_200)
    assert original_vocal_lu(noise(2, 88_200, 0.05, seed=1), backing, 44_100) == pytest.approx(-6, abs=0.1)
    assert original_vocal_lu(noise(2, 88_200, 0.02, seed=1), backing, 44_100) is None
    assert original_vocal_lu(np.zeros_like(backing), backing, 44_100) is None


def test_long_songs_are_measured_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    song = noise(2, 5 * 44_100) * np.linspace(0.1, 1, 5 * 44_100, dtype=np.float32)
    whole = block_loudness(song, 44_100)
    monkeypatch.setattr("riff.audio.loudness.SEGMENT_S", 1)
    by_segments = block_loudness(song, 44_100)
    assert whole.shape == by_segments.shape == (47,)
    np.testing.assert_allclose(by_segments, whole, atol=0.05)


@given(st.lists(st.floats(0, 30), min_size=2, max_size=8, unique=True), st.floats(0, 2), st.sampled_from([8_000, 44_100]))
@settings(max_examples=50, deadline=None)
def test_the_vocal_sounds_inside_its_regions_only(times: list[float], fade_s: float, rate: int) -> None:
    times = sorted(times)[: len(times) // 2 * 2]
    regions = list(zip(times[::2], times[1::2], strict=True))
    assert check_regions(regions[::-1], 30.0) == regions
    gain = crossfade_gain(30 * rate, rate, regions, fade_s)
    assert gain.shape == (30 * rate,)
    assert gain.dtype == np.float32
    assert ((gain >= 0) & (gain <= 1)).all()
    inside = np.zeros(30 * rate, bool)
    for start, end in regions:
        inside[round(start * rate) : round(end * rate)] = True
    assert not gain[~inside].any()
    for start, end in regions:
        first, last, fade = round(start * rate), round(end * rate), round(fade_s * rate)
        if last - first > 2 * fade:
            assert (gain[first + fade : last - fade] == 1).all()


def test_borders_are_raised_cosines() -> None:
    gain = crossfade_gain(1_000, 1_000, [(0.2, 0.6)], fade_s=0.1)
    assert gain[249:251].mean() == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(gain[200:300] + gain[200:300][::-1], 1, atol=1e-6)
    np.testing.assert_allclose(gain[500:600], gain[200:300][::-1], atol=1e-6)
    assert 0 < gain[200] < 1e-3  # it starts from nothing
    assert np.abs(np.diff(gain)).max() < 0.02


def test_a_region_that_is_the_song_has_no_borders() -> None:
    assert (crossfade_gain(1_000, 1_000, [(0.0, 1.0)], fade_s=0.1) == 1).all()
    half = crossfade_gain(1_000, 1_000, [(0.5, 1.0)], fade_s=0.1)
    assert half[0] == 0
    assert half[-1] == 1
    assert not crossfade_gain(1_000, 1_000, []).any()


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([(-1.0, 2.0)], r"start -1: .* lasts 10\.00 s"),
        ([(10.0, 11.0)], r"start 10: .* lasts 10\.00 s"),
        ([(float("nan"), 2.0)], "start nan"),
        ([(2.0, 10.5)], r"end 10\.5: .* lasts 10\.00 s"),
        ([(2.0, float("nan"))], "end nan"),
        ([(5.0, 4.0)], "region 5 to 4: .* ends before it begins"),
        ([(5.0, 5.0)], "region 5 to 5: .* ends before it begins"),
        ([(6.0, 8.0), (2.0, 6.5)], r"region 6 to 8: it overlaps with 2 to 6\.5"),
    ],
)
def test_invalid_regions_are_refused(regions: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_regions(regions, 10.0)


def test_an_end_with_two_decimals_is_the_songs_end() -> None:
    assert check_regions([(0.0, 4.0), (5.0, 10.0)], 9.996) == [(0.0, 4.0), (5.0, 9.996)]


def test_regions_that_meet_are_one() -> None:
    assert check_regions([(4.0, 6.0), (0.0, 4.0), (7.0, 8.0), (6.0, 6.5)], 10.0) == [(0.0, 6.5), (7.0, 8.0)]


def test_surround_from_ogg_is_in_wavs_order(tmp_path: Path) -> None:
    tones = np.stack([tone(1.0, 300.0 + 100 * channel) for channel in range(6)])
    vorbis_order = tones[[0, 2, 1, 4, 5, 3]]  # FL FC FR BL BR LFE
    vorbis_order[5] = tone(1.0, 60)
    write_audio(tmp_path / "surround.ogg", vorbis_order, 44_100)
    read = read_audio(tmp_path / "surround.ogg").waveform
    loudest = np.abs(np.fft.rfft(read[:, :44_100])).argmax(axis=1)
    assert loudest.tolist() == [300, 400, 500, 60, 700, 800]

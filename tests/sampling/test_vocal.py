"""The vocal of generated images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demo.song import Song
from demo.world.compose import compose
from riff.audio.io import resample
from riff.errors import DataError
from riff.metrics.images import grey_difference
from riff.metrics.sounds import si_sdr
from riff.sampling.levels import match_level
from riff.sampling.rendering import added_vocal, vocal_waveform
from riff.spectrogram import phase
from riff.spectrogram.image import SpectrogramImage, mel_to_image, waveform_to_image
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

SAMPLES = STANDARD.clip_samples(256)


@pytest.fixture(scope="module")
def song() -> Song:
    return compose(4, 2, 6.0)  # the vocal is as loud as the band, so little of it is hidden


def parts(song: Song) -> tuple[np.ndarray, np.ndarray]:
    """vocal, float32 (samples,), and accompaniment, float32 (2, samples)."""
    some = slice(60_000, 60_000 + SAMPLES)
    vocal = song.stems["vocals"][:, some]
    return vocal.mean(axis=0), song.mixture[:, some] - vocal


def image(waveform: np.ndarray) -> SpectrogramImage:
    return waveform_to_image(torch.from_numpy(waveform))


def redrawn(waveform: np.ndarray, like: SpectrogramImage) -> np.ndarray:
    return mel_to_image(waveform_to_mel(torch.from_numpy(waveform)), max_value=like.max_value).pixels


def test_a_sine_over_noise_is_extracted_from_the_mix() -> None:
    seconds = np.arange(SAMPLES) / 44_100
    vocal = (0.3 * np.sin(2 * np.pi * 500 * seconds) * np.sin(2 * np.pi * 0.5 * seconds) ** 2).astype(np.float32)
    backing = (0.02 * np.random.default_rng(0).standard_normal((2, SAMPLES))).astype(np.float32)
    found = vocal_waveform(image(vocal + backing), backing, 44_100)
    # The sine is there at its place, whatever its phase, and the noise is not.
    spectrum, true = (np.abs(np.fft.rfft(wave)) for wave in (found, vocal))
    at = int(true.argmax())
    near = slice(at - 400, at + 401)
    assert 10 * np.log10((spectrum[near] ** 2).sum() / (true[near] ** 2).sum()) == pytest.approx(0, abs=0.5)
    outside = (spectrum**2).sum() - (spectrum[near] ** 2).sum()
    noise = (np.abs(np.fft.rfft(backing.mean(axis=0))) ** 2).sum()
    assert 10 * np.log10(outside / noise) < -10


def test_the_phases_are_the_mixs() -> None:
    """Where the vocal is as loud as the backing at the same pitch, even the waveform is near."""
    seconds = np.arange(SAMPLES) / 44_100
    backing = (0.1 * np.sin(2 * np.pi * 500 * seconds)).astype(np.float32)[None]
    swell = np.sin(np.pi * seconds / seconds[-1]) ** 2
    vocal = (2 * swell * backing[0]).astype(np.float32)
    found = vocal_waveform(image(vocal + backing), backing, 44_100)
    assert si_sdr(found, vocal) > 12


@pytest.mark.parametrize(("target", "most"), [("mix", 16.0), ("vocals", 3.0)])
def test_the_vocal_of_the_true_image_is_the_true_vocal(song: Song, target: str, most: float) -> None:
    vocal, backing = parts(song)
    true = image(vocal)
    found = vocal_waveform(image(vocal + backing) if target == "mix" else true, backing, 44_100, target)
    assert found.shape == vocal.shape
    assert found.dtype == np.float32
    assert grey_difference(redrawn(found, true), true.pixels) < most
    together, mix = (image(wave + backing.mean(axis=0)) for wave in (found, vocal))
    assert grey_difference(redrawn(found + backing.mean(axis=0), mix), mix.pixels) < 4
    assert together.max_value == pytest.approx(mix.max_value, rel=0.1)


def test_a_mix_without_a_vocal_has_none(song: Song) -> None:
    vocal, backing = parts(song)
    found = vocal_waveform(match_level(image(backing).pixels, image(backing)), backing, 44_100)
    assert np.square(found).mean() < 1e-5 * np.square(vocal).mean()


@pytest.mark.parametrize("target", ["mix", "vocals"])
def test_silence_stays_silent(target: str) -> None:
    silence = np.zeros((2, SAMPLES), np.float32)
    assert not vocal_waveform(image(silence), silence, 44_100, target).any()


def test_over_a_silent_accompaniment_everything_is_vocal(song: Song) -> None:
    vocal, _ = parts(song)
    true = image(vocal)
    found = vocal_waveform(true, np.zeros((1, SAMPLES), np.float32), 44_100)
    assert grey_difference(redrawn(found, true), true.pixels) < 4


@pytest.mark.parametrize("rate", [22_050, 48_000])
@pytest.mark.parametrize("target", ["mix", "vocals"])
def test_songs_of_other_rates(song: Song, rate: int, target: str) -> None:
    vocal, backing = (resample(part, 44_100, rate) for part in (parts(song)[0][None], parts(song)[1]))
    mixed = resample(vocal if target == "vocals" else vocal + backing, rate, 44_100)
    found = vocal_waveform(image(mixed), backing, rate, target, iterations=4)
    assert found.shape == (mixed.shape[1],)
    assert len(found) == round(backing.shape[1] * 44_100 / rate)
    true = image(resample(vocal, rate, 44_100))
    assert grey_difference(redrawn(found, true), true.pixels) < 16


def test_more_channels_and_odd_lengths() -> None:
    backing = (0.1 * np.random.default_rng(1).standard_normal((5, 20_001))).astype(np.float32)
    assert vocal_waveform(image(backing), backing, 44_100, iterations=1).shape == (20_001,)


def test_an_image_of_another_width_is_refused() -> None:
    with pytest.raises(DataError, match="512 frames for an accompaniment of 511"):
        vocal_waveform(
            SpectrogramImage(np.full((512, 512), 255, np.uint8), 1.0), np.zeros((1, CLIP_SAMPLES - 1), np.float32), 44_100
        )


def test_long_songs_are_processed_in_blocks(song: Song, monkeypatch: pytest.MonkeyPatch) -> None:
    vocal, backing = parts(song)
    output = image(vocal + backing)
    whole = vocal_waveform(output, backing, 44_100, iterations=4)
    monkeypatch.setattr(phase, "BLOCK_FRAMES", 120)
    monkeypatch.setattr(phase, "OVERLAP_FRAMES", 30)
    by_blocks = vocal_waveform(output, backing, 44_100, iterations=4)
    true = image(vocal)
    errors = [grey_difference(redrawn(found, true), true.pixels) for found in (whole, by_blocks)]
    assert errors[1] < 1.1 * errors[0]


def test_the_excess_is_at_most_the_mix_and_nothing_where_the_backing_explains_it() -> None:
    generator = torch.Generator().manual_seed(0)
    backing = torch.rand(512, 40, generator=generator)
    before = backing.clone()
    assert not added_vocal(backing, backing).any()
    assert not added_vocal(1.3 * backing, backing).any()  # a output backing that is a little loud
    assert not added_vocal(torch.roll(backing, 1, dims=0), backing).any()  # and a band off
    torch.testing.assert_close(backing, before, rtol=0, atol=0)
    mix = backing.clone()
    mix[200:210, 10:20] += 20
    vocal = added_vocal(mix, backing)
    assert ((vocal >= 0) & (vocal <= mix)).all()
    assert vocal[203:207, 13:17].min() > 19
    assert not vocal[:190].any()

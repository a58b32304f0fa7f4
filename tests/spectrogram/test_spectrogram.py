"""The spectrogram image: Riffusion's definition, its inverse, and edge cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo.world.compose import compose
from riff.errors import DataError, OptionError
from riff.spectrogram.edges import canny_edges, save_edges
from riff.spectrogram.image import (
    SpectrogramImage,
    image_to_mel,
    image_to_waveform,
    load_grey,
    load_image,
    mel_to_image,
    save_image,
    waveform_to_image,
)
from riff.spectrogram.mel import magnitude_to_mel, mel_to_magnitude, top_frequency, waveform_to_magnitude, waveform_to_mel
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD, SpectrogramParams

ROUND_TRIP_GREY_LEVELS = 3.0  # image -> audio -> image on demo songs; 2.6 is the mean over ten (benchmarks/round_trip.py)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return compose(9, 0, 5.2).mixture.mean(axis=0)[:CLIP_SAMPLES]


def tone(frequency: float, samples: int = CLIP_SAMPLES) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * frequency * torch.arange(samples, dtype=torch.float64) / 44_100).float()


def riffusion_image(waveform: np.ndarray) -> np.ndarray:
    """Riffusion's definition straight from its formula, in float64, frame by frame."""
    n_fft, window_length, hop = 17_640, 4_410, 441
    padded = np.pad(waveform.astype(np.float64), n_fft // 2, mode="reflect")
    window = np.zeros(n_fft)
    offset = (n_fft - window_length) // 2
    window[offset : offset + window_length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_length) / window_length)
    frames = 1 + len(waveform) // hop
    magnitude = np.stack([np.abs(np.fft.rfft(padded[i * hop : i * hop + n_fft] * window)) for i in range(frames)], axis=1)
    points = 700.0 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 10_000 / 700), 514) / 2595) - 1)
    frequencies = np.linspace(0, 22_050, n_fft // 2 + 1)
    mel = np.zeros((512, frames))
    for band in range(512):
        left, centre, right = points[band : band + 3]
        weights = np.clip(np.minimum((frequencies - left) / (centre - left), (right - frequencies) / (right - centre)), 0, None)
        mel[band] = weights @ magnitude
    return np.flipud((255 - 255 * (mel / mel.max()) ** 0.25).astype(np.uint8))


def test_the_image_is_riffusions(clip: np.ndarray) -> None:
    ours = waveform_to_image(torch.from_numpy(clip)).pixels
    difference = np.abs(ours.astype(int) - riffusion_image(clip).astype(int))
    assert ours.shape == (512, 512)
    assert (difference <= 1).mean() >= 0.999


def test_a_clip_of_the_predecessors_length_is_512_frames() -> None:
    assert CLIP_SAMPLES == int(5.11 * 44_100) == 225_351
    assert STANDARD.num_frames(CLIP_SAMPLES) == 512


@pytest.mark.parametrize("index", range(5))
def test_image_to_audio_to_image(index: int) -> None:
    mixture = compose(9, index, 5.2).mixture.mean(axis=0)[:CLIP_SAMPLES]
    before = waveform_to_image(torch.from_numpy(mixture))
    sound = image_to_waveform(before)
    after = mel_to_image(waveform_to_mel(sound), max_value=before.max_value)
    assert np.abs(before.pixels.astype(int) - after.pixels).mean() < ROUND_TRIP_GREY_LEVELS
    assert sound.shape == (CLIP_SAMPLES,)
    assert float(sound.square().mean().sqrt()) == pytest.approx(float(np.sqrt(np.mean(mixture**2))), rel=0.15)


def test_loudness_survives(clip: np.ndarray) -> None:
    loud, quiet = (image_to_waveform(waveform_to_image(torch.from_numpy(clip * gain)), 8) for gain in (1.0, 0.1))
    assert float(loud.square().mean() / quiet.square().mean()) == pytest.approx(100, rel=0.01)


@given(st.integers(0, 20_000))
@settings(max_examples=15, deadline=None)
def test_silence_of_any_length_is_white_and_stays_silent(samples: int) -> None:
    image = waveform_to_image(torch.zeros(samples))
    assert image.pixels.shape == (512, 1 + samples // 441)
    assert (image.pixels == 255).all()
    sound = image_to_waveform(image, iterations=2)
    assert sound.shape == ((image.pixels.shape[1] - 1) * 441,)
    assert not sound.any()


@pytest.mark.parametrize("samples", [1, 440, 441, 4_409, 8_820, 8_821])
def test_sounds_shorter_than_a_window(samples: int) -> None:
    image = waveform_to_image(torch.ones(samples))
    assert image.pixels.shape == (512, 1 + samples // 441)
    assert image.max_value > 0
    assert torch.isfinite(image_to_waveform(image, iterations=4)).all()


def test_a_batch_equals_its_members(clip: np.ndarray) -> None:
    batch = torch.from_numpy(np.stack([clip, clip[::-1].copy()]))[:, :60_000]
    torch.testing.assert_close(waveform_to_mel(batch)[1], waveform_to_mel(batch[1]))
    assert waveform_to_mel(batch[None]).shape == (1, 2, 512, 137)


def test_mel_inversion_gives_back_the_mel(clip: np.ndarray) -> None:
    mel = waveform_to_mel(torch.from_numpy(clip))
    magnitude = mel_to_magnitude(mel)
    assert (magnitude >= 0).all()
    relative = (magnitude_to_mel(magnitude) - mel).abs().sum() / mel.abs().sum()
    assert relative < 0.02


@pytest.mark.parametrize("semitones", [-3, -1, 2, 3])
def test_a_shifted_tone_is_the_shifted_tones_image(semitones: int) -> None:
    magnitude = waveform_to_magnitude(tone(1_000, 44_100), top_hz=top_frequency(STANDARD, semitones))
    shifted = magnitude_to_mel(magnitude, semitones=semitones)
    direct = waveform_to_mel(tone(1_000 * 2 ** (semitones / 12), 44_100))
    inner = slice(10, -10)  # the outer frames hold the reflected edge
    assert (shifted.argmax(dim=0) - direct.argmax(dim=0))[inner].abs().max() <= 1
    above = magnitude_to_mel(waveform_to_magnitude(tone(11_000, 44_100), top_hz=top_frequency(STANDARD, -3)), semitones=-3)
    assert int(above[:, 50].argmax()) > 480  # comes down from above the image's top


def test_parameters_and_loudness_travel_in_the_file(tmp_path: Path, clip: np.ndarray) -> None:
    image = waveform_to_image(torch.from_numpy(clip[:50_000]))
    save_image(tmp_path / "clip.png", image)
    again = load_image(tmp_path / "clip.png")
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert again.params == STANDARD
    assert again.max_value == pytest.approx(image.max_value, rel=1e-6)
    with Image.open(tmp_path / "clip.png") as file:
        exif = file.getexif()
        assert file.mode == "RGB"
    assert [exif[tag] for tag in (11000, 11010, 11020, 11030, 11040, 11060)] == [44_100, 10, 100, 400, 512, 10_000]


def test_an_image_without_parameters_is_taken_as_standard(tmp_path: Path) -> None:
    Image.new("RGB", (20, 512), "white").save(tmp_path / "plain.png")
    assert load_image(tmp_path / "plain.png").params == SpectrogramParams()


@given(st.floats(0.01, 1e4), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_grey_levels_are_kept_by_the_way_to_mel_and_back(max_value: float, level: int) -> None:
    image = SpectrogramImage(np.full((512, 2), level, np.uint8), max_value)
    again = mel_to_image(image_to_mel(image), max_value=max_value)
    assert np.abs(again.pixels.astype(int) - level).max() <= 1


def test_edges_are_two_levels_and_survive_the_file(tmp_path: Path, clip: np.ndarray) -> None:
    edges = canny_edges(waveform_to_image(torch.from_numpy(clip)).pixels)
    assert set(np.unique(edges)) == {0, 255}
    save_edges(tmp_path / "edges.png", edges)
    np.testing.assert_array_equal(load_grey(tmp_path / "edges.png"), edges)


def test_edges_of_a_step_lie_on_the_step() -> None:
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:, 16:] = 255
    assert set(np.flatnonzero(canny_edges(pixels).any(axis=0))) <= {15, 16}
    assert not canny_edges(np.full((32, 32), 7, np.uint8)).any()


def test_bad_images_and_thresholds(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.png: cannot be read as an image"):
        load_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="no such image"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(OptionError, match="low 9 is above high"):
        canny_edges(np.zeros((4, 4), np.uint8), 9, 3)

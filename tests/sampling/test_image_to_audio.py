"""tools/image_to_audio.py: levels of this project's images and of Riffusion's, stereo, and what goes wrong in a batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo.world.compose import compose
from riff.audio.io import read_audio
from riff.errors import DataError
from riff.inspection.images import read_image
from riff.spectrogram.image import SpectrogramImage, load_channels, load_image, save_image, waveform_to_image
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import SAMPLE_SCALE, STANDARD, ExifTag, unit_maximum
from tools import image_to_audio


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Two seconds of a song, float32, shape (samples,)."""
    return np.asarray(compose(5, 0, 4.0).mixture.mean(axis=0)[:88_200], np.float32)


def riffusions_image(path: Path, *channels: np.ndarray) -> Path:
    """Write an image as Riffusion does: of 16-bit samples, one sound grey, two in green and blue under red zeros."""
    mels = [waveform_to_mel(torch.from_numpy(channel * 32_767)).numpy() for channel in channels]
    maximum = max(mel.max() for mel in mels)
    grey = [(255 - 255 * (mel / maximum) ** 0.25).astype(np.uint8)[::-1] for mel in mels]
    colours = grey * 3 if len(grey) == 1 else [np.zeros_like(grey[0]), *grey]
    exif = STANDARD.to_exif(float(maximum))
    exif[ExifTag.STEREO] = len(grey) == 2
    Image.fromarray(np.stack(colours, axis=2)).save(path, exif=exif)
    return path


def level(waveform: np.ndarray) -> float:
    """dB of full scale (root mean square)."""
    return float(10 * np.log10(np.square(waveform).mean()))


def test_riffusions_images_and_ours_come_out_at_the_sounds_own_level(
    sound: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    riffusions_image(tmp_path / "theirs.png", sound)
    save_image(tmp_path / "ours.png", waveform_to_image(torch.from_numpy(sound)))
    assert image_to_audio.main([str(tmp_path)]) == 0
    for name in ("theirs", "ours"):
        made = read_audio(tmp_path / f"{name}.wav")
        assert made.waveform.shape == (1, 88_200)
        assert level(made.waveform) == pytest.approx(level(sound), abs=1.0), name
        assert f"{name}.wav: 2.00 s, peak -" in capsys.readouterr().out or name == "ours"


def test_every_reader_takes_riffusions_maximum_as_of_16_bit_samples(sound: np.ndarray, tmp_path: Path) -> None:
    theirs, ours = riffusions_image(tmp_path / "theirs.png", sound), waveform_to_image(torch.from_numpy(sound))
    assert load_image(theirs).max_value == pytest.approx(ours.max_value, rel=1e-3)
    assert read_image(theirs).max_value == pytest.approx(ours.max_value, rel=1e-3)
    Image.fromarray(ours.to_rgb()).save(tmp_path / "bare.png")
    assert load_image(tmp_path / "bare.png").max_value == pytest.approx(30e6 / 32_768)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(20.0, 9_990.0), st.sampled_from(["sine", "square", "chirp", "noise", "signs", "clicks"])
)
def test_no_sound_at_full_scale_is_taken_for_16_bit_samples(seed: int, hz: float, kind: str) -> None:
    random, time = np.random.default_rng(seed), np.arange(8_820) / STANDARD.sample_rate
    sine = np.sin(2 * np.pi * hz * time)
    waveform = {
        "sine": sine,
        "square": np.sign(sine),
        "chirp": np.sin(2 * np.pi * (hz + random.uniform(-5_000, 5_000) * time) * time),
        "noise": random.uniform(-1, 1, len(time)),
        "signs": random.choice([-1.0, 1.0], len(time)),
        "clicks": (random.random(len(time)) < 0.01).astype(float),
    }[kind]
    maximum = waveform_to_image(torch.from_numpy(waveform.astype(np.float32))).max_value
    assert maximum < SAMPLE_SCALE / 2
    assert unit_maximum(maximum) == maximum


def test_a_stereo_image_is_a_stereo_sound(sound: np.ndarray, tmp_path: Path) -> None:
    image = riffusions_image(tmp_path / "stereo.png", sound, 0.1 * sound)
    image_to_audio.main([str(image), "--output", str(tmp_path / "sounds")])
    left, right = read_audio(tmp_path / "sounds" / "stereo.wav").waveform
    assert level(left) - level(right) == pytest.approx(20, abs=2)
    assert level(left) == pytest.approx(level(sound), abs=1.0)
    assert len(load_channels(image, stereo=False)[0]) == 1
    with pytest.raises(DataError, match=r"stereo\.png: a stereo spectrogram image"):
        load_image(image)


def test_audio_that_would_clip_is_lowered_and_its_level_reported(
    sound: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = waveform_to_image(torch.from_numpy(sound))
    Image.fromarray(image.pixels).save(tmp_path / "bare.png")
    assert image_to_audio.main([str(tmp_path / "bare.png"), "--max_value", str(30 * image.max_value)]) == 0
    assert "lowered by" in capsys.readouterr().out
    loud = read_audio(tmp_path / "bare.wav").waveform
    assert np.abs(loud).max() == pytest.approx(0.99, abs=1e-3)
    for scale in (1.0, 32_768.0):
        image_to_audio.main([str(tmp_path / "bare.png"), "--max_value", str(scale * image.max_value), "--overwrite"])
        assert level(read_audio(tmp_path / "bare.wav").waveform) == pytest.approx(level(sound), abs=1.0)
    assert "holds no maximum" not in capsys.readouterr().out
    image_to_audio.main([str(tmp_path / "bare.png"), "--overwrite"])
    assert "level not known" in capsys.readouterr().out


def test_in_a_batch_the_good_images_are_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = SpectrogramImage(np.full((512, 20), 255, np.uint8), 0.0)
    for name in ("a.png", "c.png", "e.png"):
        save_image(tmp_path / name, good)
    Image.fromarray(good.pixels).save(tmp_path / "a.webp", lossless=True)
    (tmp_path / "b.png").write_text("no image")
    (tmp_path / "c.wav").write_text("mine")
    Image.new("L", (100, 100)).save(tmp_path / "d.png")
    exif = STANDARD.to_exif(1.0)
    exif[ExifTag.SAMPLE_RATE] = 0
    Image.fromarray(good.to_rgb()).save(tmp_path / "f.png", exif=exif)
    exif = STANDARD.to_exif(1.0)
    exif[ExifTag.STEP_SIZE_MS] = 100  # as long as the window: no sound can be made of it
    Image.fromarray(good.to_rgb()).save(tmp_path / "g.png", exif=exif)
    assert image_to_audio.main([str(tmp_path)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    for line, words in zip(
        errors,
        (
            "a.webp: its audio",
            "b.png: cannot be read",
            "c.wav: is there",
            "d.png: 100 pixels",
            "f.png: its EXIF",
            "g.png: its EXIF",
        ),
        strict=True,
    ):
        assert words in line
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == ["a.wav", "c.wav", "e.wav"]
    assert (tmp_path / "c.wav").read_text() == "mine"
    assert not read_audio(tmp_path / "a.wav").waveform.any()
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        image_to_audio.main([str(tmp_path / "none")])


def test_it_runs_from_anywhere_and_not_installed(tmp_path: Path) -> None:
    save_image(tmp_path / "white.png", SpectrogramImage(np.full((512, 20), 255, np.uint8), 0.0))
    script = str(ROOT / "tools" / "image_to_audio.py")
    done = subprocess.run([sys.executable, script, "white.png"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "white.wav: 0.19 s, silent\n"


def test_an_image_of_16_bits_is_as_loud_as_one_of_8(tmp_path: Path) -> None:
    pixels = np.full((512, 20), 183, np.uint8)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_channels(tmp_path / "deep.png")[0][0].pixels, pixels)

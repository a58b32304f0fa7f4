"""The end of a loop joins its beginning, in the image and in the sound; a wide vocal keeps its mono sum."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import inpaint_song
from riff.errors import DataError
from riff.models.edit import attach_edit
from riff.models.loading import load_base
from riff.sampling.loop import from_circle, joined, to_circle
from riff.sampling.mixback import mix_back
from riff.sampling.options import EditOptions
from riff.sampling.pipelines import prepare_pipeline
from riff.sampling.rendering import looped_vocal
from riff.sampling.song import SongModel, SongSampler
from riff.sampling.windows import WindowLayout, columns_of
from riff.spectrogram.image import SpectrogramImage, waveform_to_image

RATE = 44_100


def wave(frames: int, period: float) -> np.ndarray:
    """An image that moves through all greys and closes after a period."""
    return np.round(127.5 + 100 * np.sin(2 * np.pi * np.arange(frames) / period))[None].repeat(4, axis=0).astype(np.uint8)


@pytest.mark.parametrize("period", [640.0, 641.3, 633.9])
def test_one_turn_fits_whole_columns_and_comes_back(period: float) -> None:
    frames = int(period) + 1
    circle = to_circle(wave(frames, period), period, 16)
    assert circle.shape == (4, 640)
    assert np.abs(circle.astype(int) - wave(640, 640)).max() <= 3  # stretched, and closed
    back = from_circle(circle, period, frames + 100)
    assert np.abs(back.astype(int) - wave(frames + 100, period)).max() <= 3
    if period == 640:
        assert np.array_equal(circle, wave(frames, period)[:, :640])


@pytest.mark.parametrize("frames", [512, 640, 1600])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_windows_of_a_loop_are_alike_all_the_way_round(frames: int, overlap: float) -> None:
    layout = WindowLayout(512, overlap, loop=True)
    starts = layout.starts(frames, 16)
    steps = [b - a for a, b in pairwise([*starts, starts[0] + frames])]
    assert max(steps) - min(steps) <= 16
    assert max(steps) <= 512 * (1 - overlap) or len(steps) == 1
    total = np.zeros(frames)
    for start, weight in zip(starts, layout.weights(starts, 1, frames).double().numpy(), strict=True):
        total[columns_of(start, 512, frames)] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def joint(pixels: np.ndarray) -> float:
    """Change across the joint, relative to that between other latent columns."""
    changes = np.abs(pixels.astype(float) - np.roll(pixels, 1, axis=1)).mean(axis=0)[::16]
    return float(changes[0] / changes[1:].mean())


def test_the_joint_is_as_smooth_as_the_rest(tiny_base: Path) -> None:
    pipeline = attach_edit(load_base(str(tiny_base)))
    torch.nn.init.normal_(pipeline.unet.conv_in.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    model = SongModel(prepare_pipeline(pipeline), EditOptions(2), "mix")
    backing = SpectrogramImage(np.random.default_rng(0).integers(0, 256, (64, 257), dtype=np.uint8), 1.0)
    layout = WindowLayout(128)
    image = SongSampler(model, backing, "add a vocal", layout=layout, period=256.0).sample(0).pixels
    assert image.shape == (64, 257)
    assert np.array_equal(image[:, 256], image[:, 0])  # the frame after a turn is its first
    assert joint(image[:, :256]) < 1.3 < joint(SongSampler(model, backing, "add a vocal", layout=layout).sample(0).pixels[:, :256])
    for period, regions, message in ((100.0, (), "is shorter than the model's window"), (256.0, [(0, 99)], "as a whole")):
        with pytest.raises(DataError, match=message):
            SongSampler(model, backing, "add a vocal", regions=regions, layout=layout, period=period)


def test_what_follows_is_faded_into_the_beginning() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 50_000)).astype(np.float32)
    turn = joined(noise, 40_000)
    assert np.array_equal(turn[:, 10_000:], noise[:, 10_000:40_000])
    assert turn[:, 0] == pytest.approx(noise[:, 40_000], abs=1e-3)  # goes on from the end
    assert np.square(turn[:, :10_000]).mean() == pytest.approx(1, abs=0.05)  # unrelated phases: the power stays
    with pytest.raises(DataError, match="goes on after them"):
        joined(noise, 50_000)


def test_a_tone_has_no_click_at_the_joint() -> None:
    """220.5 Hz for 2 s and a quarter of a period: cut there, it would jump to its peak."""
    tone = 0.3 * np.sin(2 * np.pi * 220.5 * np.arange(2 * RATE + 50) / RATE).astype(np.float32)
    image = waveform_to_image(torch.from_numpy(tone))
    turn = looped_vocal(image, np.zeros((1, len(tone)), np.float32), RATE, "vocals", iterations=4)
    assert turn.shape == tone.shape
    changes = np.abs(np.diff(turn))
    assert abs(turn[0] - turn[-1]) <= changes[1000:-1000].max() * 1.1


def test_a_wide_vocal_keeps_its_mono_sum() -> None:
    rng = np.random.default_rng(0)
    vocal, backing = (rng.standard_normal((channels, 2 * RATE)).astype(np.float32) * 0.05 for channels in (1, 2))
    mono, wide = (mix_back(vocal[0], backing, RATE, gain_db=0.0, stereo=stereo) for stereo in (False, True))
    assert np.abs(wide.vocal.mean(axis=0) - mono.vocal.mean(axis=0)).max() < 1e-6
    assert 0.6 < np.corrcoef(wide.vocal)[0, 1] < 0.9
    assert np.array_equal(wide.mix, wide.accompaniment + wide.vocal)
    spectrum = np.abs(np.fft.rfft(wide.vocal[0] - wide.vocal[1]))
    hertz = np.fft.rfftfreq(2 * RATE, 1 / RATE)
    assert spectrum[hertz < 60].mean() < 0.1 * spectrum[hertz > 1000].mean()
    narrow, asked = (mix_back(vocal[0], backing[:1], RATE, gain_db=0.0, stereo=stereo).vocal for stereo in (False, True))
    assert np.array_equal(narrow, asked)  # one channel has no width


def test_a_loop_has_no_parts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        inpaint_song.parse_args(["--audio", "x.wav", "--loop", "--start", "1", "--end", "2"])
    assert "--loop gives the whole loop a new vocal" in capsys.readouterr().err

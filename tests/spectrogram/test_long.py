"""Songs of any length to an image and back in blocks give the result of a single pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.world.compose import compose
from riff.metrics.sounds import si_sdr
from riff.spectrogram import mel as mel_module
from riff.spectrogram import phase
from riff.spectrogram.image import image_to_mel, mel_to_image, waveform_to_image
from riff.spectrogram.mel import magnitude_to_mel, waveform_to_magnitude, waveform_to_mel
from riff.spectrogram.params import STANDARD
from riff.spectrogram.phase import griffin_lim, mel_to_waveform

WINDOW, HOP = 2_400, 240


@pytest.fixture(scope="module")
def song() -> torch.Tensor:
    return torch.from_numpy(compose(9, 0, 10.0).mixture)


def window_phases(waveform: torch.Tensor) -> torch.Tensor:
    spectrum = torch.stft(waveform, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)
    return spectrum / spectrum.abs().clamp_min(1e-9)


@given(samples=st.integers(1, 80_000), block=st.integers(20, 150))
@settings(max_examples=10, deadline=None)
def test_an_image_by_blocks_is_the_image(song: torch.Tensor, samples: int, block: int) -> None:
    part = song[:, 60_000 : 60_000 + samples]
    whole = magnitude_to_mel(waveform_to_magnitude(part.mean(dim=0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mel_module, "BLOCK_FRAMES", block)
        by_blocks = waveform_to_mel(part.mean(dim=0))
        image = waveform_to_image(part)
    torch.testing.assert_close(by_blocks, whole, rtol=1e-5, atol=1e-5 * float(whole.max()))
    at_once = mel_to_image(whole)
    assert image.max_value == pytest.approx(at_once.max_value, rel=1e-6)
    assert image.pixels.shape == at_once.pixels.shape == (512, 1 + samples // 441)
    difference = np.abs(image.pixels.astype(int) - at_once.pixels)
    assert difference.max() <= 1  # a value on the border between two levels
    assert (difference > 0).mean() < 1e-3


def test_no_transform_is_longer_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def watched(waveform: torch.Tensor, *rest):  # type: ignore[no-untyped-def]
        lengths.append(STANDARD.num_frames(waveform.shape[-1]))
        return waveform_to_magnitude(waveform, *rest)

    monkeypatch.setattr(mel_module, "waveform_to_magnitude", watched)
    monkeypatch.setattr(mel_module, "BLOCK_FRAMES", 64)
    waveform_to_mel(torch.zeros(2, 441 * 1_000))
    assert len(lengths) == 16
    assert max(lengths) <= 65 + 2 * 41  # and the surroundings that the outer frames see


def test_block_borders_are_inaudible(song: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    image = waveform_to_image(song)
    mel = image_to_mel(image)
    monkeypatch.setattr(phase, "BLOCK_FRAMES", 450)
    monkeypatch.setattr(phase, "OVERLAP_FRAMES", 50)
    sound = mel_to_waveform(mel, iterations=16)
    assert sound.shape == ((mel.shape[1] - 1) * 441,)
    redrawn = mel_to_image(waveform_to_mel(sound), max_value=image.max_value)
    error = np.abs(redrawn.pixels.astype(int) - image.pixels).mean(axis=0)
    level = (image_to_mel(redrawn).square().sum(dim=0) / mel.square().sum(dim=0)).sqrt().numpy()
    joint = np.zeros(len(error), bool)
    for start in (400, 800):
        joint[start : start + 50] = True
    assert error[joint].mean() < 1.15 * error[~joint].mean()
    assert level[joint].mean() == pytest.approx(level[~joint].mean(), rel=0.03)
    # The blocks do not know each other's phases, and without a start from them the fade between them loses level.
    monkeypatch.setattr(phase, "griffin_lim", lambda *args, start=None, **more: griffin_lim(*args, **more))
    apart = mel_to_waveform(mel, iterations=16)
    lost = waveform_to_mel(apart).square().sum(dim=0).sqrt().numpy() / mel.square().sum(dim=0).sqrt().numpy()
    assert lost[joint].mean() < 0.95 * lost[~joint].mean()


def test_what_fits_in_one_block_is_reconstructed_as_a_whole(song: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    mel = waveform_to_mel(song[:, : 441 * 299].mean(dim=0))
    before = mel_to_waveform(mel, iterations=2)
    monkeypatch.setattr(phase, "BLOCK_FRAMES", mel.shape[1])
    torch.testing.assert_close(mel_to_waveform(mel, iterations=2), before, rtol=0, atol=0)
    monkeypatch.setattr(phase, "BLOCK_FRAMES", mel.shape[1] - 1)
    assert not torch.equal(mel_to_waveform(mel, iterations=2), before)


@given(frames=st.integers(1, 60), block=st.integers(12, 30), overlap=st.integers(1, 8), batch=st.booleans())
@settings(max_examples=20, deadline=None)
def test_blocks_of_any_size_give_every_sample(frames: int, block: int, overlap: int, batch: bool) -> None:
    tone = torch.sin(torch.arange(441 * 60) * (2 * torch.pi * 1_000 / 44_100))
    mel = waveform_to_mel(tone)[:, :frames]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase, "BLOCK_FRAMES", block)
        patch.setattr(phase, "OVERLAP_FRAMES", overlap)
        sound = mel_to_waveform(mel.expand(2, -1, -1) if batch else mel, iterations=2)
    assert sound.shape == ((2, (frames - 1) * 441) if batch else ((frames - 1) * 441,))
    assert torch.isfinite(sound).all()
    hundredths = sound.reshape(*sound.shape[:-1], frames - 1, 441).square().mean(dim=-1)
    assert (hundredths > 1e-3).all()  # no gap


def test_a_start_with_the_right_phases_keeps_the_waveform(song: torch.Tensor) -> None:
    mono = song.mean(dim=0)[: 441 * 300]
    mel = waveform_to_mel(mono)
    blind, started = (mel_to_waveform(mel, iterations=8, start=start) for start in (None, mono))
    assert si_sdr(started.numpy(), mono[: len(started)].numpy()) > 12
    assert si_sdr(blind.numpy(), mono[: len(blind)].numpy()) < 0
    # Without a round the phases are the start's own, wherever that has any.
    magnitude = torch.rand(1_201, 21, generator=torch.Generator().manual_seed(1)) + 0.1
    begin = torch.randn(HOP * 20, generator=torch.Generator().manual_seed(2))
    plain = torch.istft(magnitude * window_phases(begin), WINDOW, HOP, window=torch.hann_window(WINDOW), length=HOP * 20)
    torch.testing.assert_close(griffin_lim(magnitude, WINDOW, HOP, iterations=0, start=begin), plain, rtol=1e-3, atol=1e-4)


def test_a_silent_start_is_ignored(song: torch.Tensor) -> None:
    mel = waveform_to_mel(song.mean(dim=0)[: 441 * 50])
    expected = mel_to_waveform(mel, iterations=3, seed=4)
    for silence in (torch.zeros(441 * 49), torch.zeros(10), torch.zeros(441 * 99)):  # cut, or followed by silence
        torch.testing.assert_close(mel_to_waveform(mel, iterations=3, seed=4, start=silence), expected, rtol=0, atol=0)

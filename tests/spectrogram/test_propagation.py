"""Phases from magnitudes alone, and the iterations they save."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demo.world.compose import compose
from riff.spectrogram.image import image_to_waveform, mel_to_image, waveform_to_image
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.phase import griffin_lim, mel_to_waveform, propagate_phases

WINDOW, HOP = 2_400, 240


def spectrum_of(waveform: torch.Tensor) -> torch.Tensor:
    return torch.stft(waveform, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)


def tone(frequency: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * frequency * torch.arange(round(24_000 * seconds), dtype=torch.float64) / 24_000).float()


def inconsistency(magnitude: torch.Tensor, waveform: torch.Tensor) -> float:
    """Spectral convergence: the distance of a waveform's magnitude from the target, over the target's norm."""
    inner = slice(10, -10)  # the outer frames hold the reflected edge
    return float((spectrum_of(waveform).abs() - magnitude)[:, inner].norm() / magnitude[:, inner].norm())


@pytest.mark.parametrize("frequencies", [(440.0,), (333.3,), (220.0, 277.2, 329.6, 1_234.5)])
def test_steady_tones_need_no_iterations(frequencies: tuple[float, ...]) -> None:
    sound = torch.stack([tone(frequency) for frequency in frequencies]).sum(dim=0)
    magnitude = spectrum_of(sound).abs()
    ready, random = (griffin_lim(magnitude, WINDOW, HOP, iterations=0, propagate=way) for way in (True, False))
    assert inconsistency(magnitude, ready) < 0.1
    assert inconsistency(magnitude, random) > 0.5


def test_a_glide_needs_no_iterations() -> None:
    seconds = torch.arange(24_000, dtype=torch.float64) / 24_000
    sound = 0.3 * torch.sin(2 * torch.pi * (300 * seconds + 200 * seconds**2)).float()
    magnitude = spectrum_of(sound).abs()
    assert inconsistency(magnitude, griffin_lim(magnitude, WINDOW, HOP, iterations=0, propagate=True)) < 0.15


@pytest.mark.parametrize("index", range(3))
def test_sixteen_iterations_are_better_than_sixty_four_from_random_phases(index: int) -> None:
    image = waveform_to_image(torch.from_numpy(compose(9, index, 3.0).mixture))

    def error(iterations: int, propagate: bool) -> float:
        sound = image_to_waveform(image, iterations, propagate=propagate)
        return float(
            np.abs(mel_to_image(waveform_to_mel(sound), max_value=image.max_value).pixels.astype(int) - image.pixels).mean()
        )

    assert error(16, True) < error(64, False)


def test_known_phases_are_kept_and_continued() -> None:
    true = spectrum_of(tone(440.0))
    magnitude, angles = true.abs().numpy(), true.angle().numpy()
    known = np.zeros(magnitude.shape, bool)
    known[:, :50] = True
    found = propagate_phases(magnitude, HOP, np.where(known, angles, 0.0), known)
    error = np.angle(np.exp(1j * (found - angles)))
    np.testing.assert_allclose(error[:, :50], 0, atol=1e-4)
    assert np.abs(error[44, 50:-10]).max() < 0.5  # the tone's own bin, half a second later


def test_a_batch_equals_its_members_and_silence_stays_silent() -> None:
    mel = waveform_to_mel(torch.stack([tone(440.0), tone(555.0), torch.zeros(24_000)]))
    together = mel_to_waveform(mel, iterations=2, seed=3, propagate=True)
    torch.testing.assert_close(together[1], mel_to_waveform(mel[1], iterations=2, seed=3, propagate=True), atol=1e-4, rtol=0)
    assert not together[2].any()
    for frames in (1, 2, 3):
        assert mel_to_waveform(mel[:, :, :frames], iterations=1, propagate=True).shape == (3, (frames - 1) * 441)


def test_flat_and_empty_spectra_have_phases() -> None:
    for magnitude in (np.zeros((11, 4)), np.ones((11, 4)), np.ones((11, 1))):
        found = propagate_phases(magnitude, 2, np.zeros(magnitude.shape))
        assert found.shape == magnitude.shape
        assert ((found >= 0) & (found <= 2 * np.pi + 1e-6)).all()

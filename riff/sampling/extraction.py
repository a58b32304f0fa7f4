"""The vocal out of what a model painted, as sound."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from riff.audio.io import resample
from riff.spectrogram.image import SpectrogramImage, image_to_mel
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import STANDARD
from riff.spectrogram.phase import mel_to_waveform

NEIGHBOURHOOD = np.ones((3, 3))  # bands, frames: over which a painted backing may be smeared
TAKEN_AWAY = 2.0  # times the backing's energy, so that what scatters in its painting is no vocal


def vocal_waveform(
    painted: SpectrogramImage, accompaniment: np.ndarray, sample_rate: int, target: str, iterations: int = 16
) -> np.ndarray:
    """The painted vocal's sound.

    Of a painted mix the vocal is what its energies hold beyond the accompaniment's, by a mask
    sqrt(max(0, M**2 - 2 B**2)) / M on its mel bands, where B is the loudest of the accompaniment nearby.

    Args:
        painted: at its level, of the whole song. target: what it shows, `mix` or `vocals`.
        accompaniment: float32, shape (channels, samples) at `sample_rate`. iterations: rounds of phase reconstruction.

    Returns:
        float32, mono at 44.1 kHz, shape (samples,), as long as the accompaniment.
    """
    mel = image_to_mel(painted)
    if target == "mix":
        mono = resample(accompaniment.mean(axis=0, keepdims=True, dtype=np.float32), sample_rate, STANDARD.sample_rate)[0]
        mel = mel * _vocal_mask(mel, waveform_to_mel(torch.from_numpy(mono)))
    samples = round(accompaniment.shape[1] * STANDARD.sample_rate / sample_rate)
    waveform = mel_to_waveform(mel, painted.params, iterations, propagate=True).numpy()[:samples]
    return np.pad(waveform, (0, samples - len(waveform)))  # the picture's last frame may end a hop before the song


def _vocal_mask(mix: torch.Tensor, backing: torch.Tensor) -> torch.Tensor:
    """float32, shape (n_mels, frames), [0, 1], of two mel spectrograms of that shape."""
    loudest = torch.from_numpy(cv2.dilate(backing.numpy(), NEIGHBOURHOOD))
    mask = (mix.square() - TAKEN_AWAY * loudest.square()).clamp_min(0).sqrt() / mix.clamp_min(1e-9)
    return torch.from_numpy(cv2.GaussianBlur(mask.numpy(), (0, 0), 1.0))

"""The new vocal's waveform from a model's output: an image of the whole mix, or of the vocal alone."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from riff.audio.io import resample, to_channels
from riff.errors import DataError
from riff.spectrogram.image import SpectrogramImage, image_to_mel
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.phase import mel_to_waveform

NEIGHBOURHOOD = (3, 3)  # bands, frames: how far a generated backing may be displaced
EXCESS_FACTOR = 2.0  # 3 dB: the backing's energy is subtracted with this factor
SMOOTHING = 1.0  # bands and frames, the standard deviation


def vocal_waveform(
    painted: SpectrogramImage,
    accompaniment: np.ndarray,
    sample_rate: int,
    target: str = "mix",
    iterations: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """Reconstruct the vocal that a model generated for an accompaniment.

    Of a generated mix the vocal is the excess over the accompaniment's own spectrogram (`added_vocal`). Its phases are those of
    the mix, which is reconstructed from the accompaniment's phases, so that residual backing in the vocal is in phase with the
    accompaniment.

    Args:
        painted: the model's output at its level, as wide as the accompaniment's own image.
        accompaniment: float32, shape (channels, samples) at `sample_rate`.
        target: what the image shows, the whole `mix` or the `vocals` alone.
        iterations: Griffin-Lim iterations.

    Returns:
        float32, shape (samples,) at the image's sample rate, 44.1 kHz, as long as the accompaniment.

    Raises:
        DataError: an image of another width.
    """
    params = painted.params
    backing = torch.from_numpy(resample(to_channels(accompaniment, 1), sample_rate, params.sample_rate)[0])
    frames = params.num_frames(len(backing))
    if painted.pixels.shape[1] != frames:
        raise DataError(f"an image of {painted.pixels.shape[1]} frames for an accompaniment of {frames}; give both the same length")
    mel = image_to_mel(painted)
    if target == "mix":
        mix = mel_to_waveform(mel, params, iterations, seed, start=backing, propagate=True)
        mel = added_vocal(mel, waveform_to_mel(backing, params))
        vocal = mel_to_waveform(mel, params, 0, seed, start=mix)
    else:
        vocal = mel_to_waveform(mel, params, iterations, seed, propagate=True)
    return np.pad(vocal.numpy(), (0, len(backing) - len(vocal)))


def added_vocal(mix: torch.Tensor, backing: torch.Tensor) -> torch.Tensor:
    """Spectral subtraction of the backing from a mix.

    Phases are unknown, so energies are subtracted: vocal = sqrt(mix**2 - 2 backing**2). The backing is dilated by a band and a
    frame, since a generated one is blurred, and weighted twice, since it differs from the true one. The vocal's share of the mix
    is smoothed against musical noise.

    Args:
        mix, backing: float32, shape (n_mels, frames), at one level.

    Returns:
        float32, the same shape, [0, mix].
    """
    magnitude, share = mix.numpy(), backing.numpy().copy()
    cv2.dilate(share, np.ones(NEIGHBOURHOOD), dst=share)
    # In place, because an hour's spectrogram is 0.7 GB.
    np.square(share, out=share)
    share *= -EXCESS_FACTOR
    share += np.square(magnitude)
    np.sqrt(np.maximum(share, 0.0, out=share), out=share)
    share /= np.maximum(magnitude, np.finfo(np.float32).tiny)
    cv2.GaussianBlur(share, (0, 0), SMOOTHING, dst=share)
    share *= magnitude
    return torch.from_numpy(share)

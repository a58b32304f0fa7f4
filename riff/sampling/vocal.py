"""The new vocal out of what a model painted: a picture of the whole mix, or of the vocal alone."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from riff.audio.io import resample, to_channels
from riff.errors import DataError
from riff.spectrogram.image import SpectrogramImage, image_to_mel
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.phase import mel_to_waveform

NEIGHBOURHOOD = (3, 3)  # bands, frames: how far off a painted backing may lie
EXCESS_FACTOR = 2.0  # 3 dB: how far above the backing's energy counts as the vocal's
SMOOTHING = 1.0  # bands and frames, the standard deviation


def vocal_waveform(
    painted: SpectrogramImage,
    accompaniment: np.ndarray,
    sample_rate: int,
    target: str = "mix",
    iterations: int = 16,
    seed: int = 0,
) -> np.ndarray:
    """Hear the vocal that a model painted for an accompaniment.

    Of a painted mix the vocal is what exceeds the accompaniment's own picture (`added_vocal`). Its phases are those of the mix,
    which is reconstructed from the accompaniment's phases, so that what is left of the backing in the vocal adds to the
    accompaniment as one sound.

    Args:
        painted: the picture at its level, as wide as the accompaniment's own at the picture's sample rate.
        accompaniment: float32, shape (channels, samples) at `sample_rate`.
        target: what the picture shows, the whole `mix` or the `vocals` alone.
        iterations: Griffin-Lim rounds.

    Returns:
        float32, shape (samples,) at the picture's sample rate, 44.1 kHz, as long as the accompaniment.

    Raises:
        DataError: a picture of another width.
    """
    params = painted.params
    backing = torch.from_numpy(resample(to_channels(accompaniment, 1), sample_rate, params.sample_rate)[0])
    frames = params.num_frames(len(backing))
    if painted.pixels.shape[1] != frames:
        raise DataError(f"a picture of {painted.pixels.shape[1]} frames for an accompaniment of {frames}; cut one to the other")
    mel = image_to_mel(painted)
    if target == "mix":
        mix = mel_to_waveform(mel, params, iterations, seed, start=backing, propagate=True)
        mel = added_vocal(mel, waveform_to_mel(backing, params))
        sound = mel_to_waveform(mel, params, 0, seed, start=mix)
    else:
        sound = mel_to_waveform(mel, params, iterations, seed, propagate=True)
    return np.pad(sound.numpy(), (0, len(backing) - len(sound)))


def added_vocal(mix: torch.Tensor, backing: torch.Tensor) -> torch.Tensor:
    """The magnitudes of a mix that its backing does not explain.

    Their phases being unknown, energies are taken apart: vocal = sqrt(mix**2 - 2 backing**2), where the backing counts as the
    loudest within a band and a frame, since a painted one is blurred, and twice, since it is never quite the true one. The
    share that is left of the mix is smoothed, so that single points do not ring.

    Args:
        mix, backing: float32, shape (n_mels, frames), at one level.

    Returns:
        float32, of that shape, in [0, mix].
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

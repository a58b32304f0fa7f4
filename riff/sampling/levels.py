"""Levels of a model's output: an image is relative to its own unknown maximum."""

from __future__ import annotations

import numpy as np
import torch

from riff.spectrogram.image import SpectrogramImage, combine_images, image_to_mel
from riff.spectrogram.level import level_ratio

UNKNOWN_LEVEL = 400.0  # mel maximum of a mix that peaks at about -2 dB; an edge map alone has no level
VOCAL_LEVEL_DB = 3.0  # the median over the demo songs, in the frames with a vocal
VOICED = 0.01  # of the loudest frame's energy


def output_at_level(
    pixels: np.ndarray, backing: SpectrogramImage, target: str = "mix", vocal_db: float = VOCAL_LEVEL_DB
) -> SpectrogramImage:
    """A model's output at its estimated level.

    Args:
        pixels: uint8, shape (n_mels, frames). target: what it shows, the whole `mix` or the `vocals` alone.
        vocal_db: level of generated `vocals` relative to the backing.
    """
    return vocal_at_level(pixels, backing, vocal_db) if target == "vocals" else match_level(pixels, backing)


def mix_image(output: SpectrogramImage, backing: SpectrogramImage, target: str = "mix") -> SpectrogramImage:
    """The image of the mix: the output itself, or backing and output combined for a model that generates `vocals`."""
    return combine_images(backing, output) if target == "vocals" else output


def match_level(pixels: np.ndarray, accompaniment: SpectrogramImage) -> SpectrogramImage:
    """Set a sample's maximum so that its accompaniment is as loud as the given one.

    A generated image is relative to its own unknown maximum, which `level_ratio` estimates.

    Args:
        pixels: uint8, shape (n_mels, frames), the sample.

    Returns:
        The sample with `max_value` between a 16th of the accompaniment's and 16 times as much.
    """
    ratio = level_ratio(accompaniment.pixels, pixels, accompaniment.params)
    return SpectrogramImage(pixels, (accompaniment.max_value or 1.0) / ratio, accompaniment.params)


def vocal_at_level(pixels: np.ndarray, backing: SpectrogramImage, level_db: float = VOCAL_LEVEL_DB) -> SpectrogramImage:
    """Set the maximum of a generated vocal's image, which has no level of its own.

    Args:
        pixels: uint8, shape (n_mels, frames).
        level_db: the vocal's energy relative to the backing's, summed over the frames with more than 1 % of the energy of the
            vocal's loudest frame. It applies to an image whose darkest pixel is black; paler ones, the usual output for a clip
            without a vocal, are quieter in proportion.
    """
    vocal = image_to_mel(SpectrogramImage(pixels, 1.0, backing.params))
    # Energies, shape (frames,), without a copy of an hour's spectrogram.
    energies, backing_energies = (torch.linalg.vector_norm(mel, dim=0).square() for mel in (vocal, image_to_mel(backing)))
    voiced = energies > VOICED * energies.max()
    energy, target_energy = float(energies[voiced].sum()), float(backing_energies[voiced].sum()) * 10 ** (level_db / 10)
    if energy == 0 or target_energy == 0:
        return SpectrogramImage(pixels, backing.max_value or UNKNOWN_LEVEL, backing.params)
    return SpectrogramImage(pixels, float(vocal.max()) * (target_energy / energy) ** 0.5, backing.params)


def without_clipping(waveform: np.ndarray) -> np.ndarray:
    """Scale a waveform that would clip to a peak of 0.99; float32, any shape."""
    return waveform / max(1.0, float(np.abs(waveform).max(initial=0.0)) / 0.99)

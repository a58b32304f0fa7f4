"""From a song's waveforms to the images that a model is given, and from its output to the mix over the untouched backing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from riff.audio.io import resample, to_channels
from riff.sampling.mixback import VOCAL_LU, Mix, OutsideRegions, crossfade_gain, mix_back, original_vocal_lu
from riff.sampling.vocal import vocal_waveform
from riff.separation.song import Song
from riff.spectrogram.image import SILENCE, SpectrogramImage, waveform_to_image
from riff.spectrogram.params import STANDARD

Regions = Sequence[tuple[float, float]]  # (start, end) in seconds


def backing_image(song: Song, device: str = "cpu") -> SpectrogramImage:
    """The spectrogram image of a song's accompaniment."""
    return _image(song.accompaniment, song.sample_rate, device)


def known_image(
    song: Song, backing: SpectrogramImage, target: str, keep_original_vocal: bool = True, device: str = "cpu"
) -> SpectrogramImage:
    """The spectrogram image outside the regions to generate.

    Args:
        backing: `backing_image`.
        target: what the model generates. For a `mix` the image is that of the song, for `vocals` that of its vocal.
        keep_original_vocal: False leaves the original vocal out.
    """
    if keep_original_vocal:
        return _image(song.waveform if target == "mix" else song.vocals, song.sample_rate, device)
    return backing if target == "mix" else SpectrogramImage(np.full_like(backing.pixels, SILENCE), 0.0, backing.params)


def _image(waveform: np.ndarray, rate: int, device: str) -> SpectrogramImage:
    mono = resample(to_channels(waveform, 1), rate, STANDARD.sample_rate)
    return waveform_to_image(torch.from_numpy(mono[0]).to(device))


def in_frames(regions: Regions, image: SpectrogramImage) -> list[tuple[int, int]]:
    """Regions in seconds as (first, end) frames of an image."""
    per_second, frames = 1000 / image.params.step_size_ms, image.pixels.shape[1]
    return [(int(start * per_second), min(frames, int(np.ceil(end * per_second)) + 1)) for start, end in regions]


def render_mix(
    song: Song,
    painted: SpectrogramImage,
    target: str,
    regions: Regions = (),
    gain_db: float | None = None,
    fade_s: float = 0.05,
    keep_original_vocal: bool = True,
    iterations: int = 16,
    vocal_lu: float | None = None,
) -> Mix:
    """The song with the new vocal over its accompaniment.

    Outside the regions, if there are any, the mix is the song, sample for sample (or its accompaniment, without the original
    vocal). One gain lowers the whole mix where the song or accompaniment alone exceeds full scale (`mix_back`).

    Args:
        painted, target: a model's output, and whether it is a `mix` or `vocals`. gain_db: None for a gain by loudness.
        iterations: Griffin-Lim iterations. fade_s: length of the cross-fades at the borders of regions, inside them.
        vocal_lu: loudness of the vocal relative to the accompaniment (default: `new_vocal_lu`).
    """
    if vocal_lu is None:
        vocal_lu = new_vocal_lu(song)
    vocal = vocal_waveform(painted, song.accompaniment, song.sample_rate, target, iterations)
    if not regions:
        return mix_back(vocal, song.accompaniment, song.sample_rate, gain_db, vocal_lu=vocal_lu)
    gain = crossfade_gain(song.waveform.shape[1], song.sample_rate, regions, fade_s)
    outside = OutsideRegions(song.waveform if keep_original_vocal else song.accompaniment, gain)
    return mix_back(vocal, song.accompaniment, song.sample_rate, gain_db, outside, vocal_lu)


def new_vocal_lu(song: Song) -> float:
    """Loudness of a new vocal relative to the accompaniment: that of the original vocal, else that of real songs."""
    original = original_vocal_lu(song.vocals, song.accompaniment, song.sample_rate)
    return VOCAL_LU if original is None else original

"""A whole song before and after: the pictures that a model is given, and the sound of what it paints over the untouched backing."""

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
    """The picture of a song's accompaniment."""
    return _picture(song.accompaniment, song.sample_rate, device)


def known_image(
    song: Song, backing: SpectrogramImage, target: str, keep_original_vocal: bool = True, device: str = "cpu"
) -> SpectrogramImage:
    """The picture of what stands where nothing is painted.

    Args:
        backing: `backing_image`.
        target: what a model paints. For a `mix` the picture is that of the song, for `vocals` that of its vocal.
        keep_original_vocal: False takes the original vocal out of it.
    """
    if keep_original_vocal:
        return _picture(song.waveform if target == "mix" else song.vocals, song.sample_rate, device)
    return backing if target == "mix" else SpectrogramImage(np.full_like(backing.pixels, SILENCE), 0.0, backing.params)


def _picture(waveform: np.ndarray, rate: int, device: str) -> SpectrogramImage:
    mono = resample(to_channels(waveform, 1), rate, STANDARD.sample_rate)
    return waveform_to_image(torch.from_numpy(mono[0]).to(device))


def in_frames(regions: Regions, picture: SpectrogramImage) -> list[tuple[int, int]]:
    """The (first, end) frames of a picture that hold each region."""
    per_second, frames = 1000 / picture.params.step_size_ms, picture.pixels.shape[1]
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
    """The song with the painted vocal: over its accompaniment, and outside the regions, if there are any, as it was.

    Outside the regions the mix is the song, sample for sample (or its accompaniment, without the original vocal); all of it is
    lowered by one gain where that alone exceeds full scale (`mix_back`).

    Args:
        painted, target: what a model painted, and of which kind it is. gain_db, iterations: None for a gain by loudness, and
            rounds of phase reconstruction.
        fade_s: length of the cross-fades at the borders of regions, inside them.
        vocal_lu: how loud the vocal is to be over the accompaniment (default: `new_vocal_lu`).
    """
    if vocal_lu is None:
        vocal_lu = new_vocal_lu(song)
    vocal = vocal_waveform(painted, song.accompaniment, song.sample_rate, target, iterations)
    if not regions:
        return mix_back(vocal, song.accompaniment, song.sample_rate, gain_db, vocal_lu=vocal_lu)
    heard = crossfade_gain(song.waveform.shape[1], song.sample_rate, regions, fade_s)
    outside = OutsideRegions(song.waveform if keep_original_vocal else song.accompaniment, heard)
    return mix_back(vocal, song.accompaniment, song.sample_rate, gain_db, outside, vocal_lu)


def new_vocal_lu(song: Song) -> float:
    """How loud a new vocal is to be over the accompaniment: as the song's own was, or as real ones are where it had hardly any."""
    own = original_vocal_lu(song.vocals, song.accompaniment, song.sample_rate)
    return VOCAL_LU if own is None else own

"""From a song's waveforms to the images that a model is given, and from its output to the mix over the untouched backing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from riff.audio.io import resample, to_channels
from riff.devices import signal_device
from riff.errors import DataError
from riff.sampling.loop import JOINT_S, joined
from riff.sampling.mixback import VOCAL_LU, Mix, OutsideRegions, crossfade_gain, mix_back, original_vocal_lu
from riff.separation.song import Song
from riff.spectrogram.image import SILENCE, SpectrogramImage, image_to_mel, waveform_to_image
from riff.spectrogram.mel import waveform_to_mel
from riff.spectrogram.params import STANDARD
from riff.spectrogram.phase import mel_to_waveform

Regions = Sequence[tuple[float, float]]  # (start, end) in seconds
NEIGHBOURHOOD = (3, 3)  # bands, frames: how far a generated backing may be displaced
EXCESS_FACTOR = 2.0  # 3 dB: the backing's energy is subtracted with this factor
SMOOTHING = 1.0  # bands and frames, the standard deviation


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
    return waveform_to_image(torch.from_numpy(mono[0]).to(signal_device(device)))


def in_frames(regions: Regions, image: SpectrogramImage) -> list[tuple[int, int]]:
    """Regions in seconds as (first, end) frames of an image."""
    per_second, frames = 1000 / image.params.step_size_ms, image.pixels.shape[1]
    return [(int(start * per_second), min(frames, int(np.ceil(end * per_second)) + 1)) for start, end in regions]


def render_mix(
    song: Song,
    output: SpectrogramImage,
    target: str,
    regions: Regions = (),
    gain_db: float | None = None,
    fade_s: float = 0.05,
    keep_original_vocal: bool = True,
    iterations: int = 16,
    vocal_lu: float | None = None,
    loop: bool = False,
    stereo: bool = False,
) -> Mix:
    """The song with the new vocal over its accompaniment.

    Outside the regions, if there are any, the mix is the song, sample for sample (or its accompaniment, without the original
    vocal). One gain lowers the whole mix where the song or accompaniment alone exceeds full scale (`mix_back`).

    Args:
        output, target: a model's output, and whether it is a `mix` or `vocals`. gain_db: None for a gain by loudness.
        iterations: Griffin-Lim iterations. fade_s: length of the cross-fades at the borders of regions, inside them.
        vocal_lu: loudness of the vocal relative to the accompaniment (default: `new_vocal_lu`).
        loop: the song is one turn of a loop. stereo: as of `mix_back`.
    """
    if vocal_lu is None:
        vocal_lu = new_vocal_lu(song)
    reconstruct = looped_vocal if loop else vocal_waveform
    vocal = reconstruct(output, song.accompaniment, song.sample_rate, target, iterations)
    if not regions:
        return mix_back(vocal, song.accompaniment, song.sample_rate, gain_db, vocal_lu=vocal_lu, stereo=stereo)
    gain = crossfade_gain(song.waveform.shape[1], song.sample_rate, regions, fade_s)
    outside = OutsideRegions(song.waveform if keep_original_vocal else song.accompaniment, gain)
    return mix_back(vocal, song.accompaniment, song.sample_rate, gain_db, outside, vocal_lu, stereo)


def new_vocal_lu(song: Song) -> float:
    """Loudness of a new vocal relative to the accompaniment: that of the original vocal, else that of real songs."""
    original = original_vocal_lu(song.vocals, song.accompaniment, song.sample_rate)
    return VOCAL_LU if original is None else original


def vocal_waveform(
    output: SpectrogramImage,
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
        output: the model's output at its level, as wide as the accompaniment's own image.
        accompaniment: float32, shape (channels, samples) at `sample_rate`.
        target: what the image shows, the whole `mix` or the `vocals` alone.
        iterations: Griffin-Lim iterations.

    Returns:
        float32, shape (samples,) at the image's sample rate, 44.1 kHz, as long as the accompaniment.

    Raises:
        DataError: an image of another width.
    """
    params = output.params
    backing = torch.from_numpy(resample(to_channels(accompaniment, 1), sample_rate, params.sample_rate)[0])
    frames = params.num_frames(len(backing))
    if output.pixels.shape[1] != frames:
        raise DataError(f"an image of {output.pixels.shape[1]} frames for an accompaniment of {frames}; give both the same length")
    mel = image_to_mel(output)
    if target == "mix":
        mix = mel_to_waveform(mel, params, iterations, seed, start=backing, propagate=True)
        mel = added_vocal(mel, waveform_to_mel(backing, params))
        vocal = mel_to_waveform(mel, params, 0, seed, start=mix)
    else:
        vocal = mel_to_waveform(mel, params, iterations, seed, propagate=True)
    return np.pad(vocal.numpy(), (0, len(backing) - len(vocal)))


def looped_vocal(
    output: SpectrogramImage, accompaniment: np.ndarray, sample_rate: int, target: str = "mix", iterations: int = 16
) -> np.ndarray:
    """`vocal_waveform` of one turn of a loop: reconstructed beyond its end, and cross-faded from there into its beginning."""
    samples, params = accompaniment.shape[1], output.params
    on = np.concatenate([accompaniment, accompaniment[:, : round(JOINT_S * sample_rate)]], axis=1)
    turn = round(samples * params.sample_rate / sample_rate)
    frames = np.arange(params.num_frames(resample(on[:1], sample_rate, params.sample_rate).shape[1]))
    again = np.round(frames - turn / params.hop_length).astype(int)
    around = replace(output, pixels=output.pixels[:, np.where(frames < output.pixels.shape[1], frames, again)])
    return joined(vocal_waveform(around, on, sample_rate, target, iterations), turn)


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

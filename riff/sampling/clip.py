"""One clip: the control image from a song or a file, and the files of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import torch

from riff.audio.clips import check_start
from riff.audio.io import resample, write_audio
from riff.devices import signal_device
from riff.errors import DataError
from riff.sampling.levels import UNKNOWN_LEVEL, match_level, without_clipping
from riff.sampling.mixback import full_scale_gain
from riff.separation.separator import SongOpener
from riff.separation.song import Song, song_of
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges, save_edges
from riff.spectrogram.image import SpectrogramImage, image_to_waveform, load_grey, save_image, waveform_to_image
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD
from riff.spectrogram.sheet import contact_sheet


@dataclass(frozen=True)
class Control:
    """The conditioning of a sample.

    Attributes:
        edges: uint8, shape (512, frames), 0 or 255.
        accompaniment: its spectrogram, None where only an edge map was given.
        song: the clip at 44.1 kHz, None likewise.
    """

    edges: np.ndarray
    accompaniment: SpectrogramImage | None = None
    song: Song | None = None


def control_from_audio(
    path: Path,
    opener: SongOpener,
    start_s: float = 0.0,
    canny_low: int = CANNY_LOW,
    canny_high: int = CANNY_HIGH,
    device: str = "cpu",
) -> Control:
    """The edges of 5.11 s of a song's accompaniment, padded with silence.

    Args:
        opener: separates the song.

    Raises:
        AudioError: a song that cannot be read, or that ends before `start_s`.
    """
    stems, rate = opener.open(path, check=partial(check_start, start_s, path))
    first = round(start_s * rate)
    accompaniment, vocals = (_clip(stem, first, rate) for stem in (stems.accompaniment, stems.vocals))
    image = waveform_to_image(torch.from_numpy(accompaniment).to(signal_device(device)))
    return Control(canny_edges(image.pixels, canny_low, canny_high), image, song_of(vocals, accompaniment))


def _clip(stem: np.ndarray, first: int, rate: int) -> np.ndarray:
    """float32, shape (channels, `CLIP_SAMPLES`) at 44.1 kHz, from a sample on, padded with silence."""
    excerpt = stem[:, first : first + round(CLIP_SAMPLES * rate / STANDARD.sample_rate) + 1]
    return librosa.util.fix_length(resample(excerpt, rate, STANDARD.sample_rate), size=CLIP_SAMPLES)


def control_from_image(path: Path) -> Control:
    """Read an edge map, white on black or on a transparent background.

    Raises:
        DataError: not an image, not as high as a spectrogram image, or with grey levels.
    """
    edges = load_grey(path, background=0)
    height, width = edges.shape
    if height != STANDARD.n_mels:
        must = f"must be as high as a spectrogram has mel bands, {STANDARD.n_mels} pixels"
        raise DataError(f"{path}: {width}x{height} pixels; it {must} (control.png of an earlier run is)")
    if not np.isin(edges, (0, 255)).all():
        raise DataError(f"{path}: holds grey levels; an edge map is black and white (a PNG, never a JPEG)")
    return Control(edges)


def blank_control(edges: np.ndarray) -> str:
    """A warning about an edge map, uint8, that is black or white all over; else empty."""
    if not edges.any():
        return "holds no edges (all black), so the samples follow the prompt alone"
    return "is white all over, which the model takes for an edge at every pixel; draw white edges on black" if edges.all() else ""


def write_sample_files(
    folder: Path, control: Control, samples: Sequence[np.ndarray], prompt: str, iterations: int = 16
) -> list[Path]:
    """Write the control and, for every sample, its spectrogram, audio and contact sheet; returns the paths of the audio."""
    save_edges(folder / "control.png", control.edges)
    columns, captions = [control.edges], ["edges"]
    if control.accompaniment is not None and control.song is not None:
        save_image(folder / "accompaniment.png", control.accompaniment)
        waveform = control.song.accompaniment
        write_audio(folder / "accompaniment.wav", waveform * full_scale_gain(waveform), STANDARD.sample_rate)
        columns, captions = [control.accompaniment.pixels, control.edges], ["accompaniment", "edges"]
    paths = []
    for index, pixels in enumerate(samples):
        backing = control.accompaniment
        sample = match_level(pixels, backing) if backing else SpectrogramImage(pixels, UNKNOWN_LEVEL)
        save_take(folder, f"sample-{index}", sample, iterations)
        paths.append(folder / f"sample-{index}.wav")
        contact_sheet([*columns, pixels], [*captions, prompt], folder / f"sheet-{index}.png")
    return paths


def save_take(folder: Path, name: str, image: SpectrogramImage, iterations: int = 16) -> np.ndarray:
    """Write a spectrogram image and its audio, NAME.png and NAME.wav, without clipping.

    Returns:
        The audio, float32, shape (1, samples).
    """
    waveform = without_clipping(image_to_waveform(image, iterations)[None].numpy())
    save_image(folder / f"{name}.png", image)
    write_audio(folder / f"{name}.wav", waveform, image.params.sample_rate)
    return waveform

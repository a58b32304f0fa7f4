"""Clips of a song's parts -> spectrogram images, with pitch augmentation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import torch

from riff.audio.clips import rms
from riff.audio.io import resample
from riff.errors import AudioError
from riff.pairs.songs import SongFile
from riff.spectrogram.image import SpectrogramImage, mel_to_image
from riff.spectrogram.mel import magnitude_to_mel, top_frequency, waveform_to_magnitude, waveform_to_mel
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

CLIPS_ON_DEVICE = 8  # per batch on a GPU: about a gigabyte for two parts
PITCH_SHIFTS = (0, -3, -2, -1, 1, 2, 3)  # semitones


def pitch_shifts(augment: bool) -> tuple[int, ...]:
    return PITCH_SHIFTS if augment else (0,)


def to_standard_rate(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    return resample(waveform, sample_rate, STANDARD.sample_rate)


def check_usable(song: SongFile, mix: np.ndarray, clip_samples: int = CLIP_SAMPLES) -> None:
    """Raise AudioError for a mix, float32 (channels, samples) at 44.1 kHz, that is silent or shorter than a clip."""
    if mix.shape[1] < clip_samples:
        seconds, need = mix.shape[1] / STANDARD.sample_rate, clip_samples / STANDARD.sample_rate
        raise AudioError(f"{song.path}: {seconds:.2f} s is shorter than a clip ({need:.2f} s); use a longer song")
    if rms(mix) == 0:
        raise AudioError(f"{song.path}: is silent; take it out")


def shift_pitch(waveform: np.ndarray, semitones: int) -> np.ndarray:
    """Shift the pitch by librosa's phase vocoder, which smears onsets a little.

    Args:
        waveform: float32, shape (channels, samples), at 44.1 kHz.

    Returns:
        float32 of the same shape; the waveform itself for no shift.
    """
    if semitones == 0:
        return waveform
    return librosa.effects.pitch_shift(waveform, sr=STANDARD.sample_rate, n_steps=semitones).astype(np.float32)


@dataclass(frozen=True)
class ClipImages:
    """One clip at one pitch: an image of each part, in the given order."""

    start_s: float
    semitones: int
    images: tuple[SpectrogramImage, ...]

    def name(self, slug: str) -> str:
        """The file name of the clip's images: slug of the song, start in ms, pitch shift."""
        return f"{slug}_{round(self.start_s * 1000):07d}ms{self.semitones:+d}.png"


def slug_of(file: str) -> str | None:
    """The slug in a path that ends in `ClipImages.name`; None in another path."""
    match = re.fullmatch(r"(?:.*/)?(.+)_\d{7,}ms[+-]\d+\.png", file)
    return match[1] if match else None


def clip_images(
    parts: Sequence[np.ndarray],
    starts: Sequence[int],
    semitones: Sequence[int],
    device: str = "cpu",
    clip_samples: int = CLIP_SAMPLES,
    pitch_method: str = "warp",
) -> Iterator[ClipImages]:
    """Yield the images of every clip at every pitch.

    Args:
        parts: float32, shape (channels, samples), at 44.1 kHz.
        starts: of the clips, in samples.
        semitones: the pitch shifts.
        pitch_method: `warp` evaluates the mel bands of one transform at scaled frequencies, which keeps the timing exact;
            `stretch` shifts the waveform (`shift_pitch`) and transforms it again.
    """
    if pitch_method == "stretch":
        for start in starts:
            mono = _mono(parts, start, clip_samples)
            for shift in semitones:
                mels = waveform_to_mel(torch.from_numpy(shift_pitch(mono, shift)).to(device))
                yield ClipImages(start / STANDARD.sample_rate, shift, tuple(mel_to_image(mel) for mel in mels))
        return
    top_hz = max(top_frequency(STANDARD, shift) for shift in semitones)
    batch_size = 1 if device == "cpu" else CLIPS_ON_DEVICE
    for first in range(0, len(starts), batch_size):
        clips = np.stack([_mono(parts, start, clip_samples) for start in starts[first:][:batch_size]])
        magnitudes = waveform_to_magnitude(torch.from_numpy(clips).to(device), STANDARD, top_hz)
        for start, magnitude in zip(starts[first:], magnitudes, strict=False):  # (parts, bins, frames)
            for shift in semitones:
                images = tuple(mel_to_image(mel) for mel in magnitude_to_mel(magnitude, STANDARD, shift))
                yield ClipImages(start / STANDARD.sample_rate, shift, images)


def _mono(parts: Sequence[np.ndarray], start: int, clip_samples: int) -> np.ndarray:
    """A clip of each part: float32, shape (parts, clip_samples)."""
    return np.stack([part[:, start : start + clip_samples].mean(axis=0) for part in parts])

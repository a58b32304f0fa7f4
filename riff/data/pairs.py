"""Clips of a separated song -> pairs of images: edges of the accompaniment, spectrogram of the mix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from riff.audio.clips import cut_clips, vocal_ratio
from riff.audio.io import resample
from riff.data.records import PairRecord
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges, save_edges
from riff.spectrogram.image import SpectrogramImage, mel_to_image, save_image
from riff.spectrogram.mel import magnitude_to_mel, top_frequency, waveform_to_magnitude
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

PITCH_SHIFTS = (0, -3, -2, -1, 1, 2, 3)  # semitones


@dataclass(frozen=True)
class PairSettings:
    """What decides how pairs look; a folder of pairs holds one setting."""

    pitch_augment: bool = True
    min_vocal_ratio: float = 0.1
    canny_low: int = CANNY_LOW
    canny_high: int = CANNY_HIGH

    @property
    def semitones(self) -> tuple[int, ...]:
        return PITCH_SHIFTS if self.pitch_augment else (0,)


@dataclass(frozen=True)
class Pair:
    """The images of one clip at one pitch. edges: uint8 (512, 512), 0 or 255."""

    start_s: float
    semitones: int
    target: SpectrogramImage
    accompaniment: SpectrogramImage
    edges: np.ndarray


@dataclass(frozen=True)
class ClipCount:
    """clips: whole clips in the song; dropped: those with next to no vocal."""

    clips: int
    dropped: int


def usable_clips(vocals: np.ndarray, mix: np.ndarray, settings: PairSettings) -> tuple[list[int], ClipCount]:
    """Starts of the clips with enough vocal.

    Args:
        vocals, mix: float32, shape (channels, samples), at 44.1 kHz.
    """
    starts = cut_clips(mix.shape[1], CLIP_SAMPLES)
    ratios = [vocal_ratio(vocals[:, s : s + CLIP_SAMPLES], mix[:, s : s + CLIP_SAMPLES]) for s in starts]
    kept = [start for start, ratio in zip(starts, ratios, strict=True) if ratio >= settings.min_vocal_ratio]
    return kept, ClipCount(len(starts), len(starts) - len(kept))


def to_standard_rate(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    return resample(waveform, sample_rate, STANDARD.sample_rate)


def make_pairs(
    accompaniment: np.ndarray, mix: np.ndarray, starts: Sequence[int], settings: PairSettings, device: str = "cpu"
) -> Iterator[Pair]:
    """Yield the pairs of every clip at every pitch; one transform of a clip serves all pitches.

    Args:
        accompaniment, mix: float32, shape (channels, samples), at 44.1 kHz.
        starts: of the clips, in samples.
    """
    top_hz = max(top_frequency(STANDARD, semitones) for semitones in settings.semitones)
    for start in starts:
        stems = np.stack([part[:, start : start + CLIP_SAMPLES].mean(axis=0) for part in (mix, accompaniment)])
        magnitude = waveform_to_magnitude(torch.from_numpy(stems).to(device), STANDARD, top_hz)  # (2, bins, 512)
        for semitones in settings.semitones:
            target, backing = (mel_to_image(mel) for mel in magnitude_to_mel(magnitude, STANDARD, semitones))
            edges = canny_edges(backing.pixels, settings.canny_low, settings.canny_high)
            yield Pair(start / STANDARD.sample_rate, semitones, target, backing, edges)


def save_pair(folder: Path, song: str, slug: str, prompt: str, pair: Pair) -> PairRecord:
    """Write a pair's three PNGs under `source/`, `target/` and `accompaniment/`, and return its record."""
    name = f"{slug}_{round(pair.start_s * 1000):07d}ms{pair.semitones:+d}.png"
    paths = {kind: f"{kind}/{name}" for kind in ("source", "target", "accompaniment")}
    save_edges(folder / paths["source"], pair.edges)
    save_image(folder / paths["target"], pair.target)
    save_image(folder / paths["accompaniment"], pair.accompaniment)
    return PairRecord(
        **paths,
        prompt=prompt,
        song=song,
        start_s=round(pair.start_s, 6),
        semitones=pair.semitones,
        target_max=pair.target.max_value,
        accompaniment_max=pair.accompaniment.max_value,
    )

"""Parts of a song: their times, clips of it, and those with enough of a stem."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from riff.audio.io import check_duration
from riff.errors import AudioError, OptionError

MIN_VOCAL_RATIO = 0.1
SILENCE_RMS = 1e-4  # -80 dB: dither
SMALLEST_SAMPLE = 2.0**-15  # above zero with 16 bits
EDGE_S = 0.01  # by which a region may end after the song: durations are displayed with two decimals


def check_start(start_s: float, path: object, duration_s: float) -> None:
    """Check that a clip begins inside a song.

    Raises:
        AudioError: it does not.
    """
    if not 0 <= start_s < duration_s:
        raise AudioError(f"start {start_s:g}: {path} lasts {duration_s:.2f} s; begin inside it")


def check_clip(song: Path, start_s: float) -> None:
    """Check that a song can be read and a clip begins inside it, without decoding the song.

    Raises:
        AudioError: no such file, not audio, or too late a start.
    """
    check_duration(song, partial(check_start, start_s, song))


def check_regions(regions: Sequence[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """Sort regions of a song, (start, end) in seconds, and merge those that meet.

    Raises:
        OptionError: a region outside the song, one that ends before it begins, or two that overlap.
    """
    checked: list[tuple[float, float]] = []
    for start, end in sorted(regions):
        if not 0 <= start < duration_s:
            raise OptionError(f"start {start:g}: the song lasts {duration_s:.2f} s; begin inside it")
        if not end <= duration_s + EDGE_S:
            raise OptionError(f"end {end:g}: the song lasts {duration_s:.2f} s; end inside it")
        if end <= start:
            raise OptionError(f"region {start:g} to {end:g}: it ends before it begins; give the earlier time first")
        if checked and start < checked[-1][1]:
            earlier = "{:g} to {:g}".format(*checked[-1])
            raise OptionError(f"region {start:g} to {end:g}: it overlaps with {earlier}; give regions that do not overlap")
        if checked and start == checked[-1][1]:
            start = checked.pop()[0]
        checked.append((start, min(end, duration_s)))
    return checked


def cut_clips(num_samples: int, clip_samples: int, hop_samples: int | None = None) -> list[int]:
    """Start offsets of the complete clips of a song; the remainder at the end is dropped.

    Args:
        hop_samples: from one start to the next (default: `clip_samples`, so that clips do not overlap).
    """
    hop_samples = clip_samples if hop_samples is None else hop_samples
    if clip_samples < 1 or hop_samples < 1:
        raise ValueError(f"clip_samples {clip_samples} and hop_samples {hop_samples} must be positive")
    return list(range(0, num_samples - clip_samples + 1, hop_samples))


def rms(waveform: np.ndarray) -> float:
    """Root mean square over all channels and samples; 0 for no samples."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if waveform.size else 0.0


def vocal_ratio(vocals: np.ndarray, mix: np.ndarray) -> float:
    """RMS of the vocals over RMS of the mix, in [0, 1]; 0 where the mix is silent (below -80 dB).

    Args:
        vocals, mix: float, shape (channels, samples), of one clip.
    """
    loudness = rms(mix)
    return min(1.0, rms(vocals) / loudness) if loudness > SILENCE_RMS else 0.0


def powerful_clips(stem: np.ndarray, starts: Sequence[int], clip_samples: int, min_power_prop: float) -> list[int]:
    """The starts of the clips in which a stem's power is at least `min_power_prop` times the stem's own power.

    Power is the mean square of the mono mix. The stem's own excludes samples that are zero with 16 bits, and so its rests. A clip
    below -80 dB is never included.

    Args:
        stem: float, shape (channels, samples), of the whole song.
    """
    mono = stem.mean(axis=0, dtype=np.float32)
    threshold = max(SILENCE_RMS**2, min_power_prop * rms(mono[np.abs(mono) >= SMALLEST_SAMPLE]) ** 2)
    return [start for start in starts if rms(mono[start : start + clip_samples]) ** 2 >= threshold]

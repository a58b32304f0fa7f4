"""The new vocal over the untouched accompaniment, at the accompaniment's own rate, channels and band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riff.audio.io import resample, to_channels
from riff.audio.loudness import loudness_against
from riff.errors import OptionError
from riff.spectrogram.params import STANDARD

VOCAL_OFFSET_LU = 2.3  # the median over the demo songs, where they sing
MOST_AUTO_GAIN_DB = 12.0  # either way: next to nothing, as models paint when they have nothing to sing, is not blown up
PEAK = 0.99
SILENT_DB = -200.0  # what a residue of exactly nothing is called
EDGE_S = 0.01  # by which a region may be said to reach beyond the song: durations are written with two places
BLOCK = 2**20  # samples


@dataclass(frozen=True)
class Mix:
    """A new vocal over an accompaniment: mix = headroom * (accompaniment + gain * vocal).

    Attributes:
        mix, vocal: float32, shape (channels, samples), at `sample_rate`; the vocal is as it was before the gain.
        gain, headroom: factors. The headroom is 1 unless the sum would exceed 0.99.
        null_db: what is left of the mix without its parts, see `null_test`.
    """

    mix: np.ndarray
    vocal: np.ndarray
    sample_rate: int
    gain: float
    headroom: float
    null_db: float

    @property
    def gain_db(self) -> float:
        return 20 * math.log10(self.gain)

    @property
    def headroom_db(self) -> float:
        return 20 * math.log10(self.headroom)


@dataclass(frozen=True)
class Elsewhere:
    """What stands where the vocal is not to be heard.

    Attributes:
        waveform: float32, shape (channels, samples), kept sample for sample. heard: float32, shape (samples,), [0, 1], from
            `crossfade_gain`: 0 where the waveform stands, 1 where the accompaniment with the vocal does.
    """

    waveform: np.ndarray
    heard: np.ndarray


def mix_back(
    vocal: np.ndarray,
    accompaniment: np.ndarray,
    sample_rate: int,
    gain_db: float | None = None,
    elsewhere: Elsewhere | None = None,
) -> Mix:
    """Add a vocal to an accompaniment whose samples, rate and channels are kept.

    Args:
        vocal: float32, shape (samples,) at 44.1 kHz; it is resampled, spread to the channels, and cut or followed by silence.
        accompaniment: float32, shape (channels, samples) at `sample_rate`.
        gain_db: of the vocal (default: what `auto_gain_db` finds).
        elsewhere: what to cross-fade to where the vocal is not to be heard; gain and headroom are then found where it is.
    """
    samples = accompaniment.shape[1]
    mono = resample(vocal[None], STANDARD.sample_rate, sample_rate)[:, :samples]
    spread = to_channels(np.pad(mono, ((0, 0), (0, samples - mono.shape[1]))), len(accompaniment))
    if elsewhere is not None:
        spread = np.where(elsewhere.heard > 0, spread, np.float32(0))
    gain = 10 ** ((auto_gain_db(spread, accompaniment, sample_rate) if gain_db is None else gain_db) / 20)
    mix = spread * np.float32(gain)
    mix += accompaniment
    peak = _peak(mix, None if elsewhere is None else elsewhere.heard > 0)
    headroom = PEAK / peak if peak > PEAK else 1.0
    mix *= np.float32(headroom)
    backing = accompaniment
    if elsewhere is not None:
        rest = (1 - elsewhere.heard) * elsewhere.waveform
        mix, spread = rest + elsewhere.heard * mix, elsewhere.heard * spread
        backing = rest / np.float32(headroom) + elsewhere.heard * accompaniment
    return Mix(mix, spread, sample_rate, gain, headroom, null_test(mix, spread, backing, gain, headroom))


def _peak(waveform: np.ndarray, where: np.ndarray | None) -> float:
    """The largest sample either way, of all or of those that are True in `where`, bool, shape (samples,)."""
    return max(
        float(waveform.max(initial=0.0, where=True if where is None else where)),
        -float(waveform.min(initial=0.0, where=True if where is None else where)),
    )


def auto_gain_db(vocal: np.ndarray, accompaniment: np.ndarray, sample_rate: int, offset_lu: float = VOCAL_OFFSET_LU) -> float:
    """The gain that makes a vocal `offset_lu` louder than its accompaniment where it sings, by ITU-R BS.1770-4.

    Args:
        vocal, accompaniment: float32, the same shape (channels, samples).
        offset_lu: by default the median of the demo songs' true vocals (benchmarks/vocal_extraction.py).

    Returns:
        dB, within 12 either way; 0 where one of the two is silent.
    """
    difference = loudness_against(vocal, accompaniment, sample_rate)
    if difference is None:
        return 0.0
    return float(np.clip(offset_lu - difference, -MOST_AUTO_GAIN_DB, MOST_AUTO_GAIN_DB))


def null_test(mix: np.ndarray, vocal: np.ndarray, accompaniment: np.ndarray, gain: float, headroom: float) -> float:
    """The largest sample of mix / headroom - gain * vocal - accompaniment, in dB of full scale.

    Rounding to float32 leaves about -140 dB; more means that the accompaniment in the mix is not the one that was given.

    Args:
        mix, vocal, accompaniment: float32, the same shape (channels, samples).

    Returns:
        dB, at least -200, which stands for nothing at all.
    """
    largest = 0.0
    for start in range(0, mix.shape[1], BLOCK):
        ours, voice, band = (wave[:, start : start + BLOCK].astype(np.float64) for wave in (mix, vocal, accompaniment))
        largest = max(largest, float(np.abs(ours / headroom - gain * voice - band).max(initial=0.0)))
    return max(SILENT_DB, 20 * math.log10(largest)) if largest else SILENT_DB


def check_regions(regions: Sequence[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """The regions of a song in order, (start, end) in seconds, each inside the song and none in another; two that meet are one.

    Raises:
        OptionError: a region outside the song, one that ends before it begins, or two that overlap.
    """
    checked: list[tuple[float, float]] = []
    for start, end in sorted(regions):
        if not 0 <= start < duration_s:
            raise OptionError(f"--start {start:g}: the song lasts {duration_s:.2f} s; begin inside it")
        if not end <= duration_s + EDGE_S:
            raise OptionError(f"--end {end:g}: the song lasts {duration_s:.2f} s; end inside it")
        if end <= start:
            raise OptionError(f"--start {start:g} --end {end:g}: this region ends before it begins; give the earlier time first")
        if checked and start < checked[-1][1]:
            earlier = "--start {:g} --end {:g}".format(*checked[-1])
            raise OptionError(f"--start {start:g} --end {end:g}: overlaps with {earlier}; give regions that lie apart")
        if checked and start == checked[-1][1]:
            start = checked.pop()[0]
        checked.append((start, min(end, duration_s)))
    return checked


def crossfade_gain(samples: int, sample_rate: int, regions: Sequence[tuple[float, float]], fade_s: float = 0.05) -> np.ndarray:
    """Where a vocal sounds: 1 inside the regions, exactly 0 outside.

    The borders are raised cosines that lie within the region, at most half of it long. Where a region reaches the song's
    own beginning or end there is no border.

    Args:
        regions: (start, end) in seconds, as `check_regions` gives them.

    Returns:
        float32, shape (samples,), [0, 1].
    """
    gain = np.zeros(samples, np.float32)
    for start, end in regions:
        first, last = round(start * sample_rate), min(samples, round(end * sample_rate))
        length = min(round(fade_s * sample_rate), (last - first) // 2)
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))
        gain[first:last] = 1.0
        if first > 0:
            gain[first : first + length] = rise
        if last < samples:
            gain[last - length : last] = rise[::-1]
    return gain

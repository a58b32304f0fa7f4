"""The new vocal over the untouched accompaniment, at the accompaniment's own rate, channels and band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from riff.audio.io import resample
from riff.audio.loudness import loudness_against
from riff.errors import OptionError
from riff.sampling.known_region import region_gain
from riff.spectrogram.params import STANDARD

# Real vocals over their backings, where they sing, measured -4.8 LU (the example of stempeg, from MUSDB18) and -0.5 LU (that of
# Spleeter): the mean of the two. The demo songs' own, 2.3 LU, is louder than music is mixed.
VOCAL_LU = -2.65
MIN_VOCAL_LU = -10.0  # below it, what a separator took out of a song is residue and no vocal
MAX_BOOST_DB = 12.0  # next to nothing, as models paint when they have nothing to sing, is not blown up
LIMITER_S = 0.0025  # twice: over which the limiter's gain falls, and rises again; longer takes more of the vocal away
EDGE_S = 0.01  # by which a region may be said to reach beyond the song: durations are written with two places
BLOCK = 2**20  # samples
CENTRE = 2  # where 5, 5.1, 6.1 and 7.1 channels have it: WAV's order is FL FR FC LFE BL BR ...


@dataclass(frozen=True)
class Mix:
    """A new vocal over its accompaniment: mix = accompaniment + vocal, the float32 sum to the bit, none of them above full scale.

    Attributes:
        mix, accompaniment, vocal: float32, shape (channels, samples), at `sample_rate`. Where only regions get the vocal, the
            accompaniment holds outside them what stands there.
        gain_db: that the vocal was given.
        song_gain_db: of all three alike; 0 unless the accompaniment alone exceeds full scale.
        limited_db: by how much the vocal is lowered, for some milliseconds, where the sum would exceed full scale; at most 0.
    """

    mix: np.ndarray
    accompaniment: np.ndarray
    vocal: np.ndarray
    sample_rate: int
    gain_db: float
    song_gain_db: float
    limited_db: float


@dataclass(frozen=True)
class OutsideRegions:
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
    outside: OutsideRegions | None = None,
    vocal_lu: float = VOCAL_LU,
) -> Mix:
    """Add a vocal to an accompaniment whose samples, rate and channels are kept.

    The accompaniment's level is the same everywhere. Where the sum would exceed full scale the vocal alone gives way
    (`limit_vocal`). Only an accompaniment that exceeds it by itself is lowered, all of it and the vocal with it, by one gain,
    which does not depend on the vocal.

    Args:
        vocal: float32, shape (samples,) at 44.1 kHz; it is resampled, spread to the channels, and cut or followed by silence.
        accompaniment: float32, shape (channels, samples) at `sample_rate`.
        gain_db: of the vocal (default: what `auto_gain_db` finds).
        outside: what to cross-fade to where the vocal is not to be heard; the gain is then found where it is.
        vocal_lu: loudness over the accompaniment that `auto_gain_db` aims at.
    """
    samples = accompaniment.shape[1]
    mono = resample(vocal[None], STANDARD.sample_rate, sample_rate)[0, :samples]
    spread = spread_vocal(np.pad(mono, (0, samples - len(mono))), len(accompaniment))
    if outside is not None:
        spread = np.where(outside.heard > 0, spread, np.float32(0))
    if gain_db is None:
        gain_db = auto_gain_db(spread, accompaniment, sample_rate, vocal_lu)
    if outside is not None:
        spread *= outside.heard
        if outside.waveform is not accompaniment:
            accompaniment = (1 - outside.heard) * outside.waveform + outside.heard * accompaniment
    song_gain = full_scale_gain(accompaniment)
    if song_gain < 1:
        accompaniment = accompaniment * song_gain
    spread *= song_gain * np.float32(10 ** (gain_db / 20))
    limited_db = limit_vocal(spread, accompaniment, sample_rate)
    return Mix(accompaniment + spread, accompaniment, spread, sample_rate, gain_db, 20 * math.log10(song_gain), limited_db)


def spread_vocal(mono: np.ndarray, channels: int) -> np.ndarray:
    """Put a vocal where a surround mix has its singer, at the same level whichever way it is played.

    Mono and stereo get it in every channel. With 5 to 8 channels it is in the centre, 3 dB louder than in each of a pair; else
    the front pair has it. The channels are in WAV's order, whose fourth of six or more is the LFE. Three channels may be 2.1 or
    3.0 and four may have a centre or none, but all begin with the front pair.

    Args:
        mono: float32, shape (samples,).

    Returns:
        float32, shape (channels, samples), a copy.
    """
    spread = np.zeros((channels, len(mono)), np.float32)
    if CENTRE + 3 <= channels <= 8:
        spread[CENTRE] = mono * np.float32(math.sqrt(2))
    else:
        spread[:2] = mono
    return spread


def auto_gain_db(vocal: np.ndarray, accompaniment: np.ndarray, sample_rate: int, vocal_lu: float = VOCAL_LU) -> float:
    """The gain that makes a vocal `vocal_lu` louder than its accompaniment where it sings, by ITU-R BS.1770-4.

    Args:
        vocal, accompaniment: float32, the same shape (channels, samples).

    Returns:
        dB, at most 12; 0 where one of the two is silent.
    """
    difference = loudness_against(vocal, accompaniment, sample_rate)
    return 0.0 if difference is None else min(vocal_lu - difference, MAX_BOOST_DB)


def original_vocal_lu(vocals: np.ndarray, accompaniment: np.ndarray, sample_rate: int) -> float | None:
    """How loud the vocal that was taken out of a song is over its accompaniment, where it sings; None where there is hardly one.

    Args:
        vocals, accompaniment: float32, the same shape (channels, samples).
    """
    measured = loudness_against(vocals, accompaniment, sample_rate)
    return None if measured is None or measured < MIN_VOCAL_LU else measured


def full_scale_gain(waveform: np.ndarray) -> np.float32:
    """The factor that brings a waveform which exceeds full scale down to it, else 1."""
    peak = max(float(waveform.max(initial=0.0)), -float(waveform.min(initial=0.0)))
    return np.nextafter(np.float32(1 / peak), np.float32(0)) if peak > 1 else np.float32(1)


def limit_vocal(vocal: np.ndarray, backing: np.ndarray, sample_rate: int) -> float:
    """Lower a vocal in place where it or its sum with a backing would exceed full scale; the backing is left alone.

    A look-ahead limiter: the gain that each sample needs, of the channels' the least, is widened by a moving minimum and smoothed
    by two moving averages of the same reach together, so that it is in time, of linear phase, and never more than is needed.

    Args:
        vocal, backing: float32, the same shape (channels, samples); the backing in [-1, 1].

    Returns:
        The deepest gain in dB, at least -120; 0 where nothing was in the way, and then the vocal is what it was.
    """
    reach = round(LIMITER_S * sample_rate) | 1
    deepest = 1.0
    needed = np.concatenate(
        [_needed_gain(vocal[:, at : at + BLOCK], backing[:, at : at + BLOCK]) for at in range(0, vocal.shape[1], BLOCK)]
        or [np.ones(0, np.float32)]
    )
    for at in range(0, vocal.shape[1], BLOCK):
        first = max(0, at - 2 * reach)
        around = needed[first : at + BLOCK + 2 * reach]
        if around.min() < 1:
            gain = minimum_filter1d(around, 2 * reach - 1)
            gain = uniform_filter1d(uniform_filter1d(gain, reach), reach)[at - first :][:BLOCK]
            gain = np.minimum(gain, needed[at : at + BLOCK])  # averages are rounded
            vocal[:, at : at + BLOCK] *= gain
            deepest = min(deepest, float(gain.min()))
    return 20 * math.log10(max(deepest, 1e-6))


def _needed_gain(vocal: np.ndarray, backing: np.ndarray) -> np.ndarray:
    """float32, shape (samples,), [0, 1]: what keeps every channel's vocal, and its sum with the backing, within full scale."""
    needed = np.ones(vocal.shape[1], np.float32)
    for voice, band in zip(vocal, backing, strict=True):
        room = np.clip(1 - np.sign(voice) * band, 0, 1) * np.float32(1 - 2**-22)  # for the rounding of product and sum
        over = np.abs(voice) > room
        needed[over] = np.minimum(needed[over], room[over] / np.abs(voice[over]))
    return needed


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
    borders = []
    for start, end in regions:
        first, last = round(start * sample_rate), min(samples, round(end * sample_rate))
        borders.append((first, last, min(round(fade_s * sample_rate), (last - first) // 2)))
    return region_gain(samples, borders)

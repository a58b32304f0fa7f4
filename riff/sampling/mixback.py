"""Mix the new vocal with the untouched accompaniment, at the accompaniment's own sample rate, channels and bandwidth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, fftconvolve, sosfilt

from riff.audio.io import resample
from riff.audio.loudness import loudness_against
from riff.sampling.known_region import region_gain
from riff.spectrogram.params import STANDARD

# Mean of two real vocals relative to their backings while they sing: -4.8 LU (the example of stempeg, from MUSDB18) and -0.5 LU
# (that of Spleeter). The demo songs' 2.3 LU is louder than music is mixed.
VOCAL_LU = -2.65
MIN_VOCAL_LU = -10.0  # below it, a separated vocal stem holds residue and no vocal
MAX_BOOST_DB = 12.0  # so that a nearly silent output is not amplified to a vocal
LIMITER_S = 0.0025  # attack and release of the limiter are twice as long; longer ones lower more of the vocal
BLOCK = 2**20  # samples
SIDE_DB = -8.0  # of the side signal relative to the vocal
SIDE_FROM_HZ = 200.0
ROOM_S, PREDELAY_S = 0.06, 0.005
CENTRE = 2  # of 5, 5.1, 6.1 and 7.1 channels; WAV's order is FL FR FC LFE BL BR ...


@dataclass(frozen=True)
class Mix:
    """A mix and its parts: mix = accompaniment + vocal, the float32 sum to the bit, none of them above full scale.

    Attributes:
        mix, accompaniment, vocal: float32, shape (channels, samples), at `sample_rate`. Outside regions, if there are any, the
            accompaniment is `OutsideRegions.waveform`.
        gain_db: applied to the vocal.
        song_gain_db: applied to all three; 0 unless the accompaniment alone exceeds full scale.
        limited_db: largest gain reduction of the vocal, for some milliseconds, where the sum would exceed full scale; at most 0.
    """

    mix: np.ndarray
    accompaniment: np.ndarray
    vocal: np.ndarray
    sample_rate: int
    gain_db: float
    song_gain_db: float
    limited_db: float

    def in_24_bits(self) -> Mix:
        """The same with accompaniment and vocal rounded to 24 bits, so that integer files add up to the bit as well."""
        steps = np.float32(1 << 23)
        accompaniment, vocal = (np.round(part * steps) / steps for part in (self.accompaniment, self.vocal))
        return replace(self, mix=accompaniment + vocal, accompaniment=accompaniment, vocal=vocal)


@dataclass(frozen=True)
class OutsideRegions:
    """The song outside the regions that get a new vocal.

    Attributes:
        waveform: float32, shape (channels, samples), kept sample for sample outside the regions.
        gain: float32, shape (samples,), [0, 1], from `crossfade_gain`: 1 inside the regions, 0 outside.
    """

    waveform: np.ndarray
    gain: np.ndarray


def mix_back(
    vocal: np.ndarray,
    accompaniment: np.ndarray,
    sample_rate: int,
    gain_db: float | None = None,
    outside: OutsideRegions | None = None,
    vocal_lu: float = VOCAL_LU,
    stereo: bool = False,
) -> Mix:
    """Add a vocal to an accompaniment, whose samples, rate and channels are kept.

    Where the sum would exceed full scale, a limiter lowers the vocal alone (`limit_vocal`). An accompaniment that exceeds full
    scale by itself is lowered, with the vocal, by one gain that does not depend on the vocal.

    Args:
        vocal: float32, shape (samples,) at 44.1 kHz; it is resampled, spread to the channels, and cut or padded with silence.
        accompaniment: float32, shape (channels, samples) at `sample_rate`.
        gain_db: of the vocal (default: `auto_gain_db`).
        outside: cross-faded to outside the regions; the vocal's gain is then measured inside them.
        vocal_lu: target of `auto_gain_db`, loudness relative to the accompaniment.
        stereo: add `side_signal` to the left of the front pair and subtract it from the right; their sum is as without.
    """
    samples = accompaniment.shape[1]
    mono = resample(vocal[None], STANDARD.sample_rate, sample_rate)[0, :samples]
    mono = np.pad(mono, (0, samples - len(mono)))
    spread = spread_vocal(mono, len(accompaniment))
    if stereo and len(accompaniment) > 1:
        side = side_signal(mono, sample_rate)
        spread[0] += side
        spread[1] -= side
    if outside is not None:
        spread = np.where(outside.gain > 0, spread, np.float32(0))
    if gain_db is None:
        gain_db = auto_gain_db(spread, accompaniment, sample_rate, vocal_lu)
    if outside is not None:
        spread *= outside.gain
        if outside.waveform is not accompaniment:
            accompaniment = (1 - outside.gain) * outside.waveform + outside.gain * accompaniment
    song_gain = full_scale_gain(accompaniment)
    if song_gain < 1:
        accompaniment = accompaniment * song_gain
    spread *= song_gain * np.float32(10 ** (gain_db / 20))
    limited_db = limit_vocal(spread, accompaniment, sample_rate)
    return Mix(accompaniment + spread, accompaniment, spread, sample_rate, gain_db, 20 * math.log10(song_gain), limited_db)


def spread_vocal(mono: np.ndarray, channels: int) -> np.ndarray:
    """Place a vocal in the channels of a surround mix, at the same level in every downmix.

    Mono and stereo get it in every channel. With 5 to 8 channels it goes to the centre, 3 dB louder than in each of a pair, else
    to the front pair: three channels may be 2.1 or 3.0 and four may have a centre or none, but all begin with the front pair.
    Channels are in WAV's order, where the fourth of six or more is the LFE.

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


def side_signal(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """What makes a mono vocal wide: decaying noise (a room of 60 ms) convolved with it, `SIDE_DB` below it, without low notes.

    Args:
        mono: float32, shape (samples,).

    Returns:
        float32, the same shape, hardly correlated with `mono`.
    """
    count = round(ROOM_S * sample_rate)
    room = np.random.default_rng(0).standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    room = np.concatenate([np.zeros(round(PREDELAY_S * sample_rate)), room])
    room = sosfilt(butter(2, SIDE_FROM_HZ, "highpass", fs=sample_rate, output="sos"), room)
    room *= 10 ** (SIDE_DB / 20) / np.linalg.norm(room)
    return fftconvolve(mono, room.astype(np.float32))[: len(mono)].astype(np.float32)


def auto_gain_db(vocal: np.ndarray, accompaniment: np.ndarray, sample_rate: int, vocal_lu: float = VOCAL_LU) -> float:
    """The gain at which a vocal is `vocal_lu` louder than its accompaniment while it sings (ITU-R BS.1770-4).

    Args:
        vocal, accompaniment: float32, the same shape (channels, samples).

    Returns:
        dB, at most 12; 0 if either is silent.
    """
    difference = loudness_against(vocal, accompaniment, sample_rate)
    return 0.0 if difference is None else min(vocal_lu - difference, MAX_BOOST_DB)


def original_vocal_lu(vocals: np.ndarray, accompaniment: np.ndarray, sample_rate: int) -> float | None:
    """Loudness of a song's separated vocal relative to its accompaniment while it sings; None below `MIN_VOCAL_LU`.

    Args:
        vocals, accompaniment: float32, the same shape (channels, samples).
    """
    measured = loudness_against(vocals, accompaniment, sample_rate)
    return None if measured is None or measured < MIN_VOCAL_LU else measured


def full_scale_gain(waveform: np.ndarray) -> np.float32:
    """The factor that lowers a waveform above full scale to it, else 1."""
    peak = max(float(waveform.max(initial=0.0)), -float(waveform.min(initial=0.0)))
    return np.nextafter(np.float32(1 / peak), np.float32(0)) if peak > 1 else np.float32(1)


def limit_vocal(vocal: np.ndarray, backing: np.ndarray, sample_rate: int) -> float:
    """Lower a vocal in place where it or its sum with a backing would exceed full scale; the backing is not changed.

    A look-ahead limiter with linear phase: the gain that each sample requires, the smallest of its channels, is widened by a
    moving minimum and smoothed by two moving averages whose lengths add up to its own, so that it never exceeds the required one.

    Args:
        vocal, backing: float32, the same shape (channels, samples); the backing in [-1, 1].

    Returns:
        The largest gain reduction in dB, at least -120; 0 if the vocal is unchanged.
    """
    length = round(LIMITER_S * sample_rate) | 1
    smallest = 1.0
    required = np.concatenate(
        [_required_gain(vocal[:, at : at + BLOCK], backing[:, at : at + BLOCK]) for at in range(0, vocal.shape[1], BLOCK)]
        or [np.ones(0, np.float32)]
    )
    for at in range(0, vocal.shape[1], BLOCK):
        first = max(0, at - 2 * length)
        context = required[first : at + BLOCK + 2 * length]
        if context.min() < 1:
            gain = minimum_filter1d(context, 2 * length - 1)
            gain = uniform_filter1d(uniform_filter1d(gain, length), length)[at - first :][:BLOCK]
            gain = np.minimum(gain, required[at : at + BLOCK])  # averages are rounded
            vocal[:, at : at + BLOCK] *= gain
            smallest = min(smallest, float(gain.min()))
    return 20 * math.log10(max(smallest, 1e-6))


def _required_gain(vocal: np.ndarray, backing: np.ndarray) -> np.ndarray:
    """The gain that keeps every channel's vocal, and its sum with the backing, within full scale: float32, (samples,), [0, 1]."""
    required = np.ones(vocal.shape[1], np.float32)
    for vocal_channel, backing_channel in zip(vocal, backing, strict=True):
        headroom = np.clip(1 - np.sign(vocal_channel) * backing_channel, 0, 1)
        headroom *= np.float32(1 - 2**-22)  # for the rounding of product and sum
        over = np.abs(vocal_channel) > headroom
        required[over] = np.minimum(required[over], headroom[over] / np.abs(vocal_channel[over]))
    return required


def crossfade_gain(samples: int, sample_rate: int, regions: Sequence[tuple[float, float]], fade_s: float = 0.05) -> np.ndarray:
    """The `region_gain` of regions in seconds; its borders are at most half a region long.

    Args:
        regions: (start, end) in seconds, from `riff.audio.clips.check_regions`.

    Returns:
        float32, shape (samples,), [0, 1].
    """
    borders = []
    for start, end in regions:
        first, last = round(start * sample_rate), min(samples, round(end * sample_rate))
        borders.append((first, last, min(round(fade_s * sample_rate), (last - first) // 2)))
    return region_gain(samples, borders)

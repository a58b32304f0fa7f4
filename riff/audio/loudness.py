"""Loudness by ITU-R BS.1770-4, and relative loudness of two sounds."""

from __future__ import annotations

import numpy as np
import pyloudnorm

from riff.audio.io import to_channels

BLOCK_S, STEP_S = 0.4, 0.1  # the gating blocks of BS.1770
SEGMENT_S = 60  # of a long song: the meter copies it to float64
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS; LU relative to the mean above the absolute gate
MAX_CHANNELS = 8  # of a surround mix in WAV's order, FL FR FC LFE and then the pairs around the listener


def block_loudness(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Loudness of the 400 ms blocks that begin every 100 ms.

    Args:
        waveform: float32, shape (channels, samples). 5.1, 6.1 and 7.1 are measured without their LFE, and more than eight
            channels as a stereo mix. A sound shorter than a block is padded with silence.

    Returns:
        LUFS, float64, shape (blocks,), at least one; -inf for silence.
    """
    if len(waveform) > MAX_CHANNELS:
        waveform = to_channels(waveform, 2)
    if len(waveform) <= 5:
        return _block_loudness(waveform, rate)
    # The meter takes L R C Ls Rs and weights the last two by 1.41; the rear channels have a weight of 1.
    front_and_sides, rear = waveform[[0, 1, 2, -2, -1]], waveform[4:-2]
    loudness = _block_loudness(front_and_sides, rate)
    if not len(rear):
        return loudness
    with np.errstate(divide="ignore"):  # silence
        return 10 * np.log10(10 ** (loudness / 10) + 10 ** (_block_loudness(rear, rate) / 10))


def _block_loudness(waveform: np.ndarray, rate: int) -> np.ndarray:
    """`block_loudness` of one to five channels."""
    segment, overlap, shortest = SEGMENT_S * rate, round((BLOCK_S - STEP_S) * rate), round(BLOCK_S * rate) + 1
    blocks: list[float] = []
    for first in range(0, max(1, waveform.shape[1] - overlap), segment):
        part = waveform[:, first : first + segment + overlap]
        part = np.pad(part, ((0, 0), (0, max(0, shortest - part.shape[1]))))
        meter = pyloudnorm.Meter(rate)
        with np.errstate(divide="ignore", invalid="ignore"):  # silence
            meter.integrated_loudness(np.ascontiguousarray(part.T))
        blocks += meter.blockwise_loudness
    return np.array(blocks)


def loudness_against(sound: np.ndarray, other: np.ndarray, rate: int) -> float | None:
    """Integrated loudness of a sound relative to another one, in the blocks that pass both gates of BS.1770 for the first.

    The other is not gated, since rests of an accompaniment under a singer belong to the comparison.

    Args:
        sound, other: float32, the same shape (channels, samples), at the same rate.

    Returns:
        LU; None where one of the two is silent (below -70 LUFS).
    """
    return relative_loudness(block_loudness(sound, rate), block_loudness(other, rate))


def relative_loudness(sound: np.ndarray, other: np.ndarray) -> float | None:
    """`loudness_against` of the `block_loudness` of both, float64, shape (blocks,)."""
    energy, other_energy = 10 ** (sound / 10), 10 ** (other / 10)
    audible = energy > 10 ** (ABSOLUTE_GATE / 10)
    if not audible.any():
        return None
    gated = audible & (energy > energy[audible].mean() * 10 ** (RELATIVE_GATE / 10))
    mean_other = float(other_energy[gated].mean())
    if not mean_other > 10 ** (ABSOLUTE_GATE / 10):
        return None
    return float(10 * np.log10(energy[gated].mean() / mean_other))

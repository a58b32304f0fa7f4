"""Loudness by ITU-R BS.1770-4, and how loud one sound is against another where it plays."""

from __future__ import annotations

import numpy as np
import pyloudnorm

from riff.audio.io import to_channels

BLOCK_S, STEP_S = 0.4, 0.1  # the gating blocks of BS.1770
SEGMENT_S = 60  # of a long song at once: the meter works on copies in float64
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS; LU against what passes the absolute gate
MAX_CHANNELS = 8  # of a surround mix in WAV's order, FL FR FC LFE and then the pairs around the listener


def block_loudness(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Loudness of the 400 ms blocks that begin every 100 ms.

    Args:
        waveform: float32, shape (channels, samples). 5.1, 6.1 and 7.1 are measured without their LFE, and more than eight
            channels as a stereo mix. A sound that is shorter than a block is measured as if silence followed.

    Returns:
        LUFS, float64, shape (blocks,), at least one; -inf where it is silent.
    """
    if len(waveform) > MAX_CHANNELS:
        waveform = to_channels(waveform, 2)
    if len(waveform) <= 5:
        return _block_loudness(waveform, rate)
    # The meter takes L R C Ls Rs and weighs the last two by 1.41; what stands behind the listener counts as it is.
    front_and_sides, rear = waveform[[0, 1, 2, -2, -1]], waveform[4:-2]
    loudness = _block_loudness(front_and_sides, rate)
    if not len(rear):
        return loudness
    with np.errstate(divide="ignore"):  # silence
        return 10 * np.log10(10 ** (loudness / 10) + 10 ** (_block_loudness(rear, rate) / 10))


def _block_loudness(heard: np.ndarray, rate: int) -> np.ndarray:
    """`block_loudness` of one to five channels."""
    segment, overlap, shortest = SEGMENT_S * rate, round((BLOCK_S - STEP_S) * rate), round(BLOCK_S * rate) + 1
    blocks: list[float] = []
    for first in range(0, max(1, heard.shape[1] - overlap), segment):
        part = heard[:, first : first + segment + overlap]
        part = np.pad(part, ((0, 0), (0, max(0, shortest - part.shape[1]))))
        meter = pyloudnorm.Meter(rate)
        with np.errstate(divide="ignore", invalid="ignore"):  # silence
            meter.integrated_loudness(np.ascontiguousarray(part.T))
        blocks += meter.blockwise_loudness
    return np.array(blocks)


def loudness_against(sound: np.ndarray, other: np.ndarray, rate: int) -> float | None:
    """Integrated loudness of a sound over that of another one in the blocks where the first one plays.

    Those are the blocks that pass both gates of BS.1770 for the first; the other is not gated, since a rest of the band under
    a singer belongs to the comparison.

    Args:
        sound, other: float32, the same shape (channels, samples), at the same rate.

    Returns:
        LU; None where there is nothing to compare, because one of the two is silent (below -70 LUFS).
    """
    ours, theirs = (10 ** (block_loudness(waveform, rate) / 10) for waveform in (sound, other))  # energies
    loud = ours > 10 ** (ABSOLUTE_GATE / 10)
    if not loud.any():
        return None
    plays = loud & (ours > ours[loud].mean() * 10 ** (RELATIVE_GATE / 10))
    theirs_there = float(theirs[plays].mean())
    if not theirs_there > 10 ** (ABSOLUTE_GATE / 10):
        return None
    return float(10 * np.log10(ours[plays].mean() / theirs_there))

"""Phases from magnitudes in one pass over the frames: initial phases that save Griffin-Lim most of its iterations."""

from __future__ import annotations

import numpy as np

HANN_WIDTH = 0.25645  # the Gaussian nearest to a Hann window of n samples has a time-frequency ratio of this times n**2
FLOOR = 1e-7  # of the loudest bin, below which the logarithm is clipped


def propagate_phases(magnitude: np.ndarray, hop_length: int, angles: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Phases of a short-time Fourier transform (Hann window as long as the transform) of this magnitude.

    The phase's derivatives in time and frequency are those of the log-magnitude in frequency and time (phase gradient heap
    integration: Prusa, Balazs and Sondergaard, IEEE/ACM TASLP 2017). They are integrated without a heap, from frame to frame at
    the peaks and from each peak over the bins around it, as in single pass spectrogram inversion (Beauregard, Harish and Wyse,
    DSP 2015).

    Args:
        magnitude: float, shape (bins, frames), >= 0; the transform's length is 2 * (bins - 1).
        angles: float, shape (bins, frames), radians: the phases of the first frame, and those that are known.
        known: bool, shape (bins, frames), True where `angles` are kept (default: in the first frame only).

    Returns:
        float32, shape (bins, frames), radians, relative to the frames' first samples, as in `torch.stft`.
    """
    bins, frames = magnitude.shape
    length = 2 * (bins - 1)
    ratio = HANN_WIDTH * length / hop_length  # of the two gradients, by bin and frame
    log_magnitude = np.log(np.maximum(magnitude, max(FLOOR * magnitude.max(initial=0.0), np.finfo(np.float32).tiny))).astype(
        np.float64
    )
    over_time = _slope(log_magnitude.T).T / ratio + 2 * np.pi * hop_length / length * np.arange(bins)[:, None]
    over_frequency = np.pi - ratio * _slope(log_magnitude)  # pi a bin, because a frame's centre is half a transform after its start
    from_bottom = np.zeros((bins, frames))
    from_bottom[1:] = np.cumsum((over_frequency[1:] + over_frequency[:-1]) / 2, axis=0)
    phases = np.array(angles, np.float64)
    for frame in range(1, frames):
        predicted = phases[:, frame - 1] + (over_time[:, frame - 1] + over_time[:, frame]) / 2
        peak = _nearest_peak(magnitude[:, frame])
        spread = predicted[peak] + from_bottom[:, frame] - from_bottom[peak, frame]
        phases[:, frame] = spread if known is None else np.where(known[:, frame], phases[:, frame], spread)
    return np.remainder(phases, 2 * np.pi).astype(np.float32)


def _slope(values: np.ndarray) -> np.ndarray:
    """Central differences along the last axis, 0 at both ends."""
    slope = np.zeros_like(values)
    slope[:, 1:-1] = (values[:, 2:] - values[:, :-2]) / 2
    return slope


def _nearest_peak(spectrum: np.ndarray) -> np.ndarray:
    """The nearest peak's bin for each bin; in a spectrum without a peak, each bin is its own."""
    peaks = np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] >= spectrum[2:])) + 1
    if not len(peaks):
        return np.arange(len(spectrum))
    borders = (peaks[1:] + peaks[:-1]) // 2 + 1
    return np.repeat(peaks, np.diff(borders, prepend=0, append=len(spectrum)))

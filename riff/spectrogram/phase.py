"""mel -> waveform: magnitudes from mel bands, phases by propagation and the fast Griffin-Lim algorithm."""

from __future__ import annotations

import numpy as np
import soxr
import torch

from riff.seeds import new_generator, seed_after
from riff.spectrogram.mel import mel_to_magnitude
from riff.spectrogram.params import STANDARD, SpectrogramParams

WORKING_RATE = 24_000  # Hz, about half the samples: the image ends at 10 kHz
BLOCK_FRAMES, OVERLAP_FRAMES = 1_000, 40  # of 10 ms: longer blocks leave a core's cache; the overlap is four windows long
SILENT_BIN = 1e-6  # of the loudest bin: below it the phase is rounding noise
HANN_WIDTH = 0.25645  # the Gaussian nearest to a Hann window of n samples has a time-frequency ratio of this times n**2
FLOOR = 1e-7  # of the loudest bin, below which the logarithm is clipped
DOMINANT = 0.3  # of the target magnitude: below it another sound dominates, whose phases are better propagated


def mel_to_waveform(
    mel: torch.Tensor,
    params: SpectrogramParams = STANDARD,
    iterations: int = 16,
    seed: int = 0,
    start: torch.Tensor | None = None,
    propagate: bool = True,
) -> torch.Tensor:
    """Reconstruct audio from a mel spectrogram of any length.

    Phases are estimated at 24 kHz without zero padding (2,400-point windows, 240-sample hop: the same 10 ms frames) and
    the result is resampled to `sample_rate`. Spectrograms longer than 10 s are processed in blocks of 10 s (`continue_waveform`),
    which fit a core's cache.

    Args:
        mel: float32, shape (..., n_mels, frames), >= 0.
        iterations: of Griffin-Lim; 16 are enough, and with random initial phases 64.
        seed: of the random initial phases.
        start: float32, shape (..., samples) at `sample_rate`, a waveform whose phases are the initial ones (default: random
            ones); it is cut or padded with silence, where phases are random.
        propagate: derive initial phases from the magnitudes (`propagate_phases`) in place of random ones; those of `start` are
            then used where it has at least 0.3 of the target magnitude.

    Returns:
        float32 on the CPU, shape (..., (frames - 1) * hop_length); silence for silence.
    """
    working, frames = params.at_rate(WORKING_RATE), mel.shape[-1]
    waveform = mel.new_zeros(*mel.shape[:-2], working.clip_samples(frames))
    if start is not None:
        start = _resample(start, params.sample_rate, working.sample_rate, waveform.shape[-1]).to(mel.device)
    known = 0  # samples of the previous blocks
    for number, first in enumerate(range(0, max(1, frames - OVERLAP_FRAMES), BLOCK_FRAMES - OVERLAP_FRAMES)):
        part = mel[..., first : first + BLOCK_FRAMES]
        here = slice(working.hop_length * first, working.clip_samples(first + part.shape[-1]))
        block_start = None if start is None else start[..., here]
        before, block_seed = waveform[..., here.start : known], seed_after(seed, number)
        waveform[..., here] = continue_waveform(before, part, params, iterations, block_seed, block_start, propagate)
        known = here.stop
    return _resample(waveform, working.sample_rate, params.sample_rate, params.clip_samples(frames))


def continue_waveform(
    before: torch.Tensor,
    mel: torch.Tensor,
    params: SpectrogramParams = STANDARD,
    iterations: int = 16,
    seed: int = 0,
    start: torch.Tensor | None = None,
    propagate: bool = True,
) -> torch.Tensor:
    """Reconstruct a block of a mel spectrogram at 24 kHz, which begins before the waveform of the previous block ends.

    Where both are, the block starts from the phases of the previous one and is cross-faded with it.

    Args:
        before: float32, shape (..., samples), of the previous block from the first sample of this one on; of the first, no samples.
        mel, iterations, seed, propagate: as in `mel_to_waveform`. start: likewise, but at 24 kHz, of this block.

    Returns:
        float32, shape (..., samples), of the whole block.
    """
    working, overlap = params.at_rate(WORKING_RATE), before.shape[-1]
    begin = before.new_zeros(*before.shape[:-1], working.clip_samples(mel.shape[-1]))
    if start is not None:
        begin[..., overlap:] = start[..., overlap:]
    begin[..., :overlap] = before
    magnitude, sizes = _working_magnitude(mel, params), (working.win_length, working.hop_length)
    block = griffin_lim(magnitude, *sizes, iterations, seed=seed, start=begin, propagate=propagate)
    fade = torch.linspace(0, 1, overlap, device=mel.device)
    block[..., :overlap] = torch.lerp(before, block[..., :overlap], fade)
    return block


def _working_magnitude(mel: torch.Tensor, params: SpectrogramParams = STANDARD) -> torch.Tensor:
    """mel, float32 (..., n_mels, frames) -> magnitude of the unpadded transform at 24 kHz, float32 (..., 1201, frames)."""
    working = params.at_rate(WORKING_RATE)
    fine = mel_to_magnitude(mel, params)  # rows 2.5 Hz apart
    padding = params.padded_duration_ms // params.window_duration_ms
    coarse = fine[..., ::padding, :] * (working.win_length / params.win_length)  # rows 10 Hz apart, the shorter window's sum
    bins = working.win_length // 2 + 1
    return torch.nn.functional.pad(coarse, (0, 0, 0, bins - coarse.shape[-2]))


def griffin_lim(
    magnitude: torch.Tensor,
    n_fft: int,
    hop_length: int,
    iterations: int = 64,
    momentum: float = 0.99,
    seed: int = 0,
    start: torch.Tensor | None = None,
    propagate: bool = False,
) -> torch.Tensor:
    """Find a waveform with this magnitude spectrogram (Hann window, centred frames).

    The fast Griffin-Lim algorithm (Perraudin, Balazs and Sondergaard, WASPAA 2013) from seeded random phases, from those of a
    waveform, or from `propagate_phases`.

    Args:
        magnitude: float32, shape (..., n_fft // 2 + 1, frames).
        start: float32, shape (..., (frames - 1) * hop_length), the waveform; it has no phases where it is silent.
        propagate: derive phases that `start` does not have from the magnitudes, instead of random ones.

    Returns:
        float32, shape (..., (frames - 1) * hop_length).
    """
    window = torch.hann_window(n_fft, device=magnitude.device)
    flat = magnitude.reshape(-1, *magnitude.shape[-2:])
    length = (flat.shape[-1] - 1) * hop_length
    if length == 0:
        return flat.new_zeros(*magnitude.shape[:-2], 0)

    def to_waveform(spectrum: torch.Tensor) -> torch.Tensor:
        return torch.istft(spectrum, n_fft, hop_length, window=window, length=length)

    def to_spectrum(waveform: torch.Tensor) -> torch.Tensor:
        padding = "reflect" if length > n_fft // 2 else "constant"
        return torch.stft(waveform, n_fft, hop_length, window=window, pad_mode=padding, return_complex=True)

    begin = None if start is None else to_spectrum(start.reshape(-1, length))
    spectrum = torch.polar(flat, _initial_angles(flat, hop_length, seed, begin, propagate))
    previous = torch.zeros_like(spectrum)
    for _ in range(iterations):
        consistent = to_spectrum(to_waveform(spectrum))
        spectrum = consistent + momentum / (1 + momentum) * (consistent - previous) if iterations > 1 else consistent
        spectrum *= flat / spectrum.abs().clamp_min(1e-16)
        previous = consistent
    return to_waveform(spectrum).reshape(*magnitude.shape[:-2], length)


def _initial_angles(
    magnitude: torch.Tensor, hop_length: int, seed: int, begin: torch.Tensor | None, propagate: bool
) -> torch.Tensor:
    """Initial phases, radians, shape (batch, bins, frames): those of the spectrum `begin`, else propagated or random ones."""
    generator = new_generator(seed)
    # Shared by the batch, so that results do not depend on it.
    angles = torch.rand(magnitude.shape[-2:], generator=generator).to(magnitude.device) * (2 * torch.pi)
    angles, known = angles.expand_as(magnitude), torch.zeros_like(magnitude, dtype=torch.bool)
    if begin is not None:
        known = begin.abs() > (DOMINANT * magnitude if propagate else SILENT_BIN * begin.abs().amax())
        angles = torch.where(known, begin.angle(), angles)
    if not propagate:
        return angles
    batch = zip(magnitude.cpu().numpy(), angles.cpu().numpy(), known.cpu().numpy(), strict=True)
    phases = np.stack([propagate_phases(spectrum, hop_length, *initial) for spectrum, *initial in batch])
    return torch.from_numpy(phases).to(magnitude.device)


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
    floor = max(FLOOR * magnitude.max(initial=0.0), np.finfo(np.float32).tiny)
    log_magnitude = np.log(np.maximum(magnitude, floor)).astype(np.float64)
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


def _resample(waveform: torch.Tensor, rate: int, target_rate: int, samples: int) -> torch.Tensor:
    """Resample the last axis on the CPU and make it exactly `samples` long."""
    if waveform.numel() == 0:
        return torch.zeros(*waveform.shape[:-1], samples)
    columns = waveform.reshape(-1, waveform.shape[-1]).T.cpu().numpy()
    resampled = soxr.resample(columns, rate, target_rate).astype(np.float32)
    out = np.zeros((samples, resampled.shape[1]), np.float32)
    out[: len(resampled)] = resampled[:samples]
    return torch.from_numpy(np.ascontiguousarray(out.T)).reshape(*waveform.shape[:-1], samples)

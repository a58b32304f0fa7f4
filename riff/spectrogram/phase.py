"""mel -> waveform: magnitudes from mel bands, phases by the fast Griffin-Lim algorithm."""

from __future__ import annotations

import numpy as np
import soxr
import torch

from riff.spectrogram.mel import mel_to_magnitude
from riff.spectrogram.params import STANDARD, SpectrogramParams

WORKING_RATE = 24_000  # Hz: the image holds nothing above 10 kHz, and half the samples cost half the time


def mel_to_waveform(mel: torch.Tensor, params: SpectrogramParams = STANDARD, iterations: int = 64, seed: int = 0) -> torch.Tensor:
    """Reconstruct audio from a mel spectrogram.

    The phases are found at 24 kHz without zero padding (2,400-point windows, 240-sample hop: the same 10 ms frames) and
    the result is resampled to `sample_rate`.

    Args:
        mel: float32, shape (..., n_mels, frames), >= 0.
        iterations: Griffin-Lim rounds; 32 is quick, 128 is best.
        seed: of the random phases at the start.

    Returns:
        float32 on the CPU, shape (..., (frames - 1) * hop_length); silence for silence.
    """
    working = params.at_rate(WORKING_RATE)
    fine = mel_to_magnitude(mel, params)  # rows 2.5 Hz apart
    padding = params.padded_duration_ms // params.window_duration_ms
    coarse = fine[..., ::padding, :] * (working.win_length / params.win_length)  # rows 10 Hz apart, the shorter window's sum
    bins = working.win_length // 2 + 1
    magnitude = torch.nn.functional.pad(coarse, (0, 0, 0, bins - coarse.shape[-2]))
    waveform = griffin_lim(magnitude, working.win_length, working.hop_length, iterations=iterations, seed=seed)
    samples = params.clip_samples(mel.shape[-1])
    return _resample(waveform, working.sample_rate, params.sample_rate, samples)


def griffin_lim(
    magnitude: torch.Tensor, n_fft: int, hop_length: int, iterations: int = 64, momentum: float = 0.99, seed: int = 0
) -> torch.Tensor:
    """Find a waveform with this magnitude spectrogram (Hann window, centred frames).

    The fast Griffin-Lim algorithm (Perraudin, Balazs and Sondergaard, WASPAA 2013) from seeded random phases.

    Args:
        magnitude: float32, shape (..., n_fft // 2 + 1, frames).

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

    generator = torch.Generator().manual_seed(seed)
    # One draw, shared by the batch, so that a clip sounds the same alone and among others.
    angles = torch.rand(flat.shape[-2:], generator=generator).to(flat.device) * (2 * torch.pi)
    spectrum = torch.polar(flat, angles.expand_as(flat))
    previous = torch.zeros_like(spectrum)
    for _ in range(iterations):
        consistent = to_spectrum(to_waveform(spectrum))
        spectrum = consistent + momentum / (1 + momentum) * (consistent - previous) if iterations > 1 else consistent
        spectrum *= flat / spectrum.abs().clamp_min(1e-16)
        previous = consistent
    return to_waveform(spectrum).reshape(*magnitude.shape[:-2], length)


def _resample(waveform: torch.Tensor, rate: int, target_rate: int, samples: int) -> torch.Tensor:
    """Resample the last axis on the CPU and make it exactly `samples` long."""
    if waveform.numel() == 0:
        return torch.zeros(*waveform.shape[:-1], samples)
    columns = waveform.reshape(-1, waveform.shape[-1]).T.cpu().numpy()
    resampled = soxr.resample(columns, rate, target_rate).astype(np.float32)
    out = np.zeros((samples, resampled.shape[1]), np.float32)
    out[: len(resampled)] = resampled[:samples]
    return torch.from_numpy(np.ascontiguousarray(out.T)).reshape(*waveform.shape[:-1], samples)

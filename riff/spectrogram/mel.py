"""waveform -> magnitude -> mel, and mel -> magnitude.

The magnitude is that of a centred, zero-padded short-time Fourier transform (Hann window, reflect padding); the mel
filters are triangles on the HTK scale without normalisation, those of torchaudio in Riffusion.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import fft

from riff.spectrogram.params import STANDARD, SpectrogramParams

warnings.filterwarnings("ignore", message="Sparse CSR tensor support")  # only a matrix product is used

BLOCK_FRAMES = 1_024  # of a long waveform: a transform of 72 MB
CACHED_FRAMES = 8  # transformed at once: 0.6 MB, which stays in a core's cache


def waveform_to_magnitude(
    waveform: torch.Tensor, params: SpectrogramParams = STANDARD, top_hz: float | None = None
) -> torch.Tensor:
    """Magnitude spectrogram, one row per `1/padded_duration` Hz.

    Args:
        waveform: float, shape (..., samples), any length including zero; a short one is padded with silence.
        top_hz: omit bins above this frequency (default: `max_frequency`, the upper end of the mel bands).

    Returns:
        float32, shape (..., bins, frames), frames = 1 + samples // hop_length.
    """
    frames = params.num_frames(waveform.shape[-1])
    top_hz = params.max_frequency if top_hz is None else top_hz
    bins = min(params.n_fft // 2 + 1, 1 + int(np.ceil(top_hz * params.n_fft / params.sample_rate)))
    shortest = params.n_fft // 2 + 1  # reflection needs more samples than it pads
    if waveform.shape[-1] < shortest:
        waveform = torch.nn.functional.pad(waveform, (0, shortest - waveform.shape[-1]))
    flat = waveform.reshape(-1, waveform.shape[-1]).float()
    transform = _magnitudes_on_cpu if flat.device.type == "cpu" else _magnitudes_on_device
    return transform(flat, params, bins, frames).reshape(*waveform.shape[:-1], bins, frames)


def _magnitudes_on_cpu(waveforms: torch.Tensor, params: SpectrogramParams, bins: int, frames: int) -> torch.Tensor:
    """(batch, samples) -> (batch, bins, frames), a few frames at a time: six times as fast, because they fit a core's cache."""
    window = torch.hann_window(params.win_length).numpy()
    magnitudes = torch.empty(len(waveforms), bins, frames)
    buffer = np.empty((CACHED_FRAMES, bins), np.float32)
    for waveform, rows in zip(waveforms.numpy(), magnitudes.numpy(), strict=True):
        padded = np.pad(waveform, params.n_fft // 2, mode="reflect")
        # The window is centred in the transform; where its zero padding lies does not affect the magnitude.
        centred = padded[(params.n_fft - params.win_length) // 2 :]
        frames_view = np.lib.stride_tricks.sliding_window_view(centred, params.win_length)[:: params.hop_length][:frames]
        for first in range(0, frames, CACHED_FRAMES):
            windowed = frames_view[first : first + CACHED_FRAMES] * window
            spectrum = fft.rfft(windowed, n=params.n_fft)[:, :bins]
            rows[:, first : first + CACHED_FRAMES] = np.abs(spectrum, out=buffer[: len(spectrum)]).T
    return magnitudes


def _magnitudes_on_device(waveforms: torch.Tensor, params: SpectrogramParams, bins: int, frames: int) -> torch.Tensor:
    """(batch, samples) -> (batch, bins, frames), in one transform."""
    window = torch.hann_window(params.win_length, device=waveforms.device)
    sizes = (params.n_fft, params.hop_length, params.win_length, window)
    return torch.stft(waveforms, *sizes, center=True, pad_mode="reflect", return_complex=True)[:, :bins, :frames].abs()


def magnitude_to_mel(magnitude: torch.Tensor, params: SpectrogramParams = STANDARD, semitones: float = 0.0) -> torch.Tensor:
    """Sum magnitudes into mel bands, optionally shifted in pitch.

    A pitch shift by `semitones` reads every band at f / 2**(semitones/12), so that one transform serves every shift and
    the timing stays exact; a downward shift needs a magnitude with `top_hz` above `max_frequency` (see `top_frequency`).

    Args:
        magnitude: float32, shape (..., bins, frames), from `waveform_to_magnitude`.

    Returns:
        float32, shape (..., n_mels, frames), low bands first.
    """
    bands = _mel_operator(params, magnitude.shape[-2], semitones, magnitude.device)
    flat = magnitude.reshape(-1, *magnitude.shape[-2:])
    return torch.stack([bands @ spectrum for spectrum in flat]).reshape(*magnitude.shape[:-2], -1, magnitude.shape[-1])


def waveform_to_mel(waveform: torch.Tensor, params: SpectrogramParams = STANDARD) -> torch.Tensor:
    """float (..., samples) -> float32 (..., n_mels, frames), frames = 1 + samples // hop_length.

    A long waveform is processed in blocks, each with the context of its outer frames, so that memory holds the transform of one
    block; the result is the same.
    """
    frames, margin = params.num_frames(waveform.shape[-1]), 1 + params.n_fft // params.hop_length
    if frames <= BLOCK_FRAMES:
        return magnitude_to_mel(waveform_to_magnitude(waveform, params), params)
    mel = torch.empty(*waveform.shape[:-1], params.n_mels, frames, device=waveform.device)
    for first in range(0, frames, BLOCK_FRAMES):
        last = min(frames, first + BLOCK_FRAMES)
        # Reflect padding at a block's border affects frames of the margin only.
        begin = max(0, first - margin)
        end = waveform.shape[-1] if last == frames else params.hop_length * (last + margin)
        magnitude = waveform_to_magnitude(waveform[..., params.hop_length * begin : end], params)
        mel[..., first:last] = magnitude_to_mel(magnitude[..., first - begin : last - begin], params)
    return mel


def top_frequency(params: SpectrogramParams, semitones: float) -> float:
    """The highest frequency in Hz that the mel bands read under a pitch shift."""
    return params.max_frequency * max(1.0, 2.0 ** (-semitones / 12))


@lru_cache(maxsize=32)
def mel_filterbank(params: SpectrogramParams, bins: int, semitones: float = 0.0) -> torch.Tensor:
    """Triangular HTK mel filters over the first `bins` bins, unnormalised: float32, shape (n_mels, bins).

    The HTK scale is mel(f) = 2595 log10(1 + f/700) (O'Shaughnessy 1987).
    """
    edges_mel = np.linspace(_hz_to_mel(params.min_frequency), _hz_to_mel(params.max_frequency), params.n_mels + 2)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    frequencies = np.arange(bins) * params.sample_rate / params.n_fft * 2.0 ** (semitones / 12)
    rising = (frequencies[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies[None]) / np.diff(edges)[1:, None]
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32))


@lru_cache(maxsize=32)
def _mel_operator(params: SpectrogramParams, bins: int, semitones: float, device: torch.device) -> torch.Tensor:
    return _as_operator(mel_filterbank(params, bins, semitones).to(device))


def band_of(frequency: ArrayLike, params: SpectrogramParams = STANDARD) -> np.ndarray:
    """Fractional index of the mel band whose filter peaks at a frequency in Hz, in the frequency's shape; 0 is the lowest band."""
    low, high = _hz_to_mel(params.min_frequency), _hz_to_mel(params.max_frequency)
    return (_hz_to_mel(np.asarray(frequency)) - low) * ((params.n_mels + 1) / (high - low)) - 1.0


def _hz_to_mel(frequency: Any) -> Any:
    return 2595.0 * np.log10(1.0 + frequency / 700.0)


def mel_to_magnitude(mel: torch.Tensor, params: SpectrogramParams = STANDARD, iterations: int = 10) -> torch.Tensor:
    """A non-negative magnitude whose mel bands are `mel`, by multiplicative updates.

    S <- S * W'(M / WS) / W'1 decreases the Kullback-Leibler divergence of WS from M and keeps S non-negative
    (Lee and Seung, NIPS 2000); the initial value is the bands' mean magnitudes, distributed over their bins.

    Args:
        mel: float32, shape (..., n_mels, frames), >= 0.

    Returns:
        float32, shape (..., bins, frames), bins up to `max_frequency`.
    """
    bins = 1 + int(np.ceil(params.max_frequency * params.n_fft / params.sample_rate))
    dense = mel_filterbank(params, bins).to(mel.device)
    forward, backward = _as_operator(dense), _as_operator(dense.T.contiguous())
    smallest = torch.finfo(torch.float32).tiny
    weight = dense.sum(dim=0).clamp_min(1e-6)[:, None]  # W'1, shape (bins, 1)
    columns = mel.reshape(-1, *mel.shape[-2:]).movedim(0, 1).reshape(mel.shape[-2], -1)  # (n_mels, batch * frames)
    magnitude = backward @ (columns / dense.sum(dim=1).clamp_min(1e-6)[:, None]) / weight
    for _ in range(iterations):
        magnitude *= (backward @ (columns / (forward @ magnitude).clamp_min(smallest))) / weight
    return magnitude.reshape(bins, -1, mel.shape[-1]).movedim(0, 1).reshape(*mel.shape[:-2], bins, mel.shape[-1])


def _as_operator(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix, sparse on a CPU: each bin lies in two bands, so 99.6 % of it is zero."""
    return matrix.to_sparse_csr() if matrix.device.type == "cpu" else matrix

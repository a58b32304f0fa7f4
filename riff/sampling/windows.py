"""Spectrograms of any length: overlapping windows over one latent, denoised together.

MultiDiffusion (Bar-Tal, Yariv, Lipman and Dekel, ICML 2023): at every step the noise is predicted in windows of the size that
the model was trained on, the predictions are averaged where windows overlap, and the whole latent takes one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from riff.errors import DataError, OptionError
from riff.models.base import check_size, latent_factor
from riff.sampling.known_region import KnownRegion
from riff.seeds import new_generator
from riff.spectrogram.params import CLIP_FRAMES, STANDARD

GPU_BATCH_SIZE = 8  # windows a forward pass; on a CPU one at a time goes fastest


@dataclass(frozen=True)
class WindowLayout:
    """How windows lie over a picture.

    Attributes:
        width: of a window in frames, the width that the model was trained on.
        overlap: share of a window that the next one covers as well, from 0 to below 1.
        batch_size: windows a forward pass, None for 1 on a CPU and 8 elsewhere. It changes time and memory, and nothing else.

    Raises:
        OptionError: no such share or batch.
    """

    width: int = CLIP_FRAMES
    overlap: float = 0.5
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise OptionError(f"windows that overlap by {self.overlap}: give a share from 0 to below 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise OptionError(f"a batch of {self.batch_size} windows: give 1 or more")

    def starts(self, frames: int, factor: int) -> list[int]:
        """First frames of the windows over a picture, which is padded to whole latent columns first.

        Args:
            factor: frames a latent column, by which the width can be divided (`riff.models.base.latent_factor`).

        Returns:
            Multiples of `factor`, rising; the last window ends with the padded picture.

        Raises:
            DataError: a picture narrower than a window.
        """
        if frames < self.width:
            raise DataError(
                f"a picture of {frames} frames is narrower than a window of {self.width}; pad it, or make windows narrower"
            )
        last = -(-frames // factor) - self.width // factor
        stride = max(1, round(self.width // factor * (1 - self.overlap)))
        return [column * factor for column in (*range(0, last, stride), last)]

    def weights(self, starts: Sequence[int], factor: int) -> torch.Tensor:
        """What each window counts for in each of its columns: float32, shape (windows, width // factor).

        A raised cosine over the window, sampled between its ends so that it is nowhere zero, and divided by the windows' sum in
        every column: wherever there is a window, the weights add up to 1, up to the very ends of a song.

        Args:
            starts: of the windows that count, in frames. factor: frames a column; 1 gives weights of pixels.
        """
        width = self.width // factor
        cosine = np.sin(np.pi * (np.arange(width) + 0.5) / width) ** 2
        columns = [start // factor for start in starts]
        total = np.zeros(max(columns, default=0) + width)
        for column in columns:
            total[column : column + width] += cosine
        weights = [cosine / total[column : column + width] for column in columns]
        return torch.from_numpy(np.array(weights, np.float32).reshape(len(columns), width))


class WindowPredictor(Protocol):
    """What denoises windows: a model with what it is guided by."""

    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        """The guided prediction for a batch of windows.

        Args:
            latents: float32, shape (windows, channels, height, width), as noisy as `timestep` says.
            starts: of the windows, in frames.

        Returns:
            float32, the shape of `latents`.
        """
        ...


@torch.inference_mode()
def sample_windows(
    pipeline: Any,
    predictor: WindowPredictor,
    frames: int,
    seed: int,
    steps: int,
    layout: WindowLayout = WindowLayout(),
    held: KnownRegion | None = None,
    on_step: Callable[[int], object] | None = None,
    height: int = STANDARD.n_mels,
) -> np.ndarray:
    """Draw one spectrogram of any length.

    However long it is, the UNet and the autoencoder see windows of the layout's width alone. Where some frames are held, their
    latents, as noisy as the step, are put back before every step, and windows in which nothing is painted are left out.

    Args:
        pipeline: diffusers', with a deterministic scheduler.
        seed: of the starting noise of the whole picture, drawn on the CPU, so that every device starts from the same.
        steps: of denoising, 1 or more.
        held: a picture that is known but for some frames, which are painted to go with it (default: all is painted).
        on_step: called with the number of finished denoising steps.
        height: of the picture in pixels.

    Returns:
        uint8 grey levels, shape (height, frames).

    Raises:
        DataError: a picture narrower than a window, or windows or a known picture of a size that does not fit.
    """
    check_size(pipeline, height, layout.width, "a window")
    factor, scheduler, device = latent_factor(pipeline), pipeline.scheduler, pipeline.device
    held = (held or KnownRegion.nothing(height, frames)).padded(height, frames, factor)
    share = held.share(factor)
    starts = [start for start in layout.starts(frames, factor) if share[start : start + layout.width].any()]
    shape = (1, pipeline.vae.config.latent_channels, height // factor, len(share) // factor)
    noise = torch.randn(shape, generator=new_generator(seed)).to(device)
    known = _encode(pipeline, held, [start for start in starts if (share[start : start + layout.width] < 1).any()], layout, noise)
    painted = torch.from_numpy(share.reshape(-1, factor).mean(axis=1)).to(device)  # the share by latent column

    scheduler.set_timesteps(steps, device=device)
    latents = noise * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        latents = torch.lerp(scheduler.add_noise(known, noise, timestep.reshape(1)), latents, painted)
        scaled = scheduler.scale_model_input(latents, timestep)
        guided = _predict(predictor, scaled, timestep, starts, layout, factor)
        latents = scheduler.step(guided, timestep, latents).prev_sample
        if on_step is not None:
            on_step(step + 1)
    grey = _decode(pipeline, torch.lerp(known, latents, painted), starts, layout)
    grey = torch.lerp(torch.from_numpy(held.pixels).float(), grey, torch.from_numpy(share))
    return grey.round().byte().numpy()[:, :frames]


def _predict(
    predictor: WindowPredictor,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    starts: Sequence[int],
    layout: WindowLayout,
    factor: int,
) -> torch.Tensor:
    """The windows' predictions, averaged: float32, shape (1, channels, height, columns); zeros where there is no window."""
    batch_size = layout.batch_size or (1 if latents.device.type == "cpu" else GPU_BATCH_SIZE)
    weights = layout.weights(starts, factor).to(latents.device)
    guided = torch.zeros_like(latents)
    for first in range(0, len(starts), batch_size):
        batch = starts[first : first + batch_size]
        windows = torch.cat([latents[..., start // factor : (start + layout.width) // factor] for start in batch])
        _add(guided, predictor.noise(windows, timestep, batch), batch, weights[first : first + batch_size], factor)
    return guided


def _encode(pipeline: Any, held: KnownRegion, starts: Sequence[int], layout: WindowLayout, like: torch.Tensor) -> torch.Tensor:
    """Scaled latents of the known picture: float32, the shape and device of `like`; zeros where there is no window."""
    factor = latent_factor(pipeline)
    latents = torch.zeros_like(like)
    for start, weights in zip(starts, layout.weights(starts, factor).to(like.device), strict=True):
        window = encode_image(pipeline.vae, held.pixels[:, start : start + layout.width])
        _add(latents, window * pipeline.vae.config.scaling_factor, [start], weights[None], factor)
    return latents


def _decode(pipeline: Any, latents: torch.Tensor, starts: Sequence[int], layout: WindowLayout) -> torch.Tensor:
    """Grey levels: float32, shape (height, frames), on the CPU.

    The decoder's normalisations look at all that it is given, so it is given windows of the width that it knows as well.
    """
    vae, factor = pipeline.vae, latent_factor(pipeline)
    grey = torch.zeros(latents.shape[2] * factor, latents.shape[3] * factor)
    for start, weights in zip(starts, layout.weights(starts, 1), strict=True):
        window = latents[..., start // factor : (start + layout.width) // factor] / vae.config.scaling_factor
        decoded = vae.decode(window.to(vae.dtype)).sample[0].float().clamp(-1, 1)
        _add(grey, ((decoded.mean(dim=0) + 1.0) * 127.5).cpu()[None], [start], weights[None], 1)
    return grey


def _add(whole: torch.Tensor, windows: torch.Tensor, starts: Sequence[int], weights: torch.Tensor, factor: int) -> None:
    """Add windows, each times its weights, to the whole in place, always one after the other: sums then have one order."""
    for window, start, weight in zip(windows, starts, weights, strict=True):
        column = start // factor
        whole[..., column : column + len(weight)] += window.float() * weight


def encode_image(vae: Any, pixels: np.ndarray) -> torch.Tensor:
    """The mode of a picture's latents, unscaled: uint8 (height, width) -> (1, channels, height / factor, width / factor)."""
    scaled = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1.0)[None, None].repeat(1, 3, 1, 1)
    return vae.encode(scaled.to(vae.device, vae.dtype)).latent_dist.mode()


@torch.inference_mode()
def through_autoencoder(vae: Any, pixels: np.ndarray) -> np.ndarray:
    """uint8 (height, width) -> uint8, encoded to latents and decoded."""
    decoded = vae.decode(encode_image(vae, pixels)).sample.float().mean(dim=1)[0]
    return ((decoded + 1.0) * 127.5).round().clamp(0, 255).byte().cpu().numpy()

"""Spectrogram images of any length: overlapping windows over one latent, denoised together.

MultiDiffusion (Bar-Tal, Yariv, Lipman and Dekel, ICML 2023): at every step the noise is predicted in windows of the size that
the model was trained on, the predictions are averaged where windows overlap, and the whole latent takes one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from riff.errors import DataError, OptionError
from riff.models.encoders import check_size, encode_images, latent_factor
from riff.sampling.known_region import KnownRegion
from riff.seeds import new_generator
from riff.spectrogram.image import SILENCE
from riff.spectrogram.params import CLIP_FRAMES, STANDARD

GPU_BATCH_SIZE = 8  # windows a forward pass; on a CPU one at a time goes fastest


@dataclass(frozen=True)
class WindowLayout:
    """Layout of windows over an image.

    Attributes:
        width: of a window in frames, the width that the model was trained on.
        overlap: share of a window that the next one covers as well, from 0 to below 1.
        batch_size: windows a forward pass (default: 1 on a CPU, else 8); affects time and memory only.
        loop: the image is a circle of whole latent columns: windows at its end go on at its beginning.

    Raises:
        OptionError: an overlap or batch size out of range.
    """

    width: int = CLIP_FRAMES
    overlap: float = 0.5
    batch_size: int | None = None
    loop: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise OptionError(f"windows that overlap by {self.overlap}: give a share from 0 to below 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise OptionError(f"a batch of {self.batch_size} windows: give 1 or more")

    def starts(self, frames: int, factor: int) -> list[int]:
        """First frames of the windows over an image that is padded to whole latent columns.

        Args:
            factor: frames a latent column, a divisor of the width (`riff.models.encoders.latent_factor`).

        Returns:
            Multiples of `factor`, ascending; the last window ends with the padded image, or those of a loop are equally far apart.

        Raises:
            DataError: an image narrower than a window.
        """
        if frames < self.width:
            raise DataError(
                f"an image of {frames} frames is narrower than a window of {self.width}; pad it, or use narrower windows"
            )
        last = -(-frames // factor) - self.width // factor
        stride = max(1, round(self.width // factor * (1 - self.overlap)))
        if self.loop:
            count = -(-frames // (stride * factor))
            return [round(number * frames / factor / count) * factor for number in range(count)]
        return [column * factor for column in (*range(0, last, stride), last)]

    def weights(self, starts: Sequence[int], factor: int, columns: int) -> torch.Tensor:
        """Weight of each window in each of its columns: float32, shape (windows, width // factor).

        A raised cosine over the window, sampled between its ends so that it is nowhere zero, and normalised in every column:
        the weights of overlapping windows sum to 1, up to the ends of a song.

        Args:
            starts: of the windows, in frames. factor: frames a column; 1 gives weights of pixels. columns: of the whole image.
        """
        width = self.width // factor
        cosine = np.sin(np.pi * (np.arange(width) + 0.5) / width) ** 2
        total = np.zeros(columns)
        covered = [columns_of(start // factor, width, columns) for start in starts]
        for part in covered:
            total[part] += cosine
        weights = [cosine / total[part] for part in covered]
        return torch.from_numpy(np.array(weights, np.float32).reshape(len(covered), width))


def columns_of(first: int, width: int, columns: int) -> slice | np.ndarray:
    """Index of a window's columns in an image of so many; one that reaches beyond the end goes on at the beginning."""
    return slice(first, first + width) if first + width <= columns else np.arange(first, first + width) % columns


@dataclass(frozen=True)
class Guide:
    """An image that sampling begins with.

    Attributes:
        pixels: uint8, shape (height, frames). strength: [0, 1]: the share of the denoising steps that are left out, 0 for none of
            the image, near 1 for the image itself.
    """

    pixels: np.ndarray
    strength: float

    def for_seed(self, seed: int, frames: slice = slice(None)) -> Guide:
        """The same for every seed."""
        return replace(self, pixels=self.pixels[:, frames])


class Guides(Protocol):
    """What sampling begins with for each seed, at one strength."""

    @property
    def strength(self) -> float: ...

    def for_seed(self, seed: int, frames: slice = slice(None)) -> Guide:
        """The guide of a take, or of some of its frames."""
        ...


def guided_steps(steps: int, strength: float) -> int:
    """Denoising steps that are run, of `steps`, from a guide of this strength; one at least."""
    return max(1, round((1.0 - strength) * steps))


class WindowPredictor(Protocol):
    """A denoising model with its conditioning."""

    def noise(self, latents: torch.Tensor, timestep: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
        """The guided prediction for a batch of windows.

        Args:
            latents: float32, shape (windows, channels, height, width), at the noise level of `timestep`.
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
    known_region: KnownRegion | None = None,
    on_step: Callable[[int], object] | None = None,
    height: int = STANDARD.n_mels,
    guide: Guide | None = None,
) -> np.ndarray:
    """Sample one spectrogram image of any length.

    The UNet and the autoencoder process single windows of the layout's width, whatever the length. Latents of known frames, at
    the noise level of the step, replace the sampled ones before every step, and windows without generated frames are skipped.

    Args:
        pipeline: diffusers pipeline with a deterministic scheduler.
        seed: of the initial noise of the whole image, generated on the CPU for the same result on every device.
        steps: denoising steps, 1 or more.
        known_region: image and inpainting mask (default: every frame is generated).
        on_step: called with the number of finished denoising steps.
        height: of the image in pixels.
        guide: image to begin with in place of noise alone (SDEdit, Meng et al., ICLR 2022); fewer steps are run. A narrower one is
            followed by silence.

    Returns:
        uint8 grey levels, shape (height, frames).

    Raises:
        DataError: an image narrower than a window, or a window or known image of a size that does not fit the model.
    """
    check_size(pipeline, height, layout.width, "a window")
    factor, scheduler, device = latent_factor(pipeline), pipeline.scheduler, pipeline.device
    known_region = (known_region or KnownRegion.nothing(height, frames)).padded(height, frames, factor)
    share = known_region.share(factor)
    starts = [start for start in layout.starts(frames, factor) if share[start : start + layout.width].any()]
    shape = (1, pipeline.vae.config.latent_channels, height // factor, len(share) // factor)
    noise = torch.randn(shape, generator=new_generator(seed)).to(device)
    known_starts = [start for start in starts if (share[start : start + layout.width] < 1).any()]
    known = _encode(pipeline, known_region.pixels, known_starts, layout, noise)
    mask = torch.from_numpy(share.reshape(-1, factor).mean(axis=1)).to(device)  # by latent column

    scheduler.set_timesteps(steps, device=device)
    latents = noise * scheduler.init_noise_sigma
    timesteps = scheduler.timesteps
    if guide is not None:
        first = steps - guided_steps(steps, guide.strength)
        timesteps = timesteps[first:]
        scheduler.set_begin_index(first)
        missing = [(0, 0), (0, len(share) - guide.pixels.shape[1])]
        pixels = np.pad(guide.pixels, missing, constant_values=SILENCE)
        latents = scheduler.add_noise(_encode(pipeline, pixels, starts, layout, noise), noise, timesteps[:1])
    for step, timestep in enumerate(timesteps):
        latents = torch.lerp(scheduler.add_noise(known, noise, timestep.reshape(1)), latents, mask)
        scaled = scheduler.scale_model_input(latents, timestep)
        guided = _predict(predictor, scaled, timestep, starts, layout, factor)
        latents = scheduler.step(guided, timestep, latents).prev_sample
        if on_step is not None:
            on_step(step + 1)
    grey = _decode(pipeline, torch.lerp(known, latents, mask), starts, layout)
    grey = torch.lerp(torch.from_numpy(known_region.pixels).float(), grey, torch.from_numpy(share))
    return grey.round().byte().numpy()[:, :frames]


def _predict(
    predictor: WindowPredictor,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    starts: Sequence[int],
    layout: WindowLayout,
    factor: int,
) -> torch.Tensor:
    """Weighted mean of the windows' predictions: float32, shape (1, channels, height, columns); zeros outside windows."""
    batch_size = layout.batch_size or (1 if latents.device.type == "cpu" else GPU_BATCH_SIZE)
    width, columns = layout.width // factor, latents.shape[-1]
    weights = layout.weights(starts, factor, columns).to(latents.device)
    guided = torch.zeros_like(latents)
    for first in range(0, len(starts), batch_size):
        batch = starts[first : first + batch_size]
        windows = torch.cat([latents[..., columns_of(start // factor, width, columns)] for start in batch])
        _add(guided, predictor.noise(windows, timestep, batch), batch, weights[first : first + batch_size], factor)
    return guided


def _encode(pipeline: Any, pixels: np.ndarray, starts: Sequence[int], layout: WindowLayout, like: torch.Tensor) -> torch.Tensor:
    """Scaled latents of an image: float32, the shape and device of `like`; zeros outside windows."""
    factor = latent_factor(pipeline)
    latents = torch.zeros_like(like)
    for start, weights in zip(starts, layout.weights(starts, factor, like.shape[-1]).to(like.device), strict=True):
        window = encode_images(pipeline.vae, [pixels[:, columns_of(start, layout.width, pixels.shape[1])]]).mode()
        _add(latents, window * pipeline.vae.config.scaling_factor, [start], weights[None], factor)
    return latents


def _decode(pipeline: Any, latents: torch.Tensor, starts: Sequence[int], layout: WindowLayout) -> torch.Tensor:
    """Grey levels: float32, shape (height, frames), on the CPU.

    The decoder's normalisation layers depend on the input's width, so it decodes windows of the width it was trained on.
    """
    vae, factor = pipeline.vae, latent_factor(pipeline)
    columns = latents.shape[-1]
    grey = torch.zeros(latents.shape[2] * factor, columns * factor)
    for start, weights in zip(starts, layout.weights(starts, 1, columns * factor), strict=True):
        window = latents[..., columns_of(start // factor, layout.width // factor, columns)] / vae.config.scaling_factor
        decoded = vae.decode(window.to(vae.dtype)).sample[0].float().clamp(-1, 1)
        _add(grey, ((decoded.mean(dim=0) + 1.0) * 127.5).cpu()[None], [start], weights[None], 1)
    return grey


def _add(whole: torch.Tensor, windows: torch.Tensor, starts: Sequence[int], weights: torch.Tensor, factor: int) -> None:
    """Add weighted windows to the whole in place, one after the other: the order of the sum is independent of the batch size."""
    for window, start, weight in zip(windows, starts, weights, strict=True):
        whole[..., columns_of(start // factor, len(weight), whole.shape[-1])] += window.float() * weight

"""Sampling with a ControlNet: spectrogram images that follow an accompaniment's edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin, StableDiffusionControlNetPipeline, UniPCMultistepScheduler

from riff.errors import DataError
from riff.models.encoders import check_size, warn_of_long
from riff.sampling.options import SamplingOptions
from riff.seeds import new_generator
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.level import level_ratio

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)
DEFAULTS = SamplingOptions()


def prepare_pipeline(pipeline: Pipeline, device: str = "cpu") -> Pipeline:
    """Move a pipeline to a device (half precision on CUDA) with the UniPC scheduler, which needs few steps.

    Channels last: on a CPU the small models then take a quarter less time.
    """
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, ModelMixin):
            part.to(memory_format=torch.channels_last)
    return pipeline.to(device, torch.float16 if device == "cuda" else torch.float32)


def sample_control(
    pipeline: StableDiffusionControlNetPipeline,
    edges: Sequence[np.ndarray],
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions = DEFAULTS,
    on_step: Callable[[int], object] | None = None,
) -> list[np.ndarray]:
    """Sample one spectrogram image for each edge map, prompt and seed.

    Args:
        edges: uint8, shape (height, width), 0 or 255, all of one size, a multiple of the latents' pixels.
        seeds: of the initial noise, generated on the CPU for the same result on every device.
        on_step: called with the number of finished denoising steps.

    Returns:
        uint8 grey levels, shape (height, width) each.

    Raises:
        DataError: edge maps of a size that does not fit the model, or of several sizes.
    """
    if not edges:
        return []
    height, width = edges[0].shape
    check_size(pipeline, height, width, "a control image")
    if any(edge_map.shape != (height, width) for edge_map in edges):
        raise DataError(f"control images of other sizes than {height}x{width}; sample each size by itself")
    warn_of_long(pipeline.tokenizer, [*prompts, options.negative_prompt])

    def report(_pipeline, step, _timestep, tensors):  # type: ignore[no-untyped-def]
        if on_step is not None:
            on_step(step + 1)
        return tensors

    with torch.inference_mode():
        images = pipeline(
            prompt=list(prompts),
            image=to_rgb(edges).to(pipeline.device, pipeline.controlnet.dtype),
            negative_prompt=[options.negative_prompt] * len(prompts),
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            controlnet_conditioning_scale=options.strength,
            guess_mode=options.guess_mode,
            generator=[new_generator(seed) for seed in seeds],
            callback_on_step_end=report,
            output_type="np",
        ).images
    return [to_grey(image) for image in images]


def to_rgb(images: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 images of one shape (height, width) -> float32, shape (images, 3, height, width), [0, 1]."""
    return torch.from_numpy(np.stack(images).astype(np.float32) / 255.0)[:, None].repeat(1, 3, 1, 1)


def to_grey(image: np.ndarray) -> np.ndarray:
    """float, shape (height, width, 3), [0, 1] -> uint8, shape (height, width)."""
    return np.round(image.mean(axis=2) * 255).astype(np.uint8)


def match_level(pixels: np.ndarray, accompaniment: SpectrogramImage) -> SpectrogramImage:
    """Set a sample's maximum so that its accompaniment is as loud as the given one.

    A generated image is relative to its own unknown maximum, which `level_ratio` estimates.

    Args:
        pixels: uint8, shape (n_mels, frames), the sample.

    Returns:
        The sample with `max_value` between a 16th of the accompaniment's and 16 times as much.
    """
    ratio = level_ratio(accompaniment.pixels, pixels, accompaniment.params)
    return SpectrogramImage(pixels, (accompaniment.max_value or 1.0) / ratio, accompaniment.params)

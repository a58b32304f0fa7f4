"""Sampling of clips by diffusers' own pipelines: with a ControlNet, or from an image (SDEdit)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    ModelMixin,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    UniPCMultistepScheduler,
)

from riff.devices import sampling_dtype
from riff.errors import DataError, OptionError
from riff.models.encoders import check_size, warn_of_long
from riff.models.lora import FewStepScheduler
from riff.models.sources import WITHOUT_SAFETY_CHECKER
from riff.sampling.options import SamplingOptions
from riff.seeds import new_generator

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)
DEFAULTS = SamplingOptions()


def prepare_pipeline(pipeline: Pipeline, device: str = "cpu") -> Pipeline:
    """Move a pipeline to a device, in its `sampling_dtype`, with the UniPC scheduler, or its own if it was distilled for that.

    Channels last, but on MPS: on a CPU the small models then take a quarter less time.
    """
    if not isinstance(pipeline.scheduler, FewStepScheduler):
        pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, ModelMixin) and device != "mps":
            part.to(memory_format=torch.channels_last)
    return pipeline.to(device, sampling_dtype(device))


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

    def report(_pipeline, step, _timestep, tensors):  # type: ignore[no-untyped-def]
        if on_step is not None:
            on_step(step + 1)
        return tensors

    return _run(
        pipeline,
        prompts,
        seeds,
        options,
        image=to_rgb(edges).to(pipeline.device, pipeline.controlnet.dtype),
        controlnet_conditioning_scale=options.strength,
        guess_mode=options.guess_mode,
        callback_on_step_end=report,
    )


def to_rgb(images: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 images of one shape (height, width) -> float32, shape (images, 3, height, width), [0, 1]."""
    return torch.from_numpy(np.stack(images).astype(np.float32) / 255.0)[:, None].repeat(1, 3, 1, 1)


def to_grey(image: np.ndarray) -> np.ndarray:
    """float, shape (height, width, 3), [0, 1] -> uint8, shape (height, width)."""
    return np.round(image.mean(axis=2) * 255).astype(np.uint8)


def image_to_image_pipeline(pipeline: Any) -> StableDiffusionImg2ImgPipeline:
    """An image-to-image pipeline (SDEdit, Meng et al., ICLR 2022) of another pipeline's parts, with a scheduler of its own."""
    made = StableDiffusionImg2ImgPipeline(
        vae=pipeline.vae,
        text_encoder=pipeline.text_encoder,
        tokenizer=pipeline.tokenizer,
        unet=pipeline.unet,
        scheduler=type(pipeline.scheduler).from_config(pipeline.scheduler.config),
        **WITHOUT_SAFETY_CHECKER,
    )
    made.set_progress_bar_config(disable=True)
    return made


def sample_image_to_image(
    pipeline: StableDiffusionImg2ImgPipeline,
    starts: Sequence[np.ndarray],
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    change: float,
) -> list[np.ndarray]:
    """Sample one spectrogram image for each initial image, prompt and seed.

    Args:
        starts: initial images, uint8, shape (height, width), all of one size, a multiple of the latents' pixels.
        seeds: of the noise, generated on the CPU for the same result on every device.
        options: steps, guidance scale and negative prompt are used.
        change: noise strength, above 0 to 1 (nothing of the image is left); that share of the steps is run.

    Returns:
        uint8 grey levels, shape (height, width) each.

    Raises:
        DataError: images of a size that does not fit the model.
        OptionError: so few steps that none is left to run.
    """
    check_change(options, change)
    for start in starts:
        check_size(pipeline, start.shape[0], start.shape[1], "an image")
    image = to_rgb(starts).to(pipeline.device, pipeline.unet.dtype)
    return _run(pipeline, prompts, seeds, options, image=image, strength=change)


def check_change(options: SamplingOptions, change: float) -> None:
    """Check that at least one denoising step is left at a noise strength of `change`.

    Raises:
        OptionError: none is; the message names the number of steps that is enough.
    """
    if int(options.steps * change) < 1:
        enough = int(np.ceil(1 / change))
        raise OptionError(f"steps {options.steps}: too few to change an image by {change:g}; give {enough} or more")


@torch.inference_mode()
def _run(pipeline: Any, prompts: Sequence[str], seeds: Sequence[int], options: SamplingOptions, **further: Any) -> list[np.ndarray]:
    """Warn of prompts that are too long, and call a pipeline: uint8 grey levels, shape (height, width) each."""
    warn_of_long(pipeline.tokenizer, [*prompts, options.negative_prompt])
    images = pipeline(
        prompt=list(prompts),
        negative_prompt=[options.negative_prompt] * len(prompts),
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        generator=[new_generator(seed) for seed in seeds],
        output_type="np",
        **further,
    ).images
    return [to_grey(image) for image in images]

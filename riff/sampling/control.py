"""Draw spectrograms under the control of an accompaniment's edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin, StableDiffusionControlNetPipeline, UniPCMultistepScheduler

from riff.errors import DataError
from riff.models.base import check_size
from riff.models.folders import read_origin
from riff.seeds import new_generator
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.level import level_ratio

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)


@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn.

    Attributes:
        steps: of the UniPC sampler. guidance_scale: classifier-free guidance (1 is off).
        strength: of the control, 0 is none. guess_mode: let the control act without the prompt's help.
    """

    steps: int = 20
    guidance_scale: float = 4.0
    strength: float = 1.0
    guess_mode: bool = False
    negative_prompt: str = ""


def without_control(options: SamplingOptions) -> SamplingOptions:
    """The same draw of the base alone: a ControlNet at strength 0 adds nothing."""
    return SamplingOptions(options.steps, options.guidance_scale, strength=0.0, negative_prompt=options.negative_prompt)


def options_for(model: str | Path, guidance_scale: float | None, strength: float | None, **more: Any) -> SamplingOptions:
    """Options with what the user said, else what the model's `riff.json` recommends, else the defaults."""
    said = {"guidance_scale": guidance_scale, "strength": strength}
    return SamplingOptions(**recommended_scales(SamplingOptions, model, said), **more)


def recommended_scales(options: type, model: str | Path, said: Mapping[str, float | None]) -> dict[str, Any]:
    """What the user said, else what the model's `riff.json` recommends, else the default that the class of options has."""
    recommended = read_origin(model).get("sampling", {})
    return {name: float(recommended.get(name, getattr(options, name)) if value is None else value) for name, value in said.items()}


def prepare_pipeline(pipeline: Pipeline, device: str = "cpu") -> Pipeline:
    """Move a control or edit pipeline to its device (half precision on CUDA) with a sampler that needs few steps.

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
    options: SamplingOptions = SamplingOptions(),
    on_step: Callable[[int], object] | None = None,
) -> list[np.ndarray]:
    """Draw one spectrogram for each edge map, prompt and seed.

    Args:
        edges: uint8, shape (height, width), 0 or 255, all of one size that the latents divide.
        seeds: of the starting noise, drawn on the CPU, so that every device starts from the same.
        on_step: called with the number of finished denoising steps.

    Returns:
        uint8 grey levels, shape (height, width) each.

    Raises:
        DataError: edge maps of a size that does not fit the model.
    """
    if not edges:
        return []
    height, width = edges[0].shape
    check_size(pipeline, height, width, "a control image")
    if any(one.shape != (height, width) for one in edges):
        raise DataError(f"control images of other sizes than {height}x{width}; sample each size by itself")
    hints = torch.from_numpy(np.stack(edges).astype(np.float32) / 255.0)[:, None].repeat(1, 3, 1, 1)

    def report(_pipeline, step, _timestep, tensors):  # type: ignore[no-untyped-def]
        if on_step is not None:
            on_step(step + 1)
        return tensors

    with torch.inference_mode():
        drawn = pipeline(
            prompt=list(prompts),
            image=hints.to(pipeline.device, pipeline.controlnet.dtype),
            negative_prompt=[options.negative_prompt] * len(prompts),
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            controlnet_conditioning_scale=options.strength,
            guess_mode=options.guess_mode,
            generator=[new_generator(seed) for seed in seeds],
            callback_on_step_end=report,
            output_type="np",
        ).images  # (batch, height, width, 3) in [0, 1]
    return [np.round(picture.mean(axis=2) * 255).astype(np.uint8) for picture in drawn]


def match_level(pixels: np.ndarray, accompaniment: SpectrogramImage) -> SpectrogramImage:
    """Give a sample the maximum that makes its backing as loud as the accompaniment is.

    A spectrogram image is drawn against its own loudest point, which nothing in a sample tells; `level_ratio` finds it.

    Args:
        pixels: uint8, shape (n_mels, frames), the sample.

    Returns:
        The sample with its estimated `max_value`, at least a 16th of the accompaniment's and at most 16 times as much.
    """
    ratio = level_ratio(accompaniment.pixels, pixels, accompaniment.params)
    return SpectrogramImage(pixels, (accompaniment.max_value or 1.0) / ratio, accompaniment.params)

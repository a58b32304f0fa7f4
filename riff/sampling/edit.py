"""Draw spectrograms that an instruction changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import StableDiffusionInstructPix2PixPipeline

from riff.errors import DataError, OptionError
from riff.models.base import check_size, latent_factor
from riff.sampling.control import recommended_scales
from riff.sampling.window_models import EditWindows
from riff.sampling.windows import WindowLayout, sample_windows

WIDTH_MULTIPLE = 8  # pixels a latent column of Stable Diffusion; smaller models may have coarser ones


@dataclass(frozen=True)
class EditOptions:
    """How edits are drawn.

    Attributes:
        steps: of the UniPC sampler. guidance_scale: how hard the instruction pulls away from "the same picture, no words".
        image_guidance_scale: how hard the input picture pulls away from "any picture"; below 1 it is let go.
    """

    steps: int = 20
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    negative_prompt: str = ""


def edit_options_for(
    model: str | Path, guidance_scale: float | None = None, image_guidance_scale: float | None = None, **more: Any
) -> EditOptions:
    """Options with what the user said, else what the model's `riff.json` recommends, else the defaults."""
    said = {"guidance_scale": guidance_scale, "image_guidance_scale": image_guidance_scale}
    return EditOptions(**recommended_scales(EditOptions, model, said), **more)


def sample_edit(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    images: Sequence[np.ndarray],
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: EditOptions = EditOptions(),
    on_step: Callable[[int], object] | None = None,
) -> list[np.ndarray]:
    """Draw one edited spectrogram for each input picture, instruction and seed, guided at every pair of scales (`EditWindows`).

    Args:
        images: uint8, shape (height, width), of sizes that fit (`check_image`).
        seeds: of the starting noise, drawn on the CPU, so that every device starts from the same.
        on_step: called with the number of finished denoising steps, over all pictures.

    Returns:
        uint8 grey levels, shape (height, width) each. A picture is drawn by itself: the same alone and among others.

    Raises:
        DataError: pictures of a size that does not fit the model, or not as many as instructions and seeds.
        OptionError: no steps.
    """
    if not len(images) == len(prompts) == len(seeds):
        raise DataError(f"{len(images)} pictures, {len(prompts)} instructions and {len(seeds)} seeds; give one of each a sample")
    if options.steps < 1:
        raise OptionError(f"--num_inference_steps {options.steps}: give 1 or more")
    for image in images:
        check_image(pipeline, image)
    drawn = []
    for number, (image, prompt, seed) in enumerate(zip(images, prompts, seeds, strict=True)):
        before = number * options.steps

        def report(step: int, before: int = before) -> None:
            if on_step is not None:
                on_step(before + step)

        height, width = len(image), _padded_width(pipeline, image)
        predictor, one_window = EditWindows(pipeline, image, prompt, options), WindowLayout(width)
        edited = sample_windows(pipeline, predictor, width, seed, options.steps, one_window, on_step=report, height=height)
        drawn.append(np.ascontiguousarray(edited[:, : image.shape[1]]))
    return drawn


def check_image(pipeline: StableDiffusionInstructPix2PixPipeline, image: np.ndarray) -> None:
    """Refuse a picture, uint8 (height, width), that `sample_edit` cannot take.

    Raises:
        DataError: says which sizes fit.
    """
    check_size(pipeline, len(image), _padded_width(pipeline, image), "a picture")


def _padded_width(pipeline: StableDiffusionInstructPix2PixPipeline, image: np.ndarray) -> int:
    """The width at which a picture is edited: its own, or, where that suits Stable Diffusion, up to a whole latent column."""
    width, factor = image.shape[1], latent_factor(pipeline)
    return width if width % WIDTH_MULTIPLE else -(-width // factor) * factor

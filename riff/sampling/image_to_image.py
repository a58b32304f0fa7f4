"""Image-to-image sampling without a ControlNet: the initial latents are those of an image, with noise added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from riff.errors import OptionError
from riff.models.encoders import check_size, warn_of_long
from riff.models.sources import WITHOUT_SAFETY_CHECKER
from riff.sampling.control import to_grey, to_rgb
from riff.sampling.options import SamplingOptions
from riff.seeds import new_generator


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
    warn_of_long(pipeline.tokenizer, [*prompts, options.negative_prompt])
    with torch.inference_mode():
        images = pipeline(
            prompt=list(prompts),
            image=to_rgb(starts).to(pipeline.device, pipeline.unet.dtype),
            strength=change,
            negative_prompt=[options.negative_prompt] * len(prompts),
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            generator=[new_generator(seed) for seed in seeds],
            output_type="np",
        ).images
    return [to_grey(image) for image in images]


def check_change(options: SamplingOptions, change: float) -> None:
    """Check that at least one denoising step is left at a noise strength of `change`.

    Raises:
        OptionError: none is; the message names the number of steps that is enough.
    """
    if int(options.steps * change) < 1:
        enough = int(np.ceil(1 / change))
        raise OptionError(f"steps {options.steps}: too few to change an image by {change:g}; give {enough} or more")

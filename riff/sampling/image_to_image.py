"""Draw spectrograms that start from another picture instead of from noise alone, without any control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from riff.errors import OptionError
from riff.models.base import WITHOUT_SAFETY_CHECKER, check_size
from riff.sampling.control import SamplingOptions
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
    """Draw one spectrogram for each picture to start from, prompt and seed.

    Args:
        starts: uint8, shape (height, width), all of one size that the latents divide.
        seeds: of the noise, drawn on the CPU, so that every device starts from the same.
        options: its steps, guidance scale and negative prompt count.
        change: how much noise is put on the picture, over 0 to 1, which leaves nothing of it; that share of the steps is done.

    Returns:
        uint8 grey levels, shape (height, width) each.

    Raises:
        DataError: pictures of a size that does not fit the model.
        OptionError: so few steps that none is left to do.
    """
    check_change(options, change)
    for start in starts:
        check_size(pipeline, start.shape[0], start.shape[1], "a picture")
    pictures = torch.from_numpy(np.stack(starts).astype(np.float32) / 255.0)[:, None].repeat(1, 3, 1, 1)
    with torch.inference_mode():
        drawn = pipeline(
            prompt=list(prompts),
            image=pictures.to(pipeline.device, pipeline.unet.dtype),
            strength=change,
            negative_prompt=[options.negative_prompt] * len(prompts),
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            generator=[new_generator(seed) for seed in seeds],
            output_type="np",
        ).images  # (batch, height, width, 3) in [0, 1]
    return [np.round(picture.mean(axis=2) * 255).astype(np.uint8) for picture in drawn]


def check_change(options: SamplingOptions, change: float) -> None:
    """Refuse so few steps that a picture's change leaves none to do.

    Raises:
        OptionError: says how many are enough.
    """
    if int(options.steps * change) < 1:
        enough = int(np.ceil(1 / change))
        raise OptionError(f"--steps {options.steps}: too few to change a picture by {change:g}; give {enough} or more")

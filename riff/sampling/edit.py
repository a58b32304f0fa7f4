"""Draw spectrograms that an instruction changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from riff.errors import DataError, OptionError
from riff.models.base import size_multiple
from riff.sampling.control import prepare_pipeline, recommended_scales


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


def prepare_edit_pipeline(
    pipeline: StableDiffusionInstructPix2PixPipeline, device: str = "cpu"
) -> StableDiffusionInstructPix2PixPipeline:
    """Move an edit pipeline to its device (half precision on CUDA) with a sampler that needs few steps.

    Channels last: on a CPU the autoencoder and the UNet then take half the time.
    """
    prepare_pipeline(pipeline, device)
    for part in (pipeline.vae, pipeline.unet):
        part.to(memory_format=torch.channels_last)
    return pipeline


def sample_edit(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    images: Sequence[np.ndarray],
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: EditOptions = EditOptions(),
    on_step: Callable[[int], object] | None = None,
) -> list[np.ndarray]:
    """Draw one edited spectrogram for each input picture, instruction and seed.

    The noise is predicted without anything, e(0,0), from the picture, e(I,0), and from picture and instruction, e(I,T),
    and combined as e(0,0) + s_I (e(I,0) - e(0,0)) + s_T (e(I,T) - e(I,0)) (Brooks, Holynski and Efros, CVPR 2023) at every
    pair of scales. diffusers' own pipeline leaves all guidance out when s_I < 1 or s_T <= 1.

    Args:
        images: uint8, shape (height, width), of sizes that the latents divide.
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
    factor = size_multiple(pipeline)
    for image in images:
        if image.shape[0] % factor or image.shape[1] % factor:
            size = "x".join(map(str, image.shape))
            raise DataError(f"a picture of {size} does not fit this model; height and width must be multiples of {factor}")
    drawn = []
    for number, (image, prompt, seed) in enumerate(zip(images, prompts, seeds, strict=True)):
        before = number * options.steps

        def report(step: int, before: int = before) -> None:
            if on_step is not None:
                on_step(before + step)

        drawn.append(_draw(pipeline, image, prompt, seed, options, report))
    return drawn


@torch.inference_mode()
def _draw(
    pipeline: Any, image: np.ndarray, prompt: str, seed: int, options: EditOptions, on_step: Callable[[int], None]
) -> np.ndarray:
    vae, scheduler = pipeline.vae, pipeline.scheduler
    pixels = torch.from_numpy(image.astype(np.float32) / 127.5 - 1.0)[None, None].repeat(1, 3, 1, 1)
    picture = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()  # unscaled, as the model was trained
    no_text, text = _embed(pipeline, [options.negative_prompt, prompt])
    nothing = torch.zeros_like(picture)
    s_image, s_text = options.image_guidance_scale, options.guidance_scale
    # The formula by prediction. What counts for nothing is not predicted: at s_I = 1 that saves a third of the time.
    terms = [
        (weight, latents, words)
        for weight, latents, words in (
            (1 - s_image, nothing, no_text),
            (s_image - s_text, picture, no_text),
            (s_text, picture, text),
        )
        if weight != 0
    ]
    weights = torch.tensor([weight for weight, _, _ in terms], device=picture.device, dtype=torch.float32).view(-1, 1, 1, 1)
    conditions, words = torch.cat([latents for _, latents, _ in terms]), torch.stack([words for _, _, words in terms])

    scheduler.set_timesteps(options.steps, device=picture.device)
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    latents = noise.to(picture) * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, timestep).expand_as(conditions)
        predicted = pipeline.unet(torch.cat([scaled, conditions], dim=1), timestep, words).sample
        guided = (weights * predicted.float()).sum(dim=0, keepdim=True).to(predicted.dtype)
        latents = scheduler.step(guided, timestep, latents).prev_sample
        on_step(step + 1)
    decoded = vae.decode(latents / vae.config.scaling_factor).sample[0].float().clamp(-1, 1)
    return ((decoded.mean(dim=0) + 1.0) * 127.5).round().byte().cpu().numpy()


def _embed(pipeline: Any, texts: list[str]) -> torch.Tensor:
    """CLIP's embeddings: (texts, 77, width)."""
    tokenizer = pipeline.tokenizer
    tokens = tokenizer(texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt")
    return pipeline.text_encoder(tokens.input_ids.to(pipeline.device)).last_hidden_state

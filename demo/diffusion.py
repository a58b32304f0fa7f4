"""The small text-to-latent diffusion model: text encoder and UNet, trained together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo.schedule import Progress, cosine_schedule
from demo.tokenizer import tokenize
from riff.seeds import torch_seed


@dataclass(frozen=True)
class DiffusionRecipe:
    """Latents of 32x32 places; attention at 16x16 and 8x8, where it is cheap and sees a whole bar."""

    block_out_channels: tuple[int, ...] = (96, 128, 160)
    text_width: int = 128
    text_layers: int = 2
    steps: int = 4000
    batch_size: int = 8
    learning_rate: float = 8e-4
    caption_dropout: float = 0.1
    ema_decay: float = 0.999


def new_text_encoder(tokenizer: CLIPTokenizer, recipe: DiffusionRecipe) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.text_width,
            projection_dim=recipe.text_width,
            intermediate_size=2 * recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet(recipe: DiffusionRecipe, latent_channels: int, sample_size: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=recipe.block_out_channels,
        layers_per_block=1,
        attention_head_dim=4,  # heads, as in Stable Diffusion 1.5's configuration
        norm_num_groups=16,
        cross_attention_dim=recipe.text_width,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion 1.5's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train_diffusion(
    latents: torch.Tensor,
    prompts: Sequence[str],
    tokenizer: CLIPTokenizer,
    recipe: DiffusionRecipe,
    seed: int,
    unet: UNet2DConditionModel | None = None,
) -> tuple[UNet2DConditionModel, CLIPTextModel, list[tuple[int, float]]]:
    """Learn to predict the noise in latents.

    Args:
        latents: float32, shape (clips, channels, height, width), scaled to unit variance.
        unet: trained further, in place of a new one.

    Returns:
        The UNet and text encoder with averaged weights, and the loss curve as (step, loss).
    """
    torch.manual_seed(torch_seed(seed))
    rng = np.random.default_rng(seed)
    unet = (unet or new_unet(recipe, latents.shape[1], latents.shape[2])).train()
    text_encoder = new_text_encoder(tokenizer, recipe)
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=1e-3)
    schedule, average = cosine_schedule(optimizer, recipe.steps), EMAModel(parameters, decay=recipe.ema_decay)
    scheduler = new_scheduler()
    tokens, no_tokens = tokenize(tokenizer, prompts), tokenize(tokenizer, [""])
    progress = Progress("diffusion", recipe.steps)
    for _ in range(recipe.steps):
        batch = torch.from_numpy(rng.integers(len(latents), size=recipe.batch_size))
        clean, noise = latents[batch], torch.randn(recipe.batch_size, *latents.shape[1:])
        timesteps = torch.randint(1000, (recipe.batch_size,))
        dropped = torch.rand(recipe.batch_size, 1) < recipe.caption_dropout
        with torch.autocast("cpu", dtype=torch.bfloat16):
            text = text_encoder(torch.where(dropped, no_tokens, tokens[batch])).last_hidden_state
            predicted = unet(scheduler.add_noise(clean, noise, timesteps), timesteps, text).sample
        loss = mse_loss(predicted.float(), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        average.step(parameters)
        progress.update(float(loss.detach()))
    average.copy_to(parameters)
    return unet.eval(), text_encoder.eval(), progress.curve

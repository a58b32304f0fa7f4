"""The small autoencoder between 512x512 spectrogram images and latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn.functional import l1_loss

from demo.schedule import Progress, cosine_schedule
from riff.cli import progress_bar
from riff.seeds import torch_seed


@dataclass(frozen=True)
class AutoencoderRecipe:
    """Factor 16 and 16 channels: as many latent values as Stable Diffusion's factor 8 and 4, in a quarter of the places."""

    block_out_channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    latent_channels: int = 16
    steps: int = 3000
    batch_size: int = 4
    crop_frames: int = 128
    learning_rate: float = 1.5e-3
    kl_weight: float = 2e-4
    gradient_weight: float = 1.0  # of the L1 distance between neighbouring pixels' differences: edges stay sharp


def new_autoencoder(recipe: AutoencoderRecipe) -> AutoencoderKL:
    depth = len(recipe.block_out_channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=recipe.block_out_channels,
        layers_per_block=1,
        latent_channels=recipe.latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=512,
    )


def train_autoencoder(
    images: np.ndarray, recipe: AutoencoderRecipe, seed: int, model: AutoencoderKL | None = None
) -> tuple[AutoencoderKL, list[tuple[int, float]]]:
    """Train on crops of the whole height, so that normalisation sees what it will see later.

    Args:
        images: uint8, shape (clips, 512, 512).
        model: trained further, in place of a new one.

    Returns:
        The model, its `scaling_factor` set to 1/std of its latents, and the loss curve as (step, loss).
    """
    torch.manual_seed(torch_seed(seed))
    rng = np.random.default_rng(seed)
    model = (model or new_autoencoder(recipe)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = cosine_schedule(optimizer, recipe.steps)
    progress = Progress("autoencoder", recipe.steps)
    for _ in range(recipe.steps):
        crops = _crops(images, recipe, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = model.encode(crops).latent_dist
            decoded = model.decode(posterior.sample()).sample.float()
        rebuilt = l1_loss(decoded, crops) + recipe.gradient_weight * _gradient_distance(decoded, crops)
        loss = rebuilt + recipe.kl_weight * _kl_divergence(posterior.mean.float(), posterior.logvar.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.update(float(rebuilt.detach()))
    model.eval()
    model.register_to_config(scaling_factor=1.0 / float(encode_images(model, images[:64]).std()))
    return model, progress.curve


def _crops(images: np.ndarray, recipe: AutoencoderRecipe, rng: np.random.Generator) -> torch.Tensor:
    clips = rng.integers(len(images), size=recipe.batch_size)
    starts = rng.integers(images.shape[2] - recipe.crop_frames + 1, size=recipe.batch_size)
    crops = [images[clip][:, start : start + recipe.crop_frames] for clip, start in zip(clips, starts, strict=True)]
    return _as_batch(np.stack(crops))


def _as_batch(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (batch, height, width) -> float32 (batch, 3, height, width) in [-1, 1]."""
    grey = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1.0)
    return grey[:, None].repeat(1, 3, 1, 1)


def _gradient_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    difference = a - b
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def _kl_divergence(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Of a diagonal Gaussian from the standard one, mean over elements."""
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()


@torch.inference_mode()
def encode_images(model: AutoencoderKL, images: np.ndarray) -> torch.Tensor:
    """uint8 (clips, 512, 512) -> float32 unscaled latents (the posterior's mean).

    One image at a time, channels last: on a CPU whose caches hold one, four times as fast as a batch.
    """
    model.to(memory_format=torch.channels_last)
    singly = progress_bar(images, desc="latents", unit="clip", mininterval=5.0, disable=True if len(images) < 100 else None)
    batches = (_as_batch(np.asarray(image)[None]).to(memory_format=torch.channels_last) for image in singly)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.cat([model.encode(batch).latent_dist.mean.float() for batch in batches]).contiguous()


@torch.inference_mode()
def rebuild_images(model: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """There and back: uint8 (clips, 512, 512) -> uint8 of the same shape."""
    decoded = [model.decode(encode_images(model, image[None])).sample.mean(dim=1) for image in images]
    return ((torch.cat(decoded) + 1.0) * 127.5).round().clamp(0, 255).byte().numpy()

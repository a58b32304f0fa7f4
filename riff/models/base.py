"""Load a base model: a Stable Diffusion 1.x pipeline that draws spectrograms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from riff.errors import DataError, ModelError
from riff.models.cldm import load_base_parts, read_checkpoint
from riff.models.sources import WITHOUT_SAFETY_CHECKER, explain, find_checkpoint, looks_like_path, only_variant, resolve_base

# "Loading pipeline components" is over before it can be read; downloads keep their bars.
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


def load_base(base: str, config: str | None = None, dtype: torch.dtype = torch.float32, **hub: Any) -> StableDiffusionPipeline:
    """Load a base pipeline on the CPU, without a safety checker: it looks for faces, and these are spectrograms.

    Args:
        base: `mini`, a diffusers folder, a `.ckpt` or `.safetensors` file, or the hub id of a folder or of such a file.
        config: whose geometry, tokenizer and scheduler a file takes: `mini`, a folder or a hub id (default: Stable Diffusion
            1.5's geometry, and the rest from the default base on the hub).
        hub: `revision`, `variant` and `cache_dir` of a download.

    Raises:
        ModelError: nothing there, not a pipeline, a file that would execute code, or a hub that cannot be reached.
    """
    way_out = "--base mini, a small model in the repository, needs no network"
    if file := find_checkpoint(base, way_out, hub.get("revision"), hub.get("cache_dir")):
        return load_base_parts(read_checkpoint(file), config, dtype)
    source = resolve_base(base)
    if not Path(source).is_dir() and looks_like_path(base):
        raise ModelError(f"{base}: no such folder or file; give a hub id, a folder, a file, or mini")
    if Path(source).is_dir() and not (Path(source) / "model_index.json").exists():
        raise ModelError(f"{base}: this folder is no diffusers pipeline (no model_index.json)")
    try:
        hub.setdefault("variant", only_variant(source, hub.get("revision"), hub.get("cache_dir")))
        # By name, so that an edit or control pipeline's folder serves as a base as well.
        return StableDiffusionPipeline.from_pretrained(source, torch_dtype=dtype, **WITHOUT_SAFETY_CHECKER, **hub)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise explain(error, base, way_out) from error


def latent_factor(pipeline: DiffusionPipeline) -> int:
    """Pixels of the image a latent place stands for, along one side: 8 in Stable Diffusion."""
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


def size_multiples(pipeline: DiffusionPipeline) -> tuple[int, int]:
    """What a picture's height and width must be multiples of.

    The latents are halved between the UNet's stages, and where their number is odd, diffusers' UNet evens it out. That is for
    widths such as 568, which Riffusion's data sets have; a spectrogram's height is 512.
    """
    factor = latent_factor(pipeline)
    return factor * 2 ** (len(pipeline.unet.config.block_out_channels) - 1), factor


def check_size(pipeline: DiffusionPipeline, height: int, width: int, what: str) -> None:
    """Refuse a picture that does not fit (`size_multiples`).

    Raises:
        DataError: names the picture as `what`, and the sizes that fit.
    """
    tall, wide = size_multiples(pipeline)
    if height % tall or width % wide or not height * width:
        raise DataError(
            f"{what} of {height}x{width} does not fit this model; heights must be multiples of {tall}, widths multiples of {wide}"
        )


def weights_hash(*modules: torch.nn.Module) -> str:
    """A short name for exactly these weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def sampled_hash(parameters: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A short name for weights by 256 values or so of each: 0.04 s for the UNet of Stable Diffusion 1.5, all of them take 7 s."""
    digest = hashlib.sha256()
    for name, tensor in parameters:
        values = tensor.detach().reshape(-1)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(values[:: max(1, len(values) // 256)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def encoder_names(pipeline: Any) -> tuple[str, str]:
    """Short names of exactly this VAE's and this text encoder's weights, which what they encoded belongs to."""
    return weights_hash(pipeline.vae), weights_hash(pipeline.text_encoder)

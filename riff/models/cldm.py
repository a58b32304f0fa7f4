"""Checkpoint files of the original code: a ControlNet with its Stable Diffusion (cldm), Stable Diffusion alone, or an edit model.

A file is read as parts, which make a pipeline; the folders of a pipeline's parts are written as one file. Weights are mapped from
disk and converted one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import nn

from riff.errors import ModelError
from riff.files import atomic_path
from riff.models.ldm import (
    STABLE_DIFFUSION_1,
    Blueprint,
    Weights,
    first_names,
    module_from_ldm,
    module_to_ldm,
    read_blueprint,
    scale_hints,
)
from riff.models.ldm_keys import PART_NAMES, PREFIXES
from riff.models.sources import CHECKPOINTS, DEFAULT_BASE, WITHOUT_SAFETY_CHECKER, as_model_error, resolve_base
from riff.models.weights import read_folder, read_tensors

PIPELINE_PARTS = ("unet", "vae", "text_encoder")  # required of a whole model
# Averaged weights, and what can be computed or is not part of the model.
IGNORED = ("model_ema.", "first_stage_model.loss.", "scale_factor", "lvlb_weights")
# riff-cnet's published model was trained on hints that were never scaled to 0..1.
HINT_RANGES = {"zachary-shah/riffusion-cnet-v2": 255.0}
LORA_REMEDY = "no script takes it: merge it into a base model first (load_lora_weights and fuse_lora of diffusers)"
POSITION_IDS = "text_model.embeddings.position_ids"
# The noise schedule, which the original code keeps in the checkpoint and its strict loader expects.
BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file's weights, by part and by their original names without the part's prefix.

    Attributes:
        betas: of the noise schedule that it was trained on, None if not stored.
    """

    path: Path
    parts: Mapping[str, Weights]
    betas: torch.Tensor | None = None

    @property
    def is_edit(self) -> bool:
        """Whether its UNet has twice as many input as output channels, for latents and image latents."""
        unet = self.parts.get("unet", {})
        first, last = unet.get("input_blocks.0.0.weight"), unet.get("out.2.weight")
        return first is not None and last is not None and first.shape[1] == 2 * last.shape[0]

    def require(self, *parts: str) -> None:
        """Raise ModelError if a part is missing."""
        missing = [f"no {PART_NAMES[part]} ({PREFIXES[part]}*)" for part in parts if part not in self.parts]
        if missing:
            present = ", ".join(PART_NAMES[part] for part in self.parts)
            raise ModelError(f"{self.path}: holds {' and '.join(missing)}, but {present}; use a whole checkpoint")

    def module(self, part: str, blueprint: Blueprint, dtype: torch.dtype | None = None) -> nn.Module:
        """A part as diffusers' module (`riff.models.ldm.module_from_ldm`)."""
        self.require(part)
        return module_from_ldm(part, blueprint, self.parts[part], self.path, dtype)


def read_original_checkpoint(path: Path, hint_range: float = 1) -> Checkpoint:
    """Read a `.ckpt` or `.safetensors` file of the original code: whole, Lightning's, or a ControlNet's weights alone.

    Args:
        hint_range: range of the hints that its ControlNet was trained on, from 0; the result takes hints from 0 to 1.

    Raises:
        ModelError: not readable, unsafe, or weights that belong to no part.
    """
    tensors = read_tensors(path)
    if any("lora_" in key.lower() for key in tensors):
        raise ModelError(f"{path}: is a LoRA; {LORA_REMEDY}")
    if any(key.startswith(("down_blocks.", "decoder.up_blocks.")) for key in tensors):
        raise ModelError(f"{path}: holds one part in diffusers' own format; name the folder that it lies in")
    if "input_hint_block.0.weight" in tensors:
        tensors = {PREFIXES["controlnet"] + key: tensor for key, tensor in tensors.items()}
    parts: dict[str, Weights] = {}
    unexpected = []
    for key, tensor in tensors.items():
        if part := next((part for part, prefix in PREFIXES.items() if key.startswith(prefix)), None):
            inner = key.removeprefix(PREFIXES[part])
            if part == "text_encoder":  # some software writes the names without it
                inner = "text_model." + inner.removeprefix("text_model.")
            if inner != POSITION_IDS and not key.startswith(IGNORED):
                parts.setdefault(part, {})[inner] = tensor
        elif key not in BUFFERS and not key.startswith(IGNORED):
            unexpected.append(key)
    if unexpected or not parts:
        problem = first_names({"unexpected": unexpected}) or "no part of a model"
        raise ModelError(f"{path}: no checkpoint of Stable Diffusion or of a ControlNet on it ({problem})")
    if "controlnet" in parts:
        parts["controlnet"] = scale_hints(parts["controlnet"], hint_range)
    return Checkpoint(path, parts, tensors.get("betas"))


def hint_range_of(name: str) -> float:
    """The greatest value in the hints that a published model was trained on; 1 for any other."""
    return HINT_RANGES.get(name, 1.0)


def blueprint_of(base: str | None) -> Blueprint:
    """The geometry of a base, Stable Diffusion 1.5's where none is named."""
    return read_blueprint(base) if base else STABLE_DIFFUSION_1


def load_base_parts(checkpoint: Checkpoint, base: str | None = None, dtype: torch.dtype | None = None) -> StableDiffusionPipeline:
    """Make a pipeline of a checkpoint's UNet, autoencoder and text encoder, without its ControlNet.

    Args:
        base: whose geometry, tokenizer and scheduler it takes; None is Stable Diffusion 1.5's geometry, and the rest from
            the default base on the hub.
        dtype: None keeps each weight's own.

    Raises:
        ModelError: a part is missing or does not fit, or the base cannot be loaded.
    """
    checkpoint.require(*PIPELINE_PARTS)
    blueprint = blueprint_of(base)
    modules = {part: checkpoint.module(part, blueprint, dtype) for part in PIPELINE_PARTS}
    tokenizer, scheduler = load_tokenizer_and_scheduler(base or DEFAULT_BASE)
    if checkpoint.betas is not None:
        check_schedule(checkpoint.betas, scheduler.config, checkpoint.path, base or DEFAULT_BASE)
    return StableDiffusionPipeline(**modules, tokenizer=tokenizer, scheduler=scheduler, **WITHOUT_SAFETY_CHECKER)


def load_tokenizer_and_scheduler(base: str) -> tuple[Any, Any]:
    """The tokenizer and the scheduler of a base: what a checkpoint file lacks.

    Raises:
        ModelError: the base cannot be loaded.
    """
    without: dict[str, Any] = dict.fromkeys(PIPELINE_PARTS)
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(resolve_base(base), **without, **WITHOUT_SAFETY_CHECKER)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        remedy = "a checkpoint file has no tokenizer and no scheduler, so name a folder that has them as its base"
        raise as_model_error(error, base, remedy) from error
    return pipeline.tokenizer, pipeline.scheduler


def write_checkpoint(
    path: Path, folders: Mapping[str, Path], scheduler: Path | None, dtype: torch.dtype | None = None, hint_range: float = 1
) -> int:
    """Write the parts of a diffusers pipeline as one file of the original code, with all that its strict loader expects.

    Args:
        path: `.ckpt` or `.safetensors`.
        folders: of the parts, by name. scheduler: its folder; None leaves out the noise schedule, as beside a ControlNet alone.
        dtype: None keeps each weight's own.
        hint_range: the file's ControlNet takes hints from 0 to this, the folder's from 0 to 1.

    Returns:
        How many tensors were written.

    Raises:
        ModelError: a folder whose weights are not what its configuration says, or a noise schedule that the file cannot hold.
    """
    tensors: Weights = {}
    for part, folder in folders.items():
        weights = module_to_ldm(part, read_config(folder / "config.json"), read_folder(folder), folder)
        if part == "controlnet":
            weights = scale_hints(weights, 1 / hint_range)
        if part == "text_encoder":
            positions = weights["text_model.embeddings.position_embedding.weight"].shape[0]
            weights[POSITION_IDS] = torch.arange(positions)[None]
        tensors |= {PREFIXES[part] + key: tensor.contiguous() for key, tensor in weights.items()}
    if dtype is not None:
        tensors = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    if scheduler is not None:
        tensors |= schedule_buffers(read_config(scheduler / "scheduler_config.json"))
    with atomic_path(path) as temporary:
        if path.suffix == CHECKPOINTS[0]:
            torch.save({"state_dict": tensors}, temporary)
        else:
            save_file(tensors, temporary, metadata={"format": "pt"})
    return len(tensors)


def read_config(path: Path) -> dict[str, Any]:
    """A part's configuration.

    Raises:
        ModelError: it is missing or broken.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read, and a diffusers folder has it ({error})") from error


def schedule_buffers(scheduler: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The twelve buffers of a diffusion process (Ho, Jain and Abbeel, NeurIPS 2020) and `logvar`, which is zero.

    Args:
        scheduler: configuration of a diffusers scheduler.

    Returns:
        `BUFFERS`, each float32, shape (training steps,), computed in float64.

    Raises:
        ModelError: a noise schedule that the original code does not have.
    """
    betas = _betas(scheduler)
    alphas = 1 - betas
    kept = alphas.cumprod(0)  # the share of the image's variance that is left at each step
    kept_before = torch.cat([kept.new_ones(1), kept[:-1]])
    variance = betas * (1 - kept_before) / (1 - kept)
    values = (
        betas,
        kept,
        kept_before,
        kept.sqrt(),
        (1 - kept).sqrt(),
        (1 - kept).log(),
        (1 / kept).sqrt(),
        (1 / kept - 1).sqrt(),
        variance,
        variance.clamp(min=1e-20).log(),
        betas * kept_before.sqrt() / (1 - kept),
        (1 - kept_before) * alphas.sqrt() / (1 - kept),
        torch.zeros_like(betas),
    )
    return {name: value.float() for name, value in zip(BUFFERS, values, strict=True)}


def check_schedule(betas: torch.Tensor, scheduler: Mapping[str, Any], path: object, name: str) -> None:
    """Refuse a scheduler whose noise is not what a checkpoint was trained on.

    Raises:
        ModelError: names the checkpoint and the scheduler's base.
    """
    expected = _betas(scheduler).float()
    if betas.shape != expected.shape or not torch.allclose(betas.float(), expected, rtol=1e-2, atol=0):
        raise ModelError(f"{path}: was trained with another noise schedule than that of {name}; name a base with its schedule")


def _betas(scheduler: Mapping[str, Any]) -> torch.Tensor:
    schedule = scheduler.get("beta_schedule", "linear")
    first, last, steps = scheduler["beta_start"], scheduler["beta_end"], scheduler["num_train_timesteps"]
    if scheduler.get("trained_betas") is not None:
        return torch.tensor(scheduler["trained_betas"], dtype=torch.float64)
    if schedule == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
    if schedule == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    raise ModelError(
        f"the scheduler's beta_schedule {schedule} is none of the original code's; use one with scaled_linear or linear"
    )

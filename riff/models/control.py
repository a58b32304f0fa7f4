"""Attach a ControlNet to a base, save it, and load it again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from torch import nn

from riff.errors import ModelError
from riff.files import atomic_folder, write_json
from riff.models.base import WITHOUT_SAFETY_CHECKER, explain, latent_factor, load_base, looks_like_path

ORIGIN_FILE = "riff.json"  # which base a ControlNet belongs to
STOCK_HINT_CHANNELS = (16, 32, 96, 256)
HINT_GAIN = 1.2 * math.sqrt(2)  # times 1/sqrt(fan_in): SiLU passes on a little less variance than ReLU


def attach_control(base: StableDiffusionPipeline, hint_init: str = "scaled", seed: int = 0) -> StableDiffusionControlNetPipeline:
    """Add a ControlNet (Zhang, Rao and Agrawala, ICCV 2023) that copies the base's encoder and changes nothing yet.

    Args:
        hint_init: `stock` leaves the hint encoder as the framework initialises it, which all but erases the hint;
            `scaled` keeps the hint's variance from layer to layer. The last convolution is zero in both.

    Raises:
        ModelError: an unknown hint_init.
    """
    if hint_init not in ("scaled", "stock"):
        raise ModelError(f"--hint_init {hint_init}: unknown; choose scaled or stock")
    torch.manual_seed(seed)
    channels = hint_channels(latent_factor(base))
    controlnet = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=channels)
    if hint_init == "scaled":
        scale_hint_encoder(controlnet.controlnet_cond_embedding)
    return with_control(base, controlnet)


def with_control(base: StableDiffusionPipeline, controlnet: ControlNetModel) -> StableDiffusionControlNetPipeline:
    return StableDiffusionControlNetPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        scheduler=base.scheduler,
        controlnet=controlnet,
        **WITHOUT_SAFETY_CHECKER,
    )


def hint_channels(factor: int) -> tuple[int, ...]:
    """Widths of the hint encoder, which halves the picture between any two: ControlNet's own at factor 8.

    At other factors the first stages are narrow, because they work on the full picture and cost nearly everything.
    """
    if factor == 8:
        return STOCK_HINT_CHANNELS
    return tuple(min(256, 8 * 2**stage) for stage in range(int(math.log2(factor)) + 1))


def scale_hint_encoder(encoder: nn.Module) -> None:
    """Initialise the hint encoder's convolutions to keep variance (He et al., ICCV 2015, with SiLU's gain); zero biases."""
    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    for convolution in convolutions:
        if convolution is encoder.conv_out:
            continue  # the zero convolution
        fan_in = math.prod(convolution.weight.shape[1:])
        nn.init.normal_(convolution.weight, std=HINT_GAIN / math.sqrt(fan_in))
        nn.init.zeros_(convolution.bias)


def save_control_pipeline(
    pipeline: StableDiffusionControlNetPipeline, folder: str | Path, origin: dict, controlnet_only: bool = False, half: bool = False
) -> None:
    """Write a folder that `StableDiffusionControlNetPipeline.from_pretrained` loads, or the ControlNet's part alone.

    Args:
        origin: which base this stands on (`{"base": ...}`), and whatever else should be remembered.
        half: store fp16, half the size.
    """
    kind = torch.float16 if half else torch.float32
    with atomic_folder(folder) as temporary:
        model = pipeline.controlnet if controlnet_only else pipeline
        before = pipeline.controlnet.dtype
        for part in (pipeline.vae, pipeline.unet, pipeline.controlnet):
            part.to(memory_format=torch.contiguous_format)  # safetensors takes no other
        model.to(dtype=kind)
        model.save_pretrained(temporary, safe_serialization=True)
        model.to(dtype=before)
        write_json(temporary / ORIGIN_FILE, origin)


def load_control_pipeline(model: str | Path, base: str | None = None) -> StableDiffusionControlNetPipeline:
    """Load a whole control pipeline, or a ControlNet with the base that it names, in float32 on the CPU.

    Args:
        model: folder or hub id.
        base: use this base instead of the one that the ControlNet names.

    Raises:
        ModelError: nothing there, or not a ControlNet.
    """
    folder, name = Path(model), str(model)
    if not folder.is_dir() and looks_like_path(name):
        raise ModelError(f"--model {name}: no such folder; train one with cnet_riff_training.py, or use models/riff-cnet-mini")
    try:
        if folder.is_dir() and not (folder / "model_index.json").exists():
            controlnet = ControlNetModel.from_pretrained(folder, torch_dtype=torch.float32)
            return with_control(load_base(base or _base_of(folder)), controlnet)
        pipeline = StableDiffusionControlNetPipeline.from_pretrained(name, torch_dtype=torch.float32, **WITHOUT_SAFETY_CHECKER)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise explain(error, name, "--model models/riff-cnet-mini, in the repository, needs no network") from error
    return with_control(load_base(base), pipeline.controlnet) if base else pipeline


def read_origin(folder: str | Path) -> dict:
    """What was remembered beside a saved model; empty where nothing was."""
    file = Path(folder) / ORIGIN_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _base_of(folder: Path) -> str:
    base = read_origin(folder).get("base")
    if not base:
        raise ModelError(f"{folder}: a ControlNet that does not say its base; give --base")
    return base

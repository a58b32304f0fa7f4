"""Parts of Stable Diffusion 1.x between two forms: the original code's checkpoint file and diffusers' modules.

A file holds weights without a configuration, and their shapes do not show the numbers of attention heads and normalisation groups.
The configuration is therefore that of a given base, or of Stable Diffusion 1.5, and every weight must fit it. Two things are
inferred from the weights: the input channels of the first convolution (latents, or latents and image latents), and the widths
of a hint encoder.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from riff.errors import ModelError
from riff.models.ldm_keys import KEY_FUNCTIONS, PART_NAMES, Config, is_original_convolution
from riff.models.sources import as_model_error, resolve_base

GEOMETRY_REMEDY = "name a base of the same geometry"
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Blueprint:
    """The configurations of a base's parts. name: the base's, for messages."""

    name: str
    unet: Config
    vae: Config
    text_encoder: Config


STABLE_DIFFUSION_1 = Blueprint(
    name="Stable Diffusion 1.5",
    unet={
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    vae={
        "sample_size": 512,
        "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "scaling_factor": 0.18215,
    },
    text_encoder={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
)


def read_blueprint(base: str) -> Blueprint:
    """The configurations of a base: `mini`, a pipeline folder, or a hub id. None of its weights are read.

    Raises:
        ModelError: there is no such pipeline.
    """
    source = resolve_base(base)
    try:
        return Blueprint(
            name=base,
            unet=UNet2DConditionModel.load_config(source, subfolder="unet"),
            vae=AutoencoderKL.load_config(source, subfolder="vae"),
            text_encoder=CLIPTextConfig.from_pretrained(source, subfolder="text_encoder").to_dict(),
        )
    except (OSError, ValueError) as error:
        raise as_model_error(
            error, base, "mini, in the repository, needs no network, but only fits what was made from it"
        ) from error


def blueprint_of_pipeline(pipeline: Any, name: str) -> Blueprint:
    return Blueprint(name, pipeline.unet.config, pipeline.vae.config, pipeline.text_encoder.config.to_dict())


def part_config(part: str, blueprint: Blueprint, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """A part's configuration, with what is inferred from its weights.

    Args:
        weights: by their original names, without the part's prefix.
    """
    source = blueprint.unet if part == "controlnet" else getattr(blueprint, part)
    config = {name: value for name, value in source.items() if not name.startswith("_")}  # those are about its origin
    if part in ("vae", "text_encoder"):
        return config
    latents = int(config["out_channels"])
    first = weights.get("input_blocks.0.0.weight")
    # Any other number is reported later, as a shape that does not fit.
    config["in_channels"] = 2 * latents if part == "unet" and first is not None and first.shape[1] == 2 * latents else latents
    if part == "unet":
        return config
    known = inspect.signature(ControlNetModel.__init__).parameters
    config = {name: value for name, value in config.items() if name in known}
    # There are two convolutions for each width, and behind each of them an activation, which is counted too.
    stages = sum(key.startswith("input_hint_block.") and key.endswith(".weight") for key in weights) // 2
    widths = [weights[key].shape[0] for stage in range(stages) if (key := f"input_hint_block.{4 * stage}.weight") in weights]
    return config | ({"conditioning_embedding_out_channels": tuple(widths)} if widths else {})


def new_module(part: str, config: Config) -> nn.Module:
    """A part whose parameters are on the `meta` device and take no memory."""
    classes = {"unet": UNet2DConditionModel, "controlnet": ControlNetModel, "vae": AutoencoderKL}
    with init_empty_weights():
        if part == "text_encoder":
            return CLIPTextModel(CLIPTextConfig(**config))
        return classes[part].from_config(dict(config))


def key_table(part: str, module: nn.Module) -> dict[str, str]:
    """Every original name of a part's weights (without prefix), and the name in the module.

    Raises:
        ModelError: a weight that the original code does not have.
    """
    try:
        return {KEY_FUNCTIONS[part](key, module.config): key for key in module.state_dict()}
    except (KeyError, TypeError) as error:
        raise ModelError(f"this {PART_NAMES[part]} has weights that the original code does not know ({error})") from error


def original_shapes(part: str, module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every original name of a part's weights (without prefix), and the shape that goes with it."""
    expected = module.state_dict()
    return {key: _original_shape(key, expected[name].shape) for key, name in key_table(part, module).items()}


def module_from_ldm(part: str, blueprint: Blueprint, weights: Weights, path: object, dtype: torch.dtype | None = None) -> nn.Module:
    """Make a diffusers module of a part's weights.

    Args:
        weights: by their original names, without the part's prefix. A cast alone copies them.
        path: of the file, for messages.
        dtype: None keeps each weight's own.

    Raises:
        ModelError: weights that are missing, unexpected, or of another shape.
    """
    module = new_module(part, part_config(part, blueprint, weights))
    table, expected = key_table(part, module), module.state_dict()
    check_weights(
        original_shapes(part, module), weights, f"{path}: its {PART_NAMES[part]} is not that of {blueprint.name}", GEOMETRY_REMEDY
    )
    state = {name: weights[key].reshape(expected[name].shape) for key, name in table.items()}
    module.load_state_dict({name: _cast(tensor, dtype) for name, tensor in state.items()}, assign=True)
    return module.eval()


def module_to_ldm(part: str, config: Config, weights: Weights, path: object) -> Weights:
    """A part's weights under their original names and in their original shapes, without the part's prefix.

    Args:
        config: of the part. weights: by diffusers' names. path: of the part's folder, for messages.

    Raises:
        ModelError: weights that are missing, unexpected, or of another shape.
    """
    module = new_module(part, config)
    shapes = original_shapes(part, module)
    renamed = {}
    for name, tensor in weights.items():
        try:
            key = KEY_FUNCTIONS[part](name, module.config)
        except KeyError:
            key = name  # is reported below
        renamed[key] = tensor.reshape(_original_shape(key, tensor.shape)) if tensor.ndim == 2 else tensor
    renamed.pop("text_model.embeddings.position_ids", None)
    check_weights(shapes, renamed, f"{path}: its weights are not those of its config.json", "mend the folder")
    return renamed


def scale_hints(weights: Weights, factor: float) -> Weights:
    """A ControlNet's weights, by their original names, that take hints `factor` times smaller and give the same."""
    key = "input_hint_block.0.weight"
    return weights | {key: (weights[key].double() * factor).to(weights[key].dtype)} if key in weights and factor != 1 else weights


def check_weights(shapes: Mapping[str, Sequence[int]], weights: Weights, problem: str, remedy: str) -> None:
    """Compare weights with what is expected.

    Raises:
        ModelError: `problem`, the first few weights of each problem, their numbers, and `remedy`.
    """
    wrong = [
        f"{key} is {_format_shape(weights[key].shape)}, not {_format_shape(shape)}"
        for key, shape in shapes.items()
        if key in weights and tuple(weights[key].shape) != tuple(shape)
    ]
    problems = {
        "missing": [key for key in shapes if key not in weights],
        "unexpected": [key for key in weights if key not in shapes],
        "of another shape": wrong,
    }
    if any(problems.values()):
        raise ModelError(f"{problem} ({first_names(problems)}); {remedy}")


def first_names(problems: Mapping[str, Sequence[str]], most: int = 2) -> str:
    """`3 missing: a, b, ...; 1 unexpected: c` of names by problem."""
    parts = []
    for problem, names in problems.items():
        if names:
            parts.append(f"{len(names)} {problem}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}")
    return "; ".join(parts)


def _format_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _original_shape(key: str, shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape, 1, 1) if is_original_convolution(key) else tuple(shape)


def _cast(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)

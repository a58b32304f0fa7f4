"""Names of weights: those of diffusers' parts, and those that the original latent diffusion and ControlNet code gives them.

Each function takes the name of one weight of a part and the part's configuration, and returns the original name without the
part's prefix. The original numbers the blocks of a UNet through, from the image inwards and out again; diffusers numbers the
resolutions, and what each holds. A weight that the original does not know raises KeyError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]

PREFIXES = {
    "unet": "model.diffusion_model.",
    "controlnet": "control_model.",
    "vae": "first_stage_model.",
    "text_encoder": "cond_stage_model.transformer.",
}
PART_NAMES = {"unet": "UNet", "vae": "autoencoder", "text_encoder": "text encoder", "controlnet": "ControlNet"}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
# Before diffusers 0.13, folders had these names, and the Riffusion of the hub is one of them.
EARLIER_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def unet_key(key: str, config: Config) -> str:
    """Of a `UNet2DConditionModel`: 686 names in Stable Diffusion 1.5."""
    module, _, leaf = key.rpartition(".")
    if module in UNET_ENDS:
        return f"{UNET_ENDS[module]}.{leaf}"
    layers = config["layers_per_block"]
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", key):
        return f"middle_block.{2 * int(match[2]) + (match[1] == 'attentions')}.{_unet_layer(match[1], match[3])}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", key)
    if match is None:
        raise KeyError(key)
    direction, block, layer_type, number, inner = match[1], int(match[2]), match[3], int(match[4]), match[5]
    first = block * (layers + 1)
    if layer_type == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.{inner.replace('conv.', 'op.')}"
    if layer_type == "upsamplers":  # stands last in the block's last group, behind an attention if there is one
        return f"output_blocks.{first + layers}.{1 + ('CrossAttn' in config['up_block_types'][block])}.{inner}"
    group = f"input_blocks.{1 + first + number}" if direction == "down" else f"output_blocks.{first + number}"
    return f"{group}.{int(layer_type == 'attentions')}.{_unet_layer(layer_type, inner)}"


def _unet_layer(layer_type: str, inner: str) -> str:
    return inner if layer_type == "attentions" else _renamed(inner, UNET_RESNET)


def control_key(key: str, config: Config) -> str:
    """Of a `ControlNetModel`, whose encoder is named as a UNet's: 340 names in Stable Diffusion 1.5."""
    module, _, leaf = key.rpartition(".")
    if module == "controlnet_mid_block":
        return f"middle_block_out.0.{leaf}"
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)", module):
        return f"zero_convs.{match[1]}.0.{leaf}"
    if match := re.fullmatch(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.(\d+))", module):
        # Every second module of the original's hint encoder is an activation.
        convolutions = {"conv_in": 0, "conv_out": 2 * len(config["conditioning_embedding_out_channels"]) - 1}
        return f"input_hint_block.{2 * (1 + int(match[2]) if match[2] else convolutions[match[1]])}.{leaf}"
    return unet_key(key, config)


def vae_key(key: str, config: Config) -> str:
    """Of an `AutoencoderKL`: 248 names in Stable Diffusion 1.5, whose decoder the original counts from the image, too."""
    if key.startswith(("quant_conv.", "post_quant_conv.")):
        return key
    half, _, inner = key.partition(".")
    if inner.startswith(("conv_in.", "conv_out.")):
        return key
    if inner.startswith("conv_norm_out."):
        return f"{half}.{inner.replace('conv_norm_out', 'norm_out')}"
    if match := re.fullmatch(r"mid_block\.resnets\.(\d+)\.(.+)", inner):
        return f"{half}.mid.block_{int(match[1]) + 1}.{_vae_resnet(match[2])}"
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", inner):
        return f"{half}.mid.attn_1.{_renamed(_renamed(match[1], EARLIER_VAE_ATTENTION, strict=False), VAE_ATTENTION)}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)", inner)
    if match is None:
        raise KeyError(key)
    direction, block, layer_type, number, rest = match[1], int(match[2]), match[3], match[4], match[5]
    level = block if direction == "down" else len(config["block_out_channels"]) - 1 - block
    layer = f"block.{number}.{_vae_resnet(rest)}" if layer_type == "resnets" else f"{layer_type.removesuffix('rs')}.{rest}"
    return f"{half}.{direction}.{level}.{layer}"


def _vae_resnet(inner: str) -> str:
    return inner.replace("conv_shortcut.", "nin_shortcut.")


def text_key(key: str, config: Config) -> str:
    """Of a `CLIPTextModel`: 196 names in Stable Diffusion 1.5, whether `text_model.` stands before them or not."""
    return "text_model." + key.removeprefix("text_model.")


def _renamed(key: str, names: Mapping[str, str], strict: bool = True) -> str:
    """`conv1.weight` with another name for `conv1`; an unknown one raises KeyError, or stays where that is not asked for."""
    module, _, leaf = key.rpartition(".")
    if not strict and module not in names:
        return key
    return f"{names[module]}.{leaf}"


KEY_FUNCTIONS: dict[str, Callable[[str, Config], str]] = {
    "unet": unet_key,
    "controlnet": control_key,
    "vae": vae_key,
    "text_encoder": text_key,
}


def is_original_convolution(ldm_key: str) -> bool:
    """Whether a weight is a 1x1 convolution's (two more axes) in the original, and a linear layer's in diffusers."""
    return re.search(r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$", ldm_key) is not None

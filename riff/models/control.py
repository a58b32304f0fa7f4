"""Attach a ControlNet to a base."""

from __future__ import annotations

import json
import math

import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from torch import nn

from riff.errors import ModelError
from riff.models.encoders import latent_factor
from riff.models.model_types import BASE, EDIT
from riff.models.sources import WITHOUT_SAFETY_CHECKER
from riff.seeds import torch_seed

STOCK_HINT_CHANNELS = (16, 32, 96, 256)
HINT_GAIN = 1.2 * math.sqrt(2)  # times 1/sqrt(fan_in): SiLU passes on a little less variance than ReLU


def attach_control(base: StableDiffusionPipeline, hint_init: str = "scaled", seed: int = 0) -> StableDiffusionControlNetPipeline:
    """Add a ControlNet (Zhang, Rao and Agrawala, ICCV 2023) that copies the base's encoder and changes nothing yet.

    Args:
        hint_init: `stock` leaves the hint encoder as the framework initialises it, which all but erases the hint;
            `scaled` keeps the hint's variance from layer to layer. The last convolution is zero in both.

    Raises:
        ModelError: an unknown hint_init, or an edit model in place of the base.
    """
    if base.unet.config.in_channels != base.vae.config.latent_channels:
        raise ModelError(f"the base is {EDIT.name}, and a ControlNet is attached to {BASE}, such as mini")
    if hint_init not in ("scaled", "stock"):
        raise ModelError(f"hint encoder initialisation {hint_init}: unknown; choose scaled or stock")
    torch.manual_seed(torch_seed(seed))
    channels = hint_channels(latent_factor(base))
    controlnet = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=channels)
    if hint_init == "scaled":
        scale_hint_encoder(controlnet.controlnet_cond_embedding)
    return with_control(base, controlnet)


def with_control(base: StableDiffusionPipeline, controlnet: ControlNetModel) -> StableDiffusionControlNetPipeline:
    """A control pipeline of a base's other parts and a ControlNet.

    Raises:
        ModelError: a ControlNet that does not fit this base.
    """
    for name in ("in_channels", "cross_attention_dim", "block_out_channels"):
        value, expected = (json.dumps(model.config[name]) for model in (controlnet, base.unet))  # lists equal tuples
        if value != expected:
            raise ModelError(f"a ControlNet of another base: its {name} is {value}, the base's {expected}; give it its own base")
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
    """Widths of the hint encoder, which halves the image between any two: ControlNet's own at factor 8.

    At other factors the first stages are narrow, because they work on the full image and cost nearly everything.
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

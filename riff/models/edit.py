"""Widen a base's UNet to take an image beside the noise."""

from __future__ import annotations

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn

from riff.errors import ModelError
from riff.models.sources import WITHOUT_SAFETY_CHECKER


def attach_edit(base: StableDiffusionPipeline, copy_bias: bool = True) -> StableDiffusionInstructPix2PixPipeline:
    """Make an InstructPix2Pix pipeline (Brooks, Holynski and Efros, CVPR 2023) of a base, whose UNet is widened in place.

    A base that is an edit model already is not changed, and can be trained further.

    Raises:
        ModelError: a UNet that takes neither the latents alone nor latents and image latents.
    """
    if base.unet.config.in_channels == base.vae.config.latent_channels:
        widen_unet(base.unet, copy_bias)
    return with_unet(base, base.unet)


def widen_unet(unet: UNet2DConditionModel, copy_bias: bool = True) -> UNet2DConditionModel:
    """Make a UNet take latents and image latents side by side, in place: twice the channels in its first convolution.

    The new channels' weights are zero, so before training its output is the base's for any image latents.

    Args:
        copy_bias: False starts the first convolution's bias anew, as diffusers' example does; the output then differs.
    """
    narrow = unet.conv_in
    channels = narrow.in_channels
    wide = nn.Conv2d(2 * channels, narrow.out_channels, narrow.kernel_size, narrow.stride, narrow.padding)
    wide.to(narrow.weight)
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight[:, :channels] = narrow.weight
        if copy_bias:
            wide.bias.copy_(narrow.bias)
    unet.conv_in = wide
    unet.register_to_config(in_channels=2 * channels)
    return unet


def with_unet(base: StableDiffusionPipeline, unet: UNet2DConditionModel) -> StableDiffusionInstructPix2PixPipeline:
    """An edit pipeline of a base's other parts and a widened UNet.

    Raises:
        ModelError: a UNet of other channels.
    """
    channels, needed = unet.config.in_channels, 2 * base.vae.config.latent_channels
    if channels != needed:
        raise ModelError(f"not an edit model: its UNet takes {channels} channels, and latents with image latents are {needed}")
    return StableDiffusionInstructPix2PixPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=unet,
        scheduler=base.scheduler,
        **WITHOUT_SAFETY_CHECKER,
    )

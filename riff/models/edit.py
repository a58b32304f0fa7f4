"""Widen a base's UNet to take a picture beside the noise, save it, and load it again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn

from riff.errors import ModelError
from riff.models import identify
from riff.models.base import load_base
from riff.models.folders import ORIGIN_FILE, ModelType, load_model, read_origin, save_model
from riff.models.sources import WITHOUT_SAFETY_CHECKER, resolve_base


def attach_edit(base: StableDiffusionPipeline, copy_bias: bool = True) -> StableDiffusionInstructPix2PixPipeline:
    """Make an InstructPix2Pix pipeline (Brooks, Holynski and Efros, CVPR 2023) of a base, whose UNet is widened in place.

    A base that is an edit model already is taken as it is, to be trained on.

    Raises:
        ModelError: a UNet that takes neither the latents alone nor latents and image latents.
    """
    latent_channels, taken = base.vae.config.latent_channels, base.unet.config.in_channels
    if taken == latent_channels:
        widen_unet(base.unet, copy_bias)
    return with_unet(base, base.unet)


def load_to_edit(model: str, copy_bias: bool = True, **hub: Any) -> tuple[StableDiffusionInstructPix2PixPipeline, str]:
    """Load what an edit model is to be trained from: a base, or an edit model of either form (`save_edit_pipeline`).

    Args:
        hub: as in `load_base`.

    Returns:
        The pipeline, and the name of the base that a UNet alone would stand on.

    Raises:
        ModelError: nothing there, or a model that cannot be widened.
    """
    folder = Path(resolve_base(model))
    if (folder / ORIGIN_FILE).exists() and not (folder / "model_index.json").exists():
        return load_edit_pipeline(folder), read_origin(folder)["base"]
    return attach_edit(load_base(model, **hub), copy_bias), model


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
    taken, needed = unet.config.in_channels, 2 * base.vae.config.latent_channels
    if taken != needed:
        raise ModelError(f"not an edit model: its UNet takes {taken} channels, and latents with image latents are {needed}")
    return StableDiffusionInstructPix2PixPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=unet,
        scheduler=base.scheduler,
        **WITHOUT_SAFETY_CHECKER,
    )


EDIT = ModelType(
    name=identify.EDIT,
    pipeline=StableDiffusionInstructPix2PixPipeline,
    part="unet",
    part_class=UNet2DConditionModel,
    combine=with_unet,
    script="train_instruct_pix2pix.py",
    example="models/riff-pix2pix-mini",
)


def save_edit_pipeline(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    folder: str | Path,
    origin: dict,
    unet_only: bool = False,
    half: bool = False,
    replaces: Iterable[str] = (),
) -> None:
    """Write a folder that `StableDiffusionInstructPix2PixPipeline.from_pretrained` loads, or the UNet alone (`save_model`)."""
    save_model(EDIT, pipeline, folder, origin, unet_only, half, replaces)


def load_edit_pipeline(model: str | Path, base: str | None = None) -> StableDiffusionInstructPix2PixPipeline:
    """Load a whole edit pipeline, or a widened UNet with the base that it names (`load_model`).

    Raises:
        ModelError: nothing there, or a model that takes no image latents.
    """
    pipeline = load_model(EDIT, model, base)
    try:
        return with_unet(pipeline, pipeline.unet)
    except ModelError as error:
        raise ModelError(f"{model}: {error}; train one with {EDIT.script}") from error

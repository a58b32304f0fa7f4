"""Compile what a model repeats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D

VARIANTS = 64  # of one block's code, by widths and sizes, before the compiler would give up on it; Stable Diffusion has 20 or so


def compile_blocks(models: Iterable[Any]) -> None:
    """Compile the residual and the transformer blocks of diffusers' models with `torch.compile`, in place, when they first run.

    Block by block it works for every model here (a ControlNet as a whole does not), few graphs serve all blocks, and names in
    checkpoints stay.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    for model in models:
        for module in model.modules():
            if isinstance(module, (ResnetBlock2D, BasicTransformerBlock)):
                module.compile()

"""Compile the repeated blocks of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D

VARIANTS = (
    64  # compilations of one block's code, by widths and sizes, before the compiler gives up; Stable Diffusion needs about 20
)


def compile_blocks(models: Iterable[Any]) -> None:
    """Compile the residual and transformer blocks of diffusers' models with `torch.compile`, in place, when they first run.

    A whole ControlNet does not compile, blocks do; they share few graphs, and parameter names stay as they are.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    for model in models:
        for module in model.modules():
            if isinstance(module, (ResnetBlock2D, BasicTransformerBlock)):
                module.compile()

"""The precision that a training step computes in."""

from __future__ import annotations

import os

import torch

from riff.errors import OptionError

MIXED_PRECISIONS = {"no": "32", "bf16": "bf16", "fp16": "16"}  # accelerate's: ours


def default_precision(device: str) -> str:
    """`bf16` on CUDA and on CPUs that multiply in it, where it takes half the time of `32`; `32` on others.

    Args:
        device: `cpu` or `cuda`.
    """
    if device == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return "bf16"
    return "32"


def choose_precision(mixed: str | None, device: str) -> str:
    """The precision of a run: as asked for, else as `accelerate launch` says, else `default_precision`.

    Args:
        mixed: `no`, `fp16` or `bf16`, None where nothing was asked for.

    Raises:
        OptionError: accelerate's configuration wants another one.
    """
    mixed = mixed or os.environ.get("ACCELERATE_MIXED_PRECISION")
    if not mixed:
        return default_precision(device)
    if mixed not in MIXED_PRECISIONS:
        raise OptionError(f"mixed precision {mixed}, from accelerate's configuration, is unknown; give --mixed_precision bf16")
    if mixed == "fp16" and device == "cpu":
        return "bf16"  # a CPU has no fp16 training
    return MIXED_PRECISIONS[mixed]

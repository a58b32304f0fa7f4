"""The precision of training steps and of the samples between them.

| device | default | 32 | bf16 | 16 |
|---|---|---|---|---|
| CUDA of compute capability 8.0 and above | bf16 | 32 | bf16 | 16 |
| CUDA below 8.0 (T4, V100), which only emulates bf16 | 32 | 32 | refused | 16 |
| CPU that multiplies in bf16 | bf16 | 32 | bf16 | bf16 |
| other CPUs | 32, or bf16 where a preset stores weights in it | 32 | bf16 | bf16 |

`32` is float32 throughout; `bf16` and `16` (fp16, its loss scaled) are autocast, from weights in float32 unless `--memory` stores
them otherwise. Weights are only stored in a precision that the run computes in: frozen weights are float32 where the precision is
32, trained weights where it is not bf16. AdamW's moments can be bf16 on any device, since they are rounded stochastically from
float32 (`riff.training.memory.choose_savings`).

Sampling with a finished model is in fp16 on CUDA of any age, and in float32 on a CPU (`riff.sampling.pipelines.prepare_pipeline`).
"""

from __future__ import annotations

import os

import torch

from riff.cli import warn
from riff.errors import OptionError

MIXED_PRECISIONS = {"no": "32", "bf16": "bf16", "fp16": "16"}  # accelerate's: ours


def computes_bf16(device: str) -> bool:
    """Whether a device, `cpu` or `cuda`, computes in bf16; a CPU without the instructions emulates it slowly."""
    return device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)


def default_precision(device: str) -> str:
    """`bf16` where the device multiplies in it, which takes half the time of `32`; `32` on others.

    Args:
        device: `cpu` or `cuda`.
    """
    if device == "cuda":
        return "bf16" if computes_bf16(device) else "32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32"


def fit_precision(requested: str, device: str) -> str:
    """The precision `32`, `bf16` or `16` that a device computes in: bf16 for fp16 on a CPU, else as requested.

    Raises:
        OptionError: bf16 on a GPU that has none.
    """
    if requested == "bf16" and not computes_bf16(device):
        raise OptionError("bf16: this GPU has none (compute capability below 8.0); train in 16 (fp16) or in 32 bits")
    if requested == "16" and device == "cpu":
        warn("a CPU does not train in fp16: this run computes in bf16")
        return "bf16"
    return requested


def requested_precision(mixed: str | None) -> str | None:
    """The precision `32`, `bf16` or `16` of a flag `no`, `fp16` or `bf16`, else of `accelerate launch`, else None.

    Raises:
        OptionError: accelerate's configuration has an unknown one.
    """
    mixed = mixed or os.environ.get("ACCELERATE_MIXED_PRECISION")
    if not mixed:
        return None
    if mixed not in MIXED_PRECISIONS:
        raise OptionError(f"mixed precision {mixed}, from accelerate's configuration, is unknown; use --mixed_precision bf16")
    return MIXED_PRECISIONS[mixed]

"""Which device `auto` is, and what a device computes in.

| device | sampling | training by default |
|---|---|---|
| CUDA of compute capability 8.0 and above; AMD's GPUs under ROCm, which PyTorch also calls `cuda` | fp16 | bf16 |
| CUDA below 8.0 (T4, V100), which only emulates bf16 | fp16 | fp16, its loss scaled |
| GeForce GTX 16, whose convolutions overflow in fp16 | float32 | float32 |
| `mps`, Apple's GPUs | float32 | not at all |
| `cpu` | float32 | bf16 where it multiplies in it, else float32 |

Nothing here has been run on MPS or ROCm. On MPS float32 is the choice that cannot overflow; separation and spectrograms stay on the
CPU (`signal_device`), for MPS has no sparse matrices and no float64.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from riff.cli.progress import warn
from riff.errors import OptionError

if TYPE_CHECKING:
    import torch

WITHOUT_FP16 = "GeForce GTX 16"  # TU116 and TU117: no tensor cores, and NaN in fp16


def choose_device(name: str, mps: bool = False) -> str:
    """The torch device name of `auto`, `cpu`, `cuda` or `mps`; `auto` prints its choice, and why, in one line on stderr.

    Args:
        mps: whether the command runs on MPS.

    Raises:
        OptionError: a device that is not visible, or MPS for a command that does not run on it.
    """
    import torch

    visible = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        chosen = "cuda" if visible["cuda"] else "mps" if visible["mps"] and mps else "cpu"
        if os.environ.get("RANK", "0") == "0":  # of several processes, the first
            warn(f"device {chosen}: {_reason(chosen, visible['mps'])}")
        return chosen
    if name == "mps" and not mps:
        raise OptionError("--device mps: only sampling runs there; training, separation and pairs need --device cpu or cuda")
    if not visible.get(name, True):
        raise OptionError(f"--device {name}: no {name.upper()} device is visible; use --device auto or cpu")
    return name


def _reason(chosen: str, has_mps: bool) -> str:
    import torch

    if chosen == "mps":
        return "Apple's GPU, in float32; separation and spectrograms on the CPU"
    if chosen == "cpu":
        if has_mps:
            return "this command does not run on Apple's GPU"
        builds = torch.version.cuda or torch.version.hip
        return "PyTorch sees no GPU" + ("" if builds else f" (its version {torch.__version__} is built without CUDA and ROCm)")
    count, properties = torch.cuda.device_count(), torch.cuda.get_device_properties(torch.cuda.current_device())
    kind = f"ROCm {torch.version.hip}" if torch.version.hip else f"compute capability {properties.major}.{properties.minor}"
    half = {"32": "float32", "16": "fp16, having no bf16", "bf16": "fp16 and bf16"}[default_precision("cuda")]
    many = f", the first of {count} GPUs" if count > 1 else ""
    return f"{properties.name}{many}, {properties.total_memory / 2**30:.1f} GiB, {kind}; computes in {half}"


def signal_device(device: str) -> str:
    """Where separation and spectrograms are computed: on the models' device, but for MPS on the CPU."""
    return "cpu" if device == "mps" else device


def computes_bf16(device: str) -> bool:
    """Whether a device, `cpu` or `cuda`, computes in bf16; a CPU without the instructions emulates it slowly."""
    import torch

    return device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)


def computes_fp16(device: str) -> bool:
    """Whether models are to compute in fp16 on a device."""
    import torch

    return device == "cuda" and WITHOUT_FP16 not in torch.cuda.get_device_properties(torch.cuda.current_device()).name


def sampling_dtype(device: str) -> torch.dtype:
    """The dtype of models that only sample."""
    import torch

    return torch.float16 if computes_fp16(device) else torch.float32


def default_precision(device: str) -> str:
    """The precision of training, `bf16`, `16` or `32`: half of either kind where the device is faster in it, bf16 before fp16.

    Args:
        device: `cpu` or `cuda`.
    """
    import torch

    if device == "cuda":
        return "bf16" if computes_bf16(device) else "16" if computes_fp16(device) else "32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32"

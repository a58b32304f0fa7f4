"""Memory presets, the precision of a run, and the types that weights are stored in.

The precision of training steps and of the samples between them is the device's default (`riff.devices`) or as asked for: `32` is
float32 throughout; `bf16` and `16` (fp16, its loss scaled) are autocast, from weights in float32 unless a preset stores them
otherwise. bf16 is refused where a GPU only emulates it, and a CPU computes in bf16 for fp16. Weights are only stored in a
precision that the run computes in: frozen weights are float32 where the precision is 32, trained weights where it is not bf16.
AdamW's moments can be bf16 on any device, since they are rounded stochastically from float32 (`choose_savings`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from riff.cli import warn
from riff.devices import computes_bf16, default_precision
from riff.errors import OptionError
from riff.training.module import Objective
from riff.training.options import Savings

GIB = 2**30
MIXED_PRECISIONS = {"no": "32", "bf16": "bf16", "fp16": "16"}  # by accelerate's names
BF16, HALF = "bf16", "half"
HALF_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}  # by precision

# By the GiB of the GPU they are meant for. Each adds to the one before.
PRESETS = {
    "full": Savings(),
    "24": Savings(frozen=HALF),
    "16": Savings(frozen=HALF, checkpointing=True),
    "12": Savings(frozen=HALF, checkpointing=True, moments=BF16),
    "8": Savings(frozen=HALF, checkpointing=True, moments=BF16, trained=BF16),
}
SAVE_MEMORY = "12"  # for `save_memory`: the smallest that keeps the trained weights in float32
LEAST_GIB = {"full": 30.0, "24": 20.0, "16": 14.0, "12": 10.5, "8": 0.0}  # a GPU sold as 24 GB reports a little less
BESIDE_GIB = 0.8  # estimate of what a prediction leaves out: the CUDA context, cuDNN's and cuBLAS's workspaces


def gpu_memory() -> int | None:
    """Memory of this process's GPU in bytes, None where there is none."""
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if torch.cuda.is_available() else None


def choose_preset(memory: str, save_memory: bool, device: str) -> str:
    """The preset of this name; `auto` depends on the GPU's memory, and is `full` on a CPU."""
    if memory != "auto":
        return memory
    if save_memory:
        return SAVE_MEMORY
    total = gpu_memory() if device == "cuda" else None
    if total is None:
        return "full"
    return next(name for name, least in LEAST_GIB.items() if total >= least * GIB)


def choose_savings(
    preset: str, chosen: Mapping[str, Any], precision: str | None, device: str, averaged: bool = False
) -> tuple[Savings, str]:
    """The savings of a preset, with explicit choices in place of the preset's, and the precision to compute in.

    What a preset stores in a precision that this run does not compute in is stored in float32.

    Args:
        chosen: fields of `Savings`, None for the preset's. precision: `32`, `bf16`, `16`, or None for the default.
        averaged: whether an average of the weights is kept, whose updates are too small for bf16 weights.

    Raises:
        OptionError: choices that contradict each other, or bf16 on a GPU without it.
    """
    explicit = {name: value for name, value in chosen.items() if value is not None}
    fields = {**vars(PRESETS[preset]), **explicit}
    if precision is None:
        stores_half = fields["frozen"] == HALF or fields["trained"] == BF16
        precision = BF16 if stores_half and computes_bf16(device) else default_precision(device)
    precision = fit_precision(precision, device)
    unfit = {
        "frozen": (precision == "32" and fields["frozen"] == HALF, "frozen_weights half goes with half precision, and not with 32"),
        "trained": (
            fields["trained"] == BF16 and (precision != BF16 or averaged or fields["moments"] == "8bit"),
            "trained_weights bf16 goes with bf16 precision, AdamW's moments in 32 or bf16, and no average",
        ),
    }
    for name, (wrong, reason) in unfit.items():
        if wrong and name in explicit:
            raise OptionError(f"{reason}; here the precision is {precision}: leave one of them out, or choose another precision")
        if wrong:
            fields[name] = "32"
    return Savings(**fields), precision


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


def launched_precision() -> str | None:
    """The precision `32`, `bf16` or `16` that `accelerate launch` sets, None where it sets none.

    Raises:
        OptionError: accelerate's configuration has an unknown one.
    """
    mixed = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if not mixed:
        return None
    if mixed not in MIXED_PRECISIONS:
        raise OptionError(f"mixed precision {mixed}, from accelerate's configuration, is unknown; use bf16, fp16 or no")
    return MIXED_PRECISIONS[mixed]


def stability_flags(precision: str) -> str:
    """Flags that may keep the loss finite, beside a lower learning rate: a higher precision than this one, or a longer warmup."""
    bf16 = "bf16 or " if computes_bf16("cuda") else ""  # a CPU never trains in 16
    return {"16": f"--precision {bf16}32", "bf16": "--precision 32"}.get(precision, "more --warmup_steps")


def store_weights(models: Mapping[str, torch.nn.Module], savings: Savings, precision: str) -> None:
    """Convert the parameters to the types that they are stored in, in place."""
    for model in models.values():
        for parameter in model.parameters():
            if parameter.requires_grad and savings.trained == BF16:
                parameter.data = parameter.data.to(torch.bfloat16)
            if not parameter.requires_grad and savings.frozen == HALF:
                parameter.data = parameter.data.to(HALF_TYPES[precision])


@contextmanager
def stored(objective: Objective, vae: Any, savings: Savings, precision: str) -> Iterator[None]:
    """Store the models' weights as the savings say; afterwards they are float32 again, the frozen ones to the bit.

    Where memory is saved, the VAE decodes one image at a time, for a batch would take more than training does.
    """
    parameters = [parameter for model in objective.models.values() for parameter in model.parameters()]
    frozen = [(parameter, parameter.data) for parameter in parameters if not parameter.requires_grad]
    if savings != Savings():
        vae.enable_slicing()
    store_weights(objective.models, savings, precision)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.data = parameter.data.float()
        for parameter, data in frozen:
            parameter.data = data

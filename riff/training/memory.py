"""How much GPU memory a run may take, and what it does for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch

from riff.errors import OptionError
from riff.training.module import Objective
from riff.training.options import Savings
from riff.training.precision import computes_bf16, default_precision, fit_precision

GIB = 2**30
BF16, HALF = "bf16", "half"
HALF_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}  # by precision

# By the GiB of the GPU they are meant for. Each does what the one before does, and more.
PRESETS = {
    "full": Savings(),
    "24": Savings(frozen=HALF),
    "16": Savings(frozen=HALF, checkpointing=True),
    "12": Savings(frozen=HALF, checkpointing=True, moments=BF16),
    "8": Savings(frozen=HALF, checkpointing=True, moments=BF16, trained=BF16),
}
SAVE_GPU_MEMORY = "12"  # what --save_gpu_memory stands for: the most that keeps the trained weights in float32
LEAST_GIB = {"full": 30.0, "24": 20.0, "16": 14.0, "12": 10.5, "8": 0.0}  # a GPU sold as 24 GB shows a little less
BESIDE_GIB = 0.8  # what no prediction sees: the CUDA context and the work spaces of cuDNN and cuBLAS, roughly


def gpu_memory() -> int | None:
    """Bytes of the GPU that this process computes on, None where there is none."""
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if torch.cuda.is_available() else None


def choose_preset(memory: str, save_gpu_memory: bool, device: str) -> str:
    """The preset that `--memory` means; `auto` goes by the GPU's memory, and on a CPU saves nothing."""
    if memory != "auto":
        return memory
    if save_gpu_memory:
        return SAVE_GPU_MEMORY
    total = gpu_memory() if device == "cuda" else None
    if total is None:
        return "full"
    return next(name for name, least in LEAST_GIB.items() if total >= least * GIB)


def choose_savings(
    preset: str, said: Mapping[str, Any], precision: str | None, device: str, averaged: bool = False
) -> tuple[Savings, str]:
    """The savings of a preset and the precision to compute in, with what was said for itself in place of the preset's.

    What a preset stores in a precision that this run does not compute in is stored in float32 (`riff.training.precision`).

    Args:
        said: fields of `Savings`, None where nothing was said. precision: `32`, `bf16`, `16`, or None likewise.
        averaged: whether an average of the weights is kept, which moves by less than bf16 weights can show.

    Raises:
        OptionError: things were said that do not go together, or bf16 on a GPU that has none.
    """
    explicit = {name: value for name, value in said.items() if value is not None}
    fields = {**vars(PRESETS[preset]), **explicit}
    if precision is None:
        stores_half = fields["frozen"] == HALF or fields["trained"] == BF16
        precision = BF16 if stores_half and computes_bf16(device) else default_precision(device)
    precision = fit_precision(precision, device)
    unfit = {
        "frozen": (
            precision == "32" and fields["frozen"] == HALF,
            "--frozen_weights half computes in half precision, and not in 32",
        ),
        "trained": (
            fields["trained"] == BF16 and (precision != BF16 or averaged or fields["moments"] == "8bit"),
            "--trained_weights bf16 goes with bf16 precision, AdamW's moments in 32 or bf16, and no average",
        ),
    }
    for name, (wrong, reason) in unfit.items():
        if wrong and name in explicit:
            raise OptionError(f"{reason}; here the precision is {precision}: leave one of them out, or choose another precision")
        if wrong:
            fields[name] = "32"
    return Savings(**fields), precision


def store_weights(models: Mapping[str, torch.nn.Module], savings: Savings, precision: str) -> None:
    """Give the parameters the types that they are stored in, in place."""
    for model in models.values():
        for parameter in model.parameters():
            if parameter.requires_grad and savings.trained == BF16:
                parameter.data = parameter.data.to(torch.bfloat16)
            if not parameter.requires_grad and savings.frozen == HALF:
                parameter.data = parameter.data.to(HALF_TYPES[precision])


@contextmanager
def stored(objective: Objective, vae: Any, savings: Savings, precision: str) -> Iterator[None]:
    """Store the models' weights as a run wants them; afterwards they are float32 again, the frozen ones to the bit.

    Samples are decoded one picture at a time where anything is saved, for the VAE at its full width takes more than training.
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


class MemoryLog(pl.Callback):
    """The most memory that tensors held on the GPU in a training step, samples and checkpoints left out.

    Attributes:
        peak: bytes; 0 on a CPU.
    """

    def __init__(self) -> None:
        self.peak = 0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            self.peak = max(self.peak, torch.cuda.max_memory_allocated(pl_module.device))

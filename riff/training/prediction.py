"""Predict the GPU memory of a run, by a step on fake tensors, at any size on any machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from diffusers import DDPMScheduler
from torch import nn
from torch._subclasses import FakeTensorMode

from riff.cli import warn
from riff.data.datasets import Example
from riff.training.accounting import Build, Peak, trace_step
from riff.training.memory import BESIDE_GIB, GIB, PRESETS, gpu_memory, store_weights
from riff.training.module import NoiseTraining, Objective
from riff.training.options import RunSettings, Savings, TrainingOptions

Configs = Mapping[str, Mapping[str, Any]]  # diffusers' configurations by the names of a pipeline's models
TOKENS = 77  # of a prompt


def predict_peak(
    objective: Objective, configs: Configs, options: TrainingOptions, precision: str, max_grad_norm: float = 1.0
) -> Peak:
    """Peak memory of a run's optimizer step, without workspaces and the CUDA context (`trace_step`).

    Args:
        objective: on meta; modified in place. 8-bit moments are counted as float32.
    """
    build = step_of(objective, configs, options, precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        return trace_step(build, precision, max_grad_norm)


def step_of(objective: Objective, configs: Configs, options: TrainingOptions, precision: str) -> Build:
    """The argument of `trace_step` for an objective on meta: with real tensors, or fake ones under a `FakeTensorMode`."""
    store_weights(objective.models, options.savings, precision)
    noise_levels = DDPMScheduler()

    def build() -> tuple[NoiseTraining, Any]:
        for model in objective.models.values():
            materialise(model)
        module = NoiseTraining(objective, noise_levels, [None], options, "")  # type: ignore[arg-type]
        return module, lambda: example_batch(configs, options.batch_size)

    return build


def materialise(model: nn.Module) -> None:
    """Replace parameters on meta by zeros of their types and memory formats."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            zeros = torch.empty_strided(parameter.size(), parameter.stride(), dtype=parameter.dtype, device="cpu").zero_()
            module.register_parameter(name, nn.Parameter(zeros, parameter.requires_grad))


def example_batch(configs: Configs, examples: int) -> Example:
    """A batch of zeros for either objective, at the UNet's sample size."""
    side, channels = configs["unet"]["sample_size"], configs["unet"]["out_channels"]
    pixels = side * 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    text = torch.zeros(examples, TOKENS, configs["unet"]["cross_attention_dim"])
    batch = {"moments": torch.zeros(examples, 2, channels, side, side), "text": text, "no_text": text.clone()}
    if "controlnet" in configs:
        return batch | {"hint": torch.zeros(examples, 1, pixels, pixels, dtype=torch.uint8)}
    return batch | {"image": torch.zeros(examples, channels, side, side)}


def print_plan(objective: Objective, configs: Configs, settings: RunSettings) -> None:
    """Print how a run would store its weights, and its predicted peak memory. objective: as for `predict_peak`."""
    print(plan_text(settings.preset, settings.step.savings, settings.precision, objective.models), flush=True)
    peak = predict_peak(objective, configs, settings.step, settings.precision, settings.max_grad_norm)
    print(peak_text(peak, settings.step.batch_size))


def plan_text(preset: str, savings: Savings, precision: str, models: Mapping[str, nn.Module]) -> str:
    """A line for each part of a run: its storage and type."""
    half = {"bf16": "bf16", "16": "fp16"}.get(precision, "")
    numbers = {
        wanted: sum(p.numel() for model in models.values() for p in model.parameters() if p.requires_grad == wanted) / 1e6
        for wanted in (True, False)
    }
    rounded = ", rounded stochastically"
    frozen = f"{numbers[False]:.1f} M in {half if savings.frozen == 'half' else 'float32'}" if numbers[False] else "none"
    trained = "bf16" + rounded if savings.trained == "bf16" else "float32"
    moments = {"32": "float32", "bf16": "bf16" + rounded, "8bit": "8 bits where bitsandbytes is installed, else float32"}
    lines = {
        "computation": f"{half} by autocast" if half else "float32",
        "frozen weights": frozen,
        "trained weights": f"{numbers[True]:.1f} M in {trained}",
        "AdamW's moments": moments[savings.moments],
        "gradients": f"{'bf16' if savings.trained == 'bf16' else 'float32'}, freed after every step",
        "activations": "recomputed in the backward pass" if savings.checkpointing else "kept",
        "VAE, text encoder": "on the CPU, on the GPU for samples alone" + (", one image at a time" if savings != Savings() else ""),
    }
    head = f"memory preset {preset}" + ("" if savings == PRESETS[preset] else ", with other settings in place of its own")
    return "\n".join([head, *(f"  {name:18}{what}" for name, what in lines.items())])


def peak_text(peak: Peak, batch_size: int) -> str:
    """A prediction, by category, and what it leaves out, in one line."""
    parts = ", ".join(f"{part} {size / GIB:.2f}" for part, size in peak.parts.items() if size >= GIB / 200)
    return (
        f"predicted peak at batch {batch_size}: {peak.total / GIB:.2f} GiB, in the {peak.stage} ({parts}); "
        f"allow {BESIDE_GIB} GiB more for the CUDA context and workspaces"
    )


class MemoryWatch(pl.Callback):
    """Predict the peak memory of a run on CUDA, and measure it over the training steps, without samples and checkpoints."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._predicted: Peak | None = None
        self._measured = 0

    def predict(self, objective: Callable[[], Objective], configs: Configs) -> None:
        """Predict the peak, and warn if it exceeds the GPU. objective: makes the argument of `predict_peak`."""
        settings = self._settings
        total = gpu_memory() if settings.device == "cuda" else None
        if total is None:
            return
        self._predicted = predict_peak(objective(), configs, settings.step, settings.precision, settings.max_grad_norm)
        if text := warning(self._predicted, total, settings.preset):
            warn(text)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            self._measured = max(self._measured, torch.cuda.max_memory_allocated(pl_module.device))

    def report(self) -> dict[str, Any]:
        """Print predicted and measured peak, and return them for the manifest."""
        if self._predicted is None:
            return {"preset": self._settings.preset}
        predicted, measured = self._predicted.total / GIB, self._measured / GIB
        print(f"GPU memory of a training step: {measured:.2f} GiB at most, predicted {predicted:.2f} GiB")
        return {"preset": self._settings.preset, "predicted_peak_gib": round(predicted, 3), "measured_peak_gib": round(measured, 3)}


def warning(peak: Peak, total: int, preset: str) -> str:
    """Advice where a predicted peak exceeds a GPU of `total` bytes, "" where it fits."""
    needed = peak.total / GIB + BESIDE_GIB
    if needed <= total / GIB:
        return ""
    smaller = list(PRESETS)[list(PRESETS).index(preset) + 1 :]
    way_out = f"the memory preset {smaller[0]}, or a smaller batch," if smaller else "a smaller batch"
    return f"this run needs about {needed:.1f} GiB of a GPU that has {total / GIB:.1f}: {way_out} takes less"

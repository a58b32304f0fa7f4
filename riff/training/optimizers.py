"""The optimizer of a run and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from riff.training.options import TrainingOptions
from riff.training.rounded_adamw import RoundedAdamW

LOWEST_RATE = 0.01  # final value of a decaying schedule, as a share of the learning rate


def adamw(
    named_parameters: Iterable[tuple[str, nn.Parameter]], options: TrainingOptions, fused: bool | None = None
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019) of the parameters that require gradients, stored as `options.savings` says.

    Args:
        fused: whether torch's AdamW updates each parameter in one kernel, without temporaries (default: on CUDA).
    """
    groups = parameter_groups(named_parameters, options)
    on_cuda = groups[0]["params"][0].is_cuda
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": options.adam_betas,
        "eps": options.adam_epsilon,
        "weight_decay": options.weight_decay,
    }
    savings = options.savings
    if "bf16" in (savings.trained, savings.moments):
        moments = torch.bfloat16 if savings.moments == "bf16" else torch.float32
        return RoundedAdamW(groups, **settings, moments=moments, seed=options.seed)
    if savings.moments == "8bit" and on_cuda:
        try:
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(groups, **settings)
        except ImportError:
            pass
    optimizer = torch.optim.AdamW(groups, **settings, fused=on_cuda if fused is None else fused)
    # Fused AdamW can unscale gradients itself, and Lightning then refuses to clip them. Without this attribute they are unscaled
    # before clipping, as with other optimizers.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def parameter_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], options: TrainingOptions) -> list[dict[str, Any]]:
    """The optimizer's groups: parameters that require gradients, by learning rate, in their order."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            factor = next((factor for start, factor in options.rate_factors if name.startswith(start)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "lr": options.learning_rate * factor} for factor, parameters in groups.items()]


def learning_rate_factor(options: TrainingOptions, step: int) -> float:
    """The factor of the learning rate in a step, counted from 0."""
    rise, done = min(1.0, (step + 1) / max(1, options.warmup_steps)), min(1.0, step / options.max_steps)
    if options.schedule == "constant":
        return rise
    fall = 1 - done if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return rise * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)

"""The optimizer of a run and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from riff.training.options import TrainingOptions

LOWEST_RATE = 0.01  # what a falling schedule ends at, as a share of the learning rate


def adamw(named_parameters: Iterable[tuple[str, nn.Parameter]], options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019) of what requires gradients; in 8 bits where wanted and bitsandbytes is installed."""
    groups = parameter_groups(named_parameters, options)
    on_cuda = groups[0]["params"][0].is_cuda
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": options.adam_betas,
        "eps": options.adam_epsilon,
        "weight_decay": options.weight_decay,
    }
    if options.eight_bit_adam and on_cuda:
        try:
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(groups, **settings)
        except ImportError:
            pass
    return torch.optim.AdamW(groups, **settings, fused=on_cuda)


def parameter_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], options: TrainingOptions) -> list[dict[str, Any]]:
    """The optimizer's groups: parameters that require gradients, by their learning rate, in the order of the parameters."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            factor = next((factor for start, factor in options.rate_factors if name.startswith(start)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "lr": options.learning_rate * factor} for factor, parameters in groups.items()]


def learning_rate_factor(options: TrainingOptions, step: int) -> float:
    """What the learning rate is multiplied by in a step, counted from 0."""
    rise, done = min(1.0, (step + 1) / max(1, options.warmup_steps)), min(1.0, step / options.max_steps)
    if options.schedule == "constant":
        return rise
    fall = 1 - done if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return rise * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)

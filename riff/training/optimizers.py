"""The optimizer of a run and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from riff.training.options import TrainingOptions

LOWEST_RATE = 0.01  # what a falling schedule ends at, as a share of the learning rate


def adamw(parameters: list[nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW; in 8 bits where that is wanted and bitsandbytes is installed."""
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": options.adam_betas,
        "eps": options.adam_epsilon,
        "weight_decay": options.weight_decay,
    }
    if options.eight_bit_adam and parameters[0].is_cuda:
        try:
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, **settings)
        except ImportError:
            pass
    return torch.optim.AdamW(parameters, **settings, fused=parameters[0].is_cuda)


def learning_rate_factor(options: TrainingOptions, step: int) -> float:
    """What the learning rate is multiplied by in a step, counted from 0."""
    rise, done = min(1.0, (step + 1) / max(1, options.warmup_steps)), min(1.0, step / options.max_steps)
    if options.schedule == "constant":
        return rise
    fall = 1 - done if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return rise * (LOWEST_RATE + (1 - LOWEST_RATE) * fall)

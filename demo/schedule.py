"""What the small models' training loops share: the learning rate's way and the progress line."""

from __future__ import annotations

import math

import torch

from riff.cli import progress_bar

WARMUP_STEPS = 100
CURVE_EVERY = 20


def cosine_schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Rise over 100 steps, then fall to a hundredth along a half cosine."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / WARMUP_STEPS)
        return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Progress:
    """A progress bar and the loss curve, averaged over 20 steps a point."""

    def __init__(self, name: str, steps: int) -> None:
        self.curve: list[tuple[int, float]] = []
        self._bar = progress_bar(total=steps, desc=name, unit="step", mininterval=5.0)
        self._recent: list[float] = []

    def update(self, loss: float) -> None:
        self._recent.append(loss)
        self._bar.update()
        if len(self._recent) == CURVE_EVERY:
            mean = sum(self._recent) / CURVE_EVERY
            self.curve.append((int(self._bar.n), mean))
            self._bar.set_postfix(loss=f"{mean:.4f}")
            self._recent.clear()

"""Log the loss of every step, and end the run when it becomes non-finite."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from riff.errors import TrainingError
from riff.files import write_text
from riff.training.run_dir import read_losses

LOG_EVERY = 10  # steps between two values on the loggers, beside the first step's
FLUSH_EVERY = 25  # steps between two reads of the losses from a GPU, each of which synchronises with it


class LossLog(pl.Callback):
    """Write every optimizer step's loss to a file of JSON lines; on resuming, lines of later steps are removed.

    The loggers get the loss, the learning rate and the norm of the gradients before clipping, of some steps.

    A non-finite loss or gradient ends the run. In fp16 the gradient scaler skips such steps, so that only 25 in a row do.

    Args:
        check_every: also check the losses at every step that one of these numbers divides, before the step is saved.

    Attributes:
        recent: the newest losses, for the progress bar.
    """

    def __init__(self, path: Path, check_every: Sequence[int] = ()) -> None:
        self.recent: deque[float] = deque(maxlen=FLUSH_EVERY)
        self._path, self._check_every = path, [every for every in check_every if every]
        self._pending: list[tuple[int, float, torch.Tensor]] = []  # step, learning rate, loss and norm
        self._step_losses: list[torch.Tensor] = []
        self._gradient_norm, self._rate = torch.zeros(()), 0.0
        self._broken: list[tuple[int, str]] = []  # the current row of non-finite steps, each with `loss` or `gradient`

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if trainer.is_global_zero:
            cut_after(self._path, trainer.global_step)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        self._gradient_norm = torch.nn.utils.get_total_norm(gradients)
        self._rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self._step_losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)  # Lightning divides it
        step = trainer.global_step
        if step == self._last_step:
            return  # still accumulating
        self._last_step = step
        loss = torch.stack(self._step_losses).mean()
        self._pending.append((step, self._rate, torch.stack([loss, self._gradient_norm.to(loss)])))
        self._step_losses.clear()
        may_wait = loss.is_cuda and len(self._pending) < FLUSH_EVERY
        if not may_wait or any(step % every == 0 for every in self._check_every):
            self._flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush(trainer)

    def _flush(self, trainer: pl.Trainer) -> None:
        """Fetch, check and write the pending losses.

        Raises:
            TrainingError: a loss or a gradient was not finite; in all processes alike.
        """
        if not self._pending:
            return
        # The mean over the processes is the loss of the global batch, and non-finite where one process's is.
        figures = trainer.strategy.reduce(torch.stack([pair for *_, pair in self._pending]), reduce_op="mean").tolist()
        steps = [(step, rate) for step, rate, _ in self._pending]
        self._pending.clear()
        allowed = FLUSH_EVERY - 1 if has_scaler(trainer) else 0
        lines = []
        for (step, rate), (loss, gradient) in zip(steps, figures, strict=True):
            if math.isfinite(loss) and math.isfinite(gradient):
                self._broken.clear()
            else:
                self._broken.append((step, "gradient" if math.isfinite(loss) else "loss"))
            if len(self._broken) == allowed + 1:
                break
            if math.isfinite(loss):
                lines.append({"step": step, "loss": loss})
                _log(trainer, step, loss=loss, learning_rate=rate, gradient_norm=gradient)
        self.recent.extend(line["loss"] for line in lines)
        if trainer.is_global_zero:
            with open(self._path, "a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        if len(self._broken) > allowed:
            (step, what), row = self._broken[0], f" in {allowed + 1} steps in a row" if allowed else ""
            raise TrainingError(f"step {step}: the {what} is not a finite number{row}")


def _log(trainer: pl.Trainer, step: int, **figures: float) -> None:
    """Log to the loggers at the first step and every `LOG_EVERY`."""
    if step == 1 or step % LOG_EVERY == 0:
        for logger in trainer.loggers:
            logger.log_metrics({f"training/{name}": figure for name, figure in figures.items()}, step)


def has_scaler(trainer: pl.Trainer) -> bool:
    """Whether gradients are scaled, as in fp16; steps with non-finite gradients are then skipped."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def cut_after(path: Path, step: int) -> list[dict[str, float]]:
    """Remove a log's lines of later steps, for a run that resumes at this one; returns the others. The file may be missing."""
    kept = [line for line in (read_losses(path) if path.exists() else []) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept

"""The loss of every step, the loss on held-out songs, and their logs; a non-finite loss ends the run."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset, default_collate

from riff import cli
from riff.data.datasets import Example, Record
from riff.errors import TrainingError
from riff.files import write_text
from riff.training.processes import ALONE, BatchRng
from riff.training.run_dir import read_losses

NOISE_SEED = 20_000  # of the validation noise, independent of the run's seed: runs of different seeds can be compared
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


class FigureLog(pl.Callback):
    """Log figures of held-out songs to a file of JSON lines and to the loggers; on resuming, lines of later steps are removed.

    A line holds `step` and the figures of one validation. This callback comes before those that add to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        kept = cut_after(self._path, trainer.global_step) if trainer.is_global_zero else []
        self._lines = trainer.strategy.broadcast(kept)  # so that all processes skip the same validations

    def add(self, trainer: pl.Trainer, **figures: float) -> None:
        line = {"step": trainer.global_step, **figures}
        self._lines.append(line)
        if trainer.is_global_zero:
            with open(self._path, "a") as file:
                file.write(json.dumps(line) + "\n")
        self.show(trainer, **figures)

    @staticmethod
    def show(trainer: pl.Trainer, **figures: float) -> None:
        """Log figures to the loggers alone."""
        for logger in trainer.loggers:
            logger.log_metrics({f"held_out/{name}": figure for name, figure in figures.items()}, trainer.global_step)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, figure) of every validation that has this figure."""
        return [(int(line["step"]), line[name]) for line in self._lines if name in line]


class ValidationLog(pl.Callback):
    """Compute the loss on held-out songs at the start, every `every_n_steps`, and at the end.

    It is the unweighted mean squared error of the predicted noise, with the same noise each time, at noise levels spread evenly
    over the schedule, with no condition dropped: `loss`, of the averaged weights where there are any, and then `plain_loss`, of
    those in training. It uses none of the training's random numbers.

    Args:
        dataset: held-out examples, possibly none.
        every_n_steps: 0 is never.
        num_images: noisy examples of a validation; number i is made of example i modulo the data set's size.
    """

    def __init__(self, dataset: Dataset, figures: FigureLog, every_n_steps: int, num_images: int) -> None:
        self._dataset, self._figures = dataset, figures
        size = len(dataset)  # type: ignore[arg-type]
        self._every, self._num_images, self._size = every_n_steps, num_images if size and every_n_steps else 0, size

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._validate(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._num_images and trainer.global_step % self._every == 0:
            self._validate(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._validate(trainer, pl_module)
        curve = self._figures.curve("loss")
        if curve and trainer.is_global_zero:
            lowest = min(curve, key=lambda point: point[1])
            print(
                f"loss on held-out songs: {curve[-1][1]:.4f}; {curve[0][1]:.4f} at step {curve[0][0]}, lowest {lowest[1]:.4f} "
                f"at step {lowest[0]}",
                flush=True,
            )

    def _validate(self, trainer: pl.Trainer, module: Any) -> None:
        """Compute and log the loss, unless this step's is known."""
        curve = self._figures.curve("loss")
        if not self._num_images or (curve and curve[-1][0] == trainer.global_step):
            return
        with module.averaged():
            losses = {"loss": self._loss(trainer, module)}
        if module.has_average:
            losses["plain_loss"] = self._loss(trainer, module)
        if all(map(math.isfinite, losses.values())):
            self._figures.add(trainer, **losses)
        elif has_scaler(trainer):  # later steps may be finite again
            cli.warn(f"step {trainer.global_step}: the loss on held-out songs is not a finite number in fp16")
        else:
            raise TrainingError(f"step {trainer.global_step}: the loss on held-out songs is not a finite number")

    @torch.no_grad()
    def _loss(self, trainer: pl.Trainer, module: Any) -> float:
        batch, processes = module.options.batch_size, module.processes
        sums = torch.zeros(2, dtype=torch.float64, device=module.device)  # sum of the errors, number of examples
        for start in range(0, self._num_images, batch * processes.count):
            first = start + batch * processes.rank
            own = range(first, min(first + batch, self._num_images))
            if own:
                errors = trainer.strategy.validation_step(*self._noisy_batch(own, module))
                sums += torch.stack([errors.double().sum(), torch.tensor(len(own)).to(sums)])
        total, count = trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        return total / count

    def _noisy_batch(self, numbers: Sequence[int], module: Any) -> tuple[Example, torch.Tensor, torch.Tensor]:
        """The arguments of `NoiseTraining.validation_step` for these noisy examples, whatever batch they are in."""
        batch: Example = default_collate([self._dataset[number % self._size] for number in numbers])
        batch = {name: value.to(module.device) for name, value in batch.items()}
        shape = batch["moments"].shape[1:]
        noise = torch.cat([BatchRng((NOISE_SEED, number), 1, ALONE, module.device).normal(*shape) for number in numbers])
        levels = [(2 * number + 1) * module.noise_levels // (2 * self._num_images) for number in numbers]
        return batch, noise, torch.tensor(levels, device=module.device)


def random_subset(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` records, sampled uniformly over songs, clips and pitches; the same ones each time."""
    chosen = np.random.default_rng(0).permutation(len(records))[:count]
    return [records[index] for index in sorted(chosen)]

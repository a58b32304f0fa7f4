"""The validation loss on held-out songs, and the log of validation figures."""

from __future__ import annotations

import json
import math
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
from riff.training.batch_rng import BatchRng
from riff.training.losses import cut_after, has_scaler
from riff.training.processes import ALONE

NOISE_SEED = 20_000  # of the validation noise, independent of the run's seed: runs of different seeds can be compared


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


def some_of_all(records: Sequence[Record], most: int) -> list[Record]:
    """At most so many records, sampled uniformly over songs, clips and pitches; the same ones each time."""
    chosen = np.random.default_rng(0).permutation(len(records))[:most]
    return [records[index] for index in sorted(chosen)]

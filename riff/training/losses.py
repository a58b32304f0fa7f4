"""The losses of a run, a line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from riff.files import make_folder

FLUSH_EVERY = 25  # steps between two looks at the losses, each of which waits for the device


class LossLog(pl.Callback):
    """Write every optimizer step's loss to a file of JSON lines; on resuming, later lines are cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[tuple[int, torch.Tensor]] = []
        self._step_losses: list[torch.Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        make_folder(self._path.parent)
        lines = read_losses(self._path) if self._path.exists() else []
        kept = [line for line in lines if line["step"] <= trainer.global_step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self._step_losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)  # Lightning hands out its share
        if trainer.global_step == self._last_step:
            return  # still accumulating
        self._last_step = trainer.global_step
        self._pending.append((trainer.global_step, torch.stack(self._step_losses).mean()))
        self._step_losses.clear()
        if len(self._pending) >= FLUSH_EVERY:
            self._flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush(trainer)

    def _flush(self, trainer: pl.Trainer) -> None:
        if not self._pending:
            return
        # The mean over the processes is the loss of the whole batch.
        losses = trainer.strategy.reduce(torch.stack([loss for _, loss in self._pending]), reduce_op="mean").tolist()
        if trainer.is_global_zero:
            with open(self._path, "a") as file:
                steps = [step for step, _ in self._pending]
                lines = ({"step": step, "loss": loss} for step, loss in zip(steps, losses, strict=True))
                file.writelines(json.dumps(line) + "\n" for line in lines)
        self._pending.clear()


def read_losses(path: Path) -> list[dict[str, float]]:
    """Lines `{"step": ..., "loss": ...}` of a `losses.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()]

"""The progress of a run and the time left."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from riff import cli
from riff.cli.progress import LINE_EVERY
from riff.training.losses import LossLog
from riff.training.stopping import StopInTime
from riff.training.validation import FigureLog


class ProgressLog(pl.Callback):
    """A progress bar with the time left; where stderr is no terminal, a line every minute instead.

    This callback comes last, so that the time of the others before the first step does not count as steps.
    """

    def __init__(self, stop: StopInTime, losses: LossLog, figures: FigureLog) -> None:
        self._stop, self._losses, self._figures = stop, losses, figures
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first = self._step = trainer.global_step
        self._start_time = self._last_line = time.monotonic()
        if trainer.is_global_zero and sys.stderr.isatty():
            layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
            total = max(trainer.max_steps, self._first)
            self._bar = tqdm(total=total, initial=self._first, bar_format=layout, dynamic_ncols=True, leave=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == self._step or not trainer.is_global_zero:
            return
        self._step, now = trainer.global_step, time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(self._state(trainer.max_steps, now), refresh=False)
            self._bar.update(self._step - self._bar.n)
        elif now - self._last_line > LINE_EVERY:
            self._last_line = now
            cli.warn(f"step {self._step} of {trainer.max_steps}: {self._state(trainer.max_steps, now)}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _state(self, steps: int, now: float) -> str:
        done, elapsed = self._step - self._first, now - self._start_time
        remaining, limit = elapsed / done * (steps - self._step), self._stop.seconds_left()
        parts = [f"{done / elapsed:.2f} steps/s" if done > elapsed else f"{elapsed / done:.2f} s/step"]
        if self._losses.recent:
            parts.append(f"loss {sum(self._losses.recent) / len(self._losses.recent):.4f}")
        held_out = self._figures.curve("loss")
        if held_out:
            parts.append(f"held out {held_out[-1][1]:.4f}")
        until = " to --max_train_time" if limit < remaining else ""
        return ", ".join([*parts, f"{timedelta(seconds=round(min(remaining, limit)))} left{until}"])

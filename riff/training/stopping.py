"""A run ends in time, and so that it can be saved as it stands."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import pytorch_lightning as pl

from riff.errors import OptionError


def parse_duration(text: str) -> float:
    """`DD:HH:MM:SS` in seconds.

    Raises:
        OptionError: written in another way.
    """
    match = re.fullmatch(r"(\d+):(\d{1,2}):(\d{1,2}):(\d{1,2})", text)
    if match is None:
        raise OptionError(f"--max_train_time {text}: write it as DD:HH:MM:SS, for example 00:12:00:00")
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


class StopInTime(pl.Callback):
    """End the run after the current optimizer step when the time is up or at Ctrl-C, so that it can be saved as it stands.

    A second Ctrl-C ends it at once.

    Attributes:
        reason: why the run was ended, "" if it was not.
    """

    def __init__(self, seconds: float) -> None:
        self.reason = ""
        self._seconds = seconds
        self._previous: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end = time.monotonic() + self._seconds
        self._previous = signal.signal(signal.SIGINT, self._interrupted)

    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # half a step could not be resumed
        if not self.seconds_left():
            self.reason = "--max_train_time is over"
        # All processes stop after the same step, whichever of them was told to.
        if trainer.strategy.reduce_boolean_decision(bool(self.reason), all=False):
            trainer.should_stop = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _interrupted(self, _number: int, _frame: Any) -> None:
        self.reason = "interrupted"
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""The time of a run: it stops at its limit or on a signal, in a state that can be resumed, and shows its progress."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from riff import cli
from riff.cli.progress import LINE_EVERY
from riff.training.losses import FigureLog, LossLog


class EndedAtOnce(BaseException):
    """A signal ended the run at once. It is no `Exception`, so that no library catches it.

    Attributes:
        cause: for messages. signal: its number.
    """

    def __init__(self, cause: str, number: int) -> None:
        super().__init__(cause)
        self.cause, self.signal = cause, number


class StopInTime(pl.Callback):
    """End the run after the current optimizer step when the time is up or a signal arrives.

    Ctrl-C leaves a checkpoint, samples and a result; a second one ends the run at once. SIGTERM, which SIGKILL follows within
    seconds, leaves a checkpoint alone. This callback comes after `CheckpointLog`.

    Args:
        reports: whether this process prints what a signal does; of several, one.

    Attributes:
        reason: why the run was ended, "" if it was not.
    """

    def __init__(self, seconds: float, reports: bool = True) -> None:
        self.reason = ""
        self._seconds, self._reports = seconds, reports
        self._is_terminated = self._is_saved = False
        self._process = os.getpid()

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle Ctrl-C and SIGTERM inside the block; in any thread but the main one, handlers stay as they are.

        Raises:
            EndedAtOnce: from anywhere in the block.
        """
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        previous = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end = time.monotonic() + self._seconds

    def end_at_once(self) -> None:
        """From here on a signal ends the run at once: everything is saved."""
        self._is_saved, self.reason = True, "interrupted"

    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # amid accumulation a step could not be resumed
        if not self.seconds_left():
            self.reason = "the time limit is reached"
        # All processes stop after the same step and in the same way, whichever of them got the signal.
        decide = trainer.strategy.reduce_boolean_decision
        if decide(bool(self.reason), all=False):
            trainer.should_stop = True
            self._is_terminated = decide(self._is_terminated, all=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._is_saved = True  # the final samples may be cut short
        if self._is_terminated:
            raise EndedAtOnce("SIGTERM", signal.SIGTERM)

    def _handle(self, number: int, _frame: Any) -> None:
        if os.getpid() != self._process:  # a data loader worker: the main process ends it, by a second SIGTERM if need be
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
        elif number == signal.SIGTERM:
            if self._is_saved:
                raise EndedAtOnce("SIGTERM", number)
            if not self._is_terminated:
                self._report("SIGTERM: saving a checkpoint after this step")
            self.reason, self._is_terminated = "SIGTERM", True
        elif self.reason == "interrupted":
            signal.signal(number, signal.default_int_handler)
            raise EndedAtOnce("interrupted", number)
        else:
            self._report(
                "interrupted: the run ends after this step and is saved; press Ctrl-C again to end it at once, as it was last saved"
            )
            self.reason = "interrupted"

    def _report(self, line: str) -> None:
        """Print to stderr without locks and buffers, which the interrupted code may hold."""
        if self._reports:
            with suppress(OSError):
                os.write(2, f"\n{line}\n".encode())


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
        until = " to the time limit" if limit < remaining else ""
        return ", ".join([*parts, f"{timedelta(seconds=round(min(remaining, limit)))} left{until}"])

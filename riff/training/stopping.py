"""Stop a run at its time limit or on a signal, in a state that can be resumed."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
            self.reason = "--max_train_time is over"
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

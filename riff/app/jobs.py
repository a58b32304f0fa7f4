"""One worker thread for all visitors: jobs run one at a time, in order, report their progress and can be stopped.

Gradio's queue also takes turns, but it cancels an event only when the event next yields, which is after a whole take, and a
session cannot see its own waiting event. `gr.Progress` has no time left of a stage, and hides what it is shown over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from riff.errors import RiffError


class Stopped(Exception):
    """The visitor cancelled the job or closed the page."""


class Job:
    """One request of a visitor.

    Attributes:
        stage: name of the current stage, for display. done, total: its steps; total is 0 where steps are not counted.
    """

    def __init__(self) -> None:
        self.stage, self.done, self.total = "", 0, 0
        self.future: Future[None] = Future()
        self._stop = threading.Event()
        self._stage_start = 0.0

    def begin(self, stage: str, total: int = 0) -> None:
        """Start a stage.

        Raises:
            Stopped: here and in `step`, after `stop`.
        """
        self._check()
        self.stage, self.done, self.total, self._stage_start = stage, 0, total, time.monotonic()

    def step(self) -> None:
        """Count one step."""
        self.done += 1
        self._check()

    def stop(self) -> None:
        """Stop a running job at its next step; remove a waiting job from the queue now."""
        self._stop.set()
        self.future.cancel()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        """Whether the job ran to its end."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    @property
    def seconds_left(self) -> float | None:
        """Time left in this stage, extrapolated from its steps; None without steps."""
        if not 0 < self.done <= self.total:
            return None
        return (time.monotonic() - self._stage_start) / self.done * (self.total - self.done)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


class Pace:
    """How long each kind of work took when it was done last on this machine, in seconds per unit."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, work: str, units: float = 1.0) -> Iterator[None]:
        """Measure what is done inside; work that ends in an exception does not count."""
        began = time.monotonic()
        yield
        self._seconds[work] = (time.monotonic() - began) / units

    def seconds(self, work: str, units: float = 1.0) -> float:
        """How long it will probably take; NaN if it was never done."""
        return self._seconds.get(work, math.nan) * units


class Worker:
    """Runs jobs in order.

    Args:
        longest_queue: maximum number of waiting jobs.
    """

    def __init__(self, longest_queue: int = 20) -> None:
        self._executor = ThreadPoolExecutor(1, "worker")
        self._jobs: list[Job] = []  # running and waiting, in order
        self._lock = threading.RLock()  # re-entered when `close` stops a waiting job
        self._longest_queue = longest_queue

    def submit(self, work: Callable[[Job], object]) -> Job:
        """Queue a job. Its future holds the exception of `work`, `Stopped` included; it is cancelled if stopped while waiting.

        Raises:
            RiffError: the queue is full.
        """
        job = Job()

        def run() -> None:
            job.begin("")
            work(job)

        with self._lock:
            if len(self._jobs) > self._longest_queue:
                raise RiffError(f"{self._longest_queue} others are waiting already; come back in some minutes")
            self._jobs.append(job)
            job.future = self._executor.submit(run)
        job.future.add_done_callback(lambda _: self._remove(job))
        return job

    def place(self, job: Job) -> int:
        """How many jobs are before this one; 0 for the running one."""
        with self._lock:
            return self._jobs.index(job) if job in self._jobs else 0

    def close(self) -> None:
        """Stop all jobs and wait for the running one to end."""
        with self._lock:
            for job in list(self._jobs):
                job.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _remove(self, job: Job) -> None:
        with self._lock:
            self._jobs.remove(job)

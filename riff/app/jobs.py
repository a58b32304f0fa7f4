"""One worker for all visitors: what they ask for is done in order, one thing at a time, and can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from riff.errors import RiffError


class Stopped(Exception):
    """A visitor does not want it any more."""


class Job:
    """Something that a visitor asked for.

    Attributes:
        stage: what is being done, in words. done, total: steps of it; no total where there are none to count.
    """

    def __init__(self) -> None:
        self.stage, self.done, self.total = "", 0, 0
        self.future: Future[None] = Future()
        self._stop = threading.Event()
        self._began = 0.0

    def begin(self, stage: str, total: int = 0) -> None:
        """A stage begins.

        Raises:
            Stopped: here and in `step`, if that was wished.
        """
        self._check()
        self.stage, self.done, self.total, self._began = stage, 0, total, time.monotonic()

    def step(self) -> None:
        """One step more is done."""
        self.done += 1
        self._check()

    def stop(self) -> None:
        """Let it end at its next step; if it is still waiting, it leaves the queue now."""
        self._stop.set()
        self.future.cancel()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        """Whether all of it was done."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    @property
    def seconds_left(self) -> float | None:
        """Of this stage, as its steps went until now; None where that cannot be told."""
        if not 0 < self.done <= self.total:
            return None
        return (time.monotonic() - self._began) / self.done * (self.total - self.done)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


class Worker:
    """Does one job after the other.

    Args:
        longest_queue: jobs that may wait.
    """

    def __init__(self, longest_queue: int = 20) -> None:
        self._executor = ThreadPoolExecutor(1, "worker")
        self._jobs: list[Job] = []  # running or waiting, in order
        self._lock = threading.RLock()  # a job that is stopped while it waits leaves at once
        self._longest_queue = longest_queue

    def submit(self, work: Callable[[Job], object]) -> Job:
        """Line up. What the work raises is in the job's future, or `Stopped`; what was stopped while it waited is cancelled.

        Raises:
            RiffError: too many are waiting.
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
        job.future.add_done_callback(lambda _: self._leave(job))
        return job

    def place(self, job: Job) -> int:
        """How many are before this one; 0 is its turn."""
        with self._lock:
            return self._jobs.index(job) if job in self._jobs else 0

    def close(self) -> None:
        """Stop everything, and wait until the running job has noticed."""
        with self._lock:
            for job in list(self._jobs):
                job.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _leave(self, job: Job) -> None:
        with self._lock:
            self._jobs.remove(job)

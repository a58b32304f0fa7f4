"""Progress of a command: bars, lines and times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY = 60  # seconds


def progress_bar(*what: Any, **settings: Any) -> tqdm:
    """tqdm's progress bar, on a terminal only."""
    from tqdm import tqdm

    return tqdm(*what, **{"disable": None, **settings})


class MinuteLines:
    """A progress line every minute where stderr is no terminal and so shows no progress bar.

    Args:
        total: number of items. unit: their name in the plural.
    """

    def __init__(self, total: int, unit: str) -> None:
        self._total, self._unit = total, unit
        self._started = self._printed = time.monotonic()

    def update(self, done: int, more: str = "") -> None:
        """Print the number of finished items, a further text and the time left, if a minute has passed since the last line."""
        now = time.monotonic()
        if sys.stderr.isatty() or now - self._printed < LINE_EVERY or not done:
            return
        self._printed = now
        left = timedelta(seconds=round((now - self._started) / done * (self._total - done)))
        warn(", ".join(filter(None, [f"{done} of {self._total} {self._unit}", more, f"{left} left"])))


def warn(message: str) -> None:
    """Print one line on stderr, above a progress bar."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


@contextmanager
def stdout_for_player() -> Iterator[Callable[[bytes], None]]:
    """Yield what writes bytes to stdout in a thread, since a player reads no faster than it plays; the block's end waits for it.

    Raises:
        BrokenPipeError: at a later write, or at the end, after the player has gone.
    """
    waiting: list[Future[None]] = []

    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def later(data: bytes) -> None:
        waiting.append(thread.submit(write, data))
        for finished in filter(Future.done, waiting):
            finished.result()

    thread = ThreadPoolExecutor(1)
    try:
        yield later
        for written in waiting:
            written.result()
    finally:
        thread.shutdown(cancel_futures=True)


class Stopwatch:
    """Durations of the stages of a run.

    Attributes:
        laps: seconds by stage, in order.
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """Add the time since the last call to a stage."""
        now = time.monotonic()
        self.laps[stage] = self.laps.get(stage, 0.0) + now - self._last
        self._last = now

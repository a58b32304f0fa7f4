"""How far a command is, and what it says on the way."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY = 60  # seconds


def progress_bar(*what: Any, **settings: Any) -> tqdm:
    """tqdm's progress bar, on a terminal alone: a log file or a notebook's cell gets no thousand lines of it."""
    from tqdm import tqdm

    return tqdm(*what, **{"disable": None, **settings})


class MinuteLines:
    """Where stderr is no terminal, and so has no progress bar: a line a minute.

    Args:
        total: of what is counted. unit: what that is, in the plural.
    """

    def __init__(self, total: int, unit: str) -> None:
        self._total, self._unit = total, unit
        self._began = self._said = time.monotonic()

    def tell(self, done: int, more: str = "") -> None:
        """Say how many are done, what else there is to say, and the time left, if a minute has passed since the last line."""
        now = time.monotonic()
        if sys.stderr.isatty() or now - self._said < LINE_EVERY or not done:
            return
        self._said = now
        left = timedelta(seconds=round((now - self._began) / done * (self._total - done)))
        warn(", ".join(filter(None, [f"{done} of {self._total} {self._unit}", more, f"{left} left"])))


def warn(message: str) -> None:
    """One line on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


class Stopwatch:
    """Seconds that the stages of a run took.

    Attributes:
        laps: by stage, in order.
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to this stage."""
        now = time.monotonic()
        self.laps[stage] = self.laps.get(stage, 0.0) + now - self._last
        self._last = now

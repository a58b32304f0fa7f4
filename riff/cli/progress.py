"""How far a command is, and what it says on the way."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(*what: Any, **settings: Any) -> tqdm:
    """tqdm's progress bar, on a terminal alone: a log file or a notebook's cell gets no thousand lines of it."""
    from tqdm import tqdm

    return tqdm(*what, **{"disable": None, **settings})


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

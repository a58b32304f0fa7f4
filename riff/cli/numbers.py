"""The numbers that flags take: argparse types that say their range once, for the check, its message and `--help`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from riff.seeds import NUM_SEEDS

MOST = 10**9  # where nothing smaller is the bound: squares, and seconds times a sample rate, stay far from overflow
LONGEST_SHOWN = 40  # characters of a wrong value


@dataclass(frozen=True, eq=False)  # argparse looks types up by their hash
class Number:
    """An argparse type: the numbers of an interval, never NaN or infinity.

    Attributes:
        kind: int or float. low, high: of the interval, which are outside it where `open_low` and `open_high` say so.
        words: text that stands for a value instead of a number.
    """

    kind: type[int] | type[float]
    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    words: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, text: str) -> Any:
        if text in self.words:
            return self.words[text]
        try:
            number: float = self.kind(text)
        except (ValueError, OverflowError):
            number = math.nan
        if number not in self:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not {self}")
        return number

    def __contains__(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        return above and (number < self.high if self.open_high else number <= self.high)

    @property
    def range(self) -> str:
        """In words, without a bound that only keeps numbers from overflowing."""
        low, high = (str(end) if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high))
        if self.high == MOST:
            return f"above {low}" if self.open_low else f"{low} or more"
        return f"{'above ' if self.open_low else ''}{low} to {'below ' if self.open_high else ''}{high}"

    def __str__(self) -> str:
        kind = "a whole number" if self.kind is int else "a number"
        most = f" and at most {MOST}" if self.high == MOST else ""
        return " or ".join([f"{kind}, {self.range}{most}", *self.words])


def whole(low: int, high: int = MOST, **words: Any) -> Number:
    """A whole number from low to high, or one of some words."""
    return Number(int, low, high, words=words)


def real(low: float = -MOST, high: float = MOST, *, above: float | None = None, below: float | None = None, **words: Any) -> Number:
    """A number from low to high; `above` and `below` are such ends that are themselves outside."""
    ends = (low if above is None else above, high if below is None else below)
    return Number(float, *ends, open_low=above is not None, open_high=below is not None, words=words)


def seconds(text: str) -> float:
    """An argparse type: a time in a song as 32, 0:32 or 1:02:03.5, in seconds."""
    total = 0.0
    parts = text.split(":")
    for part in parts:
        total = 60 * total + (float(part) if part.replace(".", "", 1).isdecimal() else math.nan)
    if len(parts) > 3 or not total <= MOST:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no time; write 32, 0:32 or 1:02:03.5")
    return total


def shown(text: str) -> str:
    """A wrong value as a message shows it."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "...")


SEED = whole(0, NUM_SEEDS - 1)
SHARE = real(0, 1)
GUIDANCE = real(0, 100)  # a scale that multiplies what a model predicts
DENOISING_STEPS = whole(1, 1000)  # the noise levels of Stable Diffusion's schedule
CANNY = whole(0, 2040)  # twice 4 * 255, the most that each of Sobel's two gradients of an 8-bit image can be
PROCESSES = whole(1, 1024)
WORKERS = whole(0, 1024)  # beside the process itself
BATCH = whole(1, 4096)

"""Argparse types of numbers within a range, used for the check, its message and `--help`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from riff.seeds import NUM_SEEDS

MAX = 10**9  # the default bound: squares, and seconds times a sample rate, stay far from overflow
LONGEST_SHOWN = 40  # characters of a wrong value


@dataclass(frozen=True, eq=False)  # argparse looks types up by their hash
class Number:
    """An argparse type: the numbers of an interval, without NaN and infinity.

    Attributes:
        type: int, float or `parse_time`.
        low, high: bounds, excluded where `open_low` or `open_high`.
        words: values by text that is allowed instead of a number.
    """

    type: Callable[[str], float]
    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    words: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, text: str) -> Any:
        if text in self.words:
            return self.words[text]
        try:
            number: float = self.type(text)
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
        """In words, without the default bound."""
        low, high = (str(bound) if isinstance(bound, int) else f"{bound:g}" for bound in (self.low, self.high))
        if self.high == MAX:
            return f"above {low}" if self.open_low else f"{low} or more"
        return f"{'above ' if self.open_low else ''}{low} to {'below ' if self.open_high else ''}{high}"

    def __str__(self) -> str:
        nouns: dict[Any, str] = {int: "a whole number", float: "a number", parse_time: "a time such as 32, 0:32 or 1:02:03.5"}
        most = f" and at most {MAX}" if self.high == MAX else ""
        return " or ".join([f"{nouns[self.type]}, {self.range}{most}", *self.words])


def whole(low: int, high: int = MAX, **words: Any) -> Number:
    """A whole number from low to high, or one of some words."""
    return Number(int, low, high, words=words)


def real(low: float = -MAX, high: float = MAX, *, above: float | None = None, below: float | None = None, **words: Any) -> Number:
    """A number from low to high; `above` and `below` are excluded bounds."""
    bounds = (low if above is None else above, high if below is None else below)
    return Number(float, *bounds, open_low=above is not None, open_high=below is not None, words=words)


def parse_time(text: str) -> float:
    """A time as 62.5, 1:02.5, 0:01:02.5 or, with days, 00:00:01:02.5, in seconds.

    Raises:
        ValueError: written in another way.
    """
    *larger, last = text.split(":")
    if not larger:
        return float(text)
    if len(larger) > 3 or not all(part.isdecimal() for part in (*larger, last.replace(".", "", 1))):
        raise ValueError(text)
    units = (60, 3600, 86400)
    return float(last) + sum(unit * int(part) for unit, part in zip(units, reversed(larger), strict=False))


def times(low: float = 0, high: float = MAX, *, above: float | None = None) -> Number:
    """A time in seconds, written as in `parse_time`, from low to high; `above` is an excluded bound."""
    return Number(parse_time, low if above is None else above, high, open_low=above is not None)


def shown(text: str) -> str:
    """An invalid value as messages show it, shortened."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "...")


SEED = whole(0, NUM_SEEDS - 1)
SHARE = real(0, 1)
GUIDANCE = real(0, 100)  # guidance and conditioning scales
DENOISING_STEPS = whole(1, 1000)  # the noise levels of Stable Diffusion's schedule
CANNY = whole(0, 2040)  # twice 4 * 255, the maximum of each of the two Sobel gradients of an 8-bit image
PROCESSES = whole(1, 1024)
WORKERS = whole(0, 1024)  # beside the process itself
BATCH = whole(1, 4096)
seconds = times()

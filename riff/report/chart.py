"""Line charts as SVG, in the colours of the page that holds them, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from riff.errors import DataError
from riff.report.page import render

Series = Mapping[str, Sequence[tuple[float, float]]]

WIDTH, HEIGHT = 720, 320  # SVG units, pixels at full width
LEFT, RIGHT, BOTTOM = 70, WIDTH - 28, HEIGHT - 52  # of the plot
MAX_SERIES = 6  # distinguishable colours and dashes


def line_chart(series: Series, x_label: str, y_label: str) -> Markup:
    """A line chart as an SVG element, one polyline a series.

    Args:
        series: name -> points (x, y); points that are not finite are skipped.

    Raises:
        DataError: no finite point, or more than six series.
    """
    if len(series) > MAX_SERIES:
        raise DataError(f"a chart of {len(series)} series is not readable; give at most {MAX_SERIES}")
    lines = {name: _finite(points) for name, points in series.items()}
    x, y = np.concatenate([*lines.values(), np.empty((0, 2))]).T
    if not len(x):
        raise DataError(f"the chart of {y_label} has no finite point; record at least one value")
    top = 16 + 24 * math.ceil(len(lines) / 3)  # below the legend, three names a row
    x_axis, y_axis = _Axis(x, LEFT, RIGHT), _Axis(y, BOTTOM - 8, top + 8)
    return render(
        "chart.svg",
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM, "top": top},
        **{"x_label": x_label, "y_label": y_label, "x_ticks": x_axis.ticks(), "y_ticks": y_axis.ticks()},
        lines=[(name, _polyline(x_axis.place(line[:, 0]), y_axis.place(line[:, 1]))) for name, line in lines.items()],
    )


class _Axis:
    """Linear map from the range of the values to SVG coordinates from `start` to `end`."""

    def __init__(self, values: np.ndarray, start: float, end: float) -> None:
        low, high = float(values.min()), float(values.max())
        margin = (abs(low) / 2 or 0.5) if low == high else 0.0  # a single value is centred
        self._low, self._high, self._start, self._end = low - margin, high + margin, start, end

    def place(self, values: np.ndarray) -> np.ndarray:
        return (self._start + (values - self._low) / (self._high - self._low) * (self._end - self._start)).round(1)

    def ticks(self) -> list[tuple[str, float]]:
        """Labels and coordinates of ticks at round values."""
        rough = (self._high - self._low) / 8
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        values = [index * step for index in range(math.ceil(self._low / step), math.floor(self._high / step) + 1)]
        return list(zip(map(_label, values), self.place(np.array(values)).tolist(), strict=True))


def _finite(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """float64, shape (points, 2)."""
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return array[np.isfinite(array).all(axis=1)]


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    """Points in SVG syntax; a single one twice, since a line of length 0 with round ends is rendered as a dot."""
    points = [f"{left},{top}" for left, top in zip(x, y, strict=True)]
    return " ".join(points * 2 if len(points) == 1 else points)


def _label(value: float) -> str:
    return f"{value:.0e}" if value and not 1e-4 <= abs(value) < 1e6 else f"{value:,.6g}"

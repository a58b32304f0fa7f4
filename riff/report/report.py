"""Results as a page that opens from disk.

The page is one HTML file with inline style and inline SVG: no script, no network. Pictures and sound stay files of their
own, linked relative to the page, so a folder can be moved or zipped as a whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from riff.errors import DataError
from riff.files import write_text

Cell = str | int | float | np.integer | np.floating | None
Series = Mapping[str, Sequence[tuple[float, float]]]

CHART_WIDTH, CHART_HEIGHT = 720, 320  # SVG units, pixels at full width
MAX_SERIES = 6  # colours and dashes that the eye still tells apart


@dataclass(frozen=True)
class Take:
    """A picture, a sound, or both, with a caption; the paths are the files' own, relative to the working folder or absolute."""

    caption: str
    image: str | Path | None = None
    audio: str | Path | None = None


@dataclass(frozen=True)
class _Link:
    """A line that leads to another page."""

    file: Path
    text: str


class Report:
    """A page that grows from top to bottom and is written at the end. Every text is escaped.

    >>> report = Report("A run", "What it was for.")
    >>> report.section("Scores")
    >>> report.table(["metric", "value"], [["edge F1", 0.71]], command="python evaluate_samples.py")
    >>> report.write("outputs/index.html")
    """

    def __init__(self, title: str, intro: str = "") -> None:
        self._title = title
        self._blocks: list[str | list[Take] | _Link] = []  # HTML, or takes and links, which depend on where the page goes
        if intro:
            self._blocks.append(f'<p class="intro">{escape(intro)}</p>')

    def section(self, heading: str) -> None:
        self._blocks.append(f"<h2>{escape(heading)}</h2>")

    def text(self, text: str) -> None:
        """Add paragraphs, which empty lines part."""
        self._blocks += [f"<p>{escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip()]

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "", command: str = "") -> None:
        """Add a table; numbers stand right with three decimals, and None or NaN is a dash.

        Args:
            note: what the reader must know to read it.
            command: the command that made the figures.

        Raises:
            ValueError: a row is not as long as `columns`.
        """
        numeric = [not any(isinstance(cell, str) for cell in cells) for _, *cells in zip(columns, *rows, strict=True)]
        head = "".join(_cell("th", name, right) for name, right in zip(columns, numeric, strict=True))
        body = "\n".join(
            "<tr>" + "".join(_cell("td", value, right) for value, right in zip(row, numeric, strict=True)) + "</tr>" for row in rows
        )
        self._blocks.append(f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>')
        self._note(escape(note))
        self._note(command and f"Made by <code>{escape(command)}</code>")

    def takes(self, takes: Sequence[Take]) -> None:
        """Add a row of pictures and players that wraps on a narrow page; a picture twice as wide as high has a row of its own."""
        self._blocks.append(list(takes))

    def link(self, file: str | Path, text: str) -> None:
        """Add a line that leads to another file, such as a page."""
        self._blocks.append(_Link(Path(file), text))

    def chart(self, series: Series, x_label: str, y_label: str, log_y: bool = False, note: str = "") -> None:
        """Add a `line_chart`."""
        self._blocks.append(f'<div class="wide">{line_chart(series, x_label, y_label, log_y)}</div>')
        self._note(escape(note))

    def write(self, path: str | Path) -> Path:
        """Write the page, whole or not at all, and return its path.

        Raises:
            DataError: a picture or sound that the page would link to is not there, or is no picture.
        """
        path = Path(path)
        body = "\n".join(block if isinstance(block, str) else _linking_html(block, path.parent) for block in self._blocks)
        title = escape(self._title)
        page = (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n'
            f"<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
        )
        write_text(path, page.encode("utf-8", "replace").decode("utf-8"))  # half a character in a prompt becomes a question mark
        return path

    def _note(self, html: str) -> None:
        if html:
            self._blocks.append(f'<p class="note">{html}</p>')


def line_chart(series: Series, x_label: str, y_label: str, log_y: bool = False) -> str:
    """Draw lines as an SVG element, one polyline a series, in the colours of the report's page, light or dark.

    Args:
        series: name -> points (x, y). Points that are not finite, or not positive on a logarithmic axis, are left out.

    Raises:
        DataError: no point is left to draw, or there are more than six series.
    """
    if len(series) > MAX_SERIES:
        raise DataError(f"a chart of {len(series)} series cannot be read; draw at most {MAX_SERIES}")
    lines = {name: [(float(x), float(y)) for x, y in points if _drawable(x, y, log_y)] for name, points in series.items()}
    points = [point for line in lines.values() for point in line]
    if not points:
        raise DataError(f"the chart of {y_label} has no point to draw; record at least one value")

    left, right, top, bottom = 70, 28, 16 + 24 * math.ceil(len(lines) / 3), 52
    floor = CHART_HEIGHT - bottom
    x_axis = _Axis.over([x for x, _ in points], left, CHART_WIDTH - right)
    y_axis = _Axis.over([y for _, y in points], floor - 8, top + 8, log_y)
    parts = [f'<svg class="chart" role="img" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" xmlns="http://www.w3.org/2000/svg">']
    parts.append(f"<title>{escape(y_label)} against {escape(x_label)}</title>")
    for value, at in y_axis.ticks():
        parts.append(f'<line class="grid" x1="{left}" x2="{CHART_WIDTH - right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value, at in x_axis.ticks():
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 5}"/>')
        parts.append(f'<text x="{at:.1f}" y="{floor + 20}" text-anchor="middle">{_number(value)}</text>')
    parts.append(f'<path class="axis" d="M{left} {top}V{floor}H{CHART_WIDTH - right}"/>')
    middle = (top + floor) // 2
    parts.append(
        f'<text x="{(left + CHART_WIDTH - right) // 2}" y="{CHART_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for index, (name, line) in enumerate(lines.items()):
        # A single point is drawn twice: a line without length shows as the dot of its round ends.
        where = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in (line if len(line) != 1 else line * 2))
        parts.append(f'<polyline class="series s{index}" points="{where}"/>')
        x, y = left + 220 * (index % 3), 18 + 24 * (index // 3)
        parts.append(f'<line class="series s{index}" x1="{x}" x2="{x + 28}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(f'<text x="{x + 36}" y="{y}">{escape(_shorten(name, 24))}</text>')
    parts.append("</svg>")
    return "\n".join(parts)


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high`, placed from `start` to `end` on the page."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, log: bool = False) -> _Axis:
        low, high = min(values), max(values)
        if low == high:  # one value: in the middle
            low, high = (low / 2, high * 2) if log else (low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5))
        return cls(low, high, start, end, log)

    def place(self, value: float) -> float:
        scale = math.log10 if self.log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Round values on the axis and their places."""
        for value in self._decades() if self.log else self._steps():
            if self.low <= value <= self.high:
                yield value, self.place(value)

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 8
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        return [index * step for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]

    def _decades(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        if len(powers) > 4:
            return [10.0**power for power in powers[:: math.ceil(len(powers) / 10)]]
        values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        inside = [value for value in values if self.low <= value <= self.high]
        return inside if len(inside) > 1 else self._steps()


def _linking_html(block: list[Take] | _Link, folder: Path) -> str:
    if isinstance(block, _Link):
        return f'<p><a href="{_link(block.file, folder)}">{escape(block.text)}</a></p>'
    return _takes_html(block, folder)


def _takes_html(takes: Sequence[Take], folder: Path) -> str:
    figures = []
    for take in takes:
        caption, media, kind = escape(take.caption), "", ""
        if take.image is not None:
            link, (width, height) = _link(take.image, folder), _image_size(take.image)
            size = f'width="{width}" height="{height}"'  # so that the page does not jump when it loads
            media += f'<a href="{link}"><img src="{link}" {size} alt="{caption}" loading="lazy"></a>'
            kind = ' class="sheet"' if width >= 2 * height else ""
        if take.audio is not None:
            media += f'<audio controls preload="none" src="{_link(take.audio, folder)}" aria-label="{caption}"></audio>'
        figures.append(f"<figure{kind}>{media}<figcaption>{caption}</figcaption></figure>")
    return '<div class="takes">\n' + "\n".join(figures) + "\n</div>"


def _link(file: str | Path, folder: Path) -> str:
    """The file as a quoted URL relative to the page's folder."""
    if not Path(file).is_file():
        raise DataError(f"{file}: the page would link to this file, and it is not there; write it first")
    return escape(quote(os.fsencode(Path(os.path.relpath(file, folder)).as_posix())))


def _image_size(file: str | Path) -> tuple[int, int]:
    try:
        with Image.open(file) as picture:
            return picture.size
    except OSError as error:
        raise DataError(f"{file}: cannot be read as an image; make it again") from error


def _cell(tag: str, value: Cell, right: bool) -> str:
    kind = ' class="number"' if right else ""
    return f"<{tag}{kind}>{escape(value if isinstance(value, str) else _figure(value))}</{tag}>"


def _figure(value: int | float | np.integer | np.floating | None) -> str:
    """A number as a table shows it."""
    if value is None or math.isnan(value):
        return "–"
    if isinstance(value, (int, np.integer)) or math.isinf(value):
        return f"{value:,}".replace("inf", "∞").replace("-", "−")
    value = float(value)
    return (f"{value:,.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2e}").replace("-", "−")


def _number(value: float) -> str:
    """A number as an axis shows it."""
    return f"{value:.0e}" if value and not 1e-4 <= abs(value) < 1e6 else f"{value:,.6g}"


def _drawable(x: float, y: float, log_y: bool) -> bool:
    return math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


_STYLE = """
:root {
  --page: #fbfbf9; --ink: #1d1f21; --soft: #5f656b; --line: #dcdcd6; --panel: #ffffff; --link: #1a5fb4;
  --s0: #0b62a8; --s1: #c2410c; --s2: #0f7b5f; --s3: #8a3ffc; --s4: #a15c00; --s5: #b0186b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181a; --ink: #e6e6e1; --soft: #9da3a9; --line: #34383c; --panel: #1e2124; --link: #8ab8f0;
    --s0: #6cb2f5; --s1: #ff9b62; --s2: #4fd1a5; --s3: #c4a0ff; --s4: #e6b84f; --s5: #ff8cc2;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .6rem 0; }
a { color: var(--link); }
.intro { font-size: 1.05rem; color: var(--soft); }
.note { font-size: .875rem; color: var(--soft); }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1.25rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-size: .875rem; font-weight: 600; color: var(--soft); white-space: nowrap; }
td { min-width: 6rem; }
th.number, td.number { text-align: right; white-space: nowrap; }
.takes { display: grid; gap: 1.25rem; align-items: start; margin: 1rem 0; }
.takes { grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; padding: .6rem; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); }
figure.sheet { grid-column: 1 / -1; }
figure.sheet a { display: block; overflow-x: auto; }
figure.sheet img { min-width: 40rem; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figure audio { display: block; width: 100%; height: 2.5rem; margin-top: .6rem; }
figure audio:first-child { margin-top: 0; }
figcaption { margin-top: .5rem; font-size: .875rem; line-height: 1.4; color: var(--soft); }
.chart { display: block; width: 100%; min-width: 34rem; max-width: 46rem; height: auto; }
.chart text { fill: var(--soft); font: 13px system-ui, sans-serif; }
.chart .axis { fill: none; stroke: var(--soft); }
.chart .grid { stroke: var(--line); }
.chart .series { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.chart .s0 { stroke: var(--s0); }
.chart .s1 { stroke: var(--s1); stroke-dasharray: 7 5; }
.chart .s2 { stroke: var(--s2); stroke-dasharray: 1 5; }
.chart .s3 { stroke: var(--s3); stroke-dasharray: 12 5; }
.chart .s4 { stroke: var(--s4); stroke-dasharray: 10 5 1 5; }
.chart .s5 { stroke: var(--s5); stroke-dasharray: 3 6; }
"""

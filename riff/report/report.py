"""Report pages: headings, text, tables, charts, images and players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.report.chart import Series, line_chart
from riff.report.page import Cell, write_page


@dataclass(frozen=True)
class Take:
    """An image, audio, or both, with a caption; paths are absolute or relative to the working directory."""

    caption: str
    image: str | Path | None = None
    audio: str | Path | None = None


@dataclass(frozen=True)
class Version:
    """One of several recordings of the same length that are compared in one player. made: how."""

    label: str
    made: str
    audio: Path


class Report:
    """Collects blocks of a page from top to bottom. All text is escaped.

    >>> report = Report("Evaluation", "Scores of the small model.")
    >>> report.section("Scores")
    >>> report.table(["metric", "value"], [["edge F1", 0.71]], command="python tools/evaluate_samples.py")
    >>> report.write("outputs/index.html")
    """

    def __init__(self, title: str, intro: str = "") -> None:
        self._title, self._intro = title, intro
        self._blocks: list[tuple[str, dict[str, Any]]] = []  # (block type of report.html, its values)

    def section(self, heading: str) -> None:
        self._add("section", heading=heading)

    def text(self, text: str) -> None:
        """Add paragraphs, separated by empty lines."""
        self._add("text", paragraphs=[part.strip() for part in text.split("\n\n") if part.strip()])

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "", command: str = "") -> None:
        """Add a table; numbers are right-aligned with three decimals, None and NaN are dashes.

        Args:
            note: explanation below the table.
            command: the command that computed the numbers.

        Raises:
            ValueError: a row is not as long as `columns`.
        """
        numeric = [not any(isinstance(cell, str) for cell in cells) for _, *cells in zip(columns, *rows, strict=True)]
        self._add("table", columns=columns, rows=rows, numeric=numeric, note=note, command=command)

    def takes(self, takes: Sequence[Take]) -> None:
        """Add a wrapping row of images and players; an image twice as wide as high gets a row of its own."""
        self._add("takes", takes=takes)

    def player(self, heading: str, versions: Sequence[Version], seconds: float) -> None:
        """Add the page's player of versions of a song, which goes on from the same position at a change of version."""
        self._add("player", heading=heading, versions=versions, seconds=seconds)

    def link(self, file: str | Path, text: str) -> None:
        """Add a link to another file, such as a page."""
        self._add("link", file=file, text=text)

    def chart(self, series: Series, x_label: str, y_label: str, note: str = "") -> None:
        """Add a `line_chart`."""
        self._add("chart", svg=line_chart(series, x_label, y_label), note=note)

    def write(self, path: str | Path, place: Path | None = None) -> Path:
        """Write the page as `write_page` does."""
        return write_page(
            path,
            "report.html",
            place,
            title=self._title,
            intro=self._intro,
            blocks=self._blocks,
            has_player=any(kind == "player" for kind, _ in self._blocks),
        )

    def _add(self, block_type: str, **values: Any) -> None:
        self._blocks.append((block_type, values))

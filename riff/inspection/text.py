"""The results of an inspection as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from riff.inspection.findings import KINDS
from riff.inspection.inspect import Inspection
from riff.report.page import Cell

MAX_COUNTS = 5  # of many named counts, printed on a line


def verdict(inspection: Inspection) -> str:
    """Whether the pairs are fit to train on, in one line."""
    errors = [finding for finding in inspection.findings if finding.error]
    path = inspection.folder.path
    if errors:
        return f"{path} is not fit to train on: {'; '.join(f'{error.label}: {len(error.items):,}' for error in errors)}"
    warnings = len(inspection.findings)
    warned = f"; {warnings} kind{'s' * (warnings > 1)} of warnings" if warnings else ""
    pairs, songs = (inspection.facts["pairs"][key] for key in ("records", "songs"))
    return f"{path} is fit to train on: {pairs:,} pairs, {songs:,} song{'s' * (songs != 1)}{warned}"


def table_text(inspection: Inspection) -> str:
    """Every figure, and the warnings."""
    lines = []
    for section, facts in inspection.facts.items():
        rows = fact_rows(facts)
        width = max(len(str(name)) for name, _ in rows)
        lines += [section, *(f"  {name!s:{width}}  {value}" for name, value in rows)]
    lines += [f"warning: {finding}" for finding in inspection.findings if not finding.error]
    return "\n".join(line.rstrip() for line in lines)


def error_lines(inspection: Inspection) -> Iterator[str]:
    """A line for each kind of error, with the remedy."""
    for finding in inspection.findings:
        if finding.error:
            fix = KINDS[finding.kind].fix
            yield f"{inspection.folder.path}: {finding}" + (f"; --fix {fix} moves them aside" if fix else "")


def fact_rows(facts: Mapping[str, Any]) -> list[list[Cell]]:
    """A section's figures by name, as text."""
    return [[name, _text(value)] for name, value in facts.items()]


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        if "median" in value:
            digits = 1 if max(abs(value["5 %"]), abs(value["95 %"])) > 1 else 3
            low, median, high = (f"{value[name]:.{digits}f}" for name in ("5 %", "median", "95 %"))
            return f"{median} (5 %: {low}, 95 %: {high}, of {value['of']:,})"
        named = [f"{name} ({_text(count)})" for name, count in list(value.items())[:MAX_COUNTS]]
        return ", ".join(named) + (" …" if len(value) > MAX_COUNTS else "")
    if isinstance(value, list):
        return ", ".join(f"{item:+g}" if item else "0" for item in value)
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

"""The pages of experiments: tables of metrics, spectrograms and sounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from riff.cli import write_manifest
from riff.experiments.bench import Experiment, Means, Result, Shown
from riff.experiments.control import TrueClip
from riff.report.page import Cell
from riff.report.report import Report, Take
from riff.sampling.clip import save_take
from riff.spectrogram.edges import canny_edges, save_overlay
from riff.spectrogram.image import waveform_to_image


class Answer(NamedTuple):
    """An experiment, what it found, and the command that finds it again."""

    experiment: Experiment
    result: Result
    command: str


def columns(experiment: Experiment, means: Means) -> dict[str, str]:
    """The table's metrics with their headings, those that a row has."""
    return {metric: heading for metric, heading in experiment.metrics.items() if any(metric in row for row in means.values())}


def table_text(experiment: Experiment, means: Means) -> str:
    """The table as lines for a terminal; what a row has not is a dash."""
    names, metrics = max(12, *(len(row) + 2 for row in means)), columns(experiment, means)
    lines = [f"{'':{names}}" + "".join(f"{metric:>{len(metric) + 2}}" for metric in metrics)]
    for name, row in means.items():
        cells = [f"{row[metric]:.3f}" if metric in row else "-" for metric in metrics]
        lines.append(f"{name:{names}}" + "".join(f"{cell:>{len(m) + 2}}" for m, cell in zip(metrics, cells, strict=True)))
    return "\n".join(lines)


def add_table(report: Report, experiment: Experiment, means: Means, command: str, note: str = "") -> None:
    """Add an experiment's table.

    Args:
        command: that made the figures. note: what is to be known of this run besides the experiment's own note.
    """
    metrics = columns(experiment, means)
    rows: list[list[Cell]] = [[experiment.heading(name), *(row.get(metric) for metric in metrics)] for name, row in means.items()]
    report.table(["", *metrics.values()], rows, note=f"{experiment.note} {note}".strip(), command=command)


def write_answer(folder: Path, answer: Answer, clips: Sequence[TrueClip], arguments: dict[str, Any], num_shown: int) -> Path:
    """Write `results.json`, every figure with how it was made, and the page, under `folder`; returns the page.

    Args:
        arguments: of the command.
    """
    result = answer.result
    songs = [{"song": one.clip, "kind": one.kind, **one.scores} for one in result.scored]
    found = {"sampling": result.sampling, "means": result.means, "remarks": result.remarks, "songs": songs}
    write_manifest(folder / "results.json", arguments, **found)
    return write_page(folder, answer, clips, num_shown)


def write_page(folder: Path, answer: Answer, clips: Sequence[TrueClip], num_shown: int) -> Path:
    """Write `index.html` with the table, and spectrograms and sounds of the first songs, under `folder`."""
    report = Report(answer.experiment.question, answer.experiment.intro)
    _add_answer(report, answer)
    for clip in clips[:num_shown]:
        _add_song(report, folder, clip, [one for one in answer.result.shown if one.clip == clip.name])
    return report.write(folder / "index.html")


def write_overview(folder: Path, answers: Sequence[Answer], place: Path | None = None) -> Path:
    """Write `index.html` with the tables of several experiments, each with a link to its page, PLACE/NAME/index.html.

    Args:
        place: as in `Report.write`; the folder itself where it is not given.
    """
    report = Report("A model, measured", "One table an experiment; pictures and sounds are on its own page.")
    for answer in answers:
        report.section(answer.experiment.question)
        _add_answer(report, answer)
        report.link((place or folder) / answer.experiment.name / "index.html", f"Pictures and sounds: {answer.experiment.name}")
    return report.write(folder / "index.html", place)


def _add_answer(report: Report, answer: Answer) -> None:
    add_table(report, answer.experiment, answer.result.means, answer.command, " ".join(answer.result.remarks))


def _add_song(report: Report, folder: Path, clip: TrueClip, shown: Sequence[Shown]) -> None:
    """Add a section: every spectrogram with its sound, and below them the same with the accompaniment's edges over them."""
    if not shown:
        return
    report.section(f"{clip.name}: {clip.prompt}")
    edges = _edges_of(clip)
    takes, overlays = [], []
    for one in shown:
        place = folder / "clips" / re.sub(r"[^\w.-]+", "-", f"{clip.name}-{one.name}")
        save_take(place.parent, place.name, one.image)
        overlay = place.with_name(f"{place.name}-edges.png")
        save_overlay(overlay, one.image.pixels, edges)
        takes.append(Take(one.caption, place.with_name(f"{place.name}.png"), place.with_name(f"{place.name}.wav")))
        overlays.append(
            Take(
                f"{one.caption.split(':')[0]}, the accompaniment's edges over it: teal where it has them too, red where not",
                overlay,
            )
        )
    report.takes(takes)
    report.takes(overlays)


def _edges_of(clip: TrueClip) -> np.ndarray:
    return canny_edges(waveform_to_image(torch.from_numpy(clip.accompaniment)).pixels)

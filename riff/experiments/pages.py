"""Pages of experiments: tables of metrics, spectrograms and sounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from riff.cli import write_manifest
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import Experiment, Means, Result, ScoredImage
from riff.report.page import Cell
from riff.report.report import Report, Take
from riff.sampling.clip import save_take
from riff.spectrogram.edges import save_overlay


class FinishedExperiment(NamedTuple):
    """An experiment with its result, and the command that repeats it."""

    experiment: Experiment
    result: Result
    command: str

    def add_to(self, report: Report) -> None:
        add_table(report, self.experiment, self.result.means, self.command, " ".join(self.result.remarks))


def columns(experiment: Experiment, means: Means) -> dict[str, str]:
    """The experiment's metrics that any row has, with their headings."""
    return {metric: heading for metric, heading in experiment.metrics.items() if any(metric in row for row in means.values())}


def table_text(experiment: Experiment, means: Means) -> str:
    """The table as lines for a terminal; a missing value is a dash."""
    names, metrics = max(12, *(len(row) + 2 for row in means)), columns(experiment, means)
    lines = [f"{'':{names}}" + "".join(f"{metric:>{len(metric) + 2}}" for metric in metrics)]
    for name, row in means.items():
        cells = [f"{row[metric]:.3f}" if metric in row else "-" for metric in metrics]
        lines.append(f"{name:{names}}" + "".join(f"{cell:>{len(m) + 2}}" for m, cell in zip(metrics, cells, strict=True)))
    return "\n".join(lines)


def add_table(report: Report, experiment: Experiment, means: Means, command: str, remarks: str = "") -> None:
    """Add an experiment's table, its note with remarks on this run, and the command that made the figures."""
    metrics = columns(experiment, means)
    rows: list[list[Cell]] = [[experiment.heading(name), *(row.get(metric) for metric in metrics)] for name, row in means.items()]
    report.table(["", *metrics.values()], rows, note=f"{experiment.note} {remarks}".strip(), command=command)


def write_results(
    folder: Path, finished: FinishedExperiment, clips: Sequence[ReferenceClip], arguments: dict[str, Any], num_shown: int
) -> None:
    """Write `results.json`, every figure with the `arguments` of the command, and the page, under `folder`."""
    result = finished.result
    songs = [{"song": one.clip, "kind": one.row, **one.scores} for one in result.scored]
    found = {"sampling": result.sampling, "means": result.means, "remarks": result.remarks, "songs": songs}
    write_manifest(folder / "results.json", arguments, **found)
    write_page(folder, finished, clips, num_shown)


def write_page(folder: Path, finished: FinishedExperiment, clips: Sequence[ReferenceClip], num_shown: int) -> Path:
    """Write `index.html` with the table, and spectrograms and sounds of the first songs, under `folder`."""
    report = Report(finished.experiment.question, finished.experiment.intro)
    finished.add_to(report)
    for clip in clips[:num_shown]:
        _add_song(report, folder, clip, [image for image in finished.result.shown if image.clip == clip.name])
    return report.write(folder / "index.html")


def write_overview(folder: Path, experiments: Sequence[FinishedExperiment], place: Path | None = None) -> Path:
    """Write `index.html` with the tables of several experiments, each with a link to its page, PLACE/NAME/index.html.

    Args:
        place: as in `Report.write` (default: the folder itself).
    """
    report = Report("Evaluation of a model", "One table an experiment; spectrograms and sounds are on its own page.")
    for finished in experiments:
        name = finished.experiment.name
        report.section(finished.experiment.question)
        finished.add_to(report)
        report.link((place or folder) / name / "index.html", f"Spectrograms and sounds: {name}")
    return report.write(folder / "index.html", place)


def _add_song(report: Report, folder: Path, clip: ReferenceClip, images: Sequence[ScoredImage]) -> None:
    """Add a section: every spectrogram with its sound, and the same spectrograms with the accompaniment's edges."""
    if not images:
        return
    report.section(f"{clip.name}: {clip.prompt}")
    takes, overlays = [], []
    for one in images:
        path = folder / "clips" / re.sub(r"[^\w.-]+", "-", f"{clip.name}-{one.row}")
        save_take(path.parent, path.name, one.image)
        overlay = path.with_name(f"{path.name}-edges.png")
        save_overlay(overlay, one.image.pixels, clip.edges)
        takes.append(Take(one.caption, path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.wav")))
        edges = "the accompaniment's edges over it: teal where it has them too, red where not"
        overlays.append(Take(f"{one.caption.split(':')[0]}, {edges}", overlay))
    report.takes(takes)
    report.takes(overlays)

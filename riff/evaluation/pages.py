"""The pages that show results: what was measured, and what it looks and sounds like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from riff.evaluation.control import METRICS, Scored
from riff.evaluation.report import Cell, Report, Take
from riff.sampling.clip import save_take

METRIC_NAMES = {
    "edge_f1": "edge F1",
    "edge_precision": "precision",
    "edge_recall": "recall",
    "gradient_correlation": "gradient correlation",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
}
KIND_NAMES = {
    "control": "with control",
    "floor": "floor: without control",
    "ceiling": "ceiling: true mix through the autoencoder",
    "true mix": "true mix, untouched",
    "covered": "share of the way from floor to ceiling",
}
CONTROL_NOTE = (
    "Means over songs that no model saw, against the accompaniment. Edges (one pixel of tolerance) and gradients are scored "
    "outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed from pictures."
)


def add_control_table(report: Report, means: Mapping[str, Mapping[str, float]], command: str) -> None:
    rows: list[list[Cell]] = [[KIND_NAMES.get(kind, kind), *(row[metric] for metric in METRICS)] for kind, row in means.items()]
    report.table(["", *(METRIC_NAMES[metric] for metric in METRICS)], rows, note=CONTROL_NOTE, command=command)


def write_control_page(
    folder: Path, scored: Sequence[Scored], means: Mapping[str, Mapping[str, float]], command: str, num_shown: int
) -> Path:
    """Write `index.html` with the table, and pictures and sounds of the first songs, under `folder`."""
    report = Report("Does the sample follow the accompaniment?", "A ControlNet on the accompaniment's edges, measured.")
    add_control_table(report, means, command)
    add_songs(report, folder, scored, num_shown, lambda one: f"{KIND_NAMES[one.kind]}: edge F1 {one.scores['edge_f1']:.2f}")
    return report.write(folder / "index.html")


def add_songs(report: Report, folder: Path, scored: Sequence[Scored], num_shown: int, caption: Callable[[Scored], str]) -> None:
    """Add a section for each of the first songs, with all that was scored of it as pictures and sounds under FOLDER/clips."""
    for song in list(dict.fromkeys(one.clip for one in scored))[:num_shown]:
        report.section(song)
        takes = []
        for one in scored:
            if one.clip == song:
                name = f"{song}-{one.kind.replace(',', '').replace(' ', '-')}"
                save_take(folder / "clips", name, one.image)
                takes.append(Take(caption(one), folder / "clips" / f"{name}.png", folder / "clips" / f"{name}.wav"))
        report.takes(takes)

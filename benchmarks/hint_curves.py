"""Draw the curves of hint_study.py: loss and edge F1 against steps and against seconds, one line a way.

    python benchmarks/hint_curves.py

A line is the mean over the seeds, the band around it their spread. Dotted lines are the base without control and, for the edge
F1, the ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/hint_study.json"), help="what hint_study.py wrote")
    parser.add_argument("--output", type=Path, default=Path("docs/hint_study.png"), help="image")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.files import atomic_path, read_mapping

    figure = draw(read_mapping(args.results))
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=80)
    print(args.output)


def draw(results: dict[str, Any]) -> Any:
    """A matplotlib figure of two by two plots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), layout="constrained")
    plots = figure.subplots(2, 2, sharey="row")
    floors = {"loss": "loss", "edge_f1": "floor"}
    for row, (value, label) in zip(plots, (("loss", "loss of held-out pairs"), ("edge_f1", "edge F1 of samples")), strict=True):
        floor = results["bounds"][floors[value]]
        for plot, axis in zip(row, ("step", "seconds"), strict=True):
            for way in results["summary"]:
                draw_way(plot, [run["points"] for run in results["runs"] if run["way"] == way], axis, value, floor, way)
            plot.axhline(floor, linestyle=":", color="black")
            plot.set_xlabel("optimizer steps" if axis == "step" else "seconds of training")
            plot.grid(alpha=0.3)
        row[0].set_ylabel(label)
    figure.legend(*plots[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def draw_way(plot: Any, runs: Sequence[Sequence[dict[str, float]]], axis: str, value: str, start: float, way: str) -> None:
    """One line from the untrained start on, with the spread of the seeds."""
    import numpy as np

    across = np.array([[0.0, *(point[axis] for point in run)] for run in runs]).mean(axis=0)
    up = np.array([[start, *(point[value] for point in run)] for run in runs])  # (seeds, points)
    (line,) = plot.plot(across, up.mean(axis=0), marker="o", markersize=3, label=f"{way} ({len(runs)})")
    plot.fill_between(across, up.min(axis=0), up.max(axis=0), color=line.get_color(), alpha=0.12)


if __name__ == "__main__":
    cli.run(main)

"""The pages that show edits: what was drawn, and how a model was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from riff.evaluation.control import Scored
from riff.evaluation.edit_experiment import EDIT_METRICS
from riff.evaluation.edit_takes import EditTake
from riff.evaluation.pages import add_songs
from riff.evaluation.report import Cell, Report, Take
from riff.sampling.edit_clip import EditClip

EDIT_METRIC_NAMES = {
    "performed": "edit rate",
    "added_energy": "added energy",
    "melody": "melody",
    "edit_score": "edit score",
    "backing_kept": "backing kept",
    "grey_levels": "grey levels off",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
    "register_obeyed": "register obeyed",
    "nearest_training": "nearest training example",
}
EDIT_NOTE = (
    "Means over songs that no model saw. Whether an edit counts is seen from the pictures, without a network "
    "(riff/evaluation/edit.py). The floor is the input through the model's autoencoder, the ceiling the true answer through it. "
    "Grey levels are scored outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed from "
    "pictures, with the backing's, so a true vocal lowers them. The register's own ceiling is below 1, because singers' registers "
    "overlap. The nearest training example is a distance from 0, a copy, to 1.41."
)


@dataclass(frozen=True)
class ShownEdit:
    """One clip of `write_edits_page`. files: PNG and WAV by name, paths without suffix. sweep: its sheet, if one was drawn."""

    clip: EditClip
    take: EditTake
    files: Mapping[str, Path]
    candidates: int
    sweep: Take | None = None


def write_edits_page(folder: Path, shown: Sequence[ShownEdit], model: str, command: str) -> Path:
    """Write `index.html` under `folder`: the verdicts in a table, then pictures and sounds of every clip."""
    report = Report("Edits by instruction", f"Spectrograms that {model} changed as it was told, judged without a network.")
    rows: list[list[Cell]] = []
    for one in shown:
        scores, verdict = one.take.verdict.scores, one.take.verdict
        numbers = [scores.added_energy, scores.melody, scores.backing_kept, scores.onset_agreement, verdict.score]
        rows.append([one.clip.name, one.clip.prompt, _said(verdict.performed), *numbers])
    columns = ["clip", "instruction", "edit", "added energy", "melody", "backing kept", "onset agreement", "score"]
    report.table(columns, rows, command=command)
    for one in shown:
        report.section(f"{one.clip.name}: {one.clip.prompt}")
        drawn = f"the best of {one.candidates} by score" if one.candidates > 1 else f"seed {one.take.seed}"
        captions = {"original": "original", "sample": f"edited, {drawn}: score {one.take.verdict.score:.2f}", "target": "target"}
        report.takes([Take(captions[name], path.with_suffix(".png"), path.with_suffix(".wav")) for name, path in one.files.items()])
        if one.sweep is not None:
            report.takes([one.sweep])
    return report.write(folder / "index.html")


def write_edit_page(
    folder: Path, scored: Sequence[Scored], means: Mapping[str, Mapping[str, float]], command: str, num_shown: int
) -> Path:
    """Write `index.html` with the table of an evaluation, and pictures and sounds of the first songs, under `folder`."""
    report = Report("Is the edit performed?", "A model that changes spectrograms by instruction, measured.")
    rows: list[list[Cell]] = [[kind, *(row.get(metric) for metric in EDIT_METRICS)] for kind, row in means.items()]
    report.table(["", *(EDIT_METRIC_NAMES[metric] for metric in EDIT_METRICS)], rows, note=EDIT_NOTE, command=command)
    add_songs(report, folder, scored, num_shown, _caption)
    return report.write(folder / "index.html")


def _caption(one: Scored) -> str:
    return f"{one.kind}: {_said(bool(one.scores['performed']))}, score {one.scores['edit_score']:.2f}"


def _said(performed: bool) -> str:
    return "performed" if performed else "not performed"

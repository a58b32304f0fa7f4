"""The page of edits by instruction: scores, spectrograms and players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from riff.report.page import Cell
from riff.report.report import Report, Take
from riff.sampling.edit import EditClip, EditTake


@dataclass(frozen=True)
class ShownEdit:
    """A clip on the page. files: PNG and WAV by name, paths without suffix. sweep: contact sheet of `write_sweep`, if any."""

    clip: EditClip
    take: EditTake
    files: Mapping[str, Path]
    candidates: int
    sweep: Take | None = None


def write_edits_page(folder: Path, shown: Sequence[ShownEdit], model: str, command: str) -> Path:
    """Write `index.html` under `folder`: a table of verdicts, then spectrograms and players of every clip."""
    report = Report("Edits by instruction", f"Spectrograms that {model} edited by an instruction, judged without a neural network.")
    rows: list[list[Cell]] = []
    for edit in shown:
        scores, verdict = edit.take.verdict.scores, edit.take.verdict
        fits = verdict.fit_text if edit.clip.kind == "add" else ""
        numbers = [scores.added_energy, scores.melody, scores.backing_kept, scores.onset_agreement, verdict.score]
        rows.append([edit.clip.name, edit.clip.prompt, "performed" if verdict.performed else "not performed", fits, *numbers])
    columns = ["clip", "instruction", "edit", "fits", "added energy", "melody", "backing kept", "onset agreement", "score"]
    report.table(columns, rows, command=command)
    for edit in shown:
        report.section(f"{edit.clip.name}: {edit.clip.prompt}")
        choice = f"the best of {edit.candidates} by score" if edit.candidates > 1 else f"seed {edit.take.seed}"
        captions = {"original": "original", "sample": f"edited, {choice}: score {edit.take.verdict.score:.2f}"}
        report.takes(
            [
                Take(captions.get(name, name), path.with_suffix(".png"), path.with_suffix(".wav"))
                for name, path in edit.files.items()
            ]
        )
        if edit.sweep is not None:
            report.takes([edit.sweep])
    return report.write(folder / "index.html")

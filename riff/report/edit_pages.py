"""The page that shows edits by instruction: scores, spectrograms and sounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from riff.report.page import Cell
from riff.report.report import Report, Take
from riff.sampling.edit_clip import EditClip
from riff.sampling.edit_takes import EditTake


@dataclass(frozen=True)
class ShownEdit:
    """One clip of `write_edits_page`. files: PNG and WAV by name, paths without suffix. sweep: its sheet, if there is one."""

    clip: EditClip
    take: EditTake
    files: Mapping[str, Path]
    candidates: int
    sweep: Take | None = None


def write_edits_page(folder: Path, shown: Sequence[ShownEdit], model: str, command: str) -> Path:
    """Write `index.html` under `folder`: the verdicts in a table, then spectrograms and sounds of every clip."""
    report = Report(
        "Edits by instruction", f"Spectrograms that {model} changed by an instruction, judged without a neural network."
    )
    rows: list[list[Cell]] = []
    for one in shown:
        scores, verdict = one.take.verdict.scores, one.take.verdict
        numbers = [scores.added_energy, scores.melody, scores.backing_kept, scores.onset_agreement, verdict.score]
        rows.append([one.clip.name, one.clip.prompt, "performed" if verdict.performed else "not performed", *numbers])
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

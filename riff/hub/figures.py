"""The figures that a model card tells, from the files that training and evaluation left; none is made up for want of one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from riff.data.records import read_edit_records, read_records
from riff.errors import DataError, OptionError
from riff.files import read_mapping
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD
from riff.training.run_dir import read_losses

RESULTS = "results.json"  # of tools/evaluate_samples.py
MODEL_ROWS = ("control", "model", "add", "remove", "noop")  # of its tables: the model as it is; others are what it is compared to
TASK = "image-to-image"  # of the hub's tasks: a picture and words give a picture
_BOUNDS = {"floor": "without control", "ceiling": "true mixes through the autoencoder"}  # of the edge F1


@dataclass(frozen=True)
class Table:
    """Rows of figures under a heading. columns: their names, after that of the row. note: what is to be known of them."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]

    def markdown(self) -> str:
        lines = ["| | " + " | ".join(self.columns) + " |", "|---|" + "---|" * len(self.columns)]
        for name, figures in self.rows:
            cells = ["" if figure is None else f"{figure:.4g}" for figure in figures]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n\n".join(part for part in (f"### {self.title}", self.note, "\n".join(lines)) if part)


@dataclass(frozen=True)
class Figures:
    """Tables to read, and those of their figures that are the model's own, for the hub to list."""

    tables: list[Table]
    results: list[EvalResult]


def run_figures(run: Path) -> Figures:
    """What `validation.jsonl` of a training run says: at its first look, at its last, and where it was lowest or highest.

    Raises:
        DataError: the file cannot be read.
    """
    lines = _read_lines(run / "validation.jsonl")
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, figure in line.items():
            if name != "step" and _is_number(figure):
                curves.setdefault(name, []).append((int(line["step"]), float(figure)))
    names = {"loss": "loss (mean squared error of the noise)", "plain_loss": "the same of the weights that are not averaged"}
    rows, results = [], []
    for name, heading in names.items():
        if curve := curves.get(name):
            rows.append((heading, [curve[0][1], curve[-1][1], min(figure for _, figure in curve)]))
    if curve := curves.get("edge_f1"):
        bounds = [f"{word} {curves[f'edge_f1_{key}'][0][1]:.3f}" for key, word in _BOUNDS.items() if f"edge_f1_{key}" in curves]
        heading = "edge F1 of the samples" + (f" ({', '.join(bounds)})" if bounds else "")
        rows.append((heading, [curve[0][1], curve[-1][1], max(figure for _, figure in curve)]))
    if "loss" in curves:  # without it no song is known to have been held out
        what = {"loss": ("mse", names["loss"]), "edge_f1": ("f1", "edge F1 of samples against the accompaniment")}
        data: dict[str, Any] = {"dataset_type": "riff-cnet-pairs", "dataset_name": "songs of the training data that were held out"}
        for name, (kind, heading) in what.items():
            if name in curves:
                figure = curves[name][-1][1]
                results.append(EvalResult(TASK, **data, metric_type=kind, metric_name=heading, metric_value=figure))
    if not rows:
        return Figures([], [])
    step = max(curve[-1][0] for name, curve in curves.items() if not name.startswith("edge_f1_"))
    note = "On songs that were held out." if "loss" in curves else ""
    return Figures([Table("While training", note, ["first look", f"last look, step {step}", "best"], rows)], results)


def report_figures(report: Path, model: Path | None, repo_id: str) -> Figures:
    """What `tools/evaluate_samples.py` found out about this model, from the folder that it wrote.

    Args:
        model: folder of the model that is uploaded, which the report must be of.

    Raises:
        OptionError: no report, one of another model, or one that is older than the model.
        DataError: it cannot be read.
    """
    files = [report / RESULTS] if (report / RESULTS).is_file() else sorted(report.glob(f"*/{RESULTS}"))
    if not files:
        raise OptionError(
            f"--report {report}: no {RESULTS} of tools/evaluate_samples.py here; give the folder that was its --output"
        )
    tables, results = [], []
    for file in files:
        found = read_mapping(file)
        arguments = _mapping(found.get("arguments"))
        _check_model(file, found, model, repo_id)
        experiment = arguments.get("experiment")
        name = experiment if isinstance(experiment, str) else " ".join(experiment or ["evaluation"])
        songs = Path(str(arguments.get("songs", "songs"))).name
        means = {str(row): _numbers(figures) for row, figures in _mapping(found.get("means")).items()}
        metrics = list(dict.fromkeys(metric for figures in means.values() for metric in figures))
        rows = [(row, [figures.get(metric) for metric in metrics]) for row, figures in means.items()]
        sampling = ", ".join(f"{key} {value}" for key, value in _mapping(found.get("sampling")).items() if value not in ("", None))
        note = f"`tools/evaluate_samples.py --experiment {name} --songs {songs}`" + (f" with {sampling}." if sampling else ".")
        tables.append(Table(f"Evaluation: {name}", note, [_words(metric) for metric in metrics], rows))
        data: dict[str, Any] = {"dataset_type": f"riff-cnet-{name}", "dataset_name": f"{songs}, experiment {name}"}
        for row in means.keys() & set(MODEL_ROWS):
            for metric, figure in means[row].items():
                heading = f"{_words(metric)} ({row})"
                results.append(EvalResult(TASK, **data, metric_type=metric, metric_name=heading, metric_value=figure))
    return Figures(tables, sorted(results, key=lambda one: (one.dataset_type, one.metric_name or "")))


def data_figures(settings: Mapping[str, Any]) -> dict[str, int | float]:
    """How much a run had to train on, held-out songs among it: pairs, songs and hours; empty where the pairs are not here.

    Args:
        settings: the run's configuration.
    """
    folder = Path(str(settings.get("train_data_dir") or ""))
    is_edit = "pretrained_model_name_or_path" in settings
    if not settings.get("train_data_dir") or not folder.is_dir() or settings.get("dataset_name"):
        return {}
    try:
        records = read_edit_records(folder) if is_edit else read_records(folder, str(settings.get("control_method") or ""))
    except DataError:
        return {}
    clips = {(record.song, record.start_s) for record in records if record.song}
    seconds = CLIP_SAMPLES / STANDARD.sample_rate
    told: dict[str, int | float] = {"pairs": len(records)}
    if clips:
        told |= {"songs": len({song for song, _ in clips}), "hours of music": round(len(clips) * seconds / 3600, 4)}
    return told


def _check_model(file: Path, found: Mapping[str, Any], model: Path | None, repo_id: str) -> None:
    measured = str(_mapping(found.get("arguments")).get("model"))
    if measured == repo_id:
        return
    if model is None or Path(measured).resolve() != model.resolve():
        raise OptionError(f"--report {file}: measures {measured}, which is not the model that goes up ({model}); measure that one")
    manifest = model / "manifest.json"
    trained = str(read_mapping(manifest).get("time", "")) if manifest.is_file() else ""
    if str(found.get("time", "")) < trained:
        raise OptionError(f"--report {file}: was measured before {model} was trained; run tools/evaluate_samples.py again")


def _read_lines(path: Path) -> list[dict[str, float]]:
    try:
        return read_losses(path) if path.is_file() else []
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); repair or remove it") from error


def _numbers(figures: Any) -> dict[str, float]:
    return {str(name): float(figure) for name, figure in _mapping(figures).items() if _is_number(figure)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}

"""Figures for the model card, from the files that training and evaluation wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from riff.data.records import read_edit_records, read_records
from riff.errors import DataError, OptionError
from riff.files import read_mapping
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD
from riff.training.run_dir import read_losses

RESULTS = "results.json"  # of tools/evaluate_samples.py
MODEL_ROWS = (
    "control",
    "model",
    "add",
    "remove",
    "noop",
)  # rows of its tables that measure the model itself; the others are references
TASK = "image-to-image"  # the hub's name of the task: an image and a prompt give an image
REFERENCES = {"edge_f1_floor": "without control", "edge_f1_ceiling": "true mixes through the autoencoder"}
LOSS = "loss (mean squared error of the noise)"


@dataclass(frozen=True)
class Table:
    """Figures to show under a heading. note: how they were measured. columns: metrics. rows: name and values."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]


@dataclass(frozen=True)
class Figures:
    """Tables to show, and the model's own figures for the hub to list."""

    tables: list[Table] = field(default_factory=list)
    results: list[EvalResult] = field(default_factory=list)


def run_figures(run: Path) -> Figures:
    """Figures of a training run's `validation.jsonl`: first, last and best value of each metric.

    Raises:
        DataError: the file cannot be read.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in _read_lines(run / "validation.jsonl"):
        for name, figure in _numbers(line).items():
            if name != "step":
                curves.setdefault(name, []).append((int(line["step"]), figure))
    reference = ", ".join(f"{word} {curves[name][0][1]:.3f}" for name, word in REFERENCES.items() if name in curves)
    names = {
        "loss": LOSS,
        "plain_loss": "the same, weights not averaged",
        "edge_f1": "edge F1 of the samples" + (f" ({reference})" if reference else ""),
    }
    shown = {name: curves[name] for name in names if name in curves}
    if not shown:
        return Figures()
    rows = []
    for name, curve in shown.items():
        figures = [figure for _, figure in curve]
        rows.append((names[name], [figures[0], figures[-1], max(figures) if name == "edge_f1" else min(figures)]))
    step = max(curve[-1][0] for curve in shown.values())
    has_held_out = "loss" in curves  # the loss is measured on held-out songs only
    columns = ["first validation", f"last validation, step {step}", "best"]
    table = Table("During training", "On held-out songs." if has_held_out else "", columns, rows)
    metrics = {"loss": ("mse", LOSS), "edge_f1": ("f1", "edge F1 of samples against the accompaniment")} if has_held_out else {}
    results = [
        _result("pairs", "held-out songs of the training data", *metric, curves[name][-1][1])
        for name, metric in metrics.items()
        if name in curves
    ]
    return Figures([table], results)


def report_figures(report: Path, model: Path | None, repo_id: str) -> Figures:
    """Figures that `tools/evaluate_samples.py` wrote about this model.

    Args:
        report: its output folder. model: folder of the uploaded model, which the report must be of.

    Raises:
        OptionError: no report, one of another model, or one that is older than the model.
        DataError: it cannot be read.
    """
    files = [report / RESULTS] if (report / RESULTS).is_file() else sorted(report.glob(f"*/{RESULTS}"))
    if not files:
        raise OptionError(
            f"--report {report}: no {RESULTS} of tools/evaluate_samples.py here; give the folder that was its --output"
        )
    figures = Figures()
    for file in files:
        found = read_mapping(file)
        _check_model(file, found, model, repo_id)
        arguments = mapping(found.get("arguments"))
        experiment = arguments.get("experiment")
        name = experiment if isinstance(experiment, str) else " ".join(experiment or ["evaluation"])
        songs = Path(str(arguments.get("songs", "songs"))).name
        means = {str(row): _numbers(metrics) for row, metrics in mapping(found.get("means")).items()}
        metrics = list(dict.fromkeys(metric for row in means.values() for metric in row))
        sampling = ", ".join(f"{key} {value}" for key, value in mapping(found.get("sampling")).items() if value not in ("", None))
        note = f"`tools/evaluate_samples.py --experiment {name} --songs {songs}`" + (f" with {sampling}." if sampling else ".")
        rows = [(row, [values.get(metric) for metric in metrics]) for row, values in means.items()]
        figures.tables.append(Table(f"Evaluation: {name}", note, [_words(metric) for metric in metrics], rows))
        for row in means.keys() & set(MODEL_ROWS):
            for metric, value in means[row].items():
                title = f"{_words(metric)} ({row})"
                figures.results.append(_result(name, f"{songs}, experiment {name}", metric, title, value))
    figures.results.sort(key=lambda result: (result.dataset_type, result.metric_name or ""))
    return figures


def _result(data_type: str, data_name: str, metric: str, name: str, value: float) -> EvalResult:
    return EvalResult(TASK, f"riff-cnet-{data_type}", data_name, metric, value, metric_name=name)


def data_figures(settings: Mapping[str, Any]) -> dict[str, int | float]:
    """Size of a run's data, held-out songs included: pairs, songs and hours; empty if the pairs are not on this machine.

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
    amounts: dict[str, int | float] = {"pairs": len(records)}
    if clips:
        amounts |= {"songs": len({song for song, _ in clips}), "hours of music": round(len(clips) * seconds / 3600, 4)}
    return amounts


def _check_model(file: Path, found: Mapping[str, Any], model: Path | None, repo_id: str) -> None:
    measured = str(mapping(found.get("arguments")).get("model"))
    if measured == repo_id:
        return
    if model is None or Path(measured).resolve() != model.resolve():
        raise OptionError(f"--report {file}: measures {measured}, not the uploaded model ({model}); evaluate that one")
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
    """The finite numbers among the values."""
    numbers = {str(name): value for name, value in mapping(figures).items() if type(value) in (int, float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _words(name: str) -> str:
    return name.replace("_", " ")


def mapping(value: Any) -> Mapping[Any, Any]:
    """The value if it is a mapping, else an empty one: files that people may have edited."""
    return value if isinstance(value, Mapping) else {}

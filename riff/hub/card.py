"""The model card of a training run: base model, data, figures of training and evaluation, samples, and how to load the model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData, constants, hf_hub_url
from jinja2 import Environment, StrictUndefined

from riff.data.records import read_edit_records, read_records
from riff.errors import DataError, OptionError
from riff.files import read_mapping, sign_card
from riff.hub.client import MINI, is_on_hub
from riff.hub.files import read_facts
from riff.models.sources import FOLDER_FILES, LORA_FILE, ORIGIN_FILE, SCHEDULER_FILE
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD
from riff.training.run_dir import IMAGES, read_config, read_losses, step_of

SHEET = "-sheet.png"
MAX_SAMPLES = 4
TEMPLATE = Path(__file__).with_name("card.md")
LICENCES = {
    "mit": "MIT, as its base model, which was trained on synthesised songs alone.",
    "creativeml-openrail-m": "CreativeML Open RAIL-M with its use restrictions, inherited from Stable Diffusion.",
}
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


@dataclass(frozen=True)
class CardTexts:
    """Card texts of a model type. command: samples from {model}. pipeline: diffusers' class."""

    tag: str
    description: str
    command: str
    pipeline: str


CONTROL_CARD = CardTexts(
    "controlnet",
    "A ControlNet made with riff-cnet: from a prompt and the canny edges of an accompaniment's spectrogram it generates "
    "the spectrogram of the song with a new vocal (512x512, 5.11 s, Riffusion's format).",
    'python sample_riff_cnet.py --model {model} --audio song.wav --prompt "Generate an uplifting female vocal pop melody"',
    "StableDiffusionControlNetPipeline",
)
EDIT_CARD = CardTexts(
    "instruct-pix2pix",
    "An InstructPix2Pix model made with riff-cnet: it edits the spectrogram of a clip by an instruction, mainly to add a "
    "vocal (512x512, 5.11 s, Riffusion's format).",
    'python inference_instruct_pix2pix.py --model {model} --audio song.wav --prompt "add a female vocal pop melody"',
    "StableDiffusionInstructPix2PixPipeline",
)


@dataclass(frozen=True)
class RunCard:
    """Facts about a training run, and its model card.

    Of `settings` and `data` the card shows numbers and switches only: paths of the training machine are left out.

    Attributes:
        base: name of the base model, None if unknown.
        settings: the resolved configuration. data: manifest and size of the training data.
        tables: figures to show. results: figures for the hub to list. revision: branch of the repository.
    """

    version: int
    base: str | None
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    steps: int | None = None
    tables: Sequence[Table] = ()
    results: Sequence[EvalResult] = ()
    revision: str | None = None

    @property
    def kind(self) -> CardTexts:
        return EDIT_CARD if is_edit(self.settings) else CONTROL_CARD

    @property
    def base_name(self) -> str | None:
        """The base model without the local folder that it lies in."""
        return self.base if self.base is None or is_on_hub(self.base) else Path(self.base).name

    @property
    def licence(self) -> str:
        # Descendants of Stable Diffusion keep its licence; the mini model was trained on the project's own songs alone.
        return "mit" if self.base_name in MINI else "creativeml-openrail-m"

    def text(self, repo_id: str, paths: Collection[str]) -> str:
        """The README.md of a repository that will hold `paths`; what is not among them is not shown."""
        name = repo_id.rsplit("/", 1)[-1]
        step, samples = self._samples(repo_id, paths)
        data_set = _hub_link(self.settings.get("dataset_name"), "datasets/")
        training = ({"steps": self.steps} if self.steps else {}) | dict(self.settings)
        text = Environment(trim_blocks=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
        rendered = text.render(
            metadata=self._metadata(name, paths).to_yaml(),
            name=name,
            repo_id=repo_id,
            revision=self.revision,
            kind=self.kind,
            base=_hub_link(self.base) or self.base_name,
            commands=self.commands(repo_id, paths),
            has_pipeline="model_index.json" in paths,
            has_adapters=LORA_FILE in paths,
            has_scheduler=SCHEDULER_FILE in paths,
            step=step,
            samples=samples,
            tables=self.tables,
            facts=[("Training", "", _numbers_of(training)), ("Training data", data_set, _numbers_of(self.data))],
            licence=LICENCES[self.licence],
        )
        return sign_card(re.sub(r"\n{3,}", "\n\n", re.sub(r" +$", "", rendered, flags=re.MULTILINE)))

    def _metadata(self, name: str, paths: Collection[str]) -> ModelCardData:
        data_set = self.settings.get("dataset_name")
        return ModelCardData(
            license=self.licence,
            base_model=self.base if self.base and is_on_hub(self.base) else None,
            datasets=[data_set] if isinstance(data_set, str) and is_on_hub(data_set) else None,
            library_name="diffusers" if self.commands(name, paths) else None,
            pipeline_tag=TASK,
            tags=["diffusers", self.kind.tag, "riffusion", "text-to-audio", "music", "audio", "spectrogram", "riff-cnet"],
            model_name=name if self.results else None,
            eval_results=list(self.results) or None,
        )

    def commands(self, repo_id: str, paths: Collection[str]) -> list[str]:
        """Shell commands that sample from the model, empty if no model is among the files."""
        if not set(FOLDER_FILES) & set(paths):
            return []
        model, lines = repo_id, []
        if self.revision is not None:
            model = f"models/{repo_id.rsplit('/', 1)[-1]}"
            lines.append(f'hf download {repo_id} --revision {self.revision} --local-dir {model} --exclude "*.ckpt"')
        command = self.kind.command.format(model=model)
        is_part = "model_index.json" not in paths
        if is_part and self.base_name and not is_on_hub(self.base_name) and self.base_name not in MINI:
            command += f" --base {self.base_name}"
        return [*lines, command]

    def _samples(self, repo_id: str, paths: Collection[str]) -> tuple[str, list[tuple[str, str, str]]]:
        """The newest step, and (name, path of the sheet, address of the sound or "") of its samples.

        Sounds have a full address, because the hub does not resolve relative paths in `<audio>`.
        """
        folder = f"{IMAGES}/version_{self.version}/"
        sheets = [PurePosixPath(path) for path in paths if path.startswith(folder) and path.endswith(SHEET)]
        if not sheets:
            return "", []
        newest = max((sheet.parent.name for sheet in sheets), key=lambda name: step_of(Path(name)))
        samples = []
        for sheet in sorted(sheet for sheet in sheets if sheet.parent.name == newest)[:MAX_SAMPLES]:
            sound = str(sheet).removesuffix(SHEET) + ".wav"
            address = hf_hub_url(repo_id, sound, revision=self.revision) if sound in paths else ""
            clip = re.sub(r"[^\w \-+.&']", " ", sheet.name.removesuffix(SHEET))  # nothing that Markdown interprets
            samples.append((clip, quote(str(sheet)), address))
        return re.sub("=0*", " ", newest), samples


def read_run_card(
    repo_id: str, run: Path, model: Path | None, base: str | None = None, reports: Sequence[Path] = (), revision: str | None = None
) -> RunCard:
    """Collect the facts about a training run from its configuration, manifests and figures.

    Args:
        run: `lightning_logs/version_N`. model: folder of its final pipeline, None if that is not uploaded.
        base: overrides the base model that the run's files name. reports: output folders of tools/evaluate_samples.py.

    Raises:
        DataError: a file exists and cannot be read.
        OptionError: a report of another model.
    """
    settings = read_config(run)
    data = read_facts(Path(str(settings.get("train_data_dir") or "")) / "manifest.json")
    manifest = {} if model is None else read_facts(model / "manifest.json")
    origin = {} if model is None else read_facts(model / ORIGIN_FILE)
    base = base or mapping(manifest.get("arguments")).get("base") or origin.get("base")
    base = base or settings.get("model" if is_edit(settings) else "base")
    steps = manifest.get("steps") or origin.get("steps")
    figures = [run_figures(run), *(report_figures(report, model, repo_id) for report in reports)]
    return RunCard(
        int(run.name.removeprefix("version_")),
        base,
        settings,
        {**data_figures(settings), **mapping(data.get("arguments")), **mapping(data.get("settings")), **data},
        steps if isinstance(steps, int) else None,
        [table for found in figures for table in found.tables],
        [result for found in figures for result in found.results],
        revision,
    )


def is_edit(settings: Mapping[str, Any]) -> bool:
    """Whether a run of these settings trained an edit model: only that script has this flag."""
    return "conditioning_dropout_prob" in settings


def _numbers_of(facts: Mapping[str, Any]) -> dict[str, int | float]:
    return {key: value for key, value in facts.items() if isinstance(value, (bool, int, float))}


def _hub_link(name: Any, prefix: str = "") -> str:
    return f"[{name}]({constants.ENDPOINT}/{prefix}{name})" if isinstance(name, str) and is_on_hub(name) else ""


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
        raise OptionError(f"report {report}: no {RESULTS} of tools/evaluate_samples.py here; give its output folder")
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
    if not settings.get("train_data_dir") or not folder.is_dir() or settings.get("dataset_name"):
        return {}
    try:
        records = (
            read_edit_records(folder) if is_edit(settings) else read_records(folder, str(settings.get("control_method") or ""))
        )
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
        raise OptionError(f"report {file}: measures {measured}, not the uploaded model ({model}); evaluate that one")
    manifest = model / "manifest.json"
    trained = str(read_mapping(manifest).get("time", "")) if manifest.is_file() else ""
    if str(found.get("time", "")) < trained:
        raise OptionError(f"report {file}: was measured before {model} was trained; run tools/evaluate_samples.py again")


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

"""The model card of a training run: base model, data, figures, samples, and how to load the model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData, constants, hf_hub_url
from jinja2 import Environment, StrictUndefined

from riff.files import sign_card
from riff.hub.figures import TASK, Table, data_figures, mapping, report_figures, run_figures
from riff.hub.files import read_facts
from riff.hub.names import MINI, is_on_hub
from riff.models.sources import ORIGIN_FILE
from riff.training.run_dir import IMAGES, step_of

SHEET = "-sheet.png"
MAX_SAMPLES = 4
TEMPLATE = Path(__file__).with_name("card.md")
LICENCES = {
    "mit": "MIT, as its base model, which was trained on synthesised songs alone.",
    "creativeml-openrail-m": "CreativeML Open RAIL-M with its use restrictions, inherited from Stable Diffusion.",
}


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
    'python inference_instruct_pix2pix.py --model_id {model} --audio song.wav --prompt "add a female vocal pop melody"',
    "StableDiffusionInstructPix2PixPipeline",
)


@dataclass(frozen=True)
class RunCard:
    """Facts about a training run, and its model card.

    Of `settings` and `data` the card shows numbers and switches only: paths of the training machine are left out.

    Attributes:
        base: the base model as `--base` names it, None if unknown.
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
        return EDIT_CARD if "pretrained_model_name_or_path" in self.settings else CONTROL_CARD  # only that script has this flag

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
        if not {"model_index.json", "config.json"} & set(paths):
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
    repo_id: str,
    run: Path,
    model: Path | None,
    base: str | None = None,
    reports: Sequence[Path] = (),
    revision: str | None = None,
) -> RunCard:
    """Collect the facts about a training run from its configuration, manifests and figures.

    Args:
        run: `lightning_logs/version_N`. model: folder of its final pipeline, None if that is not uploaded.
        base: overrides the base model that the run's files name. reports: output folders of tools/evaluate_samples.py.

    Raises:
        DataError: a file exists and cannot be read.
        OptionError: a report of another model.
    """
    settings = read_facts(run / "config.yaml")
    data = read_facts(Path(str(settings.get("train_data_dir") or "")) / "manifest.json")
    manifest = {} if model is None else read_facts(model / "manifest.json")
    origin = {} if model is None else read_facts(model / ORIGIN_FILE)
    base = base or mapping(manifest.get("arguments")).get("base") or origin.get("base")
    base = base or settings.get("base") or settings.get("pretrained_model_name_or_path")
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


def _numbers_of(facts: Mapping[str, Any]) -> dict[str, int | float]:
    return {key: value for key, value in facts.items() if isinstance(value, (bool, int, float))}


def _hub_link(name: Any, prefix: str = "") -> str:
    return f"[{name}]({constants.ENDPOINT}/{prefix}{name})" if isinstance(name, str) and is_on_hub(name) else ""

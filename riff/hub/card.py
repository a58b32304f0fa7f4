"""The model card of a training run: what the model is, what it was made from, what it can do, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData, constants, hf_hub_url

from riff.files import sign_card
from riff.hub.figures import TASK, Table, data_figures, report_figures, run_figures
from riff.hub.files import read_facts
from riff.hub.names import MINI, is_on_hub
from riff.models.sources import ORIGIN_FILE
from riff.training.run_dir import IMAGES, step_of

SHEET = "-sheet.png"
MOST_SAMPLES = 4


@dataclass(frozen=True)
class CardKind:
    """What the cards of one kind of model say. command: samples from {model}. pipeline: diffusers' class."""

    tag: str
    description: str
    command: str
    pipeline: str


CONTROL_CARD = CardKind(
    "controlnet",
    "A ControlNet made with riff-cnet: from a prompt and the canny edges of an accompaniment's spectrogram it draws the "
    "spectrogram of the song with a new vocal (512x512, 5.11 s, Riffusion's format).",
    'python sample_riff_cnet.py --model {model} --audio song.wav --prompt "Generate an uplifting female vocal pop melody"',
    "StableDiffusionControlNetPipeline",
)
EDIT_CARD = CardKind(
    "instruct-pix2pix",
    "An InstructPix2Pix model made with riff-cnet: it changes the spectrogram of a clip as an instruction says, above all by "
    "painting a vocal into it (512x512, 5.11 s, Riffusion's format).",
    'python inference_instruct_pix2pix.py --model_id {model} --audio song.wav --prompt "add a female vocal pop melody"',
    "StableDiffusionInstructPix2PixPipeline",
)


@dataclass(frozen=True)
class RunCard:
    """What is known of a training run, and the card that says it.

    Of `settings` and `data` only numbers and switches are told: paths of the machine that trained it stay there.

    Attributes:
        base: the base model as `--base` names it, None where it is not known.
        settings: the resolved configuration. data: the training data's manifest, and how much it is.
        tables, results: figures to show, and those for the hub to list. revision: branch of the repository.
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
    def kind(self) -> CardKind:
        return EDIT_CARD if "pretrained_model_name_or_path" in self.settings else CONTROL_CARD  # a flag of its script alone

    @property
    def base_name(self) -> str | None:
        """Of the base, without the folder that it lies in on this machine."""
        return self.base if self.base is None or is_on_hub(self.base) else Path(self.base).name

    @property
    def licence(self) -> str:
        # What descends from Stable Diffusion keeps its licence; the mini model saw nothing but the project's own songs.
        return "mit" if self.base_name in MINI else "creativeml-openrail-m"

    def text(self, repo_id: str, paths: Collection[str]) -> str:
        """The README.md for a repository that will hold these files: what is not there is not shown."""
        name, link = repo_id.rsplit("/", 1)[-1], self._base_link()
        parts = [
            f"---\n{self._metadata(name, paths).to_yaml()}\n---",
            f"# {name}",
            self.kind.description + (f" Its base model is {link}." if link else ""),
            self._how_to_load(repo_id, paths),
            self._samples(repo_id, paths),
            *(["## Figures", *(table.markdown() for table in self.tables)] if self.tables else ()),
            _section("Training", ({"steps": self.steps} if self.steps else {}) | dict(self.settings)),
            _section("Training data", self.data, self._data_set()),
            f"## Licence\n\n{self._licence_text()}",
            "## Limits\n\nThe vocal has no words, a clip lasts 5.11 s, and it can be no better than its base model and its data.",
        ]
        return sign_card("\n\n".join(part for part in parts if part))

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

    def _base_link(self) -> str | None:
        if self.base is None or not is_on_hub(self.base):
            return self.base_name
        return f"[{self.base}]({constants.ENDPOINT}/{self.base})"

    def commands(self, repo_id: str, paths: Collection[str]) -> list[str]:
        """What a person types to sample from it, empty where no model is among the files."""
        if not {"model_index.json", "config.json"} & set(paths):
            return []
        model, lines = repo_id, []
        if self.revision is not None:
            model = f"models/{repo_id.rsplit('/', 1)[-1]}"
            lines.append(f'hf download {repo_id} --revision {self.revision} --local-dir {model} --exclude "*.ckpt"')
        command = self.kind.command.format(model=model)
        needs_base = (
            "model_index.json" not in paths and self.base_name and not (is_on_hub(self.base_name) or self.base_name in MINI)
        )
        return [*lines, f"{command} --base {self.base_name}" if needs_base else command]

    def _how_to_load(self, repo_id: str, paths: Collection[str]) -> str:
        commands, pipeline = self.commands(repo_id, paths), self.kind.pipeline
        if not commands:
            return ""
        shown = "## How to load it\n\n```\n" + "\n".join(commands) + "\n```"
        if "model_index.json" in paths:
            arguments = f'"{repo_id}"' + (f', revision="{self.revision}"' if self.revision is not None else "")
            code = f"from diffusers import {pipeline}\n\npipeline = {pipeline}.from_pretrained({arguments})"
            shown += f"\n\n```python\n{code}\n```"
        return shown

    def _samples(self, repo_id: str, paths: Collection[str]) -> str:
        """The newest step's sheets, and its sounds; sounds go by their address, for the hub takes no relative path there."""
        folder = f"{IMAGES}/version_{self.version}/"
        sheets = [PurePosixPath(path) for path in paths if path.startswith(folder) and path.endswith(SHEET)]
        if not sheets:
            return ""
        newest = max((sheet.parent.name for sheet in sheets), key=lambda name: step_of(Path(name)))
        parts = [f"## Samples\n\nDrawn at {re.sub('=0*', ' ', newest)}: what goes in, what comes out, and what it was to become."]
        for sheet in sorted(sheet for sheet in sheets if sheet.parent.name == newest)[:MOST_SAMPLES]:
            clip = sheet.name.removesuffix(SHEET)
            sound = f"{sheet.parent}/{clip}.wav"
            parts.append(f"![{_plain(clip)}]({quote(str(sheet))})")
            if sound in paths:
                address = hf_hub_url(repo_id, sound, revision=self.revision)
                parts.append(f'<audio controls src="{address}"></audio>')
        return "\n\n".join(parts)

    def _data_set(self) -> str:
        name = self.settings.get("dataset_name")
        return f"[{name}]({constants.ENDPOINT}/datasets/{name})" if isinstance(name, str) and is_on_hub(name) else ""

    def _licence_text(self) -> str:
        terms = {
            "mit": "MIT, as its base model, which saw synthesised songs alone.",
            "creativeml-openrail-m": "CreativeML Open RAIL-M, whose restrictions of use come down from Stable Diffusion.",
        }
        return f"{terms[self.licence]} The music that it was trained on may add terms."


def read_run_card(
    repo_id: str,
    run: Path,
    model: Path | None,
    base: str | None = None,
    reports: Sequence[Path] = (),
    revision: str | None = None,
) -> RunCard:
    """Read what is known of a training run from what lies beside it: configuration, manifests, figures.

    Args:
        run: `lightning_logs/version_N`. model: the folder of its final pipeline, None where that is not uploaded.
        base: instead of the base that the run's files name. reports: folders that tools/evaluate_samples.py wrote about the model.

    Raises:
        DataError: one of them is there and cannot be read.
        OptionError: a report of something else.
    """
    settings = read_facts(run / "config.yaml")
    data = read_facts(Path(str(settings.get("train_data_dir") or "")) / "manifest.json")
    manifest = {} if model is None else read_facts(model / "manifest.json")
    origin = {} if model is None else read_facts(model / ORIGIN_FILE)
    base = base or _mapping(manifest.get("arguments")).get("base") or origin.get("base")
    base = base or settings.get("base") or settings.get("pretrained_model_name_or_path")
    steps = manifest.get("steps") or origin.get("steps")
    figures = [run_figures(run), *(report_figures(report, model, repo_id) for report in reports)]
    return RunCard(
        int(run.name.removeprefix("version_")),
        base,
        settings,
        {**data_figures(settings), **_mapping(data.get("arguments")), **_mapping(data.get("settings")), **data},
        steps if isinstance(steps, int) else None,
        [table for found in figures for table in found.tables],
        [result for found in figures for result in found.results],
        revision,
    )


def _section(title: str, facts: Mapping[str, Any], text: str = "") -> str:
    lines = [f"- {key}: {value}" for key, value in facts.items() if isinstance(value, (bool, int, float))]
    return "\n\n".join([f"## {title}", *filter(None, [text, "\n".join(lines)])]) if lines or text else ""


def _plain(name: str) -> str:
    """A file's name without what Markdown takes for its own."""
    return "".join(letter if letter.isalnum() or letter in " -_+.&'" else " " for letter in name)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}

"""Resolve a model's name: in the repository, a folder, a checkpoint file, or on the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

from riff.cli import ROOT
from riff.errors import ModelError
from riff.network import fail_fast, unreachable

fail_fast()  # whatever loads a model imports this

DEFAULT_BASE = "riffusion/riffusion-model-v1"
MINI = "mini"
MINI_FOLDER = Path("models/riffusion-mini")
SINGLE_FILES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")
CHECKPOINTS = (".ckpt", ".safetensors")
WITHOUT_SAFETY_CHECKER: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
# [PART/]NAME[.VARIANT][-SHARD-of-SHARDS].safetensors, as diffusers and transformers name weights
VARIANT = re.compile(
    r"((?P<part>[^/]+)/)?(diffusion_pytorch_model|model|pytorch_model)(\.(?P<variant>\w+))?(-\d+-of-\d+)?\.(safetensors|bin)"
)
LORA_FILE = "pytorch_lora_weights.safetensors"  # diffusers' name
SCHEDULER_FILE = "scheduler_config.json"  # diffusers' name; beside adapters: the scheduler that they were trained for
FOLDER_FILES = ("model_index.json", "config.json", LORA_FILE)  # one of them is in every diffusers folder
ORIGIN_FILE = "riff.json"  # the base of a trained part, and further facts


def resolve_base(base: str) -> str:
    """`mini` as its folder, in the repository that this is run from or under the working folder; anything else as it is.

    Raises:
        ModelError: it is in neither.
    """
    if base != MINI:
        return base
    for folder in (ROOT / MINI_FOLDER, MINI_FOLDER):
        if folder.is_dir():
            return str(folder)
    raise ModelError(f"mini: no {MINI_FOLDER} here; run this in the repository's folder, or name another base")


def looks_like_path(name: str) -> bool:
    """Whether a name is meant as a path and not as a hub id such as `owner/name`."""
    return name.startswith((".", "/", "~", "models/", "outputs/")) or name.count("/") != 1 or name.endswith(SINGLE_FILES)


def as_model_error(error: Exception, name: str, remedy: str) -> ModelError:
    """A loading error of the libraries, which has many lines, as a `ModelError` of one."""
    if silent := unreachable(error):
        return ModelError(f"{name}: not on disk, and the hub cannot be reached ({silent}); {remedy}")
    text = " ".join(str(error).split())
    if Path(name).exists() or name == MINI:
        return ModelError(f"{name}: cannot be loaded ({type(error).__name__}: {text[:200]})")
    return ModelError(f"{name}: not on disk, and the hub did not give it ({type(error).__name__}: {text[:120]}); {remedy}")


def resolve_checkpoint(
    name: str | Path, remedy: str, revision: str | None = None, cache_dir: str | Path | None = None
) -> Path | None:
    """The checkpoint file that a name stands for, or None for a folder, a diffusers repository, or a path that does not exist.

    A hub repository that holds checkpoint files and no diffusers folder stands for one of them (`choose_checkpoint`), which is
    downloaded, once.

    Args:
        remedy: what to do if the hub does not have it, for the message.

    Raises:
        ModelError: it is not on disk, and the hub cannot be reached or has no such repository.
    """
    path = Path(resolve_base(str(name)))
    if path.is_file():
        return path
    if path.is_dir() or looks_like_path(str(name)):
        return None
    try:
        files = _hub_files(str(name), revision, cache_dir)
        chosen = choose_checkpoint(files)
        return Path(hf_hub_download(str(name), chosen, revision=revision, cache_dir=cache_dir)) if chosen else None
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise as_model_error(error, str(name), remedy) from error


def fetch_part(name: str, remedy: str) -> Path:
    """The folder that a name stands for or, where it is a trained part or adapters alone on the hub, a downloaded copy of that.

    Any other name is given back as it is: a whole pipeline is downloaded by diffusers.

    Raises:
        ModelError: it is not on disk, and the hub cannot be reached or has no such repository.
    """
    folder = Path(resolve_base(name))
    if folder.is_dir() or looks_like_path(name):
        return folder
    try:
        files = _hub_files(name, None, None)
        if not {"config.json", LORA_FILE} & set(files) or "model_index.json" in files:
            return Path(name)
        wanted = [
            file
            for file in files
            if file in ("config.json", ORIGIN_FILE, SCHEDULER_FILE) or ("/" not in file and file.endswith(".safetensors"))
        ]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise as_model_error(error, name, remedy) from error


def only_variant(name: str | Path, revision: str | None = None, cache_dir: str | Path | None = None) -> str | None:
    """The variant, such as `fp16`, that a part of a model's weights are stored in and in no other form; None if there is none.

    Args:
        name: a diffusers folder or the hub id of one, of a pipeline or of a part alone.
    """
    if (folder := Path(name)).is_dir():
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    else:
        files = _hub_files(str(name), revision, cache_dir)
    variants: dict[str, set[str | None]] = {}  # by the part's folder
    for file in files:
        if match := VARIANT.fullmatch(file):
            variants.setdefault(match["part"] or "", set()).add(match["variant"])
    only = {variant for found in variants.values() if None not in found for variant in found}
    return min((variant for variant in only if variant), default=None)


def read_origin(model: str | Path) -> dict:
    """The `riff.json` of a saved model, in a folder or on the hub; empty if it has none."""
    file = Path(model) / ORIGIN_FILE
    if not Path(model).exists() and not looks_like_path(str(model)):
        try:
            file = Path(hf_hub_download(str(model), ORIGIN_FILE))
        except (HTTPError, OSError, ValueError):  # loading the model reports whether the hub could be reached
            return {}
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def adapted_model(folder: Path) -> str | None:
    """The model that the LoRA adapters in a folder belong to; None where it holds none, or does not name their model.

    A path that does not exist here, such as one relative to another working folder, may lie beside the adapters.
    """
    name = read_origin(folder).get("base") if (folder / LORA_FILE).is_file() else None
    beside = folder.parent / Path(name or "").name
    return str(beside) if name and name != MINI and not Path(name).exists() and beside.is_dir() else name


def choose_checkpoint(files: Sequence[str]) -> str | None:
    """The checkpoint to load from a repository of these files, or None if it holds a diffusers folder or no checkpoint.

    One at the root goes before those in folders, one called final before others, and else the name that sorts last, numbers as
    numbers: the newest run's last step.
    """
    if any(file in files for file in FOLDER_FILES):
        return None

    def order(file: str) -> tuple[int, bool, list[tuple[int, str]]]:
        numbers = [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file)]
        return -file.count("/"), "final" in file.lower(), numbers

    return max((file for file in files if file.endswith(CHECKPOINTS)), key=order, default=None)


def _hub_files(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> list[str]:
    """The files of a repository as the hub lists them or, where it cannot be asked, as an earlier download left them."""
    try:
        return HfApi().list_repo_files(repo_id, revision=revision)
    except (HTTPError, OSError) as error:
        try:
            folder = Path(snapshot_download(repo_id, revision=revision, cache_dir=cache_dir, local_files_only=True))
        except LocalEntryNotFoundError:
            raise error from None  # more specific than an empty cache
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

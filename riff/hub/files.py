"""The files of a training run that are uploaded, and their paths in the repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.errors import ModelError, OptionError
from riff.files import CARD, read_mapping
from riff.hub.privacy import has_secret_name
from riff.models.sources import ORIGIN_FILE
from riff.training.run_dir import IMAGES, LOGS, checkpoints_in, default_output, first_readable, run_versions

Files = dict[str, Path | bytes]  # path in the repository -> file on disk, or its content

MODEL, LOG, CHECKPOINT, ALL = "model", "log", "checkpoint", "all"
PARTS = (MODEL, LOG, CHECKPOINT, ALL)
RECORDS = ("losses.jsonl", "validation.jsonl")  # of the log


def collect(version: int, lightning_logs: Path, image_log: Path, model: Path | None, what: Sequence[str] = (ALL,)) -> Files:
    """List the files of a training run by their paths in the repository.

    The final pipeline goes to the repository's root, so that `from_pretrained(REPO_ID)` loads it; the newest checkpoint, the
    resolved configuration and the losses go under `lightning_logs/version_N/`; the samples generated during training go under
    `image_log/version_N/`. Hidden and temporary files are left out, except hidden ones that are named like secrets: those are
    listed so that `publish` can report them.

    Args:
        model: folder of the final pipeline, or None to leave it out.
        what: some of `PARTS`.

    Raises:
        OptionError: there is no such version.
        ModelError: it has no checkpoint, or `model` holds neither a pipeline nor a trained part.
    """
    name = f"version_{version}"
    versions = sorted(run_versions(lightning_logs) | run_versions(image_log))
    if version not in versions:
        known = f"there are {', '.join(map(str, versions))}" if versions else "there are none yet; train first"
        raise OptionError(f"version {version}: no {name} in {lightning_logs} or {image_log}; {known}")
    parts = set(PARTS) if ALL in what else set(what)
    run, files = lightning_logs / name, Files()
    if CHECKPOINT in parts:
        checkpoint = newest_checkpoint(run / "checkpoints")
        files[f"{LOGS}/{name}/checkpoints/{checkpoint.name}"] = checkpoint
        files |= _existing(run, f"{LOGS}/{name}", ("config.yaml",))
    if LOG in parts:
        files |= _existing(run, f"{LOGS}/{name}", RECORDS)
        files |= {f"{IMAGES}/{name}/{path}": file for path, file in _files_below(image_log / name).items()}
    if MODEL in parts and model is not None:
        if not any((model / name).is_file() for name in ("model_index.json", "config.json")):  # a pipeline, or its trained part
            raise ModelError(f"{model}: no diffusers pipeline (model_index.json) here; name its folder with --model")
        files |= {path: file for path, file in _files_below(model).items() if not {LOGS, IMAGES} & set(path.split("/"))}
    return dict(sorted(files.items()))


def part_of(path: str) -> str:
    """Which part of an upload a file of the repository belongs to: one of `PARTS`, or `card`."""
    if path == CARD:
        return "card"
    if path.startswith(f"{IMAGES}/") or (path.startswith(f"{LOGS}/") and path.endswith(RECORDS)):
        return LOG
    return CHECKPOINT if path.startswith(f"{LOGS}/") else MODEL


def final_model(run: Path) -> Path | None:
    """The folder of a run's final pipeline, None if it does not exist.

    Raises:
        OptionError: another version wrote the pipeline in it.
    """
    settings = read_facts(run / "config.yaml")
    recorded = settings.get("output_dir") or settings.get("output")
    folder = Path(str(recorded or default_output(str(settings.get("control_method") or ""))))
    if not folder.exists():
        return None
    version = read_facts(folder / ORIGIN_FILE).get("version")
    if version is not None and f"version_{version}" != run.name:
        raise OptionError(f"{folder}: was written by version {version}; upload that one, or name this one's folder with --model")
    return folder


def read_facts(path: Path) -> dict[str, Any]:
    """A configuration or a manifest; empty if there is none."""
    return read_mapping(path) if path.is_file() else {}


def size(content: Path | bytes) -> int:
    """Size in bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint with the highest `step=` in its name or, if no name has one, the newest file.

    Unreadable ones, as a killed run may leave them, are skipped with a warning.

    Raises:
        ModelError: there is none.
    """
    found = first_readable(reversed(checkpoints_in(folder)), cli.warn)
    if found is None:
        ways_out = "train this version first, leave it out with --what, or see --lightning_logs"
        raise ModelError(f"{folder}: no checkpoint (*.ckpt) here that can be read; {ways_out}")
    return found


def _existing(folder: Path, prefix: str, names: Sequence[str]) -> Files:
    return {f"{prefix}/{name}": folder / name for name in names if (folder / name).is_file()}


def _files_below(folder: Path) -> Files:
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    hidden = {path for path in files if any(part.startswith(".") for part in path.parts)}
    return {path.as_posix(): file for path, file in files.items() if path not in hidden or has_secret_name(path.name)}

"""The files of a training run that are uploaded, their paths in the repository, and what is kept from them: secrets, found by
file name or content, and the names of home folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.errors import ModelError, OptionError
from riff.files import CARD, read_mapping
from riff.models.sources import FOLDER_FILES, ORIGIN_FILE
from riff.training.run_dir import IMAGES, LOGS, checkpoints_in, default_output, first_readable, read_config, run_versions

Files = dict[str, Path | bytes]  # path in the repository -> file on disk, or its content

MODEL, LOG, CHECKPOINT, ALL = "model", "log", "checkpoint", "all"
PARTS = (MODEL, LOG, CHECKPOINT, ALL)
RECORDS = ("losses.jsonl", "validation.jsonl")  # of the log
LARGEST_TEXT = 5_000_000  # bytes; larger files are weights, images or sound, and are not scanned
_TOKEN_KIND = r"(?:hf|hub|huggingface|access|auth|api|bearer|refresh|github|gitlab|wandb)"
_SECRET_WORD = rf"(?:{_TOKEN_KIND}[_-]?token|secret|password|passwd|(?:api|access|private|secret)[_-]?key)"

SECRET_NAMES = re.compile(
    rf"""
    \.env(\..+)? | [._]netrc | \.(npmrc|pypirc|git-credentials|htpasswd|pgpass)
    | id_(rsa|dsa|ecdsa|ed25519) | .+\.(pem|key|p12|pfx|jks|ppk|kdbx|keystore)
    | (.+[._-])?credentials? (\.\w+)? | \.?(token|(\w+_)?{_SECRET_WORD})s? (\.(txt|json|ya?ml|toml|ini|cfg))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
SECRET_TEXTS = {
    "a token of the hub": r"\bhf_[A-Za-z0-9]{20,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Weights & Biases": r"(?i)wandb[\w.-]{0,20}[\"']?\s*[:=]\s*[\"']?[0-9a-f]{40}\b|\bwandb_v1_\w{20,}",
    "a GitHub token": r"\b(?:gh[opsur]_[A-Za-z0-9]{36}|github_pat_\w{22,})",
    "an API key": r"\b(?:sk-(?:[a-z]+-)?[A-Za-z0-9]{32,}|AIza[\w-]{35}|xox[abprs]-[\w-]{20,})",
    "a password in an address": r"://[^/\s:@\"']+:[^/\s@\"']{3,}@",
    # Not matched: a tokenizer's bos_token and the like, numbers (token ids), and placeholders such as <TOKEN>.
    "a field named like a secret": rf"(?im)(?:^|[\s,{{\"'])(?:\w+[_-])?(?:(?<![\w-])token|{_SECRET_WORD})[\"']?[ \t]*[:=]"
    r"[ \t]*[\"']?(?!(?:null|none|true|false)\b|[<$*{\[(]|\d+\b|\w*\.\.\.)[^\s\"',}]{6,}",
}
HOME = re.compile(
    r"(?<![\w.-])(?:/home/[^/\s\"']+|/Users/[^/\s\"']+|/root|[A-Za-z]:\\{1,2}Users\\{1,2}[^/\\\s\"']+)(?=[/\\\s\"']|$)"
)


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
        if not any((model / name).is_file() for name in FOLDER_FILES):  # a pipeline, its trained part, or adapters
            raise ModelError(f"model {model}: no diffusers pipeline (model_index.json) here; name another folder")
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
    settings = read_config(run)
    folder = Path(str(settings.get("output") or default_output(str(settings.get("control_method") or ""))))
    if not folder.exists():
        return None
    version = read_facts(folder / ORIGIN_FILE).get("version")
    if version is not None and f"version_{version}" != run.name:
        raise OptionError(f"model {folder}: was written by version {version}; upload that one, or name this one's folder")
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
        ways_out = "train this version first, or upload its other parts"
        raise ModelError(f"lightning_logs {folder}: no checkpoint (*.ckpt) here that can be read; {ways_out}")
    return found


def _existing(folder: Path, prefix: str, names: Sequence[str]) -> Files:
    return {f"{prefix}/{name}": folder / name for name in names if (folder / name).is_file()}


def _files_below(folder: Path) -> Files:
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    hidden = {path for path in files if any(part.startswith(".") for part in path.parts)}
    return {path.as_posix(): file for path, file in files.items() if path not in hidden or has_secret_name(path.name)}


def has_secret_name(name: str) -> bool:
    """Whether files of this name usually hold a secret."""
    return SECRET_NAMES.fullmatch(name) is not None


def find_secret(name: str, content: Path | bytes, tokens: tuple[str, ...] = ()) -> str:
    """The kind of secret that a file seems to hold, "" if none.

    Only the name is checked of large files and of those that are no UTF-8 text.

    Args:
        name: without folders. tokens: known secrets, found anywhere in the text.
    """
    if has_secret_name(name):
        return "its name"
    text = _read_text(content)
    if any(token in text for token in tokens if token):
        return "the token in use"
    return next((kind for kind, pattern in SECRET_TEXTS.items() if re.search(pattern, text)), "")


def without_home(content: Path | bytes) -> Path | bytes:
    """The content unchanged or, if it is a text that names home folders, its bytes with `~` in their place."""
    text = _read_text(content)
    changed = HOME.sub("~", text)
    return content if changed == text else changed.encode()


def _read_text(content: Path | bytes) -> str:
    if isinstance(content, Path):
        if content.stat().st_size > LARGEST_TEXT:
            return ""
        content = content.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text

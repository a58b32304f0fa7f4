"""The manifest beside a result: how it was made."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from riff.cli.parser import ONE_CALL, ROOT, TOKENS
from riff.files import write_json, write_text

MANIFEST_PACKAGES = ("torch", "diffusers", "transformers", "pytorch-lightning", "librosa", "numpy", "opencv-python-headless")


def write_config(path: Path, args: argparse.Namespace) -> None:
    """Write the resolved flags as a YAML file for `--config`, without those of one call only and tokens."""
    from omegaconf import OmegaConf

    values = {key: value for key, value in vars(args).items() if key not in ("config", *ONE_CALL)}
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(_plain(values))))


def write_manifest(path: str | Path, arguments: dict[str, Any], **more: Any) -> None:
    """Write a result's manifest: arguments without tokens, commit, versions, device, time, and what the script adds."""
    arguments = {key: value for key, value in arguments.items() if key not in TOKENS}
    write_json(path, {"arguments": _plain(arguments), **_environment(), **_plain(more)})


def _environment() -> dict[str, Any]:
    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {os.cpu_count()} cores"
    return {
        "script": Path(sys.argv[0]).name,
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "device": device,
        "versions": {name: version(name) for name in MANIFEST_PACKAGES},
    }


def _commit() -> str | None:
    """The commit of this copy of the project; None without git or outside a repository of its own."""
    try:
        top, commit = _git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        _git("ls-files", "--error-unmatch", "--", __file__)  # an installed copy may lie in another repository
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return commit if Path(top).resolve() == ROOT else None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _plain(value: Any) -> Any:
    """The value in JSON's types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)

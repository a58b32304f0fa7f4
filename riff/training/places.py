"""Where a training run keeps its things, and where one that stopped left them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from riff.errors import OptionError
from riff.files import read_mapping

LOGS = "lightning_logs"
IMAGES = "image_log"
CHECKPOINT_NAME = "step={step:06d}.ckpt"


@dataclass(frozen=True)
class RunPlaces:
    """`lightning_logs/version_N/` and `image_log/version_N/` under one folder."""

    root: Path
    version: int

    @classmethod
    def next(cls, root: Path) -> RunPlaces:
        """The first version that has neither logs nor pictures."""
        return cls(root, 1 + max(run_versions(root / LOGS) | run_versions(root / IMAGES), default=-1))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunPlaces:
        run = checkpoint.resolve().parent.parent
        match = re.fullmatch(r"version_(\d+)", run.name)
        if match is None:
            raise OptionError(f"{checkpoint}: to go on from, it must lie in {LOGS}/version_N/checkpoints/")
        return cls(run.parent.parent, int(match[1]))

    @property
    def run(self) -> Path:
        return self.root / LOGS / f"version_{self.version}"

    @property
    def config(self) -> Path:
        return self.run / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.run / "checkpoints"

    @property
    def images(self) -> Path:
        return self.root / IMAGES / f"version_{self.version}"

    @property
    def losses(self) -> Path:
        return self.run / "losses.jsonl"

    @property
    def validation(self) -> Path:
        return self.run / "validation.jsonl"


def run_versions(folder: Path) -> set[int]:
    """The numbers N of a folder's `version_N`."""
    names = (re.fullmatch(r"version_(\d+)", path.name) for path in folder.glob("version_*"))
    return {int(name[1]) for name in names if name}


def read_losses(path: Path) -> list[dict[str, float]]:
    """Lines `{"step": ..., ...}` of a `losses.jsonl` or `validation.jsonl`; one that was being written at a crash is left out."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def newest_checkpoint(root: Path, wanted: Callable[[RunPlaces], bool] = lambda _: True) -> Path | None:
    """The checkpoint under `lightning_logs/` that was written last, None where there is none.

    Args:
        wanted: which runs count.
    """
    found = sorted(root.glob(f"{LOGS}/version_*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next((path for path in found if wanted(RunPlaces.of_checkpoint(path))), None)


def writes_to(output: Path) -> Callable[[RunPlaces], bool]:
    """Whether a run's result is meant for this folder, as its configuration says."""

    def wanted(places: RunPlaces) -> bool:
        folder = read_mapping(places.config).get("output_dir") if places.config.exists() else None
        return isinstance(folder, str) and Path(folder).resolve() == output.resolve()

    return wanted


def find_checkpoint(root: Path, resume: str) -> Path:
    """The checkpoint that `--resume` means: a path, or for `newest` the latest one under `lightning_logs/`.

    Raises:
        OptionError: there is none.
    """
    if resume != "newest":
        if not Path(resume).is_file():
            raise OptionError(f"--resume {resume}: no such checkpoint")
        return Path(resume)
    found = newest_checkpoint(root)
    if found is None:
        raise OptionError(f"--resume: no checkpoint under {root / LOGS}; leave the flag out to start anew")
    return found

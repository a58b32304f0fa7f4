"""The files of a training run, and how the checkpoint to resume from is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.cli import with_current_names
from riff.errors import ModelError, OptionError
from riff.files import make_folder, read_mapping
from riff.models.weights import check_weights_file

LOGS = "lightning_logs"
IMAGES = "image_log"
CHECKPOINT_NAME = "step={step:06d}.ckpt"


@dataclass(frozen=True)
class RunDir:
    """`lightning_logs/version_N/` and `image_log/version_N/` under one folder."""

    root: Path
    version: int

    @classmethod
    def claim(cls, root: Path) -> RunDir:
        """Make the folder of a new run, numbered above all that exist; no other run can take the same."""
        make_folder(root / LOGS)
        while True:
            run_dir = cls(root, 1 + max(run_versions(root / LOGS) | run_versions(root / IMAGES), default=-1))
            try:
                run_dir.path.mkdir()
            except FileExistsError:
                continue  # another run took it
            return run_dir

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> RunDir:
        run = checkpoint.resolve().parent.parent
        match = re.fullmatch(r"version_(\d+)", run.name)
        if match is None:
            raise OptionError(f"{checkpoint}: to resume from it, it must lie in {LOGS}/version_N/checkpoints/")
        return cls(run.parent.parent, int(match[1]))

    @property
    def path(self) -> Path:
        return self.root / LOGS / f"version_{self.version}"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def images(self) -> Path:
        return self.root / IMAGES / f"version_{self.version}"

    @property
    def losses(self) -> Path:
        return self.path / "losses.jsonl"

    @property
    def validation(self) -> Path:
        return self.path / "validation.jsonl"


def read_config(run: Path) -> dict[str, Any]:
    """The flags of the run in `lightning_logs/version_N`, by their names of today; empty if it has no configuration."""
    config = run / "config.yaml"
    return with_current_names(read_mapping(config)) if config.is_file() else {}


def run_versions(folder: Path) -> set[int]:
    """The numbers N of a folder's `version_N`."""
    names = (re.fullmatch(r"version_(\d+)", path.name) for path in folder.glob("version_*"))
    return {int(name[1]) for name in names if name}


def read_losses(path: Path) -> list[dict[str, float]]:
    """Lines `{"step": ..., ...}` of a `losses.jsonl` or `validation.jsonl`; one cut off by a crash is left out."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint or of a folder of samples, -1 where there is none."""
    step = re.search(r"step=(\d+)", path.name)
    return int(step[1]) if step else -1


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a run, sorted by step, without temporary files of killed processes."""
    found = [path for path in folder.glob("*.ckpt") if path.is_file() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (step_of(path), path.stat().st_mtime_ns))


def first_readable(checkpoints: Iterable[Path], report: Callable[[str], None]) -> Path | None:
    """The first of these checkpoints that can be read, None where none can; those before it are reported."""
    for path in checkpoints:
        try:
            check_weights_file(path)
        except ModelError as error:
            report(f"{error}; it is skipped")
        else:
            return path
    return None


def ignore(_message: str) -> None:
    """Report nothing."""


def newest_checkpoint(
    root: Path, wanted: Callable[[RunDir], bool] = lambda _: True, report: Callable[[str], None] = ignore
) -> Path | None:
    """The readable checkpoint under `lightning_logs/` that was written last, None where there is none.

    Args:
        wanted: whether to consider a run. report: is called for each that cannot be read.
    """
    runs = (RunDir(root, version) for version in run_versions(root / LOGS))
    found = [path for run in runs if wanted(run) for path in checkpoints_in(run.checkpoints)]
    return first_readable(sorted(found, key=lambda path: (path.stat().st_mtime_ns, step_of(path)), reverse=True), report)


def writes_to(output: Path) -> Callable[[RunDir], bool]:
    """A predicate: whether a run's configuration has this output folder."""

    def wanted(run_dir: RunDir) -> bool:
        folder = read_config(run_dir.path).get("output")
        return isinstance(folder, str) and Path(folder).resolve() == output.resolve()

    return wanted


def default_output(control_method: str = "") -> Path:
    """The default folder of a trained ControlNet."""
    return Path("models") / "-".join(["riff-cnet", *filter(None, [control_method]), "final"])


def find_checkpoint(root: Path, resume: str, report: Callable[[str], None] = ignore) -> Path:
    """The checkpoint of this path or, for `newest` and `latest`, `newest_checkpoint`.

    Raises:
        OptionError: there is none.
    """
    if resume not in ("newest", "latest"):
        if not Path(resume).is_file():
            raise OptionError(f"resume {resume}: no such checkpoint; give the path of a .ckpt")
        return Path(resume)
    found = newest_checkpoint(root, report=report)
    if found is None:
        raise OptionError(f"resume: no checkpoint under {root / LOGS} that can be read; leave it out to start again")
    return found

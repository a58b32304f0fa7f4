"""The loggers of a run: TensorBoard, Weights & Biases and a CSV file, each Lightning's with images, audio and text added."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from riff.errors import OptionError, TrainingError
from riff.files import read_mapping, write_text
from riff.training.run_dir import LOGS, RunDir

WANDB_ID = "wandb-id.txt"  # in the run's folder, so that a resumed run continues the same one there
# The curves of each chart; TensorBoard shows them under Custom Scalars.
CHARTS = {
    "held out": {
        "edge F1": ["Multiline", ["held_out/edge_f1", "held_out/edge_f1_floor", "held_out/edge_f1_ceiling"]],
        "loss": ["Multiline", ["training/loss", "held_out/loss", "held_out/plain_loss"]],
    }
}
WANDB_ADVICE = "run `wandb login`, set WANDB_API_KEY, or keep the run on this machine with WANDB_MODE=offline"


class RunLogger(Logger):
    """One of Lightning's loggers with images, audio and text, which are ignored by default. It logs in the first process alone."""

    def begin(self, config: Path) -> None:
        """Log the configuration, a YAML file. Called once, in the first process, before anything else."""

    def show_image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log an image, uint8, shape (height, width)."""

    def show_audio(self, name: str, waveform: np.ndarray, sample_rate: int, step: int) -> None:
        """Log audio, float32, shape (1, samples), in [-1, 1]."""

    def show_text(self, name: str, text: str, step: int) -> None:
        """Log a text."""


class BoardLogger(RunLogger, TensorBoardLogger):
    """TensorBoard. A run that resumes from `step` discards what was logged after it."""

    def __init__(self, run_dir: RunDir, project: str, step: int) -> None:
        super().__init__(run_dir.root, name=LOGS, version=run_dir.version, purge_step=step + 1 if step else None)

    def begin(self, config: Path) -> None:
        self.experiment.add_custom_scalars(CHARTS)
        code = "".join(f"    {line}\n" for line in config.read_text(encoding="utf-8").splitlines())
        self.experiment.add_text("config", code)

    def show_image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self.experiment.add_image(name, pixels[None], step)

    def show_audio(self, name: str, waveform: np.ndarray, sample_rate: int, step: int) -> None:
        self.experiment.add_audio(name, torch.from_numpy(waveform), step, sample_rate)

    def show_text(self, name: str, text: str, step: int) -> None:
        self.experiment.add_text(name, text, step)


class WeightsAndBiasesLogger(RunLogger, WandbLogger):
    """Weights & Biases, online or, with WANDB_MODE=offline, in the run's folder."""

    def __init__(self, run_dir: RunDir, project: str, step: int) -> None:
        self._id_file = run_dir.path / WANDB_ID
        known = self._id_file.read_text().strip() if self._id_file.exists() else None
        # Metadata would hold the command line, with any token in it; the configuration holds the same flags without.
        settings = {"x_disable_meta": True}
        super().__init__(f"version_{run_dir.version}", str(run_dir.path), id=known, project=project, settings=settings)

    def begin(self, config: Path) -> None:
        """Log the configuration.

        Raises:
            TrainingError: the server does not answer, or refuses.
        """
        from wandb.errors import Error

        try:
            run = self.experiment
        except Error as error:
            raise TrainingError(f"loggers wandb: {str(error).rstrip('.')}; {WANDB_ADVICE}") from error
        write_text(self._id_file, f"{run.id}\n")
        run.config.update(read_mapping(config), allow_val_change=True)

    def show_image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self.log_image(name, [Image.fromarray(pixels)], step)

    def show_audio(self, name: str, waveform: np.ndarray, sample_rate: int, step: int) -> None:
        # A name has one media type there.
        self.log_audio(f"{name}_sound", [waveform[0]], step, sample_rate=[sample_rate])

    def show_text(self, name: str, text: str, step: int) -> None:
        import wandb

        self.log_metrics({name: wandb.Html(f"<p>{html.escape(text)}</p>")}, step)

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


class TableLogger(RunLogger, CSVLogger):
    """`metrics.csv` in the run's folder, scalars alone; a run that resumes from `step` appends to it."""

    def __init__(self, run_dir: RunDir, project: str, step: int) -> None:
        super().__init__(run_dir.root, name=LOGS, version=run_dir.version)
        self._step, self._file = step, run_dir.path / "metrics.csv"

    def begin(self, config: Path) -> None:
        earlier: list[dict[str, Any]] = []
        if self._file.exists():
            with open(self._file, newline="") as file:
                earlier = list(csv.DictReader(file))
        for row in earlier:  # Lightning's writer starts an empty file
            if (step := int(row.pop("step"))) <= self._step:
                self.experiment.log_metrics({name: figure for name, figure in row.items() if figure}, step)
        self.save()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        self.save()  # so that a killed run loses nothing


LOGGERS: dict[str, Callable[[RunDir, str, int], RunLogger]] = {
    "tensorboard": BoardLogger,
    "wandb": WeightsAndBiasesLogger,
    "csv": TableLogger,
}


def new_loggers(names: Sequence[str], run_dir: RunDir, project: str, step: int = 0) -> list[RunLogger]:
    """The loggers of a run, which write to its folder.

    Args:
        names: of `LOGGERS`. project: at Weights & Biases. step: that the run resumes from.
    """
    return [LOGGERS[name](run_dir, project, step) for name in dict.fromkeys(names)]


def check_loggers(names: Sequence[str]) -> None:
    """Check that these loggers can be used.

    Raises:
        OptionError: wandb is not installed, or not logged in.
    """
    if "wandb" not in names:
        return
    if find_spec("wandb") is None:
        raise OptionError("loggers wandb: it is not installed; pip install wandb, or leave it out")
    import wandb

    if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
        return
    try:
        wandb.login()  # asks for the key where there is a terminal
    except wandb.errors.Error as error:
        raise OptionError(f"loggers wandb: {str(error).rstrip('.')}; {WANDB_ADVICE}") from error

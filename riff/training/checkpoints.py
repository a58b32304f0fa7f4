"""The checkpoints of a run: written in training, checked before it resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from riff import cli
from riff.errors import DataError, ModelError, TrainingError
from riff.files import atomic_path
from riff.models.weights import check_weights_file
from riff.training.module import NoiseTraining
from riff.training.run_dir import CHECKPOINT_NAME, checkpoints_in, ignore, step_of


class CheckpointLog(pl.Callback):
    """Write checkpoints of finite weights, every `every_n_steps` and at the end, and keep the newest.

    Args:
        every_n_steps: 0 writes one at the end alone. limit: number of checkpoints kept, None for all.
    """

    def __init__(self, folder: Path, every_n_steps: int, limit: int | None) -> None:
        self._folder, self._every, self._limit = folder, every_n_steps, limit
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_step = trainer.global_step or -1  # it exists; amid accumulation another could not be resumed from

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._every and trainer.global_step and trainer.global_step % self._every == 0:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, module: NoiseTraining) -> None:
        """Write the checkpoint of this step, unless it exists, then remove the oldest.

        Raises:
            TrainingError: a weight is non-finite, in any process; raised in all, and nothing is written.
        """
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        finite = bool(torch.stack([parameter.isfinite().all() for parameter in module.trained]).all())
        if not trainer.strategy.reduce_boolean_decision(finite):
            raise TrainingError(f"step {trainer.global_step}: a weight is not a finite number")
        file = self._folder / CHECKPOINT_NAME.format(step=trainer.global_step)
        trainer.save_checkpoint(file)  # every process takes part
        if trainer.is_global_zero and self._limit is not None:
            kept = checkpoints_in(self._folder)
            # Those of later steps are removed first: the run was resumed from an earlier one.
            kept.sort(key=lambda path: step_of(path) <= trainer.global_step)
            for older in kept[: -self._limit]:
                older.unlink()


class CheckpointFiles(TorchCheckpointIO):
    """Write checkpoints beside their final path, on the same disk, and rename them; a full disk leaves none."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: it cannot be written; names the file.
        """
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)


def check_checkpoint(path: Path, module: NoiseTraining) -> int:
    """Refuse a checkpoint of another model, or of another split into training and held-out songs; warn of other changes.

    Returns:
        Its step.

    Raises:
        ModelError: it cannot be read, or its trained parameters or frozen models differ.
        DataError: songs changed between training and validation.
    """
    check_weights_file(path)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    trained = {name: parameter.shape for name, parameter in module.named_parameters() if parameter.requires_grad}
    fits = (
        {name: value.shape for name, value in checkpoint.get("state_dict", {}).items()} == trained
        and "batches_done" in checkpoint
        and _same_models(checkpoint.get("fingerprint", ""), module.fingerprint)
        and ("average" in checkpoint or not module.options.ema_decay)
    )
    if not fits:
        raise ModelError(f"{path}: a checkpoint of another model or objective; resume with the model and flags it was trained with")
    if module.data and checkpoint.get("data"):
        _check_data(path, checkpoint["data"], module.data, cli.warn if module.processes.is_first else ignore)
    seed = checkpoint.get("seed", module.options.seed)
    if seed != module.options.seed and module.processes.is_first:
        cli.warn(f"seed {module.options.seed} instead of {seed}: from here on the pairs come in another order, with other noise")
    return int(checkpoint["global_step"])


def _same_models(saved: str, current: str) -> bool:
    """Whether the frozen models are the same, as far as both fingerprints cover; earlier versions' cover less."""
    return not saved or all(a == b for a, b in zip(saved.split("-"), current.split("-"), strict=False))


def _check_data(path: Path, saved: dict[str, Any], current: dict[str, Any], report: Callable[[str], None]) -> None:
    """Refuse a split in which songs changed sides; report other pairs, which may be intended."""
    moved = set(saved["training"]) & set(current["held_out"]) | set(saved["held_out"]) & set(current["training"])
    if moved:
        raise DataError(
            f"{path}: {len(moved)} of its songs would change between training and validation, and the validation loss would mean "
            "nothing; resume with the share of held-out songs and the pairs it was trained with, or start again"
        )
    if saved["pairs"] != current["pairs"]:
        report(
            f"{path}: was trained on other pairs ({saved['count']} then, {current['count']} now); resuming with the present ones"
        )

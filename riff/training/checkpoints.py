"""The checkpoints of a run: kept while it goes, checked before it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from riff.errors import ModelError, TrainingError
from riff.models.weights import check_weights_file
from riff.training.module import NoiseTraining
from riff.training.places import CHECKPOINT_NAME


class CheckpointLog(pl.Callback):
    """Keep the newest checkpoints of a run, one every so many steps and one at its end, all of finite weights.

    Args:
        every_n_steps: 0 keeps the one at the end alone. limit: how many are kept, None for all.
    """

    def __init__(self, folder: Path, every_n_steps: int, limit: int | None) -> None:
        self._folder, self._every, self._limit = folder, every_n_steps, limit
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_step = trainer.global_step or -1  # it is there; half a step later it could not be gone on from

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._every and trainer.global_step and trainer.global_step % self._every == 0:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, module: NoiseTraining) -> None:
        """Write the checkpoint of this step, unless it was just written, then remove the oldest.

        Raises:
            TrainingError: a weight is not finite; in all processes alike, and nothing is written.
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
            for older in sorted(self._folder.glob("*.ckpt"))[: -self._limit]:
                older.unlink()


def check_checkpoint(path: Path, module: NoiseTraining) -> int:
    """Refuse a checkpoint of another model.

    Returns:
        The step that it was written at.

    Raises:
        ModelError: it cannot be read, or does not fit what is trained, or what is frozen is another.
    """
    check_weights_file(path)
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    trained = {name: parameter.shape for name, parameter in module.named_parameters() if parameter.requires_grad}
    fits = (
        {name: value.shape for name, value in checkpoint.get("state_dict", {}).items()} == trained
        and "batches_done" in checkpoint
        # Checkpoints of earlier versions say nothing of the frozen models.
        and checkpoint.get("fingerprint", module.fingerprint) == module.fingerprint
        and ("average" in checkpoint or not module.options.ema_decay)
    )
    if not fits:
        raise ModelError(f"{path}: a checkpoint of another model or objective; go on with the model and flags it was trained with")
    return int(checkpoint["global_step"])

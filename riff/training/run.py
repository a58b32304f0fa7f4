"""One training run, whatever is trained: stopped and resumed at will, on one process or several."""

from __future__ import annotations

import logging
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from riff import cli
from riff.errors import TrainingError
from riff.training.checkpoints import CheckpointLog, check_checkpoint
from riff.training.loggers import DEFAULT_PROJECT, new_loggers
from riff.training.losses import LossLog
from riff.training.module import NoiseTraining
from riff.training.places import RunPlaces
from riff.training.processes import ALONE, Processes
from riff.training.progress import ProgressLog
from riff.training.sharding import whole_models
from riff.training.stopping import StopInTime
from riff.training.strategies import new_strategy
from riff.training.validation import FigureLog

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # ours: Lightning's


@dataclass(frozen=True)
class RunSettings:
    """What decides how a run goes, and not what it learns.

    Attributes:
        device: `cpu` or `cuda`. precision: `32`, `bf16` or `16`. max_seconds: after which it ends.
        sample_every, validate_every, checkpoint_every: optimizer steps; 0 is never, but a checkpoint is written at the end.
        validation_pictures: noised pictures to such a look. checkpoints_kept: the newest so many, None for all.
        max_grad_norm: that gradients are scaled down to. strategy: `auto`, `ddp` or `fsdp`, of several processes.
        resume_command: to which a checkpoint's path is added. other_ways: what else may help a run that came to no number.
        loggers: names of `riff.training.loggers.KINDS`. project: that Weights & Biases has the run in.
        on_start: writes the configuration to its place; called when everything is ready and the first step comes next.
        callbacks: Lightning's, beside the run's own.
    """

    device: str
    precision: str
    max_seconds: float
    sample_every: int
    checkpoint_every: int
    validate_every: int = 500
    validation_pictures: int = 32
    checkpoints_kept: int | None = 1
    max_grad_norm: float = 1.0
    resume_command: str = ""
    other_ways: str = ""
    strategy: str = "auto"
    loggers: Sequence[str] = ("tensorboard",)
    project: str = DEFAULT_PROJECT
    on_start: Callable[[], None] = lambda: None
    callbacks: Sequence[pl.Callback] = ()


def run_training(
    module: NoiseTraining,
    places: RunPlaces,
    settings: RunSettings,
    figures: FigureLog,
    looks: Sequence[pl.Callback],
    resume: Path | None = None,
    processes: Processes = ALONE,
) -> tuple[int, str]:
    """Train the module's models in place, and leave losses, samples and checkpoints in their places.

    Models that were shared out stay so: the objective's `models` are then other ones, whole, in the first process, and none
    in the others.

    Args:
        figures, looks: what is found out about held-out songs, and the callbacks that find it.

    Returns:
        The step it reached, and why it stopped early ("" if it did not).

    Raises:
        ModelError: `resume` is no checkpoint, or one of another model.
        TrainingError: a loss, a gradient or a weight was no longer finite.
    """
    first_step = check_checkpoint(resume, module) if resume is not None else 0
    stop = StopInTime(settings.max_seconds)
    # The losses are looked at before a step is kept in any way, and a step is kept before the time that samples take.
    losses = LossLog(places.losses, (settings.sample_every, settings.validate_every, settings.checkpoint_every))
    checkpoints = CheckpointLog(places.checkpoints, settings.checkpoint_every, settings.checkpoints_kept)
    loggers = new_loggers(settings.loggers, places, settings.project, first_step)
    trainer = pl.Trainer(
        accelerator="gpu" if settings.device == "cuda" else "cpu",
        devices=processes.local_count,
        num_nodes=processes.count // processes.local_count,
        strategy=new_strategy(settings.strategy, processes),
        plugins=[TorchElasticEnvironment() if processes.count > 1 else LightningEnvironment()],  # not what else it might find
        use_distributed_sampler=False,  # StepSampler shares the batches out
        precision=PRECISIONS[settings.precision],  # type: ignore[arg-type]
        max_steps=module.options.max_steps,
        accumulate_grad_batches=module.options.accumulate,
        gradient_clip_val=settings.max_grad_norm,
        callbacks=[stop, *settings.callbacks, losses, checkpoints, figures, *looks, ProgressLog(stop, losses, figures)],
        logger=loggers,
        enable_checkpointing=False,  # CheckpointLog does it
        enable_progress_bar=False,  # ProgressLog does it
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    if processes.count > 1:
        examples = processes.count * module.options.accumulate * module.options.batch_size
        processes.say(f"{processes.count} processes, {examples} pairs a step")
    if processes.is_first:
        settings.on_start()
        for logger in loggers:
            logger.begin(places.config)
    try:
        trainer.fit(module, ckpt_path=resume, weights_only=True)
    except TrainingError as error:
        if not processes.is_first:  # all have come to it, and one says so
            raise SystemExit(cli.EXIT_FAILURE) from error
        raise TrainingError(f"{error}; {_way_on(places, settings)}") from error
    module.keep_average()
    if module.is_sharded:
        module.objective.models = whole_models(module.objective.models, wanted=processes.is_first)
    return trainer.global_step, stop.reason


def _way_on(places: RunPlaces, settings: RunSettings) -> str:
    """What to try after a run that came to no number."""
    kept = sorted(places.checkpoints.glob("*.ckpt"))
    if not kept:
        return f"no checkpoint was written before; start anew with a lower --learning_rate, or {settings.other_ways}"
    command = f"{settings.resume_command} {shlex.quote(str(kept[-1]))}"
    return f"go on from the last checkpoint with a lower --learning_rate: {command} (or {settings.other_ways})"


def steadier_ways(precision: str, flag: str, full: str, warmup: str) -> str:
    """What may help a run that came to no number, beside a lower learning rate: more exact numbers, or a slower start."""
    return {"16": f"{flag} bf16 or {full}", "bf16": f"{flag} {full}"}.get(precision, f"more {warmup}")


def quieten_lightning() -> None:
    """Keep Lightning's advice about itself off the terminal; its errors still come."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning")

"""One training run of any objective, in one process or several, that can be interrupted and resumed."""

from __future__ import annotations

import logging
import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from riff import cli
from riff.errors import Interrupted, OptionError, TrainingError
from riff.files import make_folder, only_writer, remove_leftovers
from riff.training.checkpoints import CheckpointFiles, CheckpointLog, check_checkpoint
from riff.training.loggers import DEFAULT_PROJECT, new_loggers
from riff.training.losses import LossLog
from riff.training.module import NoiseTraining
from riff.training.precision import computes_bf16
from riff.training.processes import ALONE, Processes
from riff.training.progress import ProgressLog
from riff.training.run_dir import RunDir, checkpoints_in, step_of
from riff.training.stopping import EndedAtOnce, StopInTime
from riff.training.validation import FigureLog

LOCK_WAIT_S = 10  # data loader workers of a killed run keep its lock for some seconds
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # ours: Lightning's


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run that do not change what a training step computes, apart from its precision.

    Attributes:
        device: `cpu` or `cuda`. precision: `32`, `bf16` or `16`. max_seconds: time limit.
        sample_every, validate_every, checkpoint_every: optimizer steps; 0 is never, but a checkpoint is written at the end.
        validation_images: noisy examples of a validation. checkpoints_kept: number of newest checkpoints kept, None for all.
        max_grad_norm: gradients are clipped to it.
        command: that started the run. resume_flag: the flag of that command that takes a checkpoint. lower_rate: its flag for
            the learning rate, with a lower value.
        suggestions: printed when the loss becomes non-finite, beside a lower learning rate.
        loggers: names of `riff.training.loggers.LOGGERS`. project: at Weights & Biases.
        on_start: writes the configuration; called right before the first step.
        callbacks: Lightning callbacks, beside the run's own.
    """

    device: str
    precision: str
    max_seconds: float
    sample_every: int
    checkpoint_every: int
    validate_every: int = 500
    validation_images: int = 32
    checkpoints_kept: int | None = 1
    max_grad_norm: float = 1.0
    command: str = ""
    resume_flag: str = "--resume"
    lower_rate: str = ""
    suggestions: str = ""
    loggers: Sequence[str] = ("tensorboard",)
    project: str = DEFAULT_PROJECT
    on_start: Callable[[], None] = lambda: None
    callbacks: Sequence[pl.Callback] = ()


def run_training(
    module: NoiseTraining,
    run_dir: RunDir,
    settings: RunSettings,
    figures: FigureLog,
    validations: Sequence[pl.Callback],
    resume: Path | None = None,
    processes: Processes = ALONE,
) -> tuple[int, str]:
    """Train the module's models in place, and write losses, samples and checkpoints to the run directory.

    Args:
        figures: log of the figures of held-out songs. validations: the callbacks that compute them.

    Returns:
        The last step, and why the run stopped early ("" if it did not).

    Raises:
        ModelError: `resume` is no checkpoint, or one of another model. DataError: or of a run with other held-out songs.
        OptionError: another process is writing to the run that should be resumed.
        TrainingError: a loss, a gradient or a weight became non-finite, or a disk is full.
        Interrupted: a signal ended the run; the message names what is saved.
    """
    _quieten_lightning()
    first_step = check_checkpoint(resume, module) if resume is not None else 0
    stop = StopInTime(settings.max_seconds, reports=processes.is_first)
    # Losses are checked before a step is saved or validated, and a step is saved before samples take their time.
    losses = LossLog(run_dir.losses, (settings.sample_every, settings.validate_every, settings.checkpoint_every))
    checkpoints = CheckpointLog(run_dir.checkpoints, settings.checkpoint_every, settings.checkpoints_kept)
    loggers = new_loggers(settings.loggers, run_dir, settings.project, first_step)
    trainer = pl.Trainer(
        accelerator="gpu" if settings.device == "cuda" else "cpu",
        devices=processes.local_count,
        num_nodes=processes.count // processes.local_count,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if processes.count > 1 else "auto",
        # An explicit environment, so that Lightning detects none; checkpoints do not go through the folder for temporary files.
        plugins=[TorchElasticEnvironment() if processes.count > 1 else LightningEnvironment(), CheckpointFiles()],
        use_distributed_sampler=False,  # StepSampler splits the batches over the processes
        precision=PRECISIONS[settings.precision],  # type: ignore[arg-type]
        max_steps=module.options.max_steps,
        accumulate_grad_batches=module.options.accumulate,
        gradient_clip_val=settings.max_grad_norm,
        callbacks=[*settings.callbacks, losses, checkpoints, stop, figures, *validations, ProgressLog(stop, losses, figures)],
        logger=loggers,
        enable_checkpointing=False,  # CheckpointLog
        enable_progress_bar=False,  # ProgressLog
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    # Lightning's handler of SIGTERM ends a run silently with status 0, and waits for the other processes inside the handler.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if processes.count > 1:
        examples = processes.count * module.options.accumulate * module.options.batch_size
        processes.print(f"{processes.count} processes, {examples} pairs a step")
    try:
        with ExitStack() as stack:
            if processes.is_first:
                _enter_as_only_writer(stack, run_dir.path)
                remove_leftovers(run_dir.checkpoints)
                settings.on_start()
                for logger in loggers:
                    logger.begin(run_dir.config)
            stack.enter_context(stop.handling_signals())
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except TrainingError as error:
        if not processes.is_first:  # all processes raise it, and one reports it
            raise SystemExit(cli.EXIT_FAILURE) from error
        raise TrainingError(f"{error}; {_advice(run_dir, settings)}") from error
    except OSError as error:
        if error.errno not in cli.OUT_OF_SPACE:
            raise
        raise TrainingError(f"{_full_disk(error, run_dir.path)}; make room, then {_how_to_resume(run_dir, settings)}") from error
    except EndedAtOnce as end:
        raise Interrupted(f"{end.cause}: {_how_to_resume(run_dir, settings)}", end.signal) from None
    module.keep_average()
    return trainer.global_step, stop.reason


@contextmanager
def kept_by_checkpoint(run_dir: RunDir, settings: RunSettings) -> Iterator[None]:
    """While the result is written: add to any error how to resume from the last checkpoint, which holds all steps.

    Raises:
        TrainingError: a file could not be written. Interrupted: by a signal.
    """
    stop = StopInTime(0)
    stop.end_at_once()
    way_out = f"make room or name another --output, and {_how_to_resume(run_dir, settings)}"
    try:
        with stop.handling_signals():
            yield
    except OSError as error:
        raise TrainingError(f"the result was not written: {_full_disk(error, run_dir.path)}; {way_out}") from error
    except OptionError as error:
        raise TrainingError(f"the result was not written: {error}; {way_out}") from error
    except EndedAtOnce as end:
        raise Interrupted(f"{end.cause}: the result was not written; {_how_to_resume(run_dir, settings)}", end.signal) from None


def _enter_as_only_writer(stack: ExitStack, run: Path) -> None:
    """Lock the run's folder against other writers for as long as the stack is open."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return stack.enter_context(only_writer(make_folder(run)))
        except OptionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _full_disk(error: OSError, folder: Path) -> str:
    """The file that could not be written, the reason, and the disk."""
    file = Path(error.filename or folder).resolve()
    disk = next(path for path in (file, *file.parents) if os.path.ismount(path))
    return f"{file}: {error.strerror} (the disk at {disk})"


def _how_to_resume(run_dir: RunDir, settings: RunSettings) -> str:
    """The command that resumes from the last checkpoint, or that there is none."""
    kept = checkpoints_in(run_dir.checkpoints)
    if not kept:
        return "start again, for no checkpoint was written yet"
    return f"resume from step {step_of(kept[-1])}, the last that was saved: {_resume(settings, kept[-1])}"


def _advice(run_dir: RunDir, settings: RunSettings) -> str:
    """Suggestions printed when the loss becomes non-finite."""
    kept = checkpoints_in(run_dir.checkpoints)
    if not kept:
        return f"no checkpoint was written before; start again with a lower --learning_rate, or {settings.suggestions}"
    command = _resume(settings, kept[-1], settings.lower_rate)
    return f"resume from the last checkpoint with a lower --learning_rate: {command} (or {settings.suggestions})"


def _resume(settings: RunSettings, checkpoint: Path, flags: str = "") -> str:
    return " ".join(filter(None, [settings.command, flags, settings.resume_flag, shlex.quote(str(checkpoint))]))


def stability_flags(precision: str, flag: str, full: str, warmup: str) -> str:
    """Flags that may keep the loss finite, beside a lower learning rate: a higher precision, or a longer warmup.

    Args:
        precision: of the run. flag: of the precision. full: its value for float32. warmup: flag of the warmup steps.
    """
    bf16 = "bf16 or " if computes_bf16("cuda") else ""  # a CPU never trains in 16
    return {"16": f"{flag} {bf16}{full}", "bf16": f"{flag} {full}"}.get(precision, f"more {warmup}")


def _quieten_lightning() -> None:
    """Show Lightning's errors alone."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning")

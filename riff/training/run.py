"""One training run, whatever is trained: stopped and resumed at will, on one process or several."""

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

LOCK_WAIT_S = 10  # processes that read pairs for a run that was killed have its lock for some seconds
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # ours: Lightning's


@dataclass(frozen=True)
class RunSettings:
    """What decides how a run goes, and not what it learns.

    Attributes:
        device: `cpu` or `cuda`. precision: `32`, `bf16` or `16`. max_seconds: after which it ends.
        sample_every, validate_every, checkpoint_every: optimizer steps; 0 is never, but a checkpoint is written at the end.
        validation_pictures: noised pictures to such a look. checkpoints_kept: the newest so many, None for all.
        max_grad_norm: that gradients are scaled down to.
        command: that started it. resume_flag: of that command, before a checkpoint's path. lower_rate: its flag, with a lower one.
        other_ways: what else may help a run that came to no number.
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
    command: str = ""
    resume_flag: str = "--resume"
    lower_rate: str = ""
    other_ways: str = ""
    loggers: Sequence[str] = ("tensorboard",)
    project: str = DEFAULT_PROJECT
    on_start: Callable[[], None] = lambda: None
    callbacks: Sequence[pl.Callback] = ()


def run_training(
    module: NoiseTraining,
    run_dir: RunDir,
    settings: RunSettings,
    figures: FigureLog,
    looks: Sequence[pl.Callback],
    resume: Path | None = None,
    processes: Processes = ALONE,
) -> tuple[int, str]:
    """Train the module's models in place, and write losses, samples and checkpoints to the run directory.

    Args:
        figures, looks: what is found out about held-out songs, and the callbacks that find it.

    Returns:
        The step it reached, and why it stopped early ("" if it did not).

    Raises:
        ModelError: `resume` is no checkpoint, or one of another model.
        DataError: or one of a run that held out other songs.
        OptionError: the run that is to go on is going on in another process.
        TrainingError: a loss, a gradient or a weight was no longer finite, or a disk is full.
        Interrupted: a signal ended it; the text says what is saved.
    """
    _quieten_lightning()
    first_step = check_checkpoint(resume, module) if resume is not None else 0
    stop = StopInTime(settings.max_seconds, speaks=processes.is_first)
    # The losses are looked at before a step is kept in any way, and a step is kept before the time that samples take.
    losses = LossLog(run_dir.losses, (settings.sample_every, settings.validate_every, settings.checkpoint_every))
    checkpoints = CheckpointLog(run_dir.checkpoints, settings.checkpoint_every, settings.checkpoints_kept)
    loggers = new_loggers(settings.loggers, run_dir, settings.project, first_step)
    trainer = pl.Trainer(
        accelerator="gpu" if settings.device == "cuda" else "cpu",
        devices=processes.local_count,
        num_nodes=processes.count // processes.local_count,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if processes.count > 1 else "auto",
        # The environment, not what else Lightning might find; checkpoints do not go through the folder for temporary files.
        plugins=[TorchElasticEnvironment() if processes.count > 1 else LightningEnvironment(), CheckpointFiles()],
        use_distributed_sampler=False,  # StepSampler shares the batches out
        precision=PRECISIONS[settings.precision],  # type: ignore[arg-type]
        max_steps=module.options.max_steps,
        accumulate_grad_batches=module.options.accumulate,
        gradient_clip_val=settings.max_grad_norm,
        callbacks=[*settings.callbacks, losses, checkpoints, stop, figures, *looks, ProgressLog(stop, losses, figures)],
        logger=loggers,
        enable_checkpointing=False,  # CheckpointLog does it
        enable_progress_bar=False,  # ProgressLog does it
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    # Its own handler of SIGTERM ends a run without a word, with status 0, and waits for the other processes inside it.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if processes.count > 1:
        examples = processes.count * module.options.accumulate * module.options.batch_size
        processes.say(f"{processes.count} processes, {examples} pairs a step")
    try:
        with ExitStack() as stack:
            if processes.is_first:
                _enter_as_only_writer(stack, run_dir.path, settings.resume_flag)
                remove_leftovers(run_dir.checkpoints)
                settings.on_start()
                for logger in loggers:
                    logger.begin(run_dir.config)
            stack.enter_context(stop.handling_signals())
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except TrainingError as error:
        if not processes.is_first:  # all have come to it, and one says so
            raise SystemExit(cli.EXIT_FAILURE) from error
        raise TrainingError(f"{error}; {_way_on(run_dir, settings)}") from error
    except OSError as error:
        if error.errno not in cli.OUT_OF_SPACE:
            raise
        raise TrainingError(f"{_full_disk(error, run_dir.path)}; make room, then {_go_on(run_dir, settings)}") from error
    except EndedAtOnce as end:
        raise Interrupted(f"{end.cause}: {_go_on(run_dir, settings)}", end.signal) from None
    module.keep_average()
    return trainer.global_step, stop.reason


@contextmanager
def kept_by_checkpoint(run_dir: RunDir, settings: RunSettings) -> Iterator[None]:
    """While a result is written: whatever prevents it, the run is safe in its last checkpoint, and the message says so.

    Raises:
        TrainingError: a file could not be written. Interrupted: a signal came.
    """
    stop = StopInTime(0)
    stop.end_at_once()
    way_out = f"make room or name another --output, and {_go_on(run_dir, settings)}"
    try:
        with stop.handling_signals():
            yield
    except OSError as error:
        raise TrainingError(f"the result was not written: {_full_disk(error, run_dir.path)}; {way_out}") from error
    except OptionError as error:
        raise TrainingError(f"the result was not written: {error}; {way_out}") from error
    except EndedAtOnce as end:
        raise Interrupted(f"{end.cause}: the result was not written; {_go_on(run_dir, settings)}", end.signal) from None


def _enter_as_only_writer(stack: ExitStack, run: Path, flag: str) -> None:
    """Be the only process that writes to this run's folder, for as long as the stack is open."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return stack.enter_context(only_writer(make_folder(run), flag))
        except OptionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _full_disk(error: OSError, folder: Path) -> str:
    """What could not be written, why, and on which disk."""
    file = Path(error.filename or folder).resolve()
    disk = next(path for path in (file, *file.parents) if os.path.ismount(path))
    return f"{file}: {error.strerror} (the disk at {disk})"


def _go_on(run_dir: RunDir, settings: RunSettings) -> str:
    """The command that goes on from the last checkpoint of a run, or that there is none."""
    kept = checkpoints_in(run_dir.checkpoints)
    if not kept:
        return "start anew, for no checkpoint was written yet"
    return f"go on from step {step_of(kept[-1])}, the last that was saved: {_resume(settings, kept[-1])}"


def _way_on(run_dir: RunDir, settings: RunSettings) -> str:
    """What to try after a run that came to no number."""
    kept = checkpoints_in(run_dir.checkpoints)
    if not kept:
        return f"no checkpoint was written before; start anew with a lower --learning_rate, or {settings.other_ways}"
    command = _resume(settings, kept[-1], settings.lower_rate)
    return f"go on from the last checkpoint with a lower --learning_rate: {command} (or {settings.other_ways})"


def _resume(settings: RunSettings, checkpoint: Path, flags: str = "") -> str:
    return " ".join(filter(None, [settings.command, flags, settings.resume_flag, shlex.quote(str(checkpoint))]))


def steadier_ways(precision: str, flag: str, full: str, warmup: str) -> str:
    """What may help a run that came to no number, beside a lower learning rate: more exact numbers, or a slower start."""
    bf16 = "bf16 or " if computes_bf16("cuda") else ""  # a CPU does not come here in 16
    return {"16": f"{flag} {bf16}{full}", "bf16": f"{flag} {full}"}.get(precision, f"more {warmup}")


def _quieten_lightning() -> None:
    """Show Lightning's errors alone."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning")

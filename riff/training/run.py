"""One training run of any objective, in one process or several, that can be interrupted and resumed."""

from __future__ import annotations

import logging
import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from riff import cli
from riff.cli.errors import named_flag
from riff.errors import Interrupted, OptionError, TrainingError
from riff.files import make_folder, only_writer, remove_leftovers
from riff.models.folders import check_output, save_pipeline
from riff.models.lora import save_lora
from riff.training.checkpoints import CheckpointFiles, CheckpointLog, check_checkpoint
from riff.training.data import TrainingData
from riff.training.distillation import Distillation, sampling_of
from riff.training.loggers import check_loggers, new_loggers
from riff.training.losses import FigureLog, LossLog, ValidationLog, random_subset
from riff.training.memory import stored
from riff.training.module import NoiseTraining, Objective
from riff.training.options import RunSettings
from riff.training.prediction import Configs, MemoryWatch
from riff.training.processes import Processes
from riff.training.progress import EndedAtOnce, ProgressLog, StopInTime
from riff.training.run_dir import RunDir, checkpoints_in, step_of
from riff.training.samples import SampleLog

LOCK_WAIT_S = 10  # data loader workers of a killed run keep its lock for some seconds
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # Lightning's names


class TrainingRun:
    """A run from its checks to its result: all that does not depend on the objective.

    Args:
        resume: finds the checkpoint to resume from, None for a new run; called in the first process alone.
        inputs: models that the run reads, which its result never replaces.

    Raises:
        OptionError: a logger that cannot be used, no checkpoint to resume from, or an output folder that holds other files.
    """

    def __init__(
        self, settings: RunSettings, processes: Processes, resume: Callable[[], Path | None], inputs: Iterable[str | Path | None]
    ) -> None:
        self.settings, self.processes = settings, processes
        self.resume = processes.from_first(resume)
        self._memory = MemoryWatch(settings)
        if processes.is_first:  # before hours of training, not after
            check_loggers(settings.loggers)
            version = RunDir.of_checkpoint(self.resume).version if self.resume else None
            logs = RunDir(settings.log_dir, 0)
            beside, output = (logs.path, logs.images), settings.output
            with named_flag("output "):
                self._replaces = check_output(output, settings.overwrite, inputs=inputs, beside=beside, version=version)

    def train(
        self,
        pipeline: Any,
        objective: Objective,
        data: TrainingData[Any],
        on_meta: Callable[[Configs], Objective],
        new_samples: Callable[[Path, FigureLog], SampleLog],
    ) -> None:
        """Train the objective's models, which are the pipeline's, in place.

        Args:
            on_meta: makes the same objective without weights, from the configurations of the pipeline's models.
            new_samples: makes the log of samples, from its folder and the log of figures.

        Raises:
            ModelError: the checkpoint is of another model. DataError: or of another split of the songs.
            TrainingError, Interrupted: as `run_training`.
        """
        settings = self.settings
        if self.processes.is_first:
            models = {name: getattr(pipeline, name, None) for name in ("unet", "vae", "controlnet")}
            configs = {name: model.config for name, model in models.items() if model is not None}
            self._memory.predict(lambda: on_meta(configs), configs)
        if self.resume:
            self.dir = RunDir.of_checkpoint(self.resume)
        else:
            self.dir = self.processes.from_first(lambda: RunDir.claim(settings.log_dir))
        figures = FigureLog(self.dir.validation)
        samples = new_samples(self.dir.images, figures)
        held_out = data.examples(random_subset(data.held_out, settings.validation_images))
        validation = ValidationLog(held_out, figures, settings.validate_every, settings.validation_images)
        fingerprint = "-".join(filter(None, (*data.names, objective.frozen_name)))
        with stored(objective, pipeline.vae, settings.step.savings, settings.precision):
            few = {"teacher": settings.sampling, "steps": settings.distill_steps} if settings.distill_steps else {}
            new_module = partial(Distillation, **few) if few else NoiseTraining
            module = new_module(
                objective,
                pipeline.scheduler,
                data.examples(data.training),
                settings.step,
                fingerprint,
                self.processes,
                data.description(),
            )
            self.step, self._reason = run_training(
                module, self.dir, settings, figures, [validation, samples], [self._memory], self.resume
            )

    def save(self, pipeline: Any, model: str, base: str, origin: dict[str, Any]) -> None:
        """Write the pipeline, its trained part alone, or its adapters, and a manifest, in the first process.

        Args:
            model: that was trained; adapters belong to it. base: that the trained part alone belongs to.
            origin: further entries for the result's origin.

        Raises:
            TrainingError, Interrupted: the result was not written; the message says how to resume.
        """
        if not self.processes.is_first:
            return
        settings, output, memory = self.settings, self.settings.output, self._memory.report()
        known = {"steps": self.step, "version": self.dir.version}
        with kept_by_checkpoint(self.dir, settings):
            if settings.lora_rank:
                base, scheduler = model, None
                if settings.distill_steps:
                    scheduler, options = sampling_of(pipeline.scheduler, settings.sampling, settings.distill_steps)
                    origin = origin | {"sampling": origin.get("sampling", {}) | options.recommendation}
                save_lora(pipeline, output, {**origin, "base": model, **known}, self._replaces, scheduler)
            else:
                part_only = settings.part_only
                save_pipeline(pipeline, output, {**origin, "base": base, **known}, part_only, part_only, self._replaces)
            cli.write_manifest(output / "manifest.json", {**settings.flags, "base": base}, **known, memory=memory)
        ended = f"{self._reason}; " if self._reason else ""
        print(f"{ended}step {self.step}: {output} (samples in {self.dir.images}, losses in {self.dir.path})")


def run_training(
    module: NoiseTraining,
    run_dir: RunDir,
    settings: RunSettings,
    figures: FigureLog,
    validations: Sequence[pl.Callback] = (),
    callbacks: Sequence[pl.Callback] = (),
    resume: Path | None = None,
) -> tuple[int, str]:
    """Train the module's models in place, and write losses, samples and checkpoints to the run directory.

    Args:
        figures: log of the figures of held-out songs. validations: the callbacks that compute them.
        callbacks: called before the run's own.

    Returns:
        The last step, and why the run stopped early ("" if it did not).

    Raises:
        ModelError: `resume` is no checkpoint, or one of another model. DataError: or of a run with other held-out songs.
        OptionError: another process is writing to the run that should be resumed.
        TrainingError: a loss, a gradient or a weight became non-finite, or a disk is full.
        Interrupted: a signal ended the run; the message names what is saved.
    """
    _quieten_lightning()
    processes = module.processes
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
        callbacks=[*callbacks, losses, checkpoints, stop, figures, *validations, ProgressLog(stop, losses, figures)],
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
                cli.write_config(run_dir.config, cli.argparse.Namespace(**settings.flags))
                for logger in loggers:
                    logger.begin(run_dir.config)
            stack.enter_context(stop.handling_signals())
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except TrainingError as error:
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
    way_out = f"make room or name another folder for it, and {_how_to_resume(run_dir, settings)}"
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
        return f"no checkpoint was written before; start again with a lower learning rate, or {settings.advice.suggestions}"
    command = _resume(settings, kept[-1], settings.advice.lower_rate)
    return f"resume from the last checkpoint with a lower learning rate: {command} (or {settings.advice.suggestions})"


def _resume(settings: RunSettings, checkpoint: Path, flags: str = "") -> str:
    advice = settings.advice
    return " ".join(filter(None, [advice.command, flags, "--resume", shlex.quote(str(checkpoint))]))


def _quieten_lightning() -> None:
    """Show Lightning's errors alone."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning")

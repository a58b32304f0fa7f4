"""What happens beside the training steps: losses and samples are kept, and the run ends in time."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from riff.errors import OptionError
from riff.files import make_folder
from riff.sampling.clip import UNKNOWN_LEVEL, save_take
from riff.sampling.control import match_level
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.sheet import contact_sheet
from riff.training.places import CHECKPOINT_NAME

FLUSH_EVERY = 25  # steps between two looks at the losses, each of which waits for the device


def parse_duration(text: str) -> float:
    """`DD:HH:MM:SS` in seconds.

    Raises:
        OptionError: written in another way.
    """
    match = re.fullmatch(r"(\d+):(\d{1,2}):(\d{1,2}):(\d{1,2})", text)
    if match is None:
        raise OptionError(f"--max_train_time {text}: write it as DD:HH:MM:SS, for example 00:12:00:00")
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


class StopInTime(pl.Callback):
    """End the run after the current optimizer step when the time is up or at Ctrl-C, so that it can be saved as it stands.

    A second Ctrl-C ends it at once.

    Attributes:
        reason: why the run was ended, "" if it was not.
    """

    def __init__(self, seconds: float) -> None:
        self.reason = ""
        self._seconds = seconds
        self._previous: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end = time.monotonic() + self._seconds
        self._previous = signal.signal(signal.SIGINT, self._interrupted)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # half a step could not be resumed
        if time.monotonic() > self._end:
            self.reason = "--max_train_time is over"
        # All processes stop after the same step, whichever of them was told to.
        if trainer.strategy.reduce_boolean_decision(bool(self.reason), all=False):
            trainer.should_stop = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _interrupted(self, _number: int, _frame: Any) -> None:
        self.reason = "interrupted"
        signal.signal(signal.SIGINT, signal.default_int_handler)


class LossLog(pl.Callback):
    """Write every optimizer step's loss to a file of JSON lines; on resuming, later lines are cut off first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[tuple[int, torch.Tensor]] = []
        self._step_losses: list[torch.Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        make_folder(self._path.parent)
        lines = read_losses(self._path) if self._path.exists() else []
        kept = [line for line in lines if line["step"] <= trainer.global_step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self._step_losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)  # Lightning hands out its share
        if trainer.global_step == self._last_step:
            return  # still accumulating
        self._last_step = trainer.global_step
        self._pending.append((trainer.global_step, torch.stack(self._step_losses).mean()))
        self._step_losses.clear()
        if len(self._pending) >= FLUSH_EVERY:
            self._flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush(trainer)

    def _flush(self, trainer: pl.Trainer) -> None:
        if not self._pending:
            return
        # The mean over the processes is the loss of the whole batch.
        losses = trainer.strategy.reduce(torch.stack([loss for _, loss in self._pending]), reduce_op="mean").tolist()
        if trainer.is_global_zero:
            with open(self._path, "a") as file:
                steps = [step for step, _ in self._pending]
                lines = ({"step": step, "loss": loss} for step, loss in zip(steps, losses, strict=True))
                file.writelines(json.dumps(line) + "\n" for line in lines)
        self._pending.clear()


def read_losses(path: Path) -> list[dict[str, float]]:
    """Lines `{"step": ..., "loss": ...}` of a `losses.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class HeldOutClip:
    """What a sample is drawn for.

    Attributes:
        condition: uint8, shape (height, width), what the sampler takes beside the prompt.
        shown: caption -> picture, the sheet's columns before the sample. backing: whose level the sample is brought to; None
            leaves it at the target's. target: what it should have become; None where nobody knows.
    """

    name: str
    prompt: str
    condition: np.ndarray
    shown: dict[str, np.ndarray]
    backing: SpectrogramImage | None
    target: SpectrogramImage | None


DrawSamples = Callable[[Sequence[np.ndarray], Sequence[str], Sequence[int]], list[np.ndarray]]  # conditions, prompts, seeds


class SampleLog(pl.Callback):
    """Every so many steps, draw samples for held-out clips, from the same noise each time, and keep them to see and hear.

    Args:
        pipeline: whose VAE and text encoder come to the device for it; it shares its other models with the module in training.
        draw: draws with it: conditions, prompts and seeds to uint8 pictures.
        folder: `image_log/version_N`; a step's files go to `step=000500/` there, and to TensorBoard.
    """

    def __init__(
        self, pipeline: Any, draw: DrawSamples, clips: Sequence[HeldOutClip], folder: Path, every_n_steps: int, seed: int
    ) -> None:
        self._pipeline, self._draw_samples, self._clips, self._folder = pipeline, draw, list(clips), folder
        self._every, self._seed = every_n_steps, seed
        self._last_step = -1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step and trainer.global_step % self._every == 0 and trainer.global_step != self._last_step:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.global_step != self._last_step:
            self._log(trainer, pl_module)

    def _log(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_step = trainer.global_step
        if not self._clips or not trainer.is_global_zero:
            return
        folder = self._folder / f"step={trainer.global_step:06d}"
        with pl_module.averaged():
            drawn = self._draw(pl_module.device)
        for clip, pixels in zip(self._clips, drawn, strict=True):
            self._keep(trainer, folder, clip, pixels)

    def _keep(self, trainer: pl.Trainer, folder: Path, clip: HeldOutClip, pixels: np.ndarray) -> None:
        if clip.backing is not None:
            sample = match_level(pixels, clip.backing)
        else:
            sample = SpectrogramImage(pixels, clip.target.max_value if clip.target else UNKNOWN_LEVEL)
        waveform = save_take(folder, clip.name, sample, iterations=32)
        columns = {**clip.shown, clip.prompt: pixels} | ({"target": clip.target.pixels} if clip.target else {})
        contact_sheet(list(columns.values()), list(columns), folder / f"{clip.name}-sheet.png")
        board = trainer.logger.experiment if trainer.logger else None  # type: ignore[union-attr]
        if board is not None:
            board.add_image(f"samples/{clip.name}", pixels[None], trainer.global_step)
            rate = sample.params.sample_rate
            board.add_audio(f"samples/{clip.name}", waveform, trainer.global_step, sample_rate=rate)

    def _draw(self, device: torch.device) -> list[np.ndarray]:
        self._pipeline.vae.to(device)
        self._pipeline.text_encoder.to(device)
        seeds = [self._seed + i for i in range(len(self._clips))]
        conditions, prompts = [clip.condition for clip in self._clips], [clip.prompt for clip in self._clips]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            drawn = self._draw_samples(conditions, prompts, seeds)
        self._pipeline.vae.to("cpu")
        self._pipeline.text_encoder.to("cpu")
        return drawn


class CheckpointLog(pl.Callback):
    """Keep the newest checkpoints of a run, one every so many steps and one at its end.

    Args:
        limit: how many are kept, None for all.
    """

    def __init__(self, folder: Path, every_n_steps: int, limit: int | None) -> None:
        self._folder, self._every, self._limit = folder, every_n_steps, limit
        self._last_step = -1

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step and trainer.global_step % self._every == 0 and trainer.global_step != self._last_step:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write the checkpoint of this step, if it is not there, then remove the oldest."""
        self._last_step = trainer.global_step
        file = self._folder / CHECKPOINT_NAME.format(step=trainer.global_step)
        trainer.save_checkpoint(file)  # every process takes part
        if trainer.is_global_zero and self._limit is not None:
            for older in sorted(self._folder.glob("*.ckpt"))[: -self._limit]:
                older.unlink()

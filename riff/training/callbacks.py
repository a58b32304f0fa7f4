"""What happens beside the training steps: losses and samples are kept, and the run ends in time."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from riff.errors import OptionError
from riff.files import make_folder
from riff.sampling.clip import save_take
from riff.sampling.control import SamplingOptions, match_level, sample_control
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.sheet import contact_sheet

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
        if time.monotonic() > self._end:
            self.reason = "--max_train_time is over"
        if self.reason and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:  # half a step could not be resumed
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
        make_folder(self._path.parent)
        lines = read_losses(self._path) if self._path.exists() else []
        kept = [line for line in lines if line["step"] <= trainer.global_step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._last_step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self._step_losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)  # Lightning hands out its share
        if trainer.global_step == self._last_step:
            return  # still accumulating
        self._last_step = trainer.global_step
        self._pending.append((trainer.global_step, torch.stack(self._step_losses).mean()))
        self._step_losses.clear()
        if len(self._pending) >= FLUSH_EVERY:
            self._flush()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._flush()

    def _flush(self) -> None:
        with open(self._path, "a") as file:
            file.writelines(json.dumps({"step": step, "loss": float(loss)}) + "\n" for step, loss in self._pending)
        self._pending.clear()


def read_losses(path: Path) -> list[dict[str, float]]:
    """Lines `{"step": ..., "loss": ...}` of a `losses.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class HeldOutClip:
    """What a sample is drawn for. edges: uint8 (height, width), 0 or 255. target: the true mix."""

    name: str
    prompt: str
    edges: np.ndarray
    accompaniment: SpectrogramImage
    target: SpectrogramImage


class SampleLog(pl.Callback):
    """Every so many steps, draw samples for held-out clips, from the same noise each time, and keep them to see and hear.

    Args:
        pipeline: a control pipeline that shares the UNet and the ControlNet with the module in training.
        folder: `image_log/version_N`; a step's files go to `step=000500/` there, and to TensorBoard.
    """

    def __init__(
        self, pipeline: Any, clips: Sequence[HeldOutClip], folder: Path, every_n_steps: int, options: SamplingOptions, seed: int
    ) -> None:
        self._pipeline, self._clips, self._folder = pipeline, list(clips), folder
        self._every, self._options, self._seed = every_n_steps, options, seed
        self._last_step = -1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step and trainer.global_step % self._every == 0 and trainer.global_step != self._last_step:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step != self._last_step:
            self._log(trainer, pl_module)

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if not self._clips:
            return
        folder = self._folder / f"step={trainer.global_step:06d}"
        drawn = self._draw(pl_module)
        for clip, pixels in zip(self._clips, drawn, strict=True):
            sample = match_level(pixels, clip.accompaniment)
            waveform = save_take(folder, clip.name, sample, iterations=32)
            contact_sheet(
                [clip.accompaniment.pixels, clip.edges, pixels, clip.target.pixels],
                ["accompaniment", "edges", clip.prompt, "true mix"],
                folder / f"{clip.name}-sheet.png",
            )
            board = trainer.logger.experiment if trainer.logger else None  # type: ignore[union-attr]
            if board is not None:
                board.add_image(f"samples/{clip.name}", pixels[None], trainer.global_step)
                rate = sample.params.sample_rate
                board.add_audio(f"samples/{clip.name}", waveform, trainer.global_step, sample_rate=rate)

    def _draw(self, pl_module: pl.LightningModule) -> list[np.ndarray]:
        self._pipeline.vae.to(pl_module.device)
        self._pipeline.text_encoder.to(pl_module.device)
        seeds = [self._seed + i for i in range(len(self._clips))]
        with torch.autocast(pl_module.device.type, dtype=torch.bfloat16, enabled=pl_module.device.type == "cuda"):
            drawn = sample_control(
                self._pipeline, [clip.edges for clip in self._clips], [clip.prompt for clip in self._clips], seeds, self._options
            )
        self._pipeline.vae.to("cpu")
        self._pipeline.text_encoder.to("cpu")
        return drawn

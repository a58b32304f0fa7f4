"""Samples of held-out clips over the training: to see, to hear, and to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from riff.sampling.clip import UNKNOWN_LEVEL, save_take, without_clipping
from riff.sampling.control import match_level
from riff.sampling.windows import through_autoencoder
from riff.seeds import seed_after
from riff.spectrogram.image import SpectrogramImage, image_to_waveform
from riff.spectrogram.params import STANDARD
from riff.spectrogram.sheet import contact_sheet
from riff.training.edge_curve import EdgeCurve

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by Lightning's precision


@dataclass(frozen=True)
class HeldOutClip:
    """What a sample is drawn for.

    Attributes:
        condition: uint8, shape (height, width), what the sampler takes beside the prompt.
        shown: caption -> picture, the sheet's columns before the sample; of a spectrogram the loggers get the sound too.
        backing: whose level the sample is brought to; None leaves it at the target's. target: what it should have become; None
            where nobody knows.
    """

    name: str
    prompt: str
    condition: np.ndarray
    shown: dict[str, np.ndarray | SpectrogramImage]
    backing: SpectrogramImage | None
    target: SpectrogramImage | None


DrawSamples = Callable[[Sequence[np.ndarray], Sequence[str], Sequence[int]], list[np.ndarray]]  # conditions, prompts, seeds


class SampleLog(pl.Callback):
    """Every so many steps, draw samples for held-out clips, from the same noise each time, and keep them to see and hear.

    Args:
        pipeline: whose VAE and text encoder come to the device for it; it shares its other models with the module in training.
        every_n_steps: 0 is never.
        draw: samples with it: conditions, prompts and seeds to uint8 pictures.
        folder: `image_log/version_N`; a step's files go to `step=000500/` there, and to the loggers.
        edges: follows how the samples keep the accompaniment's edges, where that is what they are drawn from.
        draw_free: samples without control, for the floor of the edge F1.
    """

    def __init__(
        self,
        pipeline: Any,
        draw: DrawSamples,
        clips: Sequence[HeldOutClip],
        folder: Path,
        every_n_steps: int,
        seed: int,
        edges: EdgeCurve | None = None,
        draw_free: DrawSamples | None = None,
    ) -> None:
        self._pipeline, self._draw_samples, self._folder = pipeline, draw, folder
        self._clips = list(clips) if every_n_steps else []
        self._every, self._seed = every_n_steps, seed
        self._edges, self._draw_free = edges, draw_free
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Show what the samples are to be compared with, and find what their edges lie between, unless that is known already."""
        self._last_step = trainer.global_step or -1  # what a resumed run starts from was drawn for before
        if trainer.is_global_zero:
            for clip in self._clips:
                _show_references(trainer, clip)
        if self._edges is None or self._draw_free is None or not trainer.is_global_zero:
            return
        conditions = [clip.condition for clip in self._clips]
        targets = [clip.target.pixels for clip in self._clips if clip.target]
        if not self._edges.can_follow(conditions) or len(targets) < len(conditions) or self._edges.is_bounded:
            return
        with self._at_work(trainer, pl_module.device):
            repainted = [through_autoencoder(self._pipeline.vae, pixels) for pixels in targets]
            self._edges.bound(trainer, conditions, self._draw(self._draw_free), repainted)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        step = trainer.global_step
        if self._clips and step and step % self._every == 0 and step != self._last_step:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.global_step != self._last_step:
            self._log(trainer, pl_module)
        if self._edges is not None and trainer.is_global_zero:
            self._edges.report()

    def _log(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_step = trainer.global_step
        if not self._clips or not trainer.is_global_zero:
            return
        folder = self._folder / f"step={trainer.global_step:06d}"
        with pl_module.averaged(), self._at_work(trainer, pl_module.device):
            drawn = self._draw(self._draw_samples)
        if self._edges is not None and self._edges.is_bounded:
            self._edges.look(trainer, [clip.condition for clip in self._clips], drawn)
        for clip, pixels in zip(self._clips, drawn, strict=True):
            self._keep(trainer, folder, clip, pixels)

    def _keep(self, trainer: pl.Trainer, folder: Path, clip: HeldOutClip, pixels: np.ndarray) -> None:
        if clip.backing is not None:
            sample = match_level(pixels, clip.backing)
        else:
            sample = SpectrogramImage(pixels, clip.target.max_value if clip.target else UNKNOWN_LEVEL)
        waveform = save_take(folder, clip.name, sample)
        columns = {**clip.shown, clip.prompt: pixels} | ({"target": clip.target} if clip.target else {})
        contact_sheet([_pixels(one) for one in columns.values()], list(columns), folder / f"{clip.name}-sheet.png")
        _show(trainer, f"{clip.name}/sample", sample, waveform)

    def _draw(self, draw: DrawSamples) -> list[np.ndarray]:
        """One sample of every clip, from the same noise each time."""
        seeds = [seed_after(self._seed, i) for i in range(len(self._clips))]
        return draw([clip.condition for clip in self._clips], [clip.prompt for clip in self._clips], seeds)

    @contextmanager
    def _at_work(self, trainer: pl.Trainer, device: torch.device) -> Iterator[None]:
        """Compute in the training's precision inside the block, with the VAE and the text encoder, which it does without, there."""
        self._pipeline.vae.to(device)
        self._pipeline.text_encoder.to(device)
        half = AUTOCAST.get(str(trainer.precision))
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            yield
        self._pipeline.vae.to("cpu")
        self._pipeline.text_encoder.to("cpu")


def _show_references(trainer: pl.Trainer, clip: HeldOutClip) -> None:
    """Put what a clip's samples are compared with on the loggers, and its prompt."""
    for logger in trainer.loggers:
        logger.write(f"{clip.name}/prompt", clip.prompt, trainer.global_step)
    for caption, one in (clip.shown | ({"target": clip.target} if clip.target else {})).items():
        sound = without_clipping(image_to_waveform(one)[None].numpy()) if isinstance(one, SpectrogramImage) else None
        _show(trainer, f"{clip.name}/{caption}", one, sound)


def _show(trainer: pl.Trainer, name: str, picture: np.ndarray | SpectrogramImage, sound: np.ndarray | None) -> None:
    """Put a picture on the loggers and, where there is one, its sound, float32 of shape (1, samples)."""
    for logger in trainer.loggers:
        logger.show(name, _pixels(picture), trainer.global_step)
        if sound is not None:
            logger.play(name, sound, STANDARD.sample_rate, trainer.global_step)


def _pixels(picture: np.ndarray | SpectrogramImage) -> np.ndarray:
    return picture.pixels if isinstance(picture, SpectrogramImage) else picture

"""Samples of held-out clips over the training, as images and sound, and the edge F1 that shows when the control takes hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from tqdm import tqdm

from riff.metrics.images import edge_scores
from riff.models.encoders import through_autoencoder
from riff.sampling.clip import save_take
from riff.sampling.levels import UNKNOWN_LEVEL, match_level, without_clipping
from riff.seeds import seed_after
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage, image_to_waveform
from riff.spectrogram.params import STANDARD
from riff.spectrogram.sheet import contact_sheet
from riff.training.losses import FigureLog

HOLD_SHARE = 1 / 3  # share of the range from floor to ceiling
LEAST_RANGE = 0.02  # between floor and ceiling; within a smaller one, chance would decide
TERMS = "edge F1 {:.3f}; {:.3f} without control, {:.3f} for the true mixes through the autoencoder"
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by Lightning's precision


@dataclass(frozen=True)
class HeldOutClip:
    """A held-out clip that samples are generated for.

    Attributes:
        condition: uint8, shape (height, width), the sampler's input beside the prompt.
        references: caption -> image, the sheet's columns before the sample; loggers also get the sound of a spectrogram image.
        accompaniment: the sample is set to its level; None leaves it at the target's. target: the ground truth, None if unknown.
    """

    name: str
    prompt: str
    condition: np.ndarray
    references: dict[str, np.ndarray | SpectrogramImage]
    accompaniment: SpectrogramImage | None
    target: SpectrogramImage | None


Sampler = Callable[[Sequence[np.ndarray], Sequence[str], Sequence[int]], list[np.ndarray]]  # conditions, prompts, seeds


class SampleLog(pl.Callback):
    """Generate samples of held-out clips every `every_n_steps`, from the same noise each time; save and log them.

    Args:
        pipeline: its VAE and text encoder are moved to the device for sampling; its other models are those in training.
        sample: samples with the pipeline: conditions, prompts and seeds to uint8 images.
        every_n_steps: 0 is never.
        folder: `image_log/version_N`; a step's files go to `step=000500/` there, and to the loggers.
        edges: tracks the edge F1 of the samples, where the conditions are edges.
        sample_free: samples without control, for the floor of the edge F1.
    """

    def __init__(
        self,
        pipeline: Any,
        sample: Sampler,
        clips: Sequence[HeldOutClip],
        folder: Path,
        every_n_steps: int,
        seed: int,
        edges: EdgeCurve | None = None,
        sample_free: Sampler | None = None,
    ) -> None:
        self._pipeline, self._sample, self._folder = pipeline, sample, folder
        self._clips = list(clips) if every_n_steps else []
        self._every, self._seed = every_n_steps, seed
        self._edges, self._sample_free = edges, sample_free
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the references, and compute the bounds of the edge F1 unless they are known."""
        self._last_step = trainer.global_step or -1  # a resumed run has the samples of its first step
        if trainer.is_global_zero:
            for clip in self._clips:
                _log_references(trainer, clip)
        if self._edges is None or self._sample_free is None or not trainer.is_global_zero:
            return
        conditions = [clip.condition for clip in self._clips]
        targets = [clip.target.pixels for clip in self._clips if clip.target]
        if not self._edges.can_follow(conditions) or len(targets) < len(conditions) or self._edges.is_bounded:
            return
        with self._ready(trainer, pl_module.device):
            decoded = [through_autoencoder(self._pipeline.vae, pixels) for pixels in targets]
            self._edges.bound(trainer, conditions, self._generate(self._sample_free), decoded)

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
        with pl_module.averaged(), self._ready(trainer, pl_module.device):
            samples = self._generate(self._sample)
        if self._edges is not None and self._edges.is_bounded:
            self._edges.add(trainer, [clip.condition for clip in self._clips], samples)
        for clip, pixels in zip(self._clips, samples, strict=True):
            self._save(trainer, folder, clip, pixels)

    def _save(self, trainer: pl.Trainer, folder: Path, clip: HeldOutClip, pixels: np.ndarray) -> None:
        if clip.accompaniment is not None:
            sample = match_level(pixels, clip.accompaniment)
        else:
            sample = SpectrogramImage(pixels, clip.target.max_value if clip.target else UNKNOWN_LEVEL)
        waveform = save_take(folder, clip.name, sample)
        columns = {**clip.references, clip.prompt: pixels} | ({"target": clip.target} if clip.target else {})
        contact_sheet([_pixels(image) for image in columns.values()], list(columns), folder / f"{clip.name}-sheet.png")
        _log(trainer, f"{clip.name}/sample", sample, waveform)

    def _generate(self, sample: Sampler) -> list[np.ndarray]:
        """One sample of every clip, from the same noise each time."""
        seeds = [seed_after(self._seed, i) for i in range(len(self._clips))]
        return sample([clip.condition for clip in self._clips], [clip.prompt for clip in self._clips], seeds)

    @contextmanager
    def _ready(self, trainer: pl.Trainer, device: torch.device) -> Iterator[None]:
        """Move the VAE and the text encoder to the device for the block, and compute in the training's precision."""
        self._pipeline.vae.to(device)
        self._pipeline.text_encoder.to(device)
        half = AUTOCAST.get(str(trainer.precision))
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            yield
        self._pipeline.vae.to("cpu")
        self._pipeline.text_encoder.to("cpu")


def _log_references(trainer: pl.Trainer, clip: HeldOutClip) -> None:
    """Log a clip's prompt and the images that its samples are compared with."""
    for logger in trainer.loggers:
        logger.show_text(f"{clip.name}/prompt", clip.prompt, trainer.global_step)
    for caption, image in (clip.references | ({"target": clip.target} if clip.target else {})).items():
        waveform = without_clipping(image_to_waveform(image)[None].numpy()) if isinstance(image, SpectrogramImage) else None
        _log(trainer, f"{clip.name}/{caption}", image, waveform)


def _log(trainer: pl.Trainer, name: str, image: np.ndarray | SpectrogramImage, waveform: np.ndarray | None) -> None:
    """Log an image and, where there is one, its waveform, float32 of shape (1, samples)."""
    for logger in trainer.loggers:
        logger.show_image(name, _pixels(image), trainer.global_step)
        if waveform is not None:
            logger.show_audio(name, waveform, STANDARD.sample_rate, trainer.global_step)


def _pixels(image: np.ndarray | SpectrogramImage) -> np.ndarray:
    return image.pixels if isinstance(image, SpectrogramImage) else image


class Bounds(NamedTuple):
    """Bounds of the edge F1 of samples.

    Attributes:
        floor: of the same samples without control. ceiling: of the true targets through the autoencoder.
    """

    floor: float
    ceiling: float

    def holds(self, score: float) -> bool:
        """Whether the score is at least a third of the way from floor to ceiling; False where these are nearly the same."""
        score_range = self.ceiling - self.floor
        return score_range >= LEAST_RANGE and score >= self.floor + HOLD_SHARE * score_range


class EdgeCurve:
    """Track the edge F1 of the samples, and report when the control takes hold.

    It takes hold at the first samples whose edge F1 is a third of the way from the floor (the same samples without control,
    from the same noise) to the ceiling (the true targets through the autoencoder). All state is in the log of figures, so that
    a resumed run continues it.
    """

    def __init__(self, figures: FigureLog) -> None:
        self._figures = figures

    @staticmethod
    def can_follow(conditions: Sequence[np.ndarray]) -> bool:
        """Whether all these images are edge maps: of one level beside 0. Other control methods have no edges."""
        return bool(conditions) and all(len(np.unique(image[image > 0])) <= 1 for image in conditions)

    @property
    def bounds(self) -> Bounds:
        return Bounds(self._figures.curve("edge_f1_floor")[0][1], self._figures.curve("edge_f1_ceiling")[0][1])

    @property
    def is_bounded(self) -> bool:
        return bool(self._figures.curve("edge_f1_floor"))

    def bound(
        self, trainer: pl.Trainer, edges: Sequence[np.ndarray], free: Sequence[np.ndarray], decoded: Sequence[np.ndarray]
    ) -> None:
        """Compute and log the floor and the ceiling.

        Args:
            edges: of the accompaniments. free: samples without control. decoded: the true targets through the autoencoder.
        """
        floor, ceiling = mean_edge_f1(free, edges), mean_edge_f1(decoded, edges)
        self._figures.add(trainer, edge_f1_floor=floor, edge_f1_ceiling=ceiling)

    def add(self, trainer: pl.Trainer, edges: Sequence[np.ndarray], samples: Sequence[np.ndarray]) -> None:
        """Compute and log the mean edge F1 of these samples."""
        held_before, score = self.took_hold_at is not None, mean_edge_f1(samples, edges)
        self._figures.add(trainer, edge_f1=score)
        floor, ceiling = self.bounds  # repeated, so that loggers plot them beside the curve
        self._figures.show(trainer, edge_f1_floor=floor, edge_f1_ceiling=ceiling)
        if not held_before and self.bounds.holds(score):
            tqdm.write(f"step {trainer.global_step}: the control has taken hold ({TERMS.format(score, *self.bounds)})")

    @property
    def took_hold_at(self) -> int | None:
        """The first step at which the control had taken hold, None before."""
        return next((step for step, score in self._figures.curve("edge_f1") if self.bounds.holds(score)), None)

    def report(self) -> None:
        """Print whether and when the control took hold."""
        curve = self._figures.curve("edge_f1")
        if not curve:
            return
        step, terms = self.took_hold_at, TERMS.format(curve[-1][1], *self.bounds)
        if step is not None:
            verdict = f"the control took hold by step {step}"
        elif self.bounds.ceiling - self.bounds.floor < LEAST_RANGE:
            verdict = "floor and ceiling are too close to tell whether the control took hold"
        else:
            verdict = "the control has not taken hold: train for more steps, or with a higher learning rate"
        print(f"{verdict} ({terms})", flush=True)


def mean_edge_f1(images: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> float:
    """The mean of `edge_scores`' F1 over images, uint8 of shape (height, width), each against its edge map."""
    return float(np.mean([edge_scores(canny_edges(image), true).f1 for image, true in zip(images, edges, strict=True)]))

"""When the control takes hold: the edge F1 of samples of held-out songs over a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
from tqdm import tqdm

from riff.metrics.images import edge_scores
from riff.spectrogram.edges import canny_edges
from riff.training.validation import FigureLog

HOLDS_FROM = 1 / 3  # share of the range from floor to ceiling
LEAST_RANGE = 0.02  # between floor and ceiling; within a smaller one, chance would decide
TERMS = "edge F1 {:.3f}; {:.3f} without control, {:.3f} for the true mixes through the autoencoder"


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
        return score_range >= LEAST_RANGE and score >= self.floor + HOLDS_FROM * score_range


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
            verdict = "the control has not taken hold: train for more --max_steps, or with a higher --learning_rate"
        print(f"{verdict} ({terms})", flush=True)


def mean_edge_f1(images: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> float:
    """The mean of `edge_scores`' F1 over images, uint8 of shape (height, width), each against its edge map."""
    return float(np.mean([edge_scores(canny_edges(image), true).f1 for image, true in zip(images, edges, strict=True)]))

"""When the control takes hold: how well the samples of held-out songs keep the accompaniment's edges, over a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
from tqdm import tqdm

from riff.metrics.pictures import edge_scores
from riff.spectrogram.edges import canny_edges
from riff.training.validation import FigureLog

HOLDS_FROM = 1 / 3  # of the way from floor to ceiling
LEAST_WAY = 0.02  # between floor and ceiling; on a shorter one, chance would decide
TERMS = "edge F1 {:.3f}; {:.3f} without control, {:.3f} for the true mixes through the autoencoder"


class Bounds(NamedTuple):
    """What the edge F1 of samples lies between.

    Attributes:
        floor: of the same samples without control. ceiling: of the true targets through the autoencoder.
    """

    floor: float
    ceiling: float

    def holds(self, score: float) -> bool:
        """Whether a third of the way from the floor to the ceiling is covered; False where there is hardly a way."""
        way = self.ceiling - self.floor
        return way >= LEAST_WAY and score >= self.floor + HOLDS_FROM * way


class EdgeCurve:
    """Follow the edge F1 of the samples, and say when the control takes hold.

    It has taken hold at the first look at which a third of the way is covered from the same samples without control, from
    the same noise, to the true targets through the autoencoder. Everything it says stands in the figures as well, so that a
    resumed run goes on with it.
    """

    def __init__(self, figures: FigureLog) -> None:
        self._figures = figures

    @staticmethod
    def can_follow(conditions: Sequence[np.ndarray]) -> bool:
        """Whether all these pictures are edge maps: of one level beside 0. Other ways of control have no edges to keep."""
        return bool(conditions) and all(len(np.unique(picture[picture > 0])) <= 1 for picture in conditions)

    @property
    def bounds(self) -> Bounds:
        return Bounds(self._figures.curve("edge_f1_floor")[0][1], self._figures.curve("edge_f1_ceiling")[0][1])

    @property
    def is_bounded(self) -> bool:
        return bool(self._figures.curve("edge_f1_floor"))

    def bound(
        self, trainer: pl.Trainer, edges: Sequence[np.ndarray], free: Sequence[np.ndarray], repainted: Sequence[np.ndarray]
    ) -> None:
        """Keep the floor and the ceiling.

        Args:
            edges: of the accompaniments. free: samples without control. repainted: the true targets through the autoencoder.
        """
        floor, ceiling = mean_edge_f1(free, edges), mean_edge_f1(repainted, edges)
        self._figures.add(trainer, edge_f1_floor=floor, edge_f1_ceiling=ceiling)

    def look(self, trainer: pl.Trainer, edges: Sequence[np.ndarray], samples: Sequence[np.ndarray]) -> None:
        """Keep how well these samples follow the edges."""
        held, score = self.took_hold_at is not None, mean_edge_f1(samples, edges)
        self._figures.add(trainer, edge_f1=score)
        floor, ceiling = self.bounds  # again, so that they are lines beside the curve
        self._figures.show(trainer, edge_f1_floor=floor, edge_f1_ceiling=ceiling)
        if not held and self.bounds.holds(score):
            tqdm.write(f"step {trainer.global_step}: the control has taken hold ({TERMS.format(score, *self.bounds)})")

    @property
    def took_hold_at(self) -> int | None:
        """The step of the first look at which it had."""
        return next((step for step, score in self._figures.curve("edge_f1") if self.bounds.holds(score)), None)

    def report(self) -> None:
        """Print a sentence on what became of the control."""
        curve = self._figures.curve("edge_f1")
        if not curve:
            return
        step, terms = self.took_hold_at, TERMS.format(curve[-1][1], *self.bounds)
        if step is not None:
            verdict = f"the control took hold by step {step}"
        elif self.bounds.ceiling - self.bounds.floor < LEAST_WAY:
            verdict = "the edges of these samples cannot tell whether the control took hold"
        else:
            verdict = "the control has not taken hold: go on for more --max_steps, or with a higher --learning_rate"
        print(f"{verdict} ({terms})", flush=True)


def mean_edge_f1(pictures: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> float:
    """The mean of `edge_scores`' F1 over pictures, uint8 of shape (height, width), each against its edge map."""
    return float(np.mean([edge_scores(canny_edges(one), true).f1 for one, true in zip(pictures, edges, strict=True)]))

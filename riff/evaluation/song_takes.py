"""Takes of a whole song, drawn and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riff.evaluation.edit import Verdict, judge
from riff.evaluation.edit_takes import CANDIDATE_STRIDE, best_take
from riff.sampling.song import SongPainter
from riff.spectrogram.image import SpectrogramImage


@dataclass(frozen=True)
class SongTake:
    """One candidate.

    Attributes:
        painted: what the model painted, at its level. after: the whole with it.
        verdict: whether a vocal was added where one was wanted.
    """

    seed: int
    painted: SpectrogramImage
    after: SpectrogramImage
    verdict: Verdict


def draw_take(painter: SongPainter, seed: int, candidates: int = 1, on_step: Callable[[], object] = lambda: None) -> SongTake:
    """Paint `candidates` vocals over a song and keep the best by the score of edits; the first is always the same."""
    takes = []
    backing = painter.backing
    wanted = np.concatenate([np.arange(*region) for region in painter.regions])
    for number in range(candidates):
        own_seed = seed + number * CANDIDATE_STRIDE
        painted = painter.paint(own_seed, on_step)
        after = painter.with_backing(painted)
        verdict = judge("add", backing.pixels[:, wanted], after.pixels[:, wanted], backing.params)
        takes.append(SongTake(own_seed, painted, after, verdict))
    return best_take(takes)

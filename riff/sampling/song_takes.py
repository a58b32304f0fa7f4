"""Takes of a whole song, generated and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from riff.metrics.edit import EditScores, Verdict, score_edit
from riff.sampling.edit_takes import CANDIDATE_STRIDE, best_take
from riff.sampling.song import SongPainter
from riff.seeds import seed_after
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.params import STANDARD, SpectrogramParams

STRETCH_FRAMES = 6_000  # a minute: judging takes a dozen float64 copies


@dataclass(frozen=True)
class SongTake:
    """One candidate.

    Attributes:
        painted: the model's output, at its level. after: the spectrogram of the whole mix.
        verdict: whether a vocal was added in the frames where one was asked for.
    """

    seed: int
    painted: SpectrogramImage
    after: SpectrogramImage
    verdict: Verdict


def generate_take(painter: SongPainter, seed: int, candidates: int = 1, on_step: Callable[[], object] = lambda: None) -> SongTake:
    """Generate `candidates` vocals over a song and keep the best by the edit score; the first is always the same."""
    takes = []
    backing = painter.backing
    wanted = np.concatenate([np.arange(*region) for region in painter.regions])
    for number in range(candidates):
        own_seed = seed_after(seed, number * CANDIDATE_STRIDE)
        painted = painter.paint(own_seed, on_step)
        after = painter.with_backing(painted)
        verdict = score_song(backing.pixels, after.pixels, wanted, backing.params)
        takes.append(SongTake(own_seed, painted, after, verdict))
    return best_take(takes)


def score_song(before: np.ndarray, after: np.ndarray, wanted: np.ndarray, params: SpectrogramParams = STANDARD) -> Verdict:
    """Whether a vocal was added, judged in stretches of a minute at most; their scores are averaged, weighted by length.

    Args:
        before, after: uint8, shape (n_mels, frames), as for `score_edit`. wanted: the frames in which one was asked for.
    """
    stretches = np.array_split(wanted, -(-len(wanted) // STRETCH_FRAMES))
    scores = np.array([score_edit(before[:, part], after[:, part], params) for part in stretches])
    lengths = np.array([len(part) for part in stretches])[:, None] * ~np.isnan(scores)  # no melody, no pitch
    with np.errstate(invalid="ignore"):
        means = EditScores(*(np.nansum(scores * lengths, axis=0) / lengths.sum(axis=0)).tolist())
    return Verdict(means, means.is_edit, means.edit_score)

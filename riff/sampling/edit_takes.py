"""Edits with their scores: several candidates of one clip, or one seed over a grid of guidance scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from riff.metrics.edit import Verdict, judge
from riff.sampling.edit import sample_edit
from riff.sampling.edit_clip import VOCAL_LEVEL_DB, EditClip, finish_edit
from riff.sampling.options import EditOptions
from riff.seeds import seed_after
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.sheet import contact_sheet

CANDIDATE_STRIDE = 100_000  # between the seeds of a clip's candidates, so that clips do not share them


class ScoredTake(Protocol):
    """A take with a verdict."""

    @property
    def verdict(self) -> Verdict: ...


Scored = TypeVar("Scored", bound=ScoredTake)


@dataclass(frozen=True)
class EditTake:
    """A candidate.

    Attributes:
        painted: uint8, shape (n_mels, frames), the model's output. after: the edited clip.
    """

    seed: int
    options: EditOptions
    painted: np.ndarray
    after: SpectrogramImage
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "image_guidance_scale": self.options.image_guidance_scale,
            "guidance_scale": self.options.guidance_scale,
            "performed": self.verdict.performed,
            "score": self.verdict.score,
            **self.verdict.scores.to_json(),
        }


def generate_candidates(
    pipeline: Any,
    clip: EditClip,
    options: EditOptions,
    seed: int,
    count: int = 1,
    target: str = "mix",
    vocal_db: float = VOCAL_LEVEL_DB,
    on_step: Callable[[], object] = lambda: None,
) -> list[EditTake]:
    """Generate and score `count` edits of a clip; the first does not depend on their number."""
    seeds = [seed_after(seed, number * CANDIDATE_STRIDE) for number in range(count)]
    return [_generate(pipeline, clip, options, candidate_seed, target, vocal_db, on_step) for candidate_seed in seeds]


def generate_sweep(
    pipeline: Any,
    clip: EditClip,
    options: EditOptions,
    seed: int,
    image_scales: Sequence[float],
    text_scales: Sequence[float],
    target: str = "mix",
    vocal_db: float = VOCAL_LEVEL_DB,
    on_step: Callable[[], object] = lambda: None,
) -> list[EditTake]:
    """Generate and score one seed at every pair of scales; text scales vary fastest."""
    grid = [replace(options, image_guidance_scale=image, guidance_scale=text) for image in image_scales for text in text_scales]
    return [_generate(pipeline, clip, at_scales, seed, target, vocal_db, on_step) for at_scales in grid]


def best_take(takes: Sequence[Scored]) -> Scored:
    """The take with the highest score among those that performed the edit, else among all; the first of equals."""
    return max(takes, key=lambda take: (take.verdict.performed, take.verdict.score))


def write_sweep(path: Path, takes: Sequence[EditTake], columns: int) -> str:
    """Write the grid of `generate_sweep` as a contact sheet, one row for each image scale, scores as captions.

    Returns:
        A line about the best take.
    """
    contact_sheet([take.after.pixels for take in takes], [_caption(take) for take in takes], path, columns)
    return f"best: {_caption(best_take(takes))}"


def _caption(take: EditTake) -> str:
    scales = f"image {take.options.image_guidance_scale:g}, text {take.options.guidance_scale:g}"
    edited = "EDIT" if take.verdict.performed else "no edit"
    return f"{scales}: {edited}, score {take.verdict.score:.2f}, kept {take.verdict.scores.backing_kept:.2f}"


def _generate(
    pipeline: Any,
    clip: EditClip,
    options: EditOptions,
    seed: int,
    target: str,
    vocal_db: float,
    on_step: Callable[[], object],
) -> EditTake:
    painted = sample_edit(pipeline, [clip.before.pixels], [clip.prompt], [seed], options, lambda _: on_step())[0]
    after = finish_edit(painted, clip.before, target, vocal_db)
    return EditTake(seed, options, painted, after, judge(clip.kind, clip.before.pixels, after.pixels, clip.before.params))

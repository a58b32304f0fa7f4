"""Edits generated and judged: several candidates of one clip, or one seed over a grid of guidance scales."""

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
    """Whatever has a verdict."""

    @property
    def verdict(self) -> Verdict: ...


JudgedTake = TypeVar("JudgedTake", bound=ScoredTake)


@dataclass(frozen=True)
class EditTake:
    """One candidate.

    Attributes:
        painted: uint8, shape (n_mels, frames), the model's own output. after: the edited clip made of it.
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
    """Generate and judge `count` edits of a clip; the first is the same whatever their number."""
    seeds = [seed_after(seed, number * CANDIDATE_STRIDE) for number in range(count)]
    return [_draw(pipeline, clip, options, one, target, vocal_db, on_step) for one in seeds]


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
    """Generate and judge one seed at every pair of scales; text scales vary fastest."""
    pairs = [(image, text) for image in image_scales for text in text_scales]
    choices = [replace(options, image_guidance_scale=image, guidance_scale=text) for image, text in pairs]
    return [_draw(pipeline, clip, choice, seed, target, vocal_db, on_step) for choice in choices]


def best_take(takes: Sequence[JudgedTake]) -> JudgedTake:
    """The highest score among those that count as the edit asked for, else among all; the first of equals."""
    return max(takes, key=lambda take: (take.verdict.performed, take.verdict.score))


def write_sweep(path: Path, takes: Sequence[EditTake], columns: int) -> str:
    """Write the grid of `generate_sweep` as one sheet, a row for each image scale, its scores over each picture.

    Returns:
        What the best of them was.
    """
    contact_sheet([take.after.pixels for take in takes], [_words(take) for take in takes], path, columns)
    return f"best: {_words(best_take(takes))}"


def _words(take: EditTake) -> str:
    scales = f"image {take.options.image_guidance_scale:g}, text {take.options.guidance_scale:g}"
    said = "EDIT" if take.verdict.performed else "no edit"
    return f"{scales}: {said}, score {take.verdict.score:.2f}, kept {take.verdict.scores.backing_kept:.2f}"


def _draw(
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

"""A new vocal for a whole song: the picture of its backing in, what a model paints over it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from riff.errors import DataError
from riff.metrics.edit import EditScores, Verdict, score_edit
from riff.models.control import CONTROL, load_control_pipeline
from riff.models.edit import load_edit_pipeline
from riff.models.model_types import model_type_of
from riff.sampling.control import match_level, prepare_pipeline
from riff.sampling.edit_clip import edit_target, vocal_at_level
from riff.sampling.edit_takes import CANDIDATE_STRIDE, best_take
from riff.sampling.known_region import KnownRegion
from riff.sampling.options import EditOptions, SamplingOptions, edit_options_for, options_for
from riff.sampling.window_models import ControlWindows, EditWindows
from riff.sampling.windows import WindowLayout, WindowPredictor, sample_windows
from riff.seeds import seed_after
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SILENCE, SpectrogramImage, combine_images
from riff.spectrogram.params import STANDARD, SpectrogramParams

STRETCH_FRAMES = 6_000  # a minute: judging takes a dozen float64 copies
STANDARD_WINDOWS = WindowLayout()


@dataclass(frozen=True)
class SongModel:
    """A model of either kind, ready to paint.

    Attributes:
        target: what it paints: the whole `mix`, or the `vocals` alone.
        canny: thresholds of the edges that a ControlNet follows.
    """

    pipeline: Any
    options: SamplingOptions | EditOptions
    target: str
    canny: tuple[int, int] = (100, 200)

    @property
    def follows_edges(self) -> bool:
        """Whether it is a ControlNet, which takes prompts; an edit model takes instructions."""
        return isinstance(self.options, SamplingOptions)

    @property
    def default_prompt(self) -> str:
        return "Generate a vocal melody" if self.follows_edges else "add a vocal melody"

    def over(self, backing: np.ndarray, prompt: str, edges: np.ndarray | None = None) -> WindowPredictor:
        """What denoises windows over a backing's picture.

        Args:
            backing: uint8, shape (n_mels, frames).
            edges: that a ControlNet follows, uint8, 0 or 255, the same shape (default: the backing's own).
        """
        if isinstance(self.options, SamplingOptions):
            followed = canny_edges(backing, *self.canny) if edges is None else edges
            return ControlWindows(self.pipeline, followed, prompt, self.options)
        return EditWindows(self.pipeline, backing, prompt, self.options)


def load_song_model(
    model: str,
    base: str | None = None,
    device: str = "cpu",
    guidance_scale: float | None = None,
    strength: float | None = None,
    image_guidance_scale: float | None = None,
    canny: tuple[int, int] = (100, 200),
    **more: Any,
) -> SongModel:
    """Load a control or an edit model, whichever it is.

    Args:
        guidance_scale, strength, image_guidance_scale: None for what the model recommends.
        more: of `SamplingOptions` and `EditOptions` alike: steps, negative_prompt.

    Raises:
        ModelError: nothing there, or a model of neither kind.
    """
    if model_type_of(model) is CONTROL:
        pipeline = prepare_pipeline(load_control_pipeline(model, base), device)
        return SongModel(pipeline, options_for(model, guidance_scale, strength, **more), "mix", canny)
    pipeline = prepare_pipeline(load_edit_pipeline(model, base), device)
    return SongModel(pipeline, edit_options_for(model, guidance_scale, image_guidance_scale, **more), edit_target(Path(model)))


class SongPainter:
    """Paints takes of one song; what they share, edges and the instruction's embedding among it, is made once.

    Args:
        backing: the accompaniment's picture.
        known: the picture of what stands where nothing is painted: of the song, or of its vocal for a model that paints vocals.
        regions: what to paint, as (first, end) frames that do not overlap; empty for all, and then nothing need be known.
        edges: that a ControlNet is to follow, uint8, 0 or 255, the shape of the backing's picture (default: the backing's own).

    Raises:
        DataError: edges of another shape, or for a model that follows none.
    """

    def __init__(
        self,
        model: SongModel,
        backing: SpectrogramImage,
        prompt: str,
        known: SpectrogramImage | None = None,
        regions: Sequence[tuple[int, int]] = (),
        layout: WindowLayout = STANDARD_WINDOWS,
        edges: np.ndarray | None = None,
    ) -> None:
        if edges is not None and (edges.shape != backing.pixels.shape or not model.follows_edges):
            shapes = f"edges of {edges.shape} for a picture of {backing.pixels.shape}"
            raise DataError(f"{shapes}; give a ControlNet some of the picture's own shape, and an edit model none")
        self.model, self.backing, self.regions = model, backing, list(regions) or [(0, backing.pixels.shape[1])]
        self._layout, frames = layout, backing.pixels.shape[1]
        missing = max(0, layout.width - frames)  # a song shorter than a window is followed by silence
        padded, self._known = (
            np.pad(picture.pixels, ((0, 0), (0, missing)), constant_values=SILENCE) for picture in (backing, known or backing)
        )
        self._replace = np.zeros(frames + missing, bool)
        for first, end in self.regions:
            self._replace[first : end + missing * (end == frames)] = True
        followed = None if edges is None else np.pad(edges, ((0, 0), (0, missing)))
        self._spans = [
            (first, end, model.over(padded[:, first:end], prompt, None if followed is None else followed[:, first:end]))
            for first, end in spans(self.regions, frames + missing, layout.width)
        ]

    @property
    def num_steps(self) -> int:
        """Denoising steps of a take."""
        return len(self._spans) * self.model.options.steps

    def paint(self, seed: int, on_step: Callable[[], object] = lambda: None) -> SpectrogramImage:
        """What the model paints from this seed, at its level: the size of the backing's picture."""
        painted = self._known.copy()
        for first, end, predictor in self._spans:
            known_region = KnownRegion(self._known[:, first:end], self._replace[first:end])
            painted[:, first:end] = sample_windows(
                self.model.pipeline,
                predictor,
                end - first,
                seed,
                self.model.options.steps,
                self._layout,
                known_region,
                on_step=lambda _: on_step(),
                height=len(painted),
            )
        painted = np.ascontiguousarray(painted[:, : self.backing.pixels.shape[1]])
        if self.model.target == "vocals":
            return vocal_at_level(painted, self.backing)
        return match_level(painted, self.backing)

    def with_backing(self, painted: SpectrogramImage) -> SpectrogramImage:
        """The picture of the whole with what was painted: for a model that paints vocals they are put over the backing."""
        return combine_images(self.backing, painted) if self.model.target == "vocals" else painted


def spans(regions: Sequence[tuple[int, int]], frames: int, width: int) -> list[tuple[int, int]]:
    """The stretches of a song that must be looked at to paint its regions: each with half a window to either side, and a window
    wide at least; stretches that meet are one.

    Args:
        regions: (first, end) in frames, rising. frames: of the song, at least `width`.
    """
    found: list[tuple[int, int]] = []
    for first, end in regions:
        first, end = max(0, first - width // 2), min(frames, end + width // 2)
        if end - first < width:
            first = max(0, min(first, frames - width))
            end = first + width
        if found and first <= found[-1][1]:
            first = found.pop()[0]
        found.append((first, end))
    return found


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

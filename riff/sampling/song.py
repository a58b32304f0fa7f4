"""Takes of a whole song: the model generates a new vocal for the image of its backing, in windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from riff.audio.notes import Note, notes_of_contour
from riff.errors import DataError
from riff.metrics.edit import EditScores, Verdict, added_melody, addition, score_addition
from riff.metrics.fit import Fit
from riff.models.encoders import latent_factor
from riff.models.loading import load_control_pipeline, load_edit_pipeline
from riff.models.model_types import CONTROL, model_type_of
from riff.sampling.edit import CANDIDATE_STRIDE, ScoredTake, best_take
from riff.sampling.known_region import KnownRegion
from riff.sampling.levels import mix_image, output_at_level
from riff.sampling.loop import from_circle, to_circle
from riff.sampling.options import EditOptions, SamplingOptions, edit_options_for, edit_target, options_for
from riff.sampling.pipelines import prepare_pipeline
from riff.sampling.window_models import ControlWindows, EditWindows
from riff.sampling.windows import Guides, WindowLayout, WindowPredictor, guided_steps, sample_windows
from riff.seeds import seed_after
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges
from riff.spectrogram.image import SILENCE, SpectrogramImage
from riff.spectrogram.params import STANDARD, SpectrogramParams
from riff.tagging.label import prompt_of

SCORED_FRAMES = 6_000  # a minute: the score takes a dozen float64 copies
STANDARD_WINDOWS = WindowLayout()


@dataclass(frozen=True)
class SongModel:
    """A loaded model of either type.

    Attributes:
        target: what it generates: the whole `mix`, or the `vocals` alone.
        canny: thresholds of the edges that a ControlNet follows.
    """

    pipeline: Any
    options: SamplingOptions | EditOptions
    target: str
    canny: tuple[int, int] = (CANNY_LOW, CANNY_HIGH)

    @property
    def follows_edges(self) -> bool:
        """Whether it is a ControlNet, which takes prompts; an edit model takes instructions."""
        return isinstance(self.options, SamplingOptions)

    def prompt_for(self, description: str | None) -> str:
        """`prompt_of` a description for this type of model, or for none its default."""
        return prompt_of(description or "a vocal melody", "control" if self.follows_edges else "edit")

    def predictor(self, backing: np.ndarray, prompt: str, edges: np.ndarray | None = None) -> WindowPredictor:
        """The model conditioned on a backing and a prompt.

        Args:
            backing: image, uint8, shape (n_mels, frames).
            edges: that a ControlNet follows, uint8, 0 or 255, the same shape (default: the backing's own).
        """
        if isinstance(self.options, SamplingOptions):
            edges = canny_edges(backing, *self.canny) if edges is None else edges
            return ControlWindows(self.pipeline, edges, prompt, self.options)
        return EditWindows(self.pipeline, backing, prompt, self.options)


def load_song_model(
    model: str,
    base: str | None = None,
    device: str = "cpu",
    guidance_scale: float | None = None,
    strength: float | None = None,
    image_guidance_scale: float | None = None,
    canny: tuple[int, int] = (CANNY_LOW, CANNY_HIGH),
    **options: Any,
) -> SongModel:
    """Load a ControlNet or an edit model; its model type is detected.

    Args:
        guidance_scale, strength, image_guidance_scale: None for the model's recommendation.
        options: fields that `SamplingOptions` and `EditOptions` share: steps, negative_prompt.

    Raises:
        ModelError: no model there, or one of another type.
    """
    if model_type_of(model) is CONTROL:
        pipeline = prepare_pipeline(load_control_pipeline(model, base), device)
        return SongModel(pipeline, options_for(model, guidance_scale, strength, **options), "mix", canny)
    pipeline = prepare_pipeline(load_edit_pipeline(model, base), device)
    edit_options = edit_options_for(model, guidance_scale, image_guidance_scale, **options)
    return SongModel(pipeline, edit_options, edit_target(Path(model)))


class SongSampler:
    """Generates the spectrogram images of takes of one song; edges and text embeddings are computed once for all takes.

    Args:
        backing: the accompaniment's image.
        known: the image outside the regions: of the song, or of its vocal for a model that generates vocals.
        regions: frames to generate as (first, end), ascending and disjoint; empty for the whole song, and `known` is not needed.
        edges: that a ControlNet follows, uint8, 0 or 255, the shape of the backing's image (default: the backing's own).
        guide: what sampling begins with, of the same shape: a vocal, or, for a model that generates a mix, a mix.
        period: of a loop in frames, whose end is to join its beginning; None for a song.

    Raises:
        DataError: edges of another shape, or edges for an edit model; or a loop that is shorter than a window, or with regions.
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
        guide: Guides | None = None,
        period: float | None = None,
    ) -> None:
        if edges is not None and (edges.shape != backing.pixels.shape or not model.follows_edges):
            shapes = f"edges of {edges.shape} for an image of {backing.pixels.shape}"
            raise DataError(f"{shapes}; give a ControlNet edges of the image's own shape, and an edit model none")
        self.model, self.backing, self.regions = model, backing, list(regions) or [(0, backing.pixels.shape[1])]
        self._layout, self._guide, self._period, frames = layout, guide, period, backing.pixels.shape[1]
        if period is not None:
            self._open_loop(period, prompt)
            return
        missing = max(0, layout.width - frames)  # a song shorter than a window is followed by silence
        padded, self._known = (
            np.pad(image.pixels, ((0, 0), (0, missing)), constant_values=SILENCE) for image in (backing, known or backing)
        )
        self._replace = np.zeros(frames + missing, bool)
        for first, end in self.regions:
            self._replace[first : end + missing * (end == frames)] = True
        padded_edges = None if edges is None else np.pad(edges, ((0, 0), (0, missing)))
        self._spans = [
            (
                first,
                end,
                model.predictor(padded[:, first:end], prompt, None if padded_edges is None else padded_edges[:, first:end]),
            )
            for first, end in spans(self.regions, frames + missing, layout.width)
        ]

    def _open_loop(self, period: float, prompt: str) -> None:
        """Condition the model on the backing as a circle, whose windows at the end see its beginning."""
        width, seconds = self._layout.width, self.backing.params.step_size_ms / 1000
        circle = to_circle(self.backing.pixels, period, latent_factor(self.model.pipeline))
        if circle.shape[1] < width or len(self.regions) != 1 or self.regions[0] != (0, self.backing.pixels.shape[1]):
            is_short = (
                f"a loop of {period * seconds:.2f} s is shorter than the model's window of {width * seconds:.2f} s; repeat it"
            )
            raise DataError(is_short if circle.shape[1] < width else "a loop gets a new vocal as a whole, and not in regions")
        self._layout = replace(self._layout, loop=True)
        self._known, self._replace = circle, np.ones(circle.shape[1], bool)
        around = np.pad(circle, ((0, 0), (0, width)), mode="wrap")
        self._spans = [(0, circle.shape[1], self.model.predictor(around, prompt))]

    @property
    def num_steps(self) -> int:
        """Denoising steps of a take."""
        steps = self.model.options.steps
        return len(self._spans) * (guided_steps(steps, self._guide.strength) if self._guide else steps)

    def sample(self, seed: int, on_step: Callable[[], object] = lambda: None) -> SpectrogramImage:
        """The model's output for a seed, at its estimated level and of the size of the backing's image.

        Raises:
            DataError: a guide of another shape.
        """
        pixels, guide = self._known.copy(), self._guide.for_seed(seed) if self._guide else None
        if guide is not None:
            if guide.pixels.shape != self.backing.pixels.shape:
                shapes = f"a guide of {guide.pixels.shape} for an image of {self.backing.pixels.shape}"
                raise DataError(f"{shapes}; give both the same shape")
            if self._period is not None:
                guide = replace(guide, pixels=to_circle(guide.pixels, self._period, latent_factor(self.model.pipeline)))
        for first, end, predictor in self._spans:
            pixels[:, first:end] = sample_windows(
                self.model.pipeline,
                predictor,
                end - first,
                seed,
                self.model.options.steps,
                self._layout,
                KnownRegion(self._known[:, first:end], self._replace[first:end]),
                on_step=lambda _: on_step(),
                height=len(pixels),
                guide=guide and replace(guide, pixels=guide.pixels[:, first:end]),
            )
        if self._period is not None:
            pixels = from_circle(pixels, self._period, self.backing.pixels.shape[1])
        pixels = np.ascontiguousarray(pixels[:, : self.backing.pixels.shape[1]])
        return output_at_level(pixels, self.backing, self.model.target)


def spans(regions: Sequence[tuple[int, int]], frames: int, width: int) -> list[tuple[int, int]]:
    """The parts of a song to process for its regions: each region with half a window of context on either side, at least a window
    wide; parts that meet are merged.

    Args:
        regions: (first, end) in frames, ascending. frames: of the song, at least `width`.
    """
    merged: list[tuple[int, int]] = []
    for first, end in regions:
        first, end = max(0, first - width // 2), min(frames, end + width // 2)
        if end - first < width:
            first = max(0, min(first, frames - width))
            end = first + width
        if merged and first <= merged[-1][1]:
            first = merged.pop()[0]
        merged.append((first, end))
    return merged


def generate_take(sampler: SongSampler, seed: int, candidates: int = 1, on_step: Callable[[], object] = lambda: None) -> ScoredTake:
    """Generate `candidates` takes and keep the best by the edit score; the first does not depend on their number."""
    takes = []
    backing = sampler.backing
    generated = np.concatenate([np.arange(*region) for region in sampler.regions])
    for number in range(candidates):
        candidate_seed = seed_after(seed, number * CANDIDATE_STRIDE)
        output = sampler.sample(candidate_seed, on_step)
        after = mix_image(output, backing, sampler.model.target)
        verdict = score_song(backing.pixels, after.pixels, generated, backing.params)
        takes.append(ScoredTake(candidate_seed, output, after, verdict))
    return best_take(takes)


def score_song(before: np.ndarray, after: np.ndarray, frames: np.ndarray, params: SpectrogramParams = STANDARD) -> Verdict:
    """Whether a vocal was added that fits: the means of the scores of parts of a minute at most, weighted by their length.

    Args:
        before, after: uint8, shape (n_mels, frames), as for `score_edit`. frames: indices of the frames to score.
    """
    parts = np.array_split(frames, -(-len(frames) // SCORED_FRAMES))
    found = [score_addition(before[:, part], after[:, part], params) for part in parts]
    scores = np.array([[*of_edit, *fit] for of_edit, fit in found])
    lengths = np.array([len(part) for part in parts])[:, None] * ~np.isnan(scores)  # without a melody pitch and fit are NaN
    with np.errstate(invalid="ignore"):
        means = (np.nansum(scores * lengths, axis=0) / lengths.sum(axis=0)).tolist()
    count = len(EditScores._fields)
    return addition(EditScores(*means[:count]), Fit(*means[count:]))


def notes_of_vocal(backing: SpectrogramImage, mix: SpectrogramImage) -> list[Note]:
    """The notes of the vocal in a generated mix, from the images."""
    melody = added_melody(backing.pixels, mix.pixels, backing.params)
    return notes_of_contour(np.where(melody.voiced, melody.note, np.nan))

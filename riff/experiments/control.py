"""How well samples follow the accompaniment: the model between its floor and its ceiling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from riff.experiments.kept_samples import KeptSamples
from riff.metrics.images import edge_scores, gradient_correlation, vocal_region
from riff.metrics.sounds import chroma_cosine, onset_correlation
from riff.models.encoders import through_autoencoder
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions, without_control
from riff.seeds import seed_after
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges
from riff.spectrogram.image import SpectrogramImage, image_to_waveform, waveform_to_image

METRICS = ("edge_f1", "edge_precision", "edge_recall", "gradient_correlation", "chroma_cosine", "onset_correlation")
COMPARED_ITERATIONS = 64  # of Griffin-Lim


@dataclass(frozen=True)
class TrueClip:
    """A clip whose parts are known.

    Attributes:
        prompt: what is true of the mix. mix, accompaniment: float32, shape (channels, samples) at 44.1 kHz.
        instruction: how an edit model is asked for the vocal, where that is not to be made of the prompt.
    """

    name: str
    prompt: str
    mix: np.ndarray
    accompaniment: np.ndarray
    instruction: str = ""


@dataclass(frozen=True)
class Scored:
    """One picture of one clip with its scores (see `METRICS`)."""

    clip: str
    kind: str
    image: SpectrogramImage
    scores: dict[str, float]


def evaluate_control(
    pipeline: Any,
    clips: Sequence[TrueClip],
    options: SamplingOptions,
    seed: int = 0,
    canny: tuple[int, int] = (CANNY_LOW, CANNY_HIGH),
    on_clip: Callable[[], object] = lambda: None,
    samples: KeptSamples | None = None,
    iterations: int = COMPARED_ITERATIONS,
) -> list[Scored]:
    """Score, for every clip, four pictures against the accompaniment.

    `control`: the model's sample. `floor`: the same seed and prompt with the control at strength 0, which is the base.
    `ceiling`: the true mix through the model's autoencoder and back, beyond which no sample can come. `true mix`: untouched.
    Edges and gradients are scored outside the true vocal's region; chroma and onsets on sounds that were all
    reconstructed from pictures, the accompaniment's as well.

    Args:
        samples: draws of this pipeline that are kept for other experiments. iterations: of every `compared_sound`.
    """
    samples = samples or KeptSamples(pipeline)
    uncontrolled = without_control(options)
    scored = []
    for index, clip in enumerate(clips):
        pictures = ClipPictures(clip, canny, iterations)
        draw = (pictures.edges, clip.prompt, seed_after(seed, index))
        kinds = {
            "control": match_level(samples.control(*draw, options).pixels, pictures.backing),
            "floor": match_level(samples.control(*draw, uncontrolled).pixels, pictures.backing),
            "ceiling": repainted(pipeline.vae, pictures.mix),
            "true mix": pictures.mix,
        }
        scored += [Scored(clip.name, kind, picture, pictures.score(picture)) for kind, picture in kinds.items()]
        on_clip()
    return scored


class ClipPictures:
    """A clip whose parts are known, as pictures and sounds, each made when it is first asked for.

    Attributes:
        canny: thresholds of the edges, in grey levels. iterations: of every `compared_sound`.
    """

    def __init__(
        self, clip: TrueClip, canny: tuple[int, int] = (CANNY_LOW, CANNY_HIGH), iterations: int = COMPARED_ITERATIONS
    ) -> None:
        self.clip = clip
        self.canny = canny
        self.iterations = iterations

    @cached_property
    def mix(self) -> SpectrogramImage:
        return waveform_to_image(torch.from_numpy(self.clip.mix))

    @cached_property
    def backing(self) -> SpectrogramImage:
        return waveform_to_image(torch.from_numpy(self.clip.accompaniment))

    @cached_property
    def edges(self) -> np.ndarray:
        """The accompaniment's, uint8, shape (height, width), 0 or 255."""
        return canny_edges(self.backing.pixels, *self.canny)

    @cached_property
    def outside(self) -> np.ndarray:
        """bool, shape (height, width), True where the true vocal is not."""
        return ~vocal_region(self.backing, self.mix)

    @cached_property
    def backing_sound(self) -> np.ndarray:
        return compared_sound(self.backing, self.iterations).numpy()

    def score(self, picture: SpectrogramImage) -> dict[str, float]:
        """Every one of `METRICS`, of a picture against the accompaniment."""
        edge = edge_scores(canny_edges(picture.pixels, *self.canny), self.edges, tolerance=1, mask=self.outside)
        sound, rate = compared_sound(picture, self.iterations).numpy(), picture.params.sample_rate
        return {
            "edge_f1": edge.f1,
            "edge_precision": edge.precision,
            "edge_recall": edge.recall,
            "gradient_correlation": gradient_correlation(picture.pixels, self.backing.pixels, self.outside),
            "chroma_cosine": chroma_cosine(sound, self.backing_sound, rate),
            "onset_correlation": onset_correlation(sound, self.backing_sound, rate),
        }


def compared_sound(image: SpectrogramImage, iterations: int = COMPARED_ITERATIONS) -> torch.Tensor:
    """A picture's sound for comparing it with another picture's: float32, shape (samples,).

    Phases start at random for both, so that neither is more at home in its phases than the other.
    """
    return image_to_waveform(image, iterations, propagate=False)


def repainted(vae: Any, picture: SpectrogramImage) -> SpectrogramImage:
    """A picture as the best sample of a model with this autoencoder would show it, at its level."""
    return SpectrogramImage(through_autoencoder(vae, picture.pixels), picture.max_value)


def means_by_kind(scored: Sequence[Scored], metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """Mean of every metric by kind of picture, in the order in which they come, over the clips that have it."""
    means: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(one.kind for one in scored):
        rows = [one.scores for one in scored if one.kind == kind]
        values = {metric: [row[metric] for row in rows if metric in row] for metric in metrics}
        means[kind] = {metric: float(np.mean(found)) for metric, found in values.items() if found}
    return means


def summarise(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Mean of every metric by kind, and for `control` the share of the way from floor to ceiling (`covered`)."""
    means = means_by_kind(scored, METRICS)
    if {"control", "floor", "ceiling"} <= set(means):
        means["covered"] = {
            metric: (means["control"][metric] - means["floor"][metric]) / (means["ceiling"][metric] - means["floor"][metric])
            if means["ceiling"][metric] != means["floor"][metric]
            else float("nan")
            for metric in METRICS
        }
    return means

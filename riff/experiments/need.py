"""The experiment `need`: what can be had without a ControlNet, by starting the base from a picture instead?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from riff.experiments.bench import Bench, Experiment, Result, mean_scores, shown_with
from riff.experiments.control import ClipPictures, Scored, repainted
from riff.metrics.edit import judge
from riff.models.model_types import CONTROL
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions, options_for, without_control
from riff.sampling.pipelines import check_change
from riff.spectrogram.image import SILENCE, SpectrogramImage

EDGE_CHANGES = (0.5, 0.75)
BACKING_CHANGES = (0.3, 0.5, 0.75)
ROWS = {
    "control": "ControlNet on the edges",
    **{f"edges {change:g}": f"base, from the edge map, {change:.0%} noise" for change in EDGE_CHANGES},
    **{f"backing {change:g}": f"base, from the accompaniment, {change:.0%} noise" for change in BACKING_CHANGES},
    "prompt alone": "base, from the prompt alone",
    "edges as sound": "the edge map itself as a spectrogram",
    "ceiling": "true mix through the autoencoder",
    "true mix": "true mix, untouched",
}
VOCAL_SCORES = ("added_energy", "melody", "motion", "backing_kept")
METRICS = {
    "performed": "vocal added, backing kept",
    "added_energy": "added energy",
    "melody": "melody",
    "motion": "motion",
    "backing_kept": "backing kept",
    "edge_f1": "edge F1",
    "gradient_correlation": "gradient correlation",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
}


def run_need(bench: Bench, steps: int, scale: float | None, strength: float | None) -> Result:
    options = options_for(bench.model, scale, strength, steps=steps)
    check_change(options, min(*EDGE_CHANGES, *BACKING_CHANGES))
    scored = []
    for pictures, seed in bench.pictures():
        for kind, picture in _ways(bench, pictures, seed, options):
            scores = pictures.score(picture) | vocal_scores(pictures, picture)
            scored.append(Scored(pictures.clip.name, kind, picture, scores))
    return Result(asdict(options), scored, mean_scores(scored, tuple(METRICS)), shown_with(scored, _caption))


def vocal_scores(pictures: ClipPictures, picture: SpectrogramImage) -> dict[str, float]:
    """Whether a picture holds a vocal and the clip's accompaniment (`judge`), and what that rests on."""
    verdict = judge("add", pictures.backing.pixels, picture.pixels)
    found = verdict.scores._asdict()
    return {"performed": float(verdict.performed)} | {name: found[name] for name in VOCAL_SCORES}


def ink(edges: np.ndarray) -> np.ndarray:
    """An edge map as a spectrogram: sound on the edges, silence elsewhere; uint8, shape (height, width)."""
    return SILENCE - edges


def _ways(bench: Bench, pictures: ClipPictures, seed: int, options: SamplingOptions) -> Iterator[tuple[str, SpectrogramImage]]:
    """Every way to a picture, all with the same prompt and seed."""
    samples, prompt, edges, backing = bench.samples, pictures.clip.prompt, pictures.edges, pictures.backing
    drawn = {"control": samples.control(edges, prompt, seed, options)}
    for change in EDGE_CHANGES:
        drawn[f"edges {change:g}"] = samples.image_to_image(ink(edges), prompt, seed, options, change)
    for change in BACKING_CHANGES:
        drawn[f"backing {change:g}"] = samples.image_to_image(backing.pixels, prompt, seed, options, change)
    drawn["prompt alone"] = samples.control(edges, prompt, seed, without_control(options))
    for kind, sample in drawn.items():
        yield kind, match_level(sample.pixels, backing)
    yield "edges as sound", match_level(ink(edges), backing)
    yield "ceiling", repainted(bench.pipeline.vae, pictures.mix)
    yield "true mix", pictures.mix


def _caption(one: Scored) -> str:
    sung = "sings" if one.scores["performed"] else "no new vocal over this backing"
    return f"{ROWS[one.kind]}: {sung}, edge F1 {one.scores['edge_f1']:.2f}"


EXPERIMENT = Experiment(
    name="need",
    question="Is the ControlNet needed?",
    intro="The same prompts and seeds with a ControlNet, and with its base started from a picture instead (image-to-image).",
    kind=CONTROL,
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that no model saw, against the accompaniment. Whether a vocal was added over the backing is told from "
        "added energy, melody, motion and backing kept, without a network (riff/metrics/edit.py). Edges and gradients are "
        "scored outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed from pictures, and a "
        "vocal lowers them. The base is the UNet inside the model, which training leaves as it was but with --sd_locked False."
    ),
    flags=("steps", "scale", "strength"),
    run=run_need,
)

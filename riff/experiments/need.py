"""The experiment `need`: how far does the base get without a ControlNet, by image-to-image?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from riff.experiments.clips import ReferenceClip, reconstructed
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage
from riff.metrics.edit import judge
from riff.models.model_types import CONTROL
from riff.sampling.levels import match_level
from riff.sampling.options import without_control
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
    "performed": "performed",
    "edited": "vocal added, backing kept",
    "fits": "fits",
    "harmony": "harmony",
    "added_energy": "added energy",
    "melody": "melody",
    "motion": "motion",
    "backing_kept": "backing kept",
    "edge_f1": "edge F1",
    "gradient_correlation": "gradient correlation",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
}


def run_need(evaluation: Evaluation) -> Result:
    check_change(evaluation.control_options, min(*EDGE_CHANGES, *BACKING_CHANGES))
    scored = []
    for clip, seed in evaluation.seeded_clips():
        for row, image in _images(evaluation, clip, seed):
            scores = clip.score(image) | vocal_scores(clip, image)
            vocal = "vocal added" if scores["edited"] else "no new vocal over this backing"
            caption = f"{ROWS[row]}: {vocal}, edge F1 {scores['edge_f1']:.2f}"
            scored.append(ScoredImage(clip.name, row, image, scores, caption))
    return Result(asdict(evaluation.control_options), scored)


def vocal_scores(clip: ReferenceClip, image: SpectrogramImage) -> dict[str, float]:
    """Whether an image holds a vocal that fits the clip's accompaniment (`judge`), and the scores that decide it."""
    verdict = judge("add", clip.accompaniment_image.pixels, image.pixels)
    scores = verdict.scores._asdict()
    return verdict.shares | {name: scores[name] for name in VOCAL_SCORES} | verdict.fit_scores


def edges_as_spectrogram(edges: np.ndarray) -> np.ndarray:
    """An edge map as a spectrogram: sound on the edges, silence elsewhere; uint8, shape (n_mels, frames)."""
    return SILENCE - edges


def _images(evaluation: Evaluation, clip: ReferenceClip, seed: int) -> Iterator[tuple[str, SpectrogramImage]]:
    """The image of every row, all with the same prompt and seed."""
    samples, options, backing = evaluation.samples, evaluation.control_options, clip.accompaniment_image
    condition = (clip.prompt, seed, options)
    spectrogram_of_edges = edges_as_spectrogram(clip.edges)
    generated = {"control": samples.control(clip.edges, *condition)}
    for change in EDGE_CHANGES:
        generated[f"edges {change:g}"] = samples.image_to_image(spectrogram_of_edges, *condition, change)
    for change in BACKING_CHANGES:
        generated[f"backing {change:g}"] = samples.image_to_image(backing.pixels, *condition, change)
    generated["prompt alone"] = samples.control(clip.edges, clip.prompt, seed, without_control(options))
    for row, sample in generated.items():
        yield row, match_level(sample.pixels, backing)
    yield "edges as sound", match_level(spectrogram_of_edges, backing)
    yield "ceiling", reconstructed(evaluation.model.pipeline.vae, clip.mix_image)
    yield "true mix", clip.mix_image


EXPERIMENT = Experiment(
    name="need",
    question="Is the ControlNet needed?",
    intro="The same prompts and seeds with a ControlNet, and with its base started from an image instead (image-to-image).",
    model_types=(CONTROL,),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data, compared with the accompaniment. Whether a vocal was added over the "
        "backing follows from added energy, melody, motion and backing kept, without a network (riff/metrics/edit.py). Edges "
        "and gradients are scored outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed "
        "from images, and a vocal lowers them. The base is the UNet inside the model, which training changes with --sd_locked "
        "False alone."
    ),
    run=run_need,
)

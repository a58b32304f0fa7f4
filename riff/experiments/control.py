"""The experiment `control`: does a sample follow the accompaniment's edges?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from riff.experiments.clips import reconstructed
from riff.experiments.experiment import Evaluation, Experiment, Means, Result, ScoredImage, mean_scores
from riff.metrics.fit import share_of_way
from riff.models.model_types import CONTROL
from riff.sampling.levels import match_level
from riff.sampling.options import without_control

METRICS = {
    "edge_f1": "edge F1",
    "edge_precision": "precision",
    "edge_recall": "recall",
    "gradient_correlation": "gradient correlation",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
}
ROWS = {
    "control": "with control",
    "floor": "floor: without control",  # the same seed and prompt with the control at strength 0
    "ceiling": "ceiling: true mix through the autoencoder",
    "true mix": "true mix, untouched",
    "covered": "share of the way from floor to ceiling",
}


def run_control(evaluation: Evaluation) -> Result:
    options, vae = evaluation.control_options, evaluation.model.pipeline.vae
    scored = []
    for clip, seed in evaluation.seeded_clips():
        samples = [
            evaluation.samples.control(clip.edges, clip.prompt, seed, one).pixels for one in (options, without_control(options))
        ]
        control, floor = (match_level(sample, clip.accompaniment_image) for sample in samples)
        images = (control, floor, reconstructed(vae, clip.mix_image), clip.mix_image)
        for row, image in zip(ROWS, images, strict=False):
            scores = clip.score(image)
            scored.append(ScoredImage(clip.name, row, image, scores, f"{ROWS[row]}: edge F1 {scores['edge_f1']:.2f}"))
    return Result(asdict(options), scored, summarise(scored))


def summarise(scored: Sequence[ScoredImage]) -> Means:
    """Mean of every metric by row, and the share of the way from floor to ceiling that the control covers (`covered`)."""
    means = mean_scores(scored, METRICS, count=False)
    if {"control", "floor", "ceiling"} <= set(means):
        control, floor, ceiling = (means[row] for row in ("control", "floor", "ceiling"))
        means["covered"] = {metric: share_of_way(control[metric], floor[metric], ceiling[metric]) for metric in METRICS}
    return means


EXPERIMENT = Experiment(
    name="control",
    question="Does the sample follow the accompaniment?",
    intro="A ControlNet on the accompaniment's edges.",
    model_types=(CONTROL,),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data, compared with the accompaniment. Edges (one pixel of tolerance) and "
        "gradients are scored outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed "
        "from images."
    ),
    run=run_control,
)

"""The experiment `control`: does the sample follow the accompaniment's edges?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from riff.experiments.bench import Bench, Experiment, Result, shown_with
from riff.experiments.control import Scored, evaluate_control, summarise
from riff.models.model_types import CONTROL
from riff.sampling.options import options_for

METRIC_NAMES = {
    "edge_f1": "edge F1",
    "edge_precision": "precision",
    "edge_recall": "recall",
    "gradient_correlation": "gradient correlation",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
}
KIND_NAMES = {
    "control": "with control",
    "floor": "floor: without control",
    "ceiling": "ceiling: true mix through the autoencoder",
    "true mix": "true mix, untouched",
    "covered": "share of the way from floor to ceiling",
}


def run_control(bench: Bench, steps: int, scale: float | None, strength: float | None) -> Result:
    options = options_for(bench.model, scale, strength, steps=steps)
    kept: dict[str, Any] = {"on_clip": bench.on_clip, "samples": bench.samples, "iterations": bench.sound_iterations}
    scored = evaluate_control(bench.pipeline, bench.clips, options, bench.seed, **kept)
    return Result(asdict(options), scored, summarise(scored), shown_with(scored, _caption))


def _caption(one: Scored) -> str:
    return f"{KIND_NAMES[one.kind]}: edge F1 {one.scores['edge_f1']:.2f}"


EXPERIMENT = Experiment(
    name="control",
    question="Does the sample follow the accompaniment?",
    intro="A ControlNet on the accompaniment's edges, measured.",
    kind=CONTROL,
    metrics=METRIC_NAMES,
    rows=KIND_NAMES,
    note=(
        "Means over songs that no model saw, against the accompaniment. Edges (one pixel of tolerance) and gradients are scored "
        "outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed from pictures."
    ),
    flags=("steps", "scale", "strength"),
    run=run_control,
)

"""The experiment `settings`: what does each sampling setting cost, and what does it gain?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from riff.errors import ModelError
from riff.experiments.clips import ReferenceClip, reconstructed
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage, load_evaluation, mean_scores
from riff.experiments.need import vocal_scores
from riff.models.model_types import CONTROL, model_type_of
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges
from riff.spectrogram.image import SpectrogramImage

STRENGTHS = (0.0, 0.5, 1.0, 1.6, 2.0)
CANNY = ((50, 100), (200, 400))  # beside the default
GUIDANCE = (1.0, 2.0, 3.0, 5.0, 7.5)
STEPS = (5, 10, 20, 50)
SAMPLERS = {"UniPC": UniPCMultistepScheduler, "DDIM": DDIMScheduler, "DPM++": DPMSolverMultistepScheduler}
METRICS = {
    "seconds": "seconds a clip",
    "edge_f1": "edge F1",
    "gradient_correlation": "gradient correlation",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
    "performed": "performed",
    "edited": "vocal added, backing kept",
    "melody": "melody",
    "backing_kept": "backing kept",
}
ROWS = {"recommended": "as recommended", "ceiling": "ceiling: true mix through the autoencoder"}


@dataclass(frozen=True)
class Variant:
    """One set of settings. canny: thresholds of the edges that the ControlNet is given. sampler: of `SAMPLERS`."""

    options: SamplingOptions
    canny: tuple[int, int] = (CANNY_LOW, CANNY_HIGH)
    sampler: str = "UniPC"


def run_settings(
    evaluation: Evaluation,
    steps: int,
    guidance_scale: float | None,
    strength: float | None,
    settings: Sequence[str],
    compare: Sequence[str],
) -> Result:
    others, start = [named_model(text) for text in compare], recommended(evaluation)
    options = start.options
    scored = list(_measure(evaluation, variants(start, settings), ceiling=True))
    for name, folder in others:
        sampling = {"guidance_scale": guidance_scale, "strength": strength, "steps": steps}
        other = load_evaluation(folder, evaluation.clips, None, evaluation.device, evaluation.seed, **sampling)
        row = f"model {name}"
        scored += _measure(replace(other, label=row), {row: recommended(other)})
    means = mean_scores(scored, METRICS)
    for row, scores in means.items():  # the first sample of a process takes longer, which a median ignores
        seconds = [one.scores["seconds"] for one in scored if one.row == row and "seconds" in one.scores]
        scores |= {"seconds": float(np.median(seconds))} if seconds else {}
    as_recommended = (
        f"canny {CANNY_LOW}/{CANNY_HIGH}, strength {options.strength:g}, guidance {options.guidance_scale:g}, "
        f"{options.steps} steps of {start.sampler}"
    )
    return Result(asdict(options), scored, means, remarks=[f"As recommended: {as_recommended}. Each row changes one of these."])


def recommended(evaluation: Evaluation) -> Variant:
    """A model's options, and the sampler that it was loaded with."""
    scheduler = evaluation.model.pipeline.scheduler
    own = next(name for name, sampler in SAMPLERS.items() if isinstance(scheduler, sampler))
    return Variant(evaluation.control_options, sampler=own)


def variants(start: Variant, settings: Sequence[str]) -> dict[str, Variant]:
    """The variant of every row: the first, then it with one setting changed.

    Args:
        settings: some of strength, canny, guidance, steps, sampler.
    """
    options = start.options
    changed: dict[str, dict[str, Variant]] = {
        "strength": {f"strength {value:g}": replace(start, options=replace(options, strength=value)) for value in STRENGTHS},
        "canny": {f"canny {low}/{high}": replace(start, canny=(low, high)) for low, high in CANNY},
        "guidance": {f"guidance {value:g}": replace(start, options=replace(options, guidance_scale=value)) for value in GUIDANCE},
        "steps": {f"{value} steps": replace(start, options=replace(options, steps=value)) for value in STEPS},
        "sampler": {f"sampler {name}": replace(start, sampler=name) for name in SAMPLERS},
    }
    rows = {"recommended": start}
    for setting, others in changed.items():
        rows |= {row: variant for row, variant in others.items() if setting in settings and variant != start}
    return rows


def named_model(text: str) -> tuple[str, str]:
    """Split `NAME=FOLDER`, and check that the folder holds a control model.

    Raises:
        ModelError: no model there, or of another type.
    """
    name, _, folder = text.partition("=")
    if model_type_of(folder) is not CONTROL:
        raise ModelError(f"{text}: needs {CONTROL.name}; train one with {CONTROL.script}")
    return name, folder


def _measure(evaluation: Evaluation, rows: dict[str, Variant], ceiling: bool = False) -> Iterator[ScoredImage]:
    for clip, seed in evaluation.seeded_clips():

        def scored(row: str, image: SpectrogramImage, clip: ReferenceClip = clip, **more: float) -> ScoredImage:
            scores = more | clip.score(image) | vocal_scores(clip, image)
            return ScoredImage(clip.name, row, image, scores, f"{ROWS.get(row, row)}: edge F1 {scores['edge_f1']:.2f}")

        for row, variant in rows.items():
            edges = canny_edges(clip.accompaniment_image.pixels, *variant.canny)
            sample = evaluation.samples.control(edges, clip.prompt, seed, variant.options, SAMPLERS[variant.sampler])
            yield scored(row, match_level(sample.pixels, clip.accompaniment_image), seconds=sample.seconds)
        if ceiling:
            yield scored("ceiling", reconstructed(evaluation.model.pipeline.vae, clip.mix_image))


EXPERIMENT = Experiment(
    name="settings",
    question="What does each setting cost, and what does it gain?",
    intro="One setting at a time, the others as the model recommends them; the same songs, prompts and seeds.",
    model_types=(CONTROL,),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data; seconds are medians on this machine. Whatever edges the ControlNet was "
        "given, all rows are scored against the accompaniment's edges at the default thresholds, outside the true vocal's "
        "region; whether a vocal was added over the accompaniment is decided without a network (riff/metrics/edit.py). Strength "
        "0 is the base alone."
    ),
    run=run_settings,
)

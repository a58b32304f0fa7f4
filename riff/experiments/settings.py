"""The experiment `settings`: what does each setting cost, and what does it give?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from riff.cli import progress_bar
from riff.errors import OptionError
from riff.experiments.bench import Bench, Experiment, Result, load_bench, mean_scores, shown_with
from riff.experiments.control import ClipPictures, Scored, repainted
from riff.experiments.need import vocal_scores
from riff.models.model_types import CONTROL, model_type_of
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions, options_for
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges

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
    "performed": "vocal added, backing kept",
    "melody": "melody",
    "backing_kept": "backing kept",
}
ROWS = {"recommended": "as recommended", "ceiling": "ceiling: true mix through the autoencoder"}


@dataclass(frozen=True)
class Variant:
    """One way to draw. canny: thresholds of the edges that the control sees. sampler: of `SAMPLERS`."""

    options: SamplingOptions
    canny: tuple[int, int] = (CANNY_LOW, CANNY_HIGH)
    sampler: str = "UniPC"


def run_settings(
    bench: Bench, steps: int, scale: float | None, strength: float | None, settings: Sequence[str], compare: Sequence[str]
) -> Result:
    others = [named_model(text) for text in compare]
    options = options_for(bench.model, scale, strength, steps=steps)
    scored = list(_measure(bench, variants(options, settings), ceiling=True))
    for name, folder in others:
        theirs = {f"model {name}": Variant(options_for(folder, scale, strength, steps=steps))}
        other = load_bench(CONTROL, folder, None, bench.device, bench.clips, bench.seed)
        with progress_bar(total=len(bench.clips), desc=f"model {name}", unit="song") as progress:
            counted = replace(other, on_clip=progress.update, sound_iterations=bench.sound_iterations)
            scored += _measure(counted, theirs)
    means = mean_scores(scored, tuple(METRICS))
    for row, found in means.items():  # the first draw of a process takes longer, which a median does not see
        seconds = [one.scores["seconds"] for one in scored if one.kind == row and "seconds" in one.scores]
        found |= {"seconds": float(np.median(seconds))} if seconds else {}
    return Result(asdict(options), scored, means, shown_with(scored, _caption), [_said(options)])


def _said(options: SamplingOptions) -> str:
    drawn = f"strength {options.strength:g}, guidance {options.guidance_scale:g}, {options.steps} steps of {Variant.sampler}"
    return f"As recommended: canny {CANNY_LOW}/{CANNY_HIGH}, {drawn}. Each row changes one of these."


def variants(options: SamplingOptions, settings: Sequence[str]) -> dict[str, Variant]:
    """Every way to draw by its row: as the options say, then with each of the settings changed alone.

    Args:
        settings: some of strength, canny, guidance, steps, sampler.
    """
    start = Variant(options)
    changed: dict[str, dict[str, Variant]] = {
        "strength": {f"strength {value:g}": Variant(replace(options, strength=value)) for value in STRENGTHS},
        "canny": {f"canny {low}/{high}": Variant(options, (low, high)) for low, high in CANNY},
        "guidance": {f"guidance {value:g}": Variant(replace(options, guidance_scale=value)) for value in GUIDANCE},
        "steps": {f"{value} steps": Variant(replace(options, steps=value)) for value in STEPS},
        "sampler": {f"sampler {name}": Variant(options, sampler=name) for name in SAMPLERS},
    }
    rows = {"recommended": start}
    for setting, ways in changed.items():
        rows |= {row: way for row, way in ways.items() if setting in settings and way != start}
    return rows


def named_model(text: str) -> tuple[str, str]:
    """`NAME=FOLDER` -> both, checked.

    Raises:
        OptionError: not of this form, or no control model.
        ModelError: no model there.
    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise OptionError(f"--compare {text}: write NAME=FOLDER")
    if model_type_of(folder) is not CONTROL:
        raise OptionError(f"--compare {text}: needs {CONTROL.name}; train one with {CONTROL.script}")
    return name, folder


def _measure(bench: Bench, ways: dict[str, Variant], ceiling: bool = False) -> Iterator[Scored]:
    for pictures, seed in bench.pictures():
        for row, way in ways.items():
            yield _scored(bench, pictures, seed, row, way)
        if ceiling:
            painted = repainted(bench.pipeline.vae, pictures.mix)
            yield Scored(pictures.clip.name, "ceiling", painted, pictures.score(painted) | vocal_scores(pictures, painted))


def _scored(bench: Bench, pictures: ClipPictures, seed: int, row: str, way: Variant) -> Scored:
    edges = canny_edges(pictures.backing.pixels, *way.canny)
    sample = bench.samples.control(edges, pictures.clip.prompt, seed, way.options, SAMPLERS[way.sampler])
    picture = match_level(sample.pixels, pictures.backing)
    scores = {"seconds": sample.seconds} | pictures.score(picture) | vocal_scores(pictures, picture)
    return Scored(pictures.clip.name, row, picture, scores)


def _caption(one: Scored) -> str:
    return f"{ROWS.get(one.kind, one.kind)}: edge F1 {one.scores['edge_f1']:.2f}"


EXPERIMENT = Experiment(
    name="settings",
    question="What does each setting cost, and what does it give?",
    intro="One setting at a time, the others as the model recommends them; the same songs, prompts and seeds.",
    kind=CONTROL,
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that no model saw, seconds are medians on this machine. Whatever edges the control saw, all rows are "
        "scored against the accompaniment's at the default thresholds, outside the true vocal's region; whether a vocal was added "
        "over the kept backing is told without a network (riff/metrics/edit.py). Strength 0 is the base alone."
    ),
    flags=("steps", "scale", "strength", "settings", "compare"),
    run=run_settings,
)

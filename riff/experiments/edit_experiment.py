"""How often an instruction is followed, and what it costs the backing: a model between its floor and its ceiling."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from riff.data.records import EDIT_PAIRS
from riff.data.stores import open_pairs
from riff.experiments.bench import Bench, Experiment, Result, mean_scores, shown_with
from riff.experiments.control import ClipPictures, Scored, TrueClip, compared_sound, repainted
from riff.metrics.edit import Verdict, excess_image, judge
from riff.metrics.images import grey_difference
from riff.metrics.melody import register_obeyed, register_of_prompt
from riff.metrics.memorisation import fingerprints, nearest_distance
from riff.metrics.sounds import chroma_cosine, onset_correlation
from riff.models.model_types import EDIT
from riff.pairs.instructions import NOTHING, choose, removals
from riff.sampling.edit import EditClip, best_take, clip_from_record, generate_candidates
from riff.sampling.options import EditOptions, edit_options_for, edit_target
from riff.seeds import seed_after
from riff.spectrogram.image import SpectrogramImage, image_to_mel, mel_to_image

EDIT_METRIC_NAMES = {
    "performed": "edit rate",
    "added_energy": "added energy",
    "melody": "melody",
    "edit_score": "edit score",
    "backing_kept": "backing kept",
    "grey_levels": "grey levels off",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
    "register_obeyed": "register obeyed",
    "nearest_training": "nearest training example",
}
EDIT_METRICS = tuple(EDIT_METRIC_NAMES)
ADDING = "add {vocal}"
ITERATIONS = 16  # of the sounds that are compared


def evaluate_edit(
    pipeline: Any,
    clips: Sequence[TrueClip],
    options: EditOptions,
    seed: int = 0,
    best_of: int = 1,
    target: str = "mix",
    kinds: Sequence[str] = ("add",),
    training: np.ndarray | None = None,
    instruction: str = ADDING,
    on_clip: Callable[[], object] = lambda: None,
) -> list[Scored]:
    """Score, for every clip and kind of edit, the model's edit beside its floor and its ceiling.

    `KIND`: the first draw. `KIND, best of N`: of N draws the one that `best_take` keeps. `KIND floor`: the input through the
    model's autoencoder, an edit that was not performed. `KIND ceiling`: the true answer through it. `KIND truth`: untouched.
    `grey_levels` is the mean difference from the input at the input's level, outside the true vocal's region; chroma and
    onsets compare sounds that were all reconstructed from pictures, with the backing's. Register and nearest training
    example are of what was added, so only `add` has them.

    Args:
        training: `fingerprints` of the training data's excesses, from `training_fingerprints`.
        instruction: see `edit_case`.
    """
    scored = []
    for index, clip in enumerate(clips):
        known = ClipPictures(clip, iterations=ITERATIONS)
        for kind in kinds:
            case = edit_case(kind, clip, known.mix, known.backing, instruction)
            takes = generate_candidates(pipeline, case, options, seed_after(seed, index), best_of, target)
            pictures = {kind: (takes[0].after, takes[0].verdict)}
            if best_of > 1:
                best = best_take(takes)
                pictures[f"{kind}, best of {best_of}"] = (best.after, best.verdict)
            for name, picture in _references(pipeline.vae, case).items():
                pictures[f"{kind} {name}"] = (picture, judge(kind, case.before.pixels, picture.pixels))
            for name, (picture, verdict) in pictures.items():
                scores = _backing_scores(known, picture) | _verdict_scores(case, picture, verdict, training)
                scored.append(Scored(clip.name, name, picture, scores))
        on_clip()
    return scored


def edit_case(kind: str, clip: TrueClip, mix: SpectrogramImage, backing: SpectrogramImage, instruction: str = ADDING) -> EditClip:
    """A clip as the input, instruction and right answer of one kind of edit.

    Args:
        instruction: how an addition is worded where the clip does not say; `{vocal}` is what its prompt says of the vocal,
            `a sad male vocal pop melody`.
    """
    if kind == "remove":
        return EditClip(clip.name, mix, choose(removals("vocals"), clip.name), kind, backing)
    if kind == "noop":
        return EditClip(clip.name, backing, choose(NOTHING, clip.name), kind, backing)
    return EditClip(clip.name, backing, instruction_for(clip, instruction), kind, mix)


def instruction_for(clip: TrueClip, instruction: str = ADDING) -> str:
    """What an edit model is told to add to a clip: the clip's own instruction, or one made of its prompt (see `edit_case`)."""
    vocal = re.sub(r"^(generate|add|create|sing)\s+", "", clip.prompt, flags=re.IGNORECASE)
    return clip.instruction or instruction.replace("{vocal}", vocal)


def training_fingerprints(folder: Path, target: str = "mix") -> np.ndarray:
    """`fingerprints` of what every `add` pair of a data set adds to its input; `target` is what its edited pictures show.

    Raises:
        DataError: no edit pairs there, or a picture that is missing or broken.
    """
    store, records = open_pairs(folder, EDIT_PAIRS)
    pairs = (clip_from_record(store, record, target) for record in records if record.kind == "add")
    return fingerprints(excess_image(pair.before.pixels, pair.truth.pixels) for pair in pairs if pair.truth is not None)


def _references(vae: Any, case: EditClip) -> dict[str, SpectrogramImage]:
    assert case.truth is not None  # a clip with known parts has one
    return {
        "floor": repainted(vae, case.before),
        "ceiling": repainted(vae, case.truth),
        "truth": case.truth,
    }


def _backing_scores(known: ClipPictures, picture: SpectrogramImage) -> dict[str, float]:
    redrawn, outside = mel_to_image(image_to_mel(picture), picture.params, known.backing.max_value), known.outside
    sound, rate = compared_sound(picture, known.iterations).numpy(), picture.params.sample_rate
    return {
        "grey_levels": grey_difference(redrawn.pixels[outside][None], known.backing.pixels[outside][None]),
        "chroma_cosine": chroma_cosine(sound, known.backing_sound, rate),
        "onset_correlation": onset_correlation(sound, known.backing_sound, rate),
    }


def _verdict_scores(case: EditClip, picture: SpectrogramImage, verdict: Verdict, training: np.ndarray | None) -> dict[str, float]:
    scores = verdict.scores
    found = {
        "performed": float(verdict.performed),
        "added_energy": scores.added_energy,
        "melody": scores.melody,
        "edit_score": verdict.score,
        "backing_kept": scores.backing_kept,
    }
    if case.kind == "add" and register_of_prompt(case.prompt):
        found["register_obeyed"] = float(bool(register_obeyed(case.prompt, scores.median_note)))
    if case.kind == "add" and training is not None:
        found["nearest_training"] = nearest_distance(excess_image(case.before.pixels, picture.pixels), training).distance
    return found


def summarise_edits(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Mean of every metric by kind of picture, over the clips that have it; `clips` counts all of the kind."""
    return mean_scores(scored, EDIT_METRICS)


def run_edit(
    bench: Bench,
    steps: int,
    scale: float | None,
    image_scale: float | None,
    best_of: int,
    edit_kinds: Sequence[str],
    instruction: str,
    train_data_dir: Path | None,
) -> Result:
    target = edit_target(bench.model)
    training = training_fingerprints(train_data_dir, target) if train_data_dir else None
    options = edit_options_for(bench.model, scale, image_scale, steps=steps)
    kinds = list(dict.fromkeys(edit_kinds))
    scored = evaluate_edit(
        bench.pipeline, bench.clips, options, bench.seed, best_of, target, kinds, training, instruction, on_clip=bench.on_clip
    )
    return Result(asdict(options) | {"target": target}, scored, summarise_edits(scored), shown_with(scored, _caption))


def _caption(one: Scored) -> str:
    said = "performed" if one.scores["performed"] else "not performed"
    return f"{one.kind}: {said}, score {one.scores['edit_score']:.2f}"


EXPERIMENT = Experiment(
    name="edit",
    question="Is the edit performed?",
    intro="A model that changes spectrograms by instruction, measured.",
    kind=EDIT,
    metrics=EDIT_METRIC_NAMES,
    note=(
        "Means over songs that no model saw. Whether an edit counts is seen from the pictures, without a network "
        "(riff/metrics/edit.py). The floor is the input through the model's autoencoder, the ceiling the true answer through "
        "it. Grey levels are scored outside the true vocal's region; chroma and onsets compare sounds that were all reconstructed "
        "from pictures, with the backing's, so a true vocal lowers them. The register's own ceiling is below 1, because singers' "
        "registers overlap. The nearest training example is a distance from 0, a copy, to 1.41."
    ),
    flags=("steps", "scale", "image_scale", "best_of", "edit_kinds", "instruction", "train_data_dir"),
    run=run_edit,
)

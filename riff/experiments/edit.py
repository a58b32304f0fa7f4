"""The experiment `edit`: how often is an instruction followed, and what does that cost the accompaniment?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from riff.cli import warn
from riff.data.records import EDIT_PAIRS
from riff.data.stores import open_pairs
from riff.experiments.clips import ReferenceClip, reconstructed
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage
from riff.metrics.edit import Verdict, excess_image, judge
from riff.metrics.images import grey_difference
from riff.metrics.melody import register_obeyed, register_of_prompt
from riff.metrics.memorisation import fingerprints, nearest_distance
from riff.metrics.voice_heard import can_hear, hear_voice
from riff.models.model_types import EDIT
from riff.pairs.instructions import NOTHING, choose, removals
from riff.sampling.edit import EditClip, best_take, clip_from_record, generate_candidates
from riff.sampling.options import EditOptions
from riff.sampling.rendering import render_mix
from riff.sampling.song import SongModel
from riff.spectrogram.image import SpectrogramImage, image_to_mel, mel_to_image
from riff.spectrogram.params import STANDARD

METRICS = {
    "performed": "edit rate",
    "edited": "vocal added, backing kept",
    "fits": "fits",
    "harmony": "harmony",
    "rhythm": "rhythm",
    "added_energy": "added energy",
    "melody": "melody",
    "edit_score": "edit score",
    "backing_kept": "backing kept",
    "grey_levels": "grey levels off",
    "chroma_cosine": "chroma cosine",
    "onset_correlation": "onset correlation",
    "register_obeyed": "register obeyed",
    "voice_heard": "voice heard",
    "gender_heard": "gender heard",
    "nearest_training": "nearest training example",
}
ADDING = "add {vocal}"
SOUND_ITERATIONS = 16  # of the sounds that are compared


def run_edit(
    evaluation: Evaluation, best_of: int, edit_kinds: Sequence[str], instruction: str = ADDING, train_data_dir: Path | None = None
) -> Result:
    """Score, for every clip and instruction type, the model's edit beside its floor and its ceiling.

    Rows: `TYPE`: the first sample. `TYPE, best of N`: the best of N samples (`best_take`). `TYPE floor`: the input through the
    model's autoencoder, no edit at all. `TYPE ceiling`: the right answer through it. `TYPE truth`: the right answer itself.
    Register, fit, what a tagger hears and the nearest training example are of what was added, so only the type `add` has them.

    Raises:
        DataError: as `training_fingerprints`.
    """
    hear = "add" in edit_kinds and can_hear(warn)
    target = evaluation.model.target
    training = training_fingerprints(train_data_dir, target) if train_data_dir else None
    scored = []
    for clip, seed in evaluation.seeded_clips():
        clip = replace(clip, sound_iterations=SOUND_ITERATIONS)
        for edit_type in dict.fromkeys(edit_kinds):
            case = edit_case(edit_type, clip, instruction)
            for row, image, verdict, mix in _images(evaluation, case, clip, seed, best_of):
                scores = _accompaniment_scores(clip, image) | _verdict_scores(case, image, verdict, training)
                if hear and mix is not None:
                    scores |= hear_voice(*mix, STANDARD.sample_rate).scores(case.prompt)
                performed = "performed" if verdict.performed else "not performed"
                caption = f"{row}: {performed}, score {scores['edit_score']:.2f}"
                scored.append(ScoredImage(clip.name, row, image, scores, caption))
    return Result(asdict(evaluation.model.options) | {"target": target}, scored)


def edit_case(edit_type: str, clip: ReferenceClip, instruction: str = ADDING) -> EditClip:
    """A clip as the input, instruction and right answer of one type of edit: add, remove or noop.

    Args:
        instruction: how an addition is worded where the clip has no instruction; `{vocal}` stands for the vocal as the clip's
            prompt describes it, such as `a sad male vocal pop melody`.
    """
    mix, accompaniment = clip.mix_image, clip.accompaniment_image
    if edit_type == "remove":
        return EditClip(clip.name, mix, choose(removals("vocals"), clip.name), edit_type, accompaniment)
    if edit_type == "noop":
        return EditClip(clip.name, accompaniment, choose(NOTHING, clip.name), edit_type, accompaniment)
    return EditClip(clip.name, accompaniment, instruction_for(clip, instruction), edit_type, mix)


def instruction_for(clip: ReferenceClip, instruction: str = ADDING) -> str:
    """The instruction to add a clip's vocal: the clip's own, or one made of its prompt (see `edit_case`)."""
    vocal = re.sub(r"^(generate|add|create|sing)\s+", "", clip.prompt, flags=re.IGNORECASE)
    return clip.instruction or instruction.replace("{vocal}", vocal)


def prompt_for(model: SongModel, clip: ReferenceClip) -> str:
    """What a model of either type is asked for, to sing a clip's vocal."""
    return clip.prompt if model.follows_edges else instruction_for(clip)


def training_fingerprints(folder: Path, target: str = "mix") -> np.ndarray:
    """`fingerprints` of what every `add` pair of a data set adds to its input; `target` is what its edited images show.

    Raises:
        DataError: no edit pairs there, or an image that is missing or broken.
    """
    store, records = open_pairs(folder, EDIT_PAIRS)
    pairs = (clip_from_record(store, record, target) for record in records if record.kind == "add")
    return fingerprints(excess_image(pair.before.pixels, pair.truth.pixels) for pair in pairs if pair.truth is not None)


Sound = tuple[np.ndarray, np.ndarray]  # mix and accompaniment


def _images(
    evaluation: Evaluation, case: EditClip, clip: ReferenceClip, seed: int, best_of: int
) -> Iterator[tuple[str, SpectrogramImage, Verdict, Sound | None]]:
    """The image of every row, with the verdict on its edit and, of additions, what can be heard of it."""
    pipeline, options, target = evaluation.model.pipeline, evaluation.model.options, evaluation.model.target
    assert isinstance(options, EditOptions)  # `find_experiments` has checked the model's type
    assert case.truth is not None  # a reference clip has one
    adds = case.kind == "add"
    takes = generate_candidates(pipeline, case, options, seed, best_of, target)
    rows = {case.kind: takes[0]} | ({f"{case.kind}, best of {best_of}": best_take(takes)} if best_of > 1 else {})
    for row, take in rows.items():
        mix = render_mix(clip.song, take.output, target) if adds else None
        yield row, take.after, take.verdict, (mix.mix, mix.accompaniment) if mix else None
    floor, ceiling = (reconstructed(pipeline.vae, image) for image in (case.before, case.truth))
    sounds = {"floor": (clip.accompaniment, clip.accompaniment), "truth": (clip.mix, clip.accompaniment)} if adds else {}
    for name, image in (("floor", floor), ("ceiling", ceiling), ("truth", case.truth)):
        verdict = judge(case.kind, case.before.pixels, image.pixels)
        yield f"{case.kind} {name}", image, verdict, sounds.get(name)


def _accompaniment_scores(clip: ReferenceClip, image: SpectrogramImage) -> dict[str, float]:
    """`grey_levels`: mean difference at the accompaniment's level, outside the vocal's region; and sounds compared."""
    accompaniment, outside = clip.accompaniment_image, clip.outside
    at_level = mel_to_image(image_to_mel(image), image.params, accompaniment.max_value)
    levels = grey_difference(at_level.pixels[outside][None], accompaniment.pixels[outside][None])
    return {"grey_levels": levels, **clip.score_sound(image)}


def _verdict_scores(case: EditClip, image: SpectrogramImage, verdict: Verdict, training: np.ndarray | None) -> dict[str, float]:
    scores = verdict.scores
    found = {
        "performed": float(verdict.performed),
        "added_energy": scores.added_energy,
        "melody": scores.melody,
        "edit_score": verdict.score,
        "backing_kept": scores.backing_kept,
    }
    if case.kind == "add":
        found |= {"edited": float(scores.is_edit)} | verdict.fit_scores
    if case.kind == "add" and register_of_prompt(case.prompt):
        found["register_obeyed"] = float(bool(register_obeyed(case.prompt, scores.median_note)))
    if case.kind == "add" and training is not None:
        found["nearest_training"] = nearest_distance(excess_image(case.before.pixels, image.pixels), training).distance
    return found


EXPERIMENT = Experiment(
    name="edit",
    question="Is the edit performed?",
    intro="A model that changes spectrogram images by instruction.",
    model_types=(EDIT,),
    metrics=METRICS,
    note=(
        "Means over songs that are in no training data. Whether an edit was performed, and whether an added vocal fits, is decided "
        "from the images, without a network (riff/metrics/edit.py, riff/metrics/fit.py); whether a voice is heard that was not "
        "there, and of the gender asked for, by musicnn (riff/metrics/voice_heard.py). The floor is the input through the model's "
        "autoencoder, the ceiling the right answer through it. Grey levels are scored outside the true vocal's region; chroma and "
        "onsets compare sounds that were all reconstructed from images, with the accompaniment's, so a true vocal lowers them. The "
        "ceiling of the register is below 1, because singers' registers overlap. The nearest training example is a distance from "
        "0, a copy, to 1.41."
    ),
    run=run_edit,
)

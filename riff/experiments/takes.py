"""The experiment `takes`: what is a take worth, as `inpaint_song.py` makes it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch

from riff.cli import warn
from riff.experiments.clips import ReferenceClip
from riff.experiments.edit import prompt_for
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage
from riff.experiments.fit import COMPOSED, MODEL, TRUE
from riff.experiments.rungs import RANDOM, random_partners, vocal_of
from riff.metrics.edit import Verdict
from riff.metrics.melody import register_obeyed
from riff.metrics.seams import CONTEXT, border_ratio, seam_curves
from riff.metrics.voice_heard import can_hear, hear_voice
from riff.models.encoders import latent_factor
from riff.models.model_types import CONTROL, EDIT
from riff.sampling.melody import TuneGuide
from riff.sampling.rendering import render_mix
from riff.sampling.song import SongModel, SongSampler, generate_take, score_song
from riff.sampling.windows import WindowLayout
from riff.spectrogram.image import SpectrogramImage, waveform_to_image
from riff.spectrogram.params import STANDARD

METRICS = {
    "performed": "performed",
    "edited": "vocal added, backing kept",
    "backing_kept": "backing kept",
    "fits": "fits",
    "harmony": "harmony",
    "rhythm": "rhythm",
    "voice_heard": "voice heard",
    "voice_rise": "voice, log-odds",
    "gender_heard": "gender heard",
    "register_obeyed": "register obeyed",
    "seams": "flux at window borders",
}
BACKING = "backing"
ROWS = {
    BACKING: "floor: the backing alone",
    RANDOM: "floor: another song's vocal",
    MODEL: "the model",
    COMPOSED: "the model, composed tune",
    TRUE: "ceiling: the true vocal",
}
Made = tuple[np.ndarray, np.ndarray, SpectrogramImage, Verdict]  # mix and accompaniment at one level, image of the mix, verdict


def run_takes(evaluation: Evaluation) -> Result:
    """Score, for every song, the model's take, its take with a composed tune, the true vocal, another song's, and none."""
    clips, hear = evaluation.clips, can_hear(warn)
    partners = random_partners(clips, evaluation.seed) if len(clips) > 1 else []
    remarks = [] if partners else ["With a single song there is no other song's vocal."]
    scored = []
    for index, (clip, seed) in enumerate(evaluation.seeded_clips()):
        other = clips[partners[index]] if partners else None
        for row, (mix, accompaniment, image, verdict) in _rows(evaluation, clip, other, seed):
            asked = "" if row in (BACKING, RANDOM) else clip.prompt
            scores = _scores(asked, image, verdict, latent_factor(evaluation.model.pipeline))
            if hear:
                scores |= hear_voice(mix, accompaniment, STANDARD.sample_rate).scores(asked)
            found = "no vocal" if row == BACKING else verdict.shortcoming or "performed"
            scored.append(ScoredImage(clip.name, row, image, scores, f"{ROWS[row]}: {found}"))
    return Result(asdict(evaluation.model.options), scored, remarks=remarks)


def _rows(evaluation: Evaluation, clip: ReferenceClip, other: ReferenceClip | None, seed: int) -> Iterator[tuple[str, Made]]:
    model = evaluation.model
    yield BACKING, _known(clip, clip.accompaniment)
    if other is not None:
        yield RANDOM, _known(clip, clip.accompaniment + vocal_of(other, *clip.accompaniment.shape))
    prompt = prompt_for(model, clip)
    yield MODEL, _take(model, clip, prompt, seed)
    guide = TuneGuide(evaluation.composed_tune, clip.song, clip.accompaniment_image, model.target, prompt)
    yield COMPOSED, _take(model, clip, prompt, seed, guide)
    yield TRUE, _known(clip, clip.mix)


def _known(clip: ReferenceClip, mix: np.ndarray) -> Made:
    image = waveform_to_image(torch.from_numpy(mix))
    frames = np.arange(image.pixels.shape[1])
    return mix, clip.accompaniment, image, score_song(clip.accompaniment_image.pixels, image.pixels, frames)


def _take(model: SongModel, clip: ReferenceClip, prompt: str, seed: int, guide: TuneGuide | None = None) -> Made:
    take = generate_take(SongSampler(model, clip.accompaniment_image, prompt, guide=guide), seed)
    mix = render_mix(clip.song, take.output, model.target)
    return mix.mix, mix.accompaniment, take.after, take.verdict


def _scores(prompt: str, image: SpectrogramImage, verdict: Verdict, factor: int) -> dict[str, float]:
    scores = verdict.shares | {"backing_kept": verdict.scores.backing_kept} | verdict.fit_scores
    obeyed = register_obeyed(prompt, verdict.scores.median_note) if verdict.scores.is_edit else None
    scores |= {} if obeyed is None else {"register_obeyed": float(obeyed)}
    layout, frames = WindowLayout(), image.pixels.shape[1]
    starts = layout.starts(frames, factor) if frames > layout.width else []
    borders = [start for start in starts if CONTEXT <= start <= frames - CONTEXT]
    if borders:
        scores["seams"] = border_ratio([seam_curves(image.pixels).flux], [borders])
    return scores


EXPERIMENT = Experiment(
    name="takes",
    question="What is a take worth?",
    intro="Takes as inpaint_song.py makes them, over songs that no model has seen.",
    model_types=(EDIT, CONTROL),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data. Performed: a vocal was added, the backing kept, and the vocal fits, judged "
        "from the images without a network (riff/metrics/edit.py, riff/metrics/fit.py). Whether a voice is heard that was not "
        "there, and whether it is of the gender asked for, is musicnn's answer (riff/metrics/voice_heard.py). Seams are the "
        "spectral flux where a window begins, relative to elsewhere, in songs of several windows. The vocal of a song that comes "
        "without stems is a separator's estimate."
    ),
    run=run_takes,
)

"""The experiment `fit`: does the vocal belong to the song it is sung over?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import numpy as np

from riff.errors import DataError
from riff.experiments.clips import ReferenceClip
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage, mean_scores
from riff.metrics.edit import added_melody, excess_image, judge
from riff.metrics.fit import dependence, score_fit, share_of_way
from riff.models.model_types import CONTROL, EDIT
from riff.sampling.levels import mix_image
from riff.sampling.melody import TuneGuide
from riff.sampling.song import SongSampler
from riff.spectrogram.image import SpectrogramImage

VOCAL = "an uplifting female vocal pop melody"  # the same for every song, so that only the backing differs
METRICS = {
    "performed": "performed",
    "edited": "vocal added, backing kept",
    "harmony": "harmony",
    "rhythm": "rhythm",
    "fits": "fits",
    "harmony_share": "harmony, share of the way",
    "rhythm_share": "rhythm, share of the way",
    "alike": "alike over songs",
}
MODEL, COMPOSED, TRUE = "model", "composed tune", "true vocal"
OTHERS = " over other songs"
ROWS = {row + others: f"{row}{others}" for row in (MODEL, COMPOSED, TRUE) for others in ("", OTHERS)}


def run_fit(evaluation: Evaluation) -> Result:
    """Score vocals over their own backings and over those of all other clips: the model's, its own when it is given a tune that
    was composed for the backing, and the true ones.

    Raises:
        DataError: fewer than two clips.
    """
    clips = evaluation.clips
    if len(clips) < 2:
        raise DataError("fit is measured against chance, which needs two songs or more")
    generated = [_generate(evaluation, clip) for clip, _ in evaluation.seeded_clips()]
    mixes = {MODEL: [free for free, _ in generated], COMPOSED: [given for _, given in generated]}
    mixes[TRUE] = [clip.mix_image for clip in clips]
    scored = [one for row, images in mixes.items() for one in score_vocals(clips, row, images)]
    means = mean_scores(scored, METRICS)
    for row, images in mixes.items():
        pairs = zip(clips, images, strict=True)
        means[row]["alike"] = dependence([excess_image(clip.accompaniment_image.pixels, image.pixels) for clip, image in pairs])
        for metric in ("harmony", "rhythm"):
            found = [means[name].get(metric, float("nan")) for name in (row, row + OTHERS, TRUE)]
            means[row][f"{metric}_share"] = share_of_way(*found)
    return Result(asdict(evaluation.model.options), scored, means)


def _generate(evaluation: Evaluation, clip: ReferenceClip) -> tuple[SpectrogramImage, SpectrogramImage]:
    """Mixes with the model's vocal, free and with a composed tune: one prompt, one seed, whatever the clip."""
    model, backing = evaluation.model, clip.accompaniment_image
    prompt = model.prompt_for(VOCAL)
    guide = TuneGuide(evaluation.composed_tune, clip.song, backing, model.target, prompt)
    samplers = (SongSampler(model, backing, prompt), SongSampler(model, backing, prompt, guide=guide))
    free, given = (mix_image(sampler.sample(evaluation.seed), backing, model.target) for sampler in samplers)
    return free, given


def score_vocals(clips: Sequence[ReferenceClip], row: str, mixes: Sequence[SpectrogramImage]) -> Iterator[ScoredImage]:
    """The vocal of each mix over its own backing, and over all others as the mean."""
    for clip, mix in zip(clips, mixes, strict=True):
        own = clip.accompaniment_image.pixels
        melody, verdict = added_melody(own, mix.pixels), judge("add", own, mix.pixels)
        fit = verdict.fit
        scores = {"harmony": fit.harmony, "rhythm": fit.rhythm, "fits": float(fit.fits)} | verdict.shares
        others = [score_fit(melody, other.accompaniment_image.pixels) for other in clips if other is not clip]
        chance = {name: _mean(getattr(one, name) for one in others) for name in ("harmony", "rhythm", "fits")}
        caption = f"{row}: {'fits' if fit.fits else 'does not fit'}, score {fit.score:.2f}"
        yield ScoredImage(clip.name, row, mix, _numbers(scores), caption)
        yield ScoredImage(clip.name, row + OTHERS, mix, _numbers(chance))


def _mean(scores: Iterable[float]) -> float:
    """NaN without any: over a backing that has no onsets, or no chords, there is nothing to score."""
    numbers = [float(score) for score in scores if not np.isnan(score)]
    return float(np.mean(numbers)) if numbers else float("nan")


def _numbers(scores: dict[str, float]) -> dict[str, float]:
    """Without NaN: what has too few notes to be scored does not count."""
    return {name: value for name, value in scores.items() if not np.isnan(value)}


EXPERIMENT = Experiment(
    name="fit",
    question="Does the vocal belong to its song?",
    intro="The same prompt and seed over different songs: do the notes follow each song's chords and beats?",
    model_types=(EDIT, CONTROL),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data. Harmony is the backing's chroma at the vocal's notes, rhythm its onset "
        "strength at their beginnings (riff/metrics/fit.py). A composed tune is made for the backing and "
        "guides the sampling. The same vocals over the other songs show what chance gives, the true "
        "vocals what can be had; the share of the way is 0 at chance and 1 at the true vocal. A vocal fits if its score is "
        "at least 0.3, which 82 % of true vocals and 23 % of other songs' reach (100 demo songs of catalogue 3). Alike is the "
        "mean correlation of the vocals' images between songs: 1 is a vocal that ignores the song."
    ),
    run=run_fit,
)

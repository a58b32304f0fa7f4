"""The experiment `melody`: does the vocal sing the tune that it is given, and what does that cost?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np

from riff.cli import warn
from riff.experiments.clips import ReferenceClip
from riff.experiments.edit import prompt_for
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage
from riff.metrics.edit import added_melody, excess_image, judge
from riff.metrics.fit import dependence
from riff.metrics.melody import PitchTrack, track_of_contour
from riff.metrics.vocals import raw_chroma_accuracy, raw_pitch_accuracy
from riff.metrics.voice_heard import can_hear, hear_voice
from riff.models.model_types import CONTROL, EDIT
from riff.sampling.edit import CANDIDATE_STRIDE
from riff.sampling.levels import mix_image, output_at_level
from riff.sampling.melody import COMPOSE, Tune, TuneGuide
from riff.sampling.rendering import render_mix
from riff.sampling.song import SongModel, SongSampler
from riff.seeds import seed_after
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.params import STANDARD

STRENGTHS = (0.2, 0.3, 0.5, 0.7)
WITH_EDGES = (0.0, 0.3, 0.5)  # strengths at which a ControlNet is given the guide's edges too
FREE, GUIDE, TRUE = "free", "guide", "true vocal"
METRICS = {
    "raw_pitch_accuracy": "raw pitch accuracy",
    "raw_chroma_accuracy": "raw chroma accuracy",
    "voice_heard": "voice heard",
    "voice_alone": "log-odds of a voice, alone",
    "performed": "performed",
    "edited": "vocal added, backing kept",
    "backing_kept": "backing kept",
    "fits": "fits",
    "harmony": "harmony",
    "rhythm": "rhythm",
    "alike": "alike over seeds",
}
ROWS = {
    FREE: "without a tune",
    **{f"{strength:g}": f"strength {strength:g}" for strength in STRENGTHS},
    **{f"edges {strength:g}": f"strength {strength:g}, the guide's edges too" for strength in WITH_EDGES},
    GUIDE: "the guide itself, no model",
    TRUE: "true vocal",
}


def run_melody(evaluation: Evaluation) -> Result:
    """Score vocals with a composed tune at several strengths, two seeds of each with the same tune."""
    model, hears = evaluation.model, can_hear(warn)
    scored = []
    for clip, seed in evaluation.seeded_clips():
        backing = clip.accompaniment_image
        prompt = prompt_for(model, clip)
        guides = TuneGuide(Tune(COMPOSE, seed=seed), clip.song, backing, model.target, prompt)
        seeds = (seed, seed_after(seed, CANDIDATE_STRIDE))
        tune = track_of_contour(guides.tune(seed).contour)
        for row, takes in _outputs(model, clip, prompt, guides, seeds):
            mixes = [mix_image(take, backing, model.target) for take in takes]
            scores = _scores(clip, mixes[0], tune)
            if len(mixes) > 1:
                scores["alike"] = dependence([excess_image(backing.pixels, mix.pixels) for mix in mixes])
            if hears:
                waveform = render_mix(clip.song, takes[0], model.target).mix
                scores |= hear_voice(waveform, clip.accompaniment, STANDARD.sample_rate).scores()
            caption = f"{ROWS[row]}: raw pitch accuracy {scores['raw_pitch_accuracy']:.2f}"
            scored.append(ScoredImage(clip.name, row, mixes[0], scores, caption))
        scores = _scores(clip, clip.mix_image, tune)
        if hears:
            scores |= hear_voice(clip.mix, clip.accompaniment, STANDARD.sample_rate).scores()
        del scores["raw_pitch_accuracy"], scores["raw_chroma_accuracy"]  # it sings its own tune
        scored.append(ScoredImage(clip.name, TRUE, clip.mix_image, scores, ROWS[TRUE]))
    return Result(asdict(model.options), scored)


def _outputs(
    model: SongModel, clip: ReferenceClip, prompt: str, guides: TuneGuide, seeds: Sequence[int]
) -> Iterator[tuple[str, list[SpectrogramImage]]]:
    """The model's outputs for every row, one for each seed, and the guide alone."""
    backing = clip.accompaniment_image
    starts = {seed: guides.for_seed(seed) for seed in seeds}

    def sample(strength: float, edges: np.ndarray | None = None, seeds: Sequence[int] = seeds) -> list[SpectrogramImage]:
        found = []
        for seed in seeds:
            guide = replace(starts[seed], strength=strength) if strength else None
            found.append(SongSampler(model, backing, prompt, edges=edges, guide=guide).sample(seed))
        return found

    yield FREE, sample(0.0)
    for strength in STRENGTHS:
        yield f"{strength:g}", sample(strength)
    if model.follows_edges:
        edges = canny_edges(starts[seeds[0]].pixels, *model.canny)
        for strength in WITH_EDGES:
            yield f"edges {strength:g}", sample(strength, edges, seeds[:1])
    yield GUIDE, [output_at_level(starts[seed].pixels, backing, model.target) for seed in seeds]


def _scores(clip: ReferenceClip, mix: SpectrogramImage, tune: PitchTrack) -> dict[str, float]:
    """Scores of a mix by its image."""
    backing = clip.accompaniment_image.pixels
    melody, verdict = added_melody(backing, mix.pixels), judge("add", backing, mix.pixels)
    scores = {
        "raw_pitch_accuracy": raw_pitch_accuracy(melody, tune),
        "raw_chroma_accuracy": raw_chroma_accuracy(melody, tune),
        "backing_kept": verdict.scores.backing_kept,
        "fits": 0.0,  # where that is not known
    }
    return scores | verdict.shares | verdict.fit_scores


EXPERIMENT = Experiment(
    name="melody",
    question="Does the vocal sing the tune?",
    intro="A tune is composed for every backing, a plain voice sings it, and sampling starts from that guide.",
    model_types=(EDIT, CONTROL),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data. Raw pitch and chroma accuracy (mir_eval.melody, within a quarter tone) "
        "are of the vocal against the tune; without a tune they are chance, of the guide itself the ceiling of the image's "
        "pitch tracker. A voice is heard by a tagger that the project did not train. A vocal fits as in the experiment fit. "
        "Alike is the correlation of the vocals of two seeds with the same tune: 1 is the same vocal."
    ),
    run=run_melody,
)

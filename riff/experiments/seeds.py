"""The experiment `seeds`: do other seeds give other vocals over the same accompaniment?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import librosa
import numpy as np
import torch

from riff.experiments.clips import ReferenceClip, reconstructed
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage
from riff.metrics.edit import excess_image, melody_of
from riff.metrics.images import correlation, edge_scores, gradient_correlation
from riff.metrics.melody import PitchTrack, median_pitch
from riff.models.model_types import CONTROL
from riff.sampling.edit import CANDIDATE_STRIDE
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions, without_control
from riff.seeds import seed_after
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage, waveform_to_image

MAX_VOCALS = 4  # over one accompaniment, for the row `true vocals`
METRICS = {
    "vocal_difference": "vocals: difference",
    "melody_difference": "melody difference, semitones",
    "pitch_spread": "spread of median pitch, semitones",
    "melody": "melody",
    "edge_f1": "accompaniment: edge F1",
    "gradient_correlation": "accompaniment: gradient correlation",
}
ROWS = {
    "control": "other seeds, same accompaniment and prompt",
    "no control": "other seeds, same prompt, no control",
    "other songs": "same seed, other accompaniment and prompt",
    "true vocals": "true vocals of several songs over the same accompaniment",
    "true mix": "true mix and itself through the autoencoder",
}


@dataclass(frozen=True)
class AddedVocal:
    """An image and what it adds to its accompaniment.

    Attributes:
        edges: of the whole image. added: uint8, shape (n_mels, frames), the image of what was added (`excess_image`).
        track: the melody of what was added.
    """

    image: SpectrogramImage
    edges: np.ndarray
    added: np.ndarray
    track: PitchTrack

    @classmethod
    def over(cls, accompaniment: SpectrogramImage, image: SpectrogramImage) -> AddedVocal:
        added = excess_image(accompaniment.pixels, image.pixels, image.params)
        return cls(image, canny_edges(image.pixels), added, melody_of(added, image.params))


def run_seeds(evaluation: Evaluation, num_seeds: int) -> Result:
    options, vae = evaluation.control_options, evaluation.model.pipeline.vae
    scored, unscored, clips = [], [], evaluation.clips

    def sample(clip: ReferenceClip, seed: int, options: SamplingOptions = options) -> AddedVocal:
        pixels = evaluation.samples.control(clip.edges, clip.prompt, seed, options).pixels
        return AddedVocal.over(clip.accompaniment_image, match_level(pixels, clip.accompaniment_image))

    for index, (clip, seed) in enumerate(evaluation.seeded_clips()):
        seeds = [seed_after(seed, number * CANDIDATE_STRIDE) for number in range(num_seeds)]
        samples = [sample(clip, one) for one in seeds]
        uncontrolled = [sample(clip, one, without_control(options)) for one in seeds]
        rows = {"control": compare_all(samples, clip.outside), "no control": compare_all(uncontrolled, clip.outside)}
        if len(clips) > 1:
            following = [clips[(index + number) % len(clips)] for number in range(len(clips))]
            other = following[1]
            rows["other songs"] = compare_all([samples[0], sample(other, seed)], clip.outside & other.outside)
            mixes = [
                waveform_to_image(torch.from_numpy(clip.accompaniment + one.mix - one.accompaniment))
                for one in following[:MAX_VOCALS]
            ]
            vocals = [AddedVocal.over(clip.accompaniment_image, reconstructed(vae, mix)) for mix in mixes]
            rows["true vocals"] = compare_all(vocals, clip.outside)
        mixes = [clip.mix_image, reconstructed(vae, clip.mix_image)]
        rows["true mix"] = compare_all([AddedVocal.over(clip.accompaniment_image, mix) for mix in mixes], clip.outside)
        scored += [ScoredImage(clip.name, row, samples[0].image, scores) for row, scores in rows.items()]
        unscored += list(_shown(clip, samples, seeds))
    return Result(asdict(options) | {"num_seeds": num_seeds}, scored, unscored=unscored)


def compare(first: AddedVocal, second: AddedVocal, outside: np.ndarray) -> dict[str, float]:
    """How much two images differ in what they add, and how similar they are elsewhere.

    `vocal_difference` is 1 less the correlation of the images of what was added, each less its mean over time, because
    voices share a spectrum: 0 for the same vocal, 1 for unrelated vocals. `melody_difference` is the median distance of the
    two pitches in the frames in which both have one, in semitones; without such frames it is missing.

    Args:
        outside: bool, shape (n_mels, frames), where the accompaniments are compared.
    """
    scores = {
        "vocal_difference": 1.0 - correlation(_varying(first.added), _varying(second.added)),
        "edge_f1": edge_scores(first.edges, second.edges, tolerance=1, mask=outside).f1,
        "gradient_correlation": gradient_correlation(first.image.pixels, second.image.pixels, outside),
    }
    both = first.track.voiced & second.track.voiced
    if both.any():
        scores["melody_difference"] = float(np.median(np.abs(first.track.note - second.track.note)[both]))
    return scores


def _varying(pixels: np.ndarray) -> np.ndarray:
    """The difference from the mean over time: float64, shape (n_mels * frames,)."""
    return (pixels - pixels.mean(axis=1, keepdims=True)).ravel()


def compare_all(vocals: Sequence[AddedVocal], outside: np.ndarray) -> dict[str, float]:
    """Means of `compare` over all pairs, the spread of the median pitches, and the share of frames with a pitch (`melody`)."""
    pairs = [compare(first, second, outside) for first, second in combinations(vocals, 2)]
    found = {name: [pair[name] for pair in pairs if name in pair] for name in METRICS}
    scores = {name: float(np.mean(values)) for name, values in found.items() if values}
    medians = [median for median in (median_pitch(one.track) for one in vocals) if np.isfinite(median)]
    if len(medians) > 1:
        scores["pitch_spread"] = float(np.std(medians, ddof=1))
    return scores | {"melody": float(np.mean([one.track.voiced.mean() for one in vocals]))}


def _shown(clip: ReferenceClip, samples: Sequence[AddedVocal], seeds: Sequence[int]) -> Iterator[ScoredImage]:
    for sample, seed in zip(samples, seeds, strict=True):
        note = median_pitch(sample.track)
        pitch = f"median pitch {librosa.midi_to_hz(note):.0f} Hz" if np.isfinite(note) else "no melody added"
        yield ScoredImage(clip.name, f"seed {seed}", sample.image, {}, f"seed {seed}: {pitch}")
    yield ScoredImage(clip.name, "true mix", clip.mix_image, {}, "true mix")


EXPERIMENT = Experiment(
    name="seeds",
    question="Do other seeds give other vocals over the same accompaniment?",
    intro="Samples for one accompaniment and one prompt, compared pair by pair.",
    model_types=(CONTROL,),
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that are in no training data, of all pairs of a song's samples. The vocal is what a sample adds to "
        "the accompaniment: 0 is the same vocal, 1 is an unrelated one. Melodies are compared where both have a pitch. The "
        "accompaniment is compared outside the true vocal's region, where new vocals lie too and make it less similar: the true "
        "vocals of several songs over one accompaniment, through the model's autoencoder, are the ceiling. The last row shows "
        "what the autoencoder alone changes."
    ),
    run=run_seeds,
)

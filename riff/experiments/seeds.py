"""The experiment `seeds`: do other seeds sing something else over the same backing?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import librosa
import numpy as np
import torch

from riff.experiments.bench import Bench, Experiment, Result, Shown, mean_scores
from riff.experiments.control import ClipPictures, Scored, repainted
from riff.metrics.edit import excess_image, melody_of
from riff.metrics.images import correlation, edge_scores, gradient_correlation
from riff.metrics.melody import PitchTrack, median_pitch
from riff.models.model_types import CONTROL
from riff.sampling.edit import CANDIDATE_STRIDE
from riff.sampling.levels import match_level
from riff.sampling.options import SamplingOptions, options_for, without_control
from riff.seeds import seed_after
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage, waveform_to_image

MOST_VOCALS = 4  # of a song's reference with the vocals of others
METRICS = {
    "vocal_difference": "vocals: difference",
    "melody_difference": "melodies apart, semitones",
    "pitch_spread": "spread of median pitch, semitones",
    "melody": "melody",
    "edge_f1": "backing: edge F1",
    "gradient_correlation": "backing: gradient correlation",
}
ROWS = {
    "control": "other seeds, same backing and prompt",
    "no control": "other seeds, same prompt, no control",
    "other songs": "same seed, other backing and prompt",
    "true vocals": "true vocals of several songs over the same backing",
    "true mix": "true mix and itself through the autoencoder",
}


@dataclass(frozen=True)
class Singing:
    """A picture with what it adds to its backing.

    Attributes:
        edges: of the whole picture. added: uint8, shape (n_mels, frames), the vocal's picture (`excess_image`).
        track: the melody of what was added.
    """

    picture: SpectrogramImage
    edges: np.ndarray
    added: np.ndarray
    track: PitchTrack

    @classmethod
    def over(cls, backing: SpectrogramImage, picture: SpectrogramImage) -> Singing:
        added = excess_image(backing.pixels, picture.pixels, picture.params)
        return cls(picture, canny_edges(picture.pixels), added, melody_of(added, picture.params))


def run_seeds(bench: Bench, steps: int, scale: float | None, strength: float | None, num_seeds: int) -> Result:
    options = options_for(bench.model, scale, strength, steps=steps)
    scored, shown = [], []
    clips = [ClipPictures(clip) for clip in bench.clips]
    for index, (pictures, seed) in enumerate(bench.pictures()):
        seeds = [seed_after(seed, number * CANDIDATE_STRIDE) for number in range(num_seeds)]
        drawn = [_draw(bench, pictures, one, options) for one in seeds]
        free = [_draw(bench, pictures, one, without_control(options)) for one in seeds]
        rows = {"control": _among(drawn, pictures.outside), "no control": _among(free, pictures.outside)}
        if len(clips) > 1:
            rows["other songs"] = _other_song(bench, clips[(index + 1) % len(clips)], drawn[0], pictures.outside, seed, options)
            vocals = [clips[(index + number) % len(clips)] for number in range(min(MOST_VOCALS, len(clips)))]
            rows["true vocals"] = _true_vocals(bench, pictures, vocals)
        rows["true mix"] = _itself(bench, pictures)
        scored += [Scored(pictures.clip.name, kind, drawn[0].picture, scores) for kind, scores in rows.items()]
        shown += list(_shown(pictures, drawn, seeds))
    return Result(asdict(options) | {"num_seeds": num_seeds}, scored, mean_scores(scored, tuple(METRICS)), shown)


def compare(ours: Singing, theirs: Singing, outside: np.ndarray) -> dict[str, float]:
    """How much two pictures differ in what they add, and how alike they are elsewhere.

    `vocal_difference` is 1 less the correlation of the pictures of what was added, each less its mean over time, because
    voices share a spectrum: 0 for the same vocal, 1 for vocals that have nothing to do with each other. `melody_difference`
    is the median distance of the two pitches in the frames in which both sing, in semitones, left out where there is none.

    Args:
        outside: bool, shape (n_mels, frames), where the backing is compared.
    """
    scores = {
        "vocal_difference": 1.0 - correlation(_varying(ours.added), _varying(theirs.added)),
        "edge_f1": edge_scores(ours.edges, theirs.edges, tolerance=1, mask=outside).f1,
        "gradient_correlation": gradient_correlation(ours.picture.pixels, theirs.picture.pixels, outside),
    }
    both = ours.track.voiced & theirs.track.voiced
    if both.any():
        scores["melody_difference"] = float(np.median(np.abs(ours.track.note - theirs.track.note)[both]))
    return scores


def _varying(pixels: np.ndarray) -> np.ndarray:
    """What changes in time: float64, shape (n_mels * frames,)."""
    return (pixels - pixels.mean(axis=1, keepdims=True)).ravel()


def _among(drawn: Sequence[Singing], outside: np.ndarray) -> dict[str, float]:
    """Means of `compare` over all pairs; how far the median pitches spread; how much of the time is sung."""
    pairs = [compare(ours, theirs, outside) for ours, theirs in combinations(drawn, 2)]
    found = {name: [pair[name] for pair in pairs if name in pair] for name in METRICS}
    scores = {name: float(np.mean(values)) for name, values in found.items() if values}
    medians = [median for median in (median_pitch(one.track) for one in drawn) if np.isfinite(median)]
    if len(medians) > 1:
        scores["pitch_spread"] = float(np.std(medians, ddof=1))
    return scores | {"melody": float(np.mean([one.track.voiced.mean() for one in drawn]))}


def _draw(bench: Bench, pictures: ClipPictures, seed: int, options: SamplingOptions) -> Singing:
    pixels = bench.samples.control(pictures.edges, pictures.clip.prompt, seed, options).pixels
    return Singing.over(pictures.backing, match_level(pixels, pictures.backing))


def _other_song(
    bench: Bench, other: ClipPictures, first: Singing, outside: np.ndarray, seed: int, options: SamplingOptions
) -> dict[str, float]:
    return _among([first, _draw(bench, other, seed, options)], outside & other.outside)


def _true_vocals(bench: Bench, pictures: ClipPictures, singers: Sequence[ClipPictures]) -> dict[str, float]:
    """The backing under the vocals of several songs, through the autoencoder: what a perfect model would come to."""
    backing = pictures.clip.accompaniment
    mixes = [waveform_to_image(torch.from_numpy(backing + one.clip.mix - one.clip.accompaniment)) for one in singers]
    return _among([Singing.over(pictures.backing, repainted(bench.pipeline.vae, mix)) for mix in mixes], pictures.outside)


def _itself(bench: Bench, pictures: ClipPictures) -> dict[str, float]:
    both = (pictures.mix, repainted(bench.pipeline.vae, pictures.mix))
    return _among([Singing.over(pictures.backing, picture) for picture in both], pictures.outside)


def _shown(pictures: ClipPictures, drawn: Sequence[Singing], seeds: Sequence[int]) -> Iterator[Shown]:
    for one, seed in zip(drawn, seeds, strict=True):
        note = median_pitch(one.track)
        sung = f"median pitch {librosa.midi_to_hz(note):.0f} Hz" if np.isfinite(note) else "sings nothing"
        yield Shown(pictures.clip.name, f"seed {seed}", f"seed {seed}: {sung}", one.picture)
    yield Shown(pictures.clip.name, "true mix", "true mix", pictures.mix)


EXPERIMENT = Experiment(
    name="seeds",
    question="Do other seeds sing something else over the same backing?",
    intro="Samples of one accompaniment and one prompt, compared with each other, pair by pair.",
    kind=CONTROL,
    metrics=METRICS,
    rows=ROWS,
    note=(
        "Means over songs that no model saw, of all pairs of a song's samples. The vocal is what a sample adds to the "
        "accompaniment: 0 is the same vocal, 1 is another with nothing in common. Melodies are compared where both sing. The "
        "backing is compared outside the true vocal's region, where new vocals lie too and make it less alike: the true vocals of "
        "several songs over one backing, through the model's autoencoder, are what a perfect model would come to. The last row is "
        "what does not change but passes the autoencoder."
    ),
    flags=("steps", "scale", "strength", "num_seeds"),
    run=run_seeds,
)

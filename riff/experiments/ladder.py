"""The ladder: vocals from none to the true one over one accompaniment, so that a model's figures have neighbours.

Rungs, over the accompaniment of a clip whose parts are known:
    silence          the accompaniment alone
    random vocal     another song's true vocal, as it is
    retrieved vocal  the other song's vocal that fits best in key and tempo (`retrieve_partners`)
    model            what a model made
    true vocal       the true mix
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from riff.audio.io import to_channels
from riff.errors import DataError
from riff.experiments.control import Scored, TrueClip, compared_sound, means_by_kind
from riff.experiments.vocal_retrieval import random_partners, retrieve_partners, vocal_of
from riff.metrics.edit import added_melody, melody_of, score_edit
from riff.metrics.images import edge_scores_by_region, vocal_region
from riff.metrics.sounds import beat_f1, chroma_cosine, onset_correlation, onset_f1, si_sdr
from riff.metrics.spectra import log_mel_l1, log_spectral_distance, spectral_convergence
from riff.metrics.vocals import level_error, raw_pitch_accuracy
from riff.sampling.rendering import vocal_waveform
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage, waveform_to_image
from riff.spectrogram.params import STANDARD

SILENCE, RANDOM, RETRIEVED, MODEL, TRUE = RUNGS = ("silence", "random vocal", "retrieved vocal", "model", "true vocal")
MOST_SI_SDR = 100.0  # dB, either way: what an exact copy counts as, so that means stay finite
LEVEL_ITERATIONS = 4  # of phases: a level needs no more

# Every metric and whether higher (+1) or lower (-1) is better, by what it compares a rung with.
AGAINST_TRUTH = {  # the true mix or vocal
    "log_mel_l1": -1,
    "spectral_convergence": -1,
    "log_spectral_distance": -1,
    "si_sdr": 1,
    "raw_pitch_accuracy": 1,
    "edge_f1_inside": 1,
    "level_error": -1,
}
AGAINST_BACKING = {  # the accompaniment
    "chroma_cosine": 1,
    "chroma_agreement": 1,
    "onset_correlation": 1,
    "onset_f1": 1,
    "beat_f1": 1,
    "edge_f1_outside": 1,
}
PRESENCE = {"added_energy": 1, "melody": 1, "motion": 1}  # the `EditScores` that say whether there is any vocal
LADDER_METRICS = AGAINST_TRUTH | AGAINST_BACKING | PRESENCE


def evaluate_ladder(
    clips: Sequence[TrueClip],
    model_mixes: Mapping[str, SpectrogramImage | np.ndarray] | None = None,
    through_picture: bool = True,
    seed: int = 0,
    canny: tuple[int, int] = (100, 200),
    on_clip: Callable[[], object] = lambda: None,
) -> list[Scored]:
    """Score every rung of every clip.

    All rungs go through one chain. With `through_picture`, right for models that paint: mixed down, drawn as a spectrogram
    picture, and heard by `compared_sound`; without it, right for models that add a vocal to an untouched accompaniment:
    mixed down and heard as it is. Edges, melody and the vocal's level are read from the picture either way, the level after
    `vocal_waveform` has taken the vocal out. The truth is never touched, so the rung `true vocal` shows what the chain
    costs; the accompaniment that sounds are compared with goes through the chain, as in `evaluate_control`.

    Args:
        model_mixes: by the clip's name, the model's mix at its level: a picture, or float32, shape (channels, samples) at
            44.1 kHz; None leaves that rung out.
        seed: of the random vocals.

    Returns:
        A row for every clip and rung, in the order of `RUNGS`. `edge_f1_inside` is missing where the true vocal shows nowhere,
        `edge_f1_outside` where it shows everywhere.

    Raises:
        DataError: fewer than two clips, or a model's mix that is missing or of another length than its clip.
    """
    scored = []
    for clip, mixes in rung_mixes(clips, model_mixes, seed):
        judge = _Judge(clip, through_picture, canny)
        scored += [Scored(clip.name, rung, *judge.score(mix)) for rung, mix in mixes.items()]
        on_clip()
    return scored


def rung_mixes(
    clips: Sequence[TrueClip], model_mixes: Mapping[str, SpectrogramImage | np.ndarray] | None = None, seed: int = 0
) -> Iterator[tuple[TrueClip, dict[str, SpectrogramImage | np.ndarray]]]:
    """Every clip with its mix by rung, in the order of `RUNGS`; for the arguments and errors see `evaluate_ladder`."""
    if model_mixes is not None:
        _check_mixes(clips, model_mixes)
    for clip, random, retrieved in zip(clips, random_partners(clips, seed), retrieve_partners(clips), strict=True):
        channels, samples = clip.accompaniment.shape
        mixes: dict[str, SpectrogramImage | np.ndarray] = {
            SILENCE: clip.accompaniment,
            RANDOM: clip.accompaniment + vocal_of(clips[random], channels, samples),
            RETRIEVED: clip.accompaniment + vocal_of(clips[retrieved], channels, samples),
        }
        if model_mixes is not None:
            mixes[MODEL] = model_mixes[clip.name]
        yield clip, mixes | {TRUE: clip.mix}


def _check_mixes(clips: Sequence[TrueClip], mixes: Mapping[str, SpectrogramImage | np.ndarray]) -> None:
    for clip in clips:
        if clip.name not in mixes:
            raise DataError(f"{clip.name}: the model made no mix of this clip; make one of every clip")
        mix, samples = mixes[clip.name], clip.accompaniment.shape[1]
        if isinstance(mix, SpectrogramImage):
            length, expected, unit = mix.pixels.shape[1], STANDARD.num_frames(samples), "frames"
        else:
            length, expected, unit = mix.shape[1], samples, "samples"
        if length != expected:
            raise DataError(f"{clip.name}: the model's mix has {length} {unit}, its clip {expected}; cut it to the clip")


def summarise_ladder(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Mean of every metric by rung, over the clips that have it."""
    return means_by_kind(scored, LADDER_METRICS)


def misordered(means: Mapping[str, Mapping[str, float]]) -> dict[str, list[tuple[str, str]]]:
    """The pairs of rungs that each metric puts the wrong way round; none for a metric that orders them sensibly.

    What is sensible was written down before any figure was seen:
        Against the truth, silence <= random vocal <= retrieved vocal < true vocal, where < means scored worse. A wrong
        vocal may be worth no more than none and a fitting one no more than any, but the true one must stand out.
        Against the accompaniment, random vocal <= retrieved vocal <= true vocal, and random vocal < true vocal: what
        fits must disturb less. Silence is the accompaniment itself, the best by definition, and not judged.
        Of presence, silence < each of the three vocals. They are all real vocals, so their own order means nothing.
    Means are compared as they are, without a margin: on few clips an order may be luck. The model's rung is not judged.

    Args:
        means: from `summarise_ladder`; a metric that a rung lacks is left out.
    """
    wrong: dict[str, list[tuple[str, str]]] = {}
    for metric, sign in LADDER_METRICS.items():
        score = {rung: sign * values[metric] for rung, values in means.items() if metric in values}
        if not {SILENCE, RANDOM, RETRIEVED, TRUE} <= set(score):
            continue
        if metric in PRESENCE:
            at_most, below = [], [(SILENCE, vocal) for vocal in (RANDOM, RETRIEVED, TRUE)]
        elif metric in AGAINST_BACKING:
            at_most, below = [(RANDOM, RETRIEVED), (RETRIEVED, TRUE)], [(RANDOM, TRUE)]
        else:
            at_most, below = [(SILENCE, RANDOM), (RANDOM, RETRIEVED)], [(RETRIEVED, TRUE)]
        wrong[metric] = [(low, high) for low, high in at_most if score[low] > score[high]]
        wrong[metric] += [(low, high) for low, high in below if score[low] >= score[high]]
    return wrong


def sensible_metrics(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The metrics that order the rungs sensibly, as `misordered` defines it: only these should judge a model."""
    return [metric for metric, pairs in misordered(means).items() if not pairs]


class _Judge:
    """What a clip's rungs are compared with, computed once."""

    def __init__(self, clip: TrueClip, through_picture: bool, canny: tuple[int, int]) -> None:
        self.through_picture, self.canny = through_picture, canny
        # Whole frames: a picture's sound ends with its last frame.
        samples = STANDARD.clip_samples(STANDARD.num_frames(clip.accompaniment.shape[1]))
        self.mix, self.backing = (to_channels(part, 1)[:, :samples] for part in (clip.mix, clip.accompaniment))
        self.vocal = self.mix - self.backing
        true_picture, vocal_picture = (waveform_to_image(torch.from_numpy(part)) for part in (self.mix, self.vocal))
        self.backing_image, self.backing_sound = self.through_chain(self.backing)
        self.edges, self.backing_edges = (canny_edges(one.pixels, *canny) for one in (true_picture, self.backing_image))
        self.region = vocal_region(self.backing_image, true_picture)
        self.melody = melody_of(vocal_picture.pixels)

    def through_chain(self, mix: SpectrogramImage | np.ndarray) -> tuple[SpectrogramImage, np.ndarray]:
        """A mix's picture, and its sound: float32, shape (samples,)."""
        samples = self.backing.shape[1]
        if isinstance(mix, SpectrogramImage):
            return mix, compared_sound(mix).numpy()[:samples]
        mono = to_channels(mix, 1)[:, :samples]
        picture = waveform_to_image(torch.from_numpy(mono))
        return picture, compared_sound(picture).numpy() if self.through_picture else mono[0]

    def score(self, mix: SpectrogramImage | np.ndarray) -> tuple[SpectrogramImage, dict[str, float]]:
        """The mix's picture and its scores, see `LADDER_METRICS`."""
        picture, sound = self.through_chain(mix)
        scores = self._against_truth(picture, sound) | self._against_backing(picture, sound)
        added = score_edit(self.backing_image.pixels, picture.pixels)
        return picture, scores | {metric: getattr(added, metric) for metric in PRESENCE}

    def _against_truth(self, picture: SpectrogramImage, sound: np.ndarray) -> dict[str, float]:
        rate, pixels, truth = STANDARD.sample_rate, picture.pixels, self.mix[0]
        vocal = vocal_waveform(picture, self.backing, rate, iterations=LEVEL_ITERATIONS)[None]
        scores = {
            "log_mel_l1": log_mel_l1(sound, truth, rate),
            "spectral_convergence": spectral_convergence(sound, truth, rate),
            "log_spectral_distance": log_spectral_distance(sound, truth, rate),
            "si_sdr": float(np.clip(si_sdr(sound, truth), -MOST_SI_SDR, MOST_SI_SDR)),
            "raw_pitch_accuracy": raw_pitch_accuracy(added_melody(self.backing_image.pixels, pixels), self.melody),
            "level_error": level_error(vocal, self.vocal, self.backing, rate),
        }
        inside = edge_scores_by_region(canny_edges(pixels, *self.canny), self.edges, self.region).inside
        return scores | ({"edge_f1_inside": inside.f1} if inside else {})

    def _against_backing(self, picture: SpectrogramImage, sound: np.ndarray) -> dict[str, float]:
        against = (sound, self.backing_sound, STANDARD.sample_rate)
        scores = {
            "chroma_cosine": chroma_cosine(*against),
            "chroma_agreement": chroma_cosine(*against, argmax=True),
            "onset_correlation": onset_correlation(*against),
            "onset_f1": onset_f1(*against),
            "beat_f1": beat_f1(*against),
        }
        outside = edge_scores_by_region(canny_edges(picture.pixels, *self.canny), self.backing_edges, self.region).outside
        return scores | ({"edge_f1_outside": outside.f1} if outside else {})

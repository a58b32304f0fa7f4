"""The experiment `ladder`: a model's vocals, or another system's, between none, wrong ones and the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from riff.audio.io import read_audio, to_channels
from riff.cli import progress_bar, warn
from riff.errors import AudioError
from riff.experiments.clips import ReferenceClip
from riff.experiments.edit import prompt_for
from riff.experiments.experiment import Evaluation, Experiment, Result, ScoredImage, mean_scores
from riff.experiments.rungs import MODEL, RANDOM, RETRIEVED, SILENCE, TRUE, rung_mixes
from riff.metrics.clap import DEFAULT_CLAP, Clap, clap_scores, optional_clap
from riff.metrics.edit import added_melody, melody_of, score_edit
from riff.metrics.frechet import extrapolated_distance
from riff.metrics.images import edge_scores_by_region, vocal_region
from riff.metrics.sounds import beat_f1, chroma_cosine, onset_correlation, onset_f1, si_sdr
from riff.metrics.spectra import log_mel_l1, log_spectral_distance, spectral_convergence
from riff.metrics.vocals import level_error, raw_pitch_accuracy
from riff.metrics.voice_heard import can_hear, hear_voice
from riff.models.model_types import CONTROL, EDIT
from riff.pairs.clip_images import to_standard_rate
from riff.sampling.rendering import backing_image, render_mix, vocal_waveform
from riff.sampling.song import SongModel, SongSampler
from riff.spectrogram.edges import canny_edges
from riff.spectrogram.image import SpectrogramImage, waveform_to_image
from riff.spectrogram.params import STANDARD

AUTO_CLAP = "auto"
MIN_CLIPS_FOR_FAD = 3
DEMO_VOCAL_LU = 2.3  # the median over the demo songs, in frames with a vocal (benchmarks/vocal_extraction.py)
MAX_SI_SDR = 100.0  # dB, either way: the value of an exact copy, so that means stay finite
LEVEL_ITERATIONS = 4  # of Griffin-Lim: enough for a level

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
PRESENCE = {"added_energy": 1, "melody": 1, "motion": 1}  # of `EditScores`: is there any vocal?
HEARD = {"voice_heard": 1, "voice_rise": 1}  # of `VoiceHeard`, likewise
LADDER_METRICS = AGAINST_TRUTH | AGAINST_BACKING | PRESENCE | HEARD
GENDER_METRICS = {"gender_heard": "gender heard", "pyin_register": "register by pYIN"}
CLAP_METRICS = {"clap_score": "CLAP score", "fad": "FAD-infinity"}
METRICS = {
    "raw_pitch_accuracy": "raw pitch accuracy",
    "level_error": "level error, LU",
    "added_energy": "added energy",
    "melody": "melody",
    "motion": "motion",
    "edge_f1_inside": "edge F1 inside",
    "edge_f1_outside": "edge F1 outside",
    "onset_f1": "onset F1",
    "onset_correlation": "onset correlation",
    "beat_f1": "beat F1",
    "chroma_cosine": "chroma cosine",
    "chroma_agreement": "chroma agreement",
    "log_mel_l1": "log-mel L1, dB",
    "log_spectral_distance": "log-spectral distance, dB",
    "spectral_convergence": "spectral convergence",
    "si_sdr": "SI-SDR, dB",
    "voice_heard": "voice heard",
    "voice_rise": "voice, log-odds",
    **GENDER_METRICS,
    **CLAP_METRICS,
}


def run_ladder(evaluation: Evaluation, vocals: Path | None = None, clap: str | None = None) -> Result:
    """Measure all rungs; the table has the metrics that order the known rungs sensibly, `Result.scored` all.

    Args:
        vocals: folder of another system's vocals, in place of the model's. clap: of the CLAP scores, `auto` or as in
            `optional_clap`; None for no scores.
    """
    clips = evaluation.clips
    clap_model = optional_clap(DEFAULT_CLAP if clap == AUTO_CLAP else clap, evaluation.device, warn) if clap else None
    if vocals is not None:
        sampling, mixes = {"vocals": str(vocals)}, mixes_of_folder(vocals, clips)
    else:
        sampling = asdict(evaluation.model.options) | {"target": evaluation.model.target}
        sampled = replace(evaluation, label="sampling").seeded_clips()
        mixes = {clip.name: mix_with_vocal(evaluation.model, clip, seed) for clip, seed in sampled}
    scored = score_rungs(clips, mixes, evaluation.seed, can_hear(warn))
    means = mean_scores(scored, (*LADDER_METRICS, *GENDER_METRICS), count=False)
    wrong = misordered(means)
    table = {rung: {metric: value for metric, value in row.items() if not wrong.get(metric)} for rung, row in means.items()}
    if clap_model is not None:
        scored, clap_means = _with_clap(clap_model, scored, clips, mixes, evaluation.seed)
        table = {rung: row | clap_means[rung] for rung, row in table.items()}
        sampling |= {"clap": clap_model.name}
    left_out = [
        f"{METRICS[metric]} (puts {' and '.join(f'{low} above {high}' for low, high in pairs)})"
        for metric, pairs in wrong.items()
        if pairs
    ]
    remarks = [f"Left out, for they order these clips' rungs wrongly: {'; '.join(left_out)}."] if left_out else []
    return Result(sampling, scored, table, remarks=remarks)


def mix_with_vocal(model: SongModel, clip: ReferenceClip, seed: int) -> np.ndarray:
    """A clip's accompaniment with a vocal by the model, mixed as `inpaint_song.py` does.

    Returns:
        float32, shape (channels, samples) at 44.1 kHz: the accompaniment at its own level, and the vocal, whose level does not
        depend on the true one.
    """
    prompt = prompt_for(model, clip)
    image = SongSampler(model, backing_image(clip.song), prompt).sample(seed)
    return render_mix(clip.song, image, model.target, vocal_lu=DEMO_VOCAL_LU).mix


def mixes_of_folder(folder: Path, clips: Sequence[ReferenceClip]) -> dict[str, np.ndarray]:
    """Every clip's accompaniment with the vocal in FOLDER/CLIP.wav, cut or padded with silence; by the clip's name.

    Raises:
        AudioError: no such folder, or a file that is missing or cannot be read.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder; give one with a WAV of every clip's name")
    mixes = {}
    for clip in clips:
        audio = read_audio(folder / f"{clip.name}.wav")
        channels, samples = clip.accompaniment.shape
        vocal = to_channels(to_standard_rate(audio.waveform, audio.sample_rate), channels)[:, :samples]
        mixes[clip.name] = clip.accompaniment + np.pad(vocal, ((0, 0), (0, samples - vocal.shape[1])))
    return mixes


def score_rungs(
    clips: Sequence[ReferenceClip], model_mixes: Mapping[str, np.ndarray] | None = None, seed: int = 0, hear: bool = False
) -> list[ScoredImage]:
    """Score every rung of every clip: the mixes themselves by their sound, and edges, melody and level by their images.

    The vocal's level is that of the vocal taken out of the mix (`vocal_waveform`).

    Args:
        model_mixes, seed: as in `rung_mixes`. hear: also `hear_voice`, whose gender is asked of the model's and the true vocal.

    Returns:
        For every clip its rungs in the order of `RUNGS`. `edge_f1_inside` is missing where the true vocal shows nowhere,
        `edge_f1_outside` where it shows everywhere.

    Raises:
        DataError: as `rung_mixes`.
    """
    scored = []
    rungs = rung_mixes(clips, model_mixes, seed)
    for clip, mixes in progress_bar(rungs, total=len(clips), desc="ladder", unit="song"):
        reference = _Reference(clip)
        for rung, mix in mixes.items():
            image, scores = reference.score(mix)
            if hear:
                asked = clip.prompt if rung in (MODEL, TRUE) else ""
                scores |= hear_voice(mix, clip.accompaniment, STANDARD.sample_rate).scores(asked)
            caption = f"{rung}: melody {scores['melody']:.2f}, raw pitch accuracy {scores['raw_pitch_accuracy']:.2f}"
            scored.append(ScoredImage(clip.name, rung, image, scores, caption))
    return scored


def misordered(means: Mapping[str, Mapping[str, float]]) -> dict[str, list[tuple[str, str]]]:
    """The pairs of rungs that each metric orders wrongly; none for a metric that orders them sensibly.

    The sensible order was fixed before any figure was seen:
        Against the truth, silence <= random vocal <= retrieved vocal < true vocal, where < means scored worse. A wrong
        vocal may score no better than none and a fitting one no better than any, but the true one must score best.
        Against the accompaniment, random vocal <= retrieved vocal <= true vocal, and random vocal < true vocal: what
        fits must disturb less. Silence is the accompaniment itself, the best by definition, and not compared.
        Of presence, silence < each of the three vocals. They are all real vocals, so their own order means nothing.
    Means are compared without a margin: on a few clips an order may be chance. The model's rung is not compared.

    Args:
        means: of `LADDER_METRICS` by rung; a metric that a rung lacks is left out.
    """
    wrong: dict[str, list[tuple[str, str]]] = {}
    for metric, sign in LADDER_METRICS.items():
        score = {rung: sign * values[metric] for rung, values in means.items() if metric in values}
        if not {SILENCE, RANDOM, RETRIEVED, TRUE} <= set(score):
            continue
        if metric in PRESENCE | HEARD:
            at_most, below = [], [(SILENCE, vocal) for vocal in (RANDOM, RETRIEVED, TRUE)]
        elif metric in AGAINST_BACKING:
            at_most, below = [(RANDOM, RETRIEVED), (RETRIEVED, TRUE)], [(RANDOM, TRUE)]
        else:
            at_most, below = [(SILENCE, RANDOM), (RANDOM, RETRIEVED)], [(RETRIEVED, TRUE)]
        wrong[metric] = [(low, high) for low, high in at_most if score[low] > score[high]]
        wrong[metric] += [(low, high) for low, high in below if score[low] >= score[high]]
    return wrong


class _Reference:
    """A clip's true mix, vocal and accompaniment, mono, as sounds and images, for scoring its rungs."""

    def __init__(self, clip: ReferenceClip) -> None:
        # Whole frames: an image's sound ends with its last frame.
        self.samples = STANDARD.clip_samples(STANDARD.num_frames(clip.accompaniment.shape[1]))
        self.mix, self.accompaniment = (self._mono(part) for part in (clip.mix, clip.accompaniment))
        self.vocal = self.mix - self.accompaniment
        mix_image, vocal_image, self.image = (
            waveform_to_image(torch.from_numpy(part)) for part in (self.mix, self.vocal, self.accompaniment)
        )
        self.mix_edges, self.edges = (canny_edges(image.pixels) for image in (mix_image, self.image))
        self.region = vocal_region(self.image, mix_image)
        self.melody = melody_of(vocal_image.pixels)

    def _mono(self, waveform: np.ndarray) -> np.ndarray:
        return to_channels(waveform, 1)[:, : self.samples]

    def score(self, waveform: np.ndarray) -> tuple[SpectrogramImage, dict[str, float]]:
        """The image of a mix and its scores, see `LADDER_METRICS`."""
        mono = self._mono(waveform)
        image = waveform_to_image(torch.from_numpy(mono))
        added = score_edit(self.image.pixels, image.pixels)
        presence = {metric: getattr(added, metric) for metric in PRESENCE}
        return image, self._against_truth(image, mono[0]) | self._against_backing(image, mono[0]) | presence

    def _against_truth(self, image: SpectrogramImage, sound: np.ndarray) -> dict[str, float]:
        rate, truth = STANDARD.sample_rate, self.mix[0]
        vocal = vocal_waveform(image, self.accompaniment, rate, iterations=LEVEL_ITERATIONS)[None]
        scores = {
            "log_mel_l1": log_mel_l1(sound, truth, rate),
            "spectral_convergence": spectral_convergence(sound, truth, rate),
            "log_spectral_distance": log_spectral_distance(sound, truth, rate),
            "si_sdr": float(np.clip(si_sdr(sound, truth), -MAX_SI_SDR, MAX_SI_SDR)),
            "raw_pitch_accuracy": raw_pitch_accuracy(added_melody(self.image.pixels, image.pixels), self.melody),
            "level_error": level_error(vocal, self.vocal, self.accompaniment, rate),
        }
        inside = edge_scores_by_region(canny_edges(image.pixels), self.mix_edges, self.region).inside
        return scores | ({"edge_f1_inside": inside.f1} if inside else {})

    def _against_backing(self, image: SpectrogramImage, sound: np.ndarray) -> dict[str, float]:
        against = (sound, self.accompaniment[0], STANDARD.sample_rate)
        scores = {
            "chroma_cosine": chroma_cosine(*against),
            "chroma_agreement": chroma_cosine(*against, argmax=True),
            "onset_correlation": onset_correlation(*against),
            "onset_f1": onset_f1(*against),
            "beat_f1": beat_f1(*against),
        }
        outside = edge_scores_by_region(canny_edges(image.pixels), self.edges, self.region).outside
        return scores | ({"edge_f1_outside": outside.f1} if outside else {})


def _with_clap(
    clap: Clap, scored: Sequence[ScoredImage], clips: Sequence[ReferenceClip], mixes: dict[str, np.ndarray], seed: int
) -> tuple[list[ScoredImage], dict[str, dict[str, float]]]:
    """Add CLAP scores of mixes and prompts; by rung their mean, and the Frechet distance to the true mixes."""
    sounds: dict[str, list[np.ndarray]] = {}
    for _, by_rung in rung_mixes(clips, mixes, seed):
        for rung, mix in by_rung.items():
            sounds.setdefault(rung, []).append(mix)
    rate, prompts = STANDARD.sample_rate, [clip.prompt for clip in clips]
    scores = {rung: clap_scores(clap, waveforms, prompts, rate) for rung, waveforms in sounds.items()}
    number = {clip.name: index for index, clip in enumerate(clips)}
    rows = [replace(one, scores={**one.scores, "clap_score": float(scores[one.row][number[one.clip]])}) for one in scored]
    means = {rung: {"clap_score": float(values.mean())} for rung, values in scores.items()}
    if len(clips) >= MIN_CLIPS_FOR_FAD:
        true = clap.embed_sounds(sounds[TRUE], rate)
        for rung, waveforms in sounds.items():
            if rung != TRUE:
                means[rung]["fad"] = extrapolated_distance(clap.embed_sounds(waveforms, rate), true).value
    return rows, means


EXPERIMENT = Experiment(
    name="ladder",
    question="Where does the model stand between no vocal and the true one?",
    intro="Vocals over the same untouched accompaniments: none, wrong ones, the model's, the true one.",
    model_types=(EDIT, CONTROL),
    metrics=METRICS,
    rows={MODEL: "the model"},
    note=(
        "Means over songs that are in no training data. A metric is shown only if it orders the known rungs sensibly on these "
        "clips: against the truth, none <= random <= retrieved < true; against the accompaniment, random <= retrieved <= true; "
        "of presence, none < any. A retrieved vocal is another song's that fits in key and tempo; its presence should equal the "
        "true one's. Whether a voice is heard that the accompaniment has not, and whether it has the gender of the prompt, is "
        "decided by a tagger that this project did not train (riff/metrics/voice_heard.py). The level error is how far the vocal's "
        "level over the accompaniment is from the true one's; edges are "
        "scored inside and outside the true vocal's region. The mixes themselves are scored; the page plays sounds "
        "reconstructed from their images."
    ),
    run=run_ladder,
)

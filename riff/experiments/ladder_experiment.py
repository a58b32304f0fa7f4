"""The experiment `ladder`: a model's vocals, or another system's, between none, wrong ones and the true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from riff.audio.io import read_audio, to_channels
from riff.cli import progress_bar, warn
from riff.errors import OptionError
from riff.experiments.bench import Bench, Experiment, Result, shown_with
from riff.experiments.control import Scored, TrueClip
from riff.experiments.edit_experiment import instruction_for
from riff.experiments.ladder import MODEL, TRUE, evaluate_ladder, misordered, rung_mixes, summarise_ladder
from riff.metrics.clap import DEFAULT_CLAP, Clap, clap_scores, optional_clap
from riff.metrics.frechet import extrapolated_distance
from riff.models.model_types import CONTROL, EDIT
from riff.pairs.clip_images import to_standard_rate
from riff.sampling.options import edit_options_for, edit_target, options_for
from riff.sampling.rendering import backing_image, render_mix
from riff.sampling.song import SongModel, SongSampler
from riff.seeds import seed_after
from riff.separation.song import Song
from riff.spectrogram.params import STANDARD

AUTO_CLAP = "auto"
FEWEST_FOR_FAD = 3
DEMO_VOCAL_LU = 2.3  # the median over the demo songs, where they sing (benchmarks/vocal_extraction.py)
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
    **CLAP_METRICS,
}


def run_ladder(
    bench: Bench,
    steps: int,
    scale: float | None,
    strength: float | None,
    image_scale: float | None,
    vocals: Path | None,
    clap: str | None,
) -> Result:
    """Measure all rungs; the table keeps the metrics that order the others sensibly, `Result.scored` has all."""
    heard = optional_clap(DEFAULT_CLAP if clap == AUTO_CLAP else clap, bench.device, warn) if clap else None
    if vocals is not None:
        sampling, mixes = {"vocals": str(vocals)}, mixes_of_folder(vocals, bench.clips)
    else:
        model = _song_model(bench, steps, scale, strength, image_scale)
        sampling = asdict(model.options) | {"target": model.target}
        clips = enumerate(progress_bar(bench.clips, desc="sampling", unit="clip", leave=False))
        mixes = {clip.name: sing(model, clip, seed_after(bench.seed, index)) for index, clip in clips}
    scored = evaluate_ladder(bench.clips, mixes, through_picture=False, seed=bench.seed, on_clip=bench.on_clip)
    means = summarise_ladder(scored)
    wrong = misordered(means)
    table = {rung: {metric: value for metric, value in row.items() if not wrong.get(metric)} for rung, row in means.items()}
    if heard is not None:
        scored, found = _with_clap(heard, scored, bench.clips, mixes, bench.seed)
        table = {rung: row | found[rung] for rung, row in table.items()}
        sampling |= {"clap": heard.name}
    return Result(sampling, scored, table, shown_with(scored, _caption), _remarks(wrong))


def _song_model(bench: Bench, steps: int, scale: float | None, strength: float | None, image_scale: float | None) -> SongModel:
    if isinstance(bench.pipeline, CONTROL.pipeline):
        return SongModel(bench.pipeline, options_for(bench.model, scale, strength, steps=steps), "mix")
    return SongModel(bench.pipeline, edit_options_for(bench.model, scale, image_scale, steps=steps), edit_target(bench.model))


def sing(model: SongModel, clip: TrueClip, seed: int) -> np.ndarray:
    """A clip with the vocal that a model paints, over its own samples as `inpaint_song.py` leaves them.

    Returns:
        float32, shape (channels, samples) at 44.1 kHz: the accompaniment at its own level, and the vocal, whose level is not
        taken from the true one.
    """
    song = Song(clip.mix, clip.mix - clip.accompaniment, clip.accompaniment, STANDARD.sample_rate, -np.inf)
    prompt = clip.prompt if model.follows_edges else instruction_for(clip)
    painted = SongSampler(model, backing_image(song), prompt).sample(seed)
    return render_mix(song, painted, model.target, vocal_lu=DEMO_VOCAL_LU).mix


def mixes_of_folder(folder: Path, clips: Sequence[TrueClip]) -> dict[str, np.ndarray]:
    """Every clip with the vocal that FOLDER/CLIP.wav holds, cut or followed by silence; by the clip's name.

    Raises:
        OptionError: no such folder.
        AudioError: a file that is missing or cannot be read.
    """
    if not folder.is_dir():
        raise OptionError(f"--vocals {folder}: no such folder; give one with a WAV of every clip's name")
    mixes = {}
    for clip in clips:
        audio = read_audio(folder / f"{clip.name}.wav")
        channels, samples = clip.accompaniment.shape
        vocal = to_channels(to_standard_rate(audio.waveform, audio.sample_rate), channels)[:, :samples]
        mixes[clip.name] = clip.accompaniment + np.pad(vocal, ((0, 0), (0, samples - vocal.shape[1])))
    return mixes


def _with_clap(
    clap: Clap, scored: Sequence[Scored], clips: Sequence[TrueClip], mixes: dict[str, np.ndarray], seed: int
) -> tuple[list[Scored], dict[str, dict[str, float]]]:
    """The rows with CLAP scores of mixes and prompts, and by rung their mean and the distance to the true mixes."""
    sounds: dict[str, list[np.ndarray]] = {}
    for _, by_rung in rung_mixes(clips, mixes, seed):
        for rung, mix in by_rung.items():
            sounds.setdefault(rung, []).append(np.asarray(mix))
    rate, prompts = STANDARD.sample_rate, [clip.prompt for clip in clips]
    scores = {rung: clap_scores(clap, waveforms, prompts, rate) for rung, waveforms in sounds.items()}
    number = {clip.name: index for index, clip in enumerate(clips)}
    rows = [
        Scored(one.clip, one.kind, one.image, one.scores | {"clap_score": float(scores[one.kind][number[one.clip]])})
        for one in scored
    ]
    found = {rung: {"clap_score": float(values.mean())} for rung, values in scores.items()}
    if len(clips) >= FEWEST_FOR_FAD:
        true = clap.embed_sounds(sounds[TRUE], rate)
        for rung, waveforms in sounds.items():
            if rung != TRUE:
                found[rung]["fad"] = extrapolated_distance(clap.embed_sounds(waveforms, rate), true).value
    return rows, found


def _remarks(wrong: dict[str, list[tuple[str, str]]]) -> list[str]:
    left_out = [
        f"{METRICS[metric]} (puts {' and '.join(f'{low} above {high}' for low, high in pairs)})"
        for metric, pairs in wrong.items()
        if pairs
    ]
    return [f"Left out, for they order these clips' rungs wrongly: {'; '.join(left_out)}."] if left_out else []


def _caption(one: Scored) -> str:
    return f"{one.kind}: melody {one.scores['melody']:.2f}, raw pitch accuracy {one.scores['raw_pitch_accuracy']:.2f}"


EXPERIMENT = Experiment(
    name="ladder",
    question="Where does the model stand between no vocal and the true one?",
    intro="Vocals over the same untouched accompaniments: none, wrong ones, the model's, the true one.",
    kind=EDIT,
    other_kinds=(CONTROL,),
    metrics=METRICS,
    rows={MODEL: "the model"},
    note=(
        "Means over songs that no model saw. A metric is shown only if it orders the other rungs sensibly on these clips: against "
        "the truth, none <= random <= retrieved < true; against the accompaniment, random <= retrieved <= true; of presence, none "
        "< any. A retrieved vocal is another song's that fits in key and tempo; of presence it must score as the true one does. "
        "The level error is how far the vocal's level over the backing is from the true one's; edges are scored inside and outside "
        "the true vocal's region. ScoredTake are the mixes themselves; the page plays what their pictures sound like."
    ),
    flags=("steps", "scale", "strength", "image_scale", "vocals", "clap"),
    run=run_ladder,
)

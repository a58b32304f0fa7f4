"""What do adapters learn of one singer from ten songs, and do they copy them? On synthesised songs.

    python benchmarks/ten_songs.py --steps 300

A singer whose formants, breath and vibrato lie outside of what the edit model was trained on sings ten demo songs. Adapters are
trained on them by train_instruct_pix2pix.py, and models without and with them sing over twelve other songs and over one clip of
each of the ten. What is done already is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from demo.evaluation import demo_clips
from demo.instructions import instructions
from demo.world.compose import compose
from demo.world.singer import Voice
from riff import cli
from riff.audio.io import write_audio
from riff.data.records import EDIT_PAIRS
from riff.data.stores import open_pairs
from riff.experiments.clips import reconstructed
from riff.experiments.edit import edit_case, training_fingerprints
from riff.files import write_text
from riff.metrics.edit import excess_image, judge, melody_of
from riff.metrics.fit import share_of_way
from riff.metrics.memorisation import nearest_distance
from riff.sampling.edit import EditClip, clip_from_record, generate_candidates
from riff.sampling.options import edit_options_for, edit_target
from riff.sampling.song import load_song_model
from riff.seeds import seed_after
from riff.spectrogram.image import SILENCE, SpectrogramImage, combine_images, load_image, waveform_to_image

SINGER = Voice("female", "slt", size=1.2, brightness=4.0, breath=9.0, vibrato_rate=6.8, vibrato_depth=0.9, scoop=0.5)
TRAINING, UNSEEN, REFERENCE = 41, 42, 43  # catalogues: of the ten songs, of those that are measured, of what the voices are
SECONDS, NUM_SONGS, NUM_UNSEEN = 24.0, 10, 12
BANDS = 32  # of an envelope
RECIPE = {"lora_rank": 8, "batch_size": 8, "learning_rate": 1e-3, "lr_schedule": "cosine", "warmup_steps": 20, "precision": "bf16"}
QUIET = {"val_share": 0, "val_freq": 0, "logger_freq": 0, "num_validation_images": 0}
Sung = tuple[EditClip, SpectrogramImage]  # a clip's backing, and a vocal over it


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--steps", type=cli.whole(1), nargs="+", default=[300], help="training steps of 8 clips, one row each")
    parser.add_argument("--model", type=Path, default=Path("models/riff-pix2pix-mini"), help="edit model that generates vocals")
    parser.add_argument("--sample_steps", type=cli.whole(1), default=8, help="denoising steps")
    parser.add_argument("--work", type=Path, default=Path("outputs/ten-songs"), help="songs, pairs and adapters")
    output = Path("benchmarks/results/ten_songs.json")
    parser.add_argument("--output", type=Path, default=output, help="where the figures go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from edit_recipes import script

    pairs, models = args.work / "pairs", {"without adapters": args.model}
    write_songs(args.work / "songs")
    prompts = args.work / "songs/edit_prompts.json"
    script("preprocess_musdb.py", audio_dir=prompts.parent, output=pairs, prompt_file=prompts, num_workers=1)
    for steps in args.steps:
        models[f"{steps} steps"] = adapters = args.work / f"adapters-{steps}"
        if not adapters.exists():
            flags = {"model": args.model, "train_data_dir": pairs, "output": adapters, "log_dir": args.work, "max_steps": steps}
            script("train_instruct_pix2pix.py", **flags, **RECIPE, **QUIET)
    results = measure(args, pairs, models)
    for row, means in results.items():
        print(f"{row:40}" + "".join(f"{name:>12} {value:5.2f}" for name, value in means.items()))
    cli.write_manifest(args.output, vars(args), singer=vars(SINGER), recipe=RECIPE, results=results)


def write_songs(folder: Path) -> None:
    """The ten songs in MUSDB18-HQ's layout, and instructions that are true of them."""
    if (folder / "edit_prompts.json").exists():
        return
    lines = []
    for index in range(NUM_SONGS):
        song = compose(TRAINING, index, SECONDS, SINGER)
        for name, wave in {"mixture": song.mixture, **song.stems}.items():
            write_audio(folder / song.name / f"{name}.wav", wave, song.sample_rate)
        lines += [{"file": song.name, "edit_prompt": text} for text in instructions(song.facts, song.name)]
    write_text(folder / "edit_prompts.json", "".join(json.dumps(line) + "\n" for line in lines))


def envelope(vocals: Iterable[SpectrogramImage]) -> np.ndarray:
    """The voice in images of vocals: mean decibels of the voiced frames in 32 mel bands, less their median; NaN without any."""
    voiced = np.concatenate([image.pixels[::-1, melody_of(image.pixels).voiced] for image in vocals], axis=1).astype(float)
    if not voiced.size:
        return np.full(BANDS, np.nan)
    levels = 80 * np.log10(np.maximum((SILENCE - voiced) / SILENCE, 0.01)).mean(axis=1)  # darkness is magnitude to the power 1/4
    bands = levels.reshape(BANDS, -1).mean(axis=1)
    return bands - np.median(bands)


def place_of(voice: np.ndarray, singer: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Where an envelope lies between others' and the singer's.

    Returns:
        `singer_db`, `others_db`: root mean square distances. `voice`: place on the line from the others', 0, to the singer's, 1.
    """
    distances = [float(np.sqrt(np.mean((voice - known) ** 2))) for known in (singer, others)]
    along = [float(known @ (singer - others)) for known in (voice, others, singer)]
    return {"singer_db": distances[0], "others_db": distances[1], "voice": share_of_way(*along)}


def measure(args: cli.argparse.Namespace, pairs: Path, models: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Mean scores of every model over unseen songs and over the training songs, and of true vocals through the autoencoder."""
    vae = load_song_model(str(args.model)).pipeline.vae
    options, target = edit_options_for(args.model, steps=args.sample_steps), edit_target(args.model)

    def sung(catalogue: int, voices: Sequence[Voice]) -> list[Sung]:
        clips = demo_clips(catalogue, NUM_UNSEEN, voices=voices)
        images = (waveform_to_image(torch.from_numpy(clip.vocal)) for clip in clips)
        return [(edit_case("add", clip), reconstructed(vae, image)) for clip, image in zip(clips, images, strict=True)]

    def generated(folder: Path, cases: Iterable[EditClip]) -> Iterator[Sung]:
        pipeline = load_song_model(str(folder)).pipeline
        for index, case in enumerate(cases):
            yield case, generate_candidates(pipeline, case, options, seed_after(0, index), target=target)[0].output

    store, records = open_pairs(pairs, EDIT_PAIRS)
    first = {record.song: record for record in reversed(records)}.values()
    seen = [clip_from_record(store, record, target) for record in first]
    rows: dict[str, Iterable[Sung]] = {"this singer": sung(UNSEEN, [SINGER]), "other singers": sung(UNSEEN, other_voices(UNSEEN))}
    unseen = [case for case, _ in rows["this singer"]]
    copies = (reconstructed(vae, load_image(store.open(record.edited_file_path))) for record in first)
    rows["training vocals"] = zip(seen, copies, strict=True)
    for name, folder in models.items():
        rows |= {name: generated(folder, unseen), f"{name}, training songs": generated(folder, seen)}
    known = [envelope(vocal for _, vocal in sung(REFERENCE, voices)) for voices in ([SINGER], other_voices(REFERENCE))]
    training = training_fingerprints(pairs, target)

    def score(case: EditClip, vocal: SpectrogramImage) -> dict[str, float]:
        before, mix = case.before.pixels, combine_images(case.before, vocal).pixels
        verdict, nearest = judge("add", before, mix), nearest_distance(excess_image(before, mix), training).distance
        scores = {**verdict.shares, "fits": verdict.fit_scores.get("fits", np.nan), "nearest": nearest}
        return scores | place_of(envelope([vocal]), *known)

    found = {name: [score(*one) for one in cli.progress_bar(row, desc=name, unit="clip")] for name, row in rows.items()}
    return {name: {key: float(np.nanmean([row[key] for row in scores])) for key in scores[0]} for name, scores in found.items()}


def other_voices(catalogue: int) -> list[Voice]:
    return [Voice.random(SINGER.gender, np.random.default_rng([catalogue, index])) for index in range(NUM_UNSEEN)]


if __name__ == "__main__":
    cli.run(main)

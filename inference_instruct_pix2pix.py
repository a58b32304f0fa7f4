"""Edit spectrograms by instruction, and judge whether the edit was performed.

    python inference_instruct_pix2pix.py --audio raw-audio/rock-0001.ogg --prompt "add a female vocal rock melody" --best_of 4
    python inference_instruct_pix2pix.py --model models/riff-pix2pix-final --train_data_dir edit-data --max_samples 8 --sweep

Inputs are 5.11 s of a song whose vocal is removed first (default: the first song in raw-audio/), or the pairs of a data set:
a folder with metadata.jsonl (--train_data_dir), or a hub id or folder of Parquet files (--dataset_id). OUTPUT gets, for every
clip, original, sample and target as PNG and WAV and a contact sheet, scores.json, and index.html to look and listen; of a model
that generates vocals alone also vocal.png and vocal.wav, of an added vocal its notes as vocal.mid and, with --melody, its tune as
tune.mid. Whether an edit was performed, and whether an added vocal fits the backing's chords and beats, is judged from the images,
without a neural network; --best_of N generates N candidates and keeps the best. The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device

FILES = (
    "[0-9][0-9][0-9]*-*/*.png",
    "[0-9][0-9][0-9]*-*/*.wav",
    "[0-9][0-9][0-9]*-*/*.mid",
    "scores.json",
    "index.html",
)  # of the results


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.heading("model")
    add = parser.add_argument
    add("--model", default="models/riff-pix2pix-mini", help="folder, .ckpt or hub id of an InstructPix2Pix pipeline or its UNet")
    add("--base", help="base to use instead of the one that --model names")
    parser.heading("input")
    add("--dataset_id", help="hub id or Parquet folder of a data set with original_image, edit_prompt, edited_image")
    add("--train_data_dir", type=Path, help="folder of edit pairs (metadata.jsonl), or their shards as 'DIR/*.tar'")
    add("--max_samples", type=cli.whole(1), help="number of clips, from the beginning (default: 8 of a data set, 1 of raw-audio/)")
    add("--audio", type=Path, help="song to edit, instead of a data set (default: the first of raw-audio/)")
    add("--start", type=cli.seconds, default=0.0, help="where in the song the clip begins: 32, 0:32 or 1:02:03.5")
    parser.add_separation(none="--audio is edited as it is: an accompaniment, or a song whose vocal is to be removed")
    parser.heading("sampling")
    add("--prompt", help="the instruction (default: the data set's own; for a song, add a vocal melody)")
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    add(
        "--image_guidance_scale",
        type=cli.GUIDANCE,
        help="guidance by the input image, may be below 1 (default: the model's recommendation, else 1.5)",
    )
    add("--guidance_scale", type=cli.GUIDANCE, help="guidance by the instruction (default: the model's recommendation, else 7.5)")
    add("--negative_prompt", default="", help="what to avoid")
    add("--best_of", type=cli.whole(1), default=1, help="candidates to generate; the best by score is kept")
    parser.add_melody()
    parser.heading("grid of scales")
    parser.add_flag("sweep", default=False, help="generate every clip at a grid of guidance scales too, with scores")
    add("--sweep_image_scales", type=cli.GUIDANCE, nargs="+", default=[0.8, 1.2, 1.6, 2.0], help="rows of the grid")
    add("--sweep_text_scales", type=cli.GUIDANCE, nargs="+", default=[1.5, 3.0, 5.0, 7.5], help="columns of the grid")
    parser.heading("results")
    add("--output", type=Path, default=Path("outputs/edits"), help="folder for the results")
    add(
        "--vocal_db",
        type=cli.real(-100, 100),
        default=3.0,
        help="level of the vocal of a model that generates vocals alone, dB relative to the input",
    )
    parser.add_griffin_lim_iterations()
    parser.add_device()
    parser.add_sampling_seed()
    parser.add_overwrite("existing results")
    args = parser.parse_args(argv)
    if sum(given is not None for given in (args.audio, args.train_data_dir, args.dataset_id)) > 1:
        parser.error("give one of --audio FILE, --train_data_dir FOLDER and --dataset_id NAME, or none for a song of raw-audio/")
    if args.melody == "original" and (args.train_data_dir or args.dataset_id):
        parser.error("argument --melody: the clips of a data set have no separated vocal; give --audio, or another melody")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.errors import RiffError

    inputs = (args.audio, args.train_data_dir, args.dataset_id, args.model, args.base, args.stems_dir, args.melody)
    with cli.ResultFolder(args.output, "--output", FILES, inputs, args.overwrite).written() as folder:
        summary, failures = edit_clips(args, folder)
    print(f"{summary}: open {args.output / 'index.html'}")
    if failures:
        raise RiffError(failures)


def edit_clips(args: cli.argparse.Namespace, folder: Path) -> tuple[str, str]:
    """Write the results into `folder`, which becomes --output; returns a summary line and one about failures."""
    from riff.audio.clips import check_clip

    if args.audio:
        check_clip(args.audio, args.start)  # before the imports that take seconds
    from riff.files import write_json
    from riff.models.loading import load_edit_pipeline
    from riff.models.model_types import EDIT, model_type_of
    from riff.report.edit_pages import ShownEdit, write_edits_page
    from riff.report.report import Take
    from riff.sampling.edit import best_take, generate_candidates, generate_sweep, write_edit, write_sweep
    from riff.sampling.melody import tune_of, write_tunes
    from riff.sampling.options import edit_options_for, edit_target
    from riff.sampling.pipelines import prepare_pipeline
    from riff.sampling.song import notes_of_vocal
    from riff.sampling.windows import guided_steps
    from riff.seeds import seed_after
    from riff.spectrogram.params import CLIP_FRAMES

    device = choose_device(args.device, mps=True)
    model_type_of(args.model, EDIT)  # before songs are separated, which can take minutes
    target = edit_target(args.model)
    further = {"steps": args.steps, "negative_prompt": args.negative_prompt}
    options = edit_options_for(args.model, args.guidance_scale, args.image_guidance_scale, **further)
    tune = tune_of(args, args.model, args.start)
    if tune:
        tune.check(CLIP_FRAMES, args.prompt or "")
    clips, failures = load_clips(args, target, device)
    pipeline = prepare_pipeline(load_edit_pipeline(args.model, args.base), device)
    clips, of_other_sizes = clips_that_fit(pipeline, clips)
    failures += of_other_sizes
    for failure in failures:
        cli.warn(f"left out: {failure}")
    if not clips:
        raise failures[0]
    grid = (args.sweep_image_scales, args.sweep_text_scales)
    samples = args.best_of + (len(grid[0]) * len(grid[1]) if args.sweep else 0)
    shown, scores = [], []
    steps = guided_steps(options.steps, tune.strength) if tune else options.steps
    with cli.progress_bar(total=len(clips) * samples * steps, desc="sampling", unit="step") as progress:
        settings = {"target": target, "vocal_db": args.vocal_db, "on_step": progress.update}
        for number, clip in enumerate(clips):
            clip_folder, seed = folder / f"{number:03d}-{clip.name}", seed_after(args.seed, number)
            settings["guide"] = guide = clip.guide(tune, target)
            takes = generate_candidates(pipeline, clip, options, seed, args.best_of, **settings)
            best = best_take(takes)
            vocal = best.output if target == "vocals" else None
            files = write_edit(clip_folder, clip, best.after, vocal, clip.prompt, args.griffin_lim_iterations)
            if clip.kind == "add":
                write_tunes(clip_folder, "", guide, best.seed, notes_of_vocal(clip.before, best.after))
            sweep = generate_sweep(pipeline, clip, options, seed, *grid, **settings) if args.sweep else []
            sheet = clip_folder / "sweep.png"
            swept = Take(f"seed {seed} at other scales; {write_sweep(sheet, sweep, len(grid[1]))}", sheet) if sweep else None
            shown.append(ShownEdit(clip, best, files, args.best_of, swept))
            scores.append(describe(clip_folder.name, clip, best, takes, sweep))
    write_json(folder / "scores.json", {"target": target, "clips": scores})
    performed = sum(score["performed"] for score in scores)
    command = f"python inference_instruct_pix2pix.py --model {args.model} --seed {args.seed} --best_of {args.best_of}"
    write_edits_page(folder, shown, args.model, command)
    cli.write_manifest(folder / "manifest.json", vars(args), target=target, performed=performed, clips=len(clips))
    for score in scores:
        if not score["performed"]:
            failed = f"none of {args.best_of} candidates performed" if args.best_of > 1 else "the sample did not perform"
            reason = f" ({score['shortcoming']})" if score["shortcoming"] else ""
            advice = "try --best_of, another --seed, or --sweep to find better scales"
            cli.warn(f"{score['name']}: {failed} the edit{reason}; {advice}")
    failed = f"{len(failures)} of {len(failures) + len(clips)} clips could not be edited" if failures else ""
    return f"{performed} of {len(clips)} edits performed", f"{failed}; the first: {failures[0]}" if failures else ""


def load_clips(args: cli.argparse.Namespace, target: str, device: str) -> tuple[list, list]:
    """The clips to edit, and the errors of those that cannot be read."""
    from functools import partial

    from riff.data.records import EDIT_PAIRS
    from riff.data.stores import open_dataset, open_pairs
    from riff.errors import RiffError
    from riff.pairs.instructions import kind_of_prompt
    from riff.pairs.songs import list_songs
    from riff.sampling.edit import EditClip, clip_from_audio, clip_from_record
    from riff.separation.separator import open_songs, separation_options

    if not args.train_data_dir and not args.dataset_id:
        inputs: Sequence = [args.audio] if args.audio else [song.path for song in list_songs("raw-audio")[: args.max_samples or 1]]
        opener = open_songs(separation_options(args, device), inputs, warn=cli.warn)
        prompt = args.prompt or "add a vocal melody"
        settings = {"opener": opener, "start_s": args.start, "prompt": prompt, "kind": kind_of_prompt(prompt), "device": device}
        read: Callable[[Any], EditClip] = partial(clip_from_audio, **settings)
    else:
        store, inputs = (
            open_dataset(args.dataset_id, EDIT_PAIRS) if args.dataset_id else open_pairs(args.train_data_dir, EDIT_PAIRS)
        )
        inputs = inputs[: args.max_samples or 8]
        read = partial(clip_from_record, store, target=target, prompt=args.prompt)
    clips, failures = [], []
    for source in inputs:
        try:
            clips.append(read(source))
        except RiffError as error:
            failures.append(error)
    if not clips:
        raise failures[0]
    return clips, failures


def clips_that_fit(pipeline: Any, clips: list) -> tuple[list, list]:
    """The clips of sizes that fit the model, and the errors of the others."""
    from riff.errors import DataError
    from riff.sampling.edit import check_image

    fitting: list = []
    failures: list = []
    for clip in clips:
        try:
            check_image(pipeline, clip.before.pixels)
            fitting.append(clip)
        except DataError as error:
            failures.append(DataError(f"{clip.name}: {error}"))
    return fitting, failures


def describe(name: str, clip, best, takes, sweep) -> dict:  # type: ignore[no-untyped-def]
    """One clip's entry in scores.json."""
    entry = {"name": name, "prompt": clip.prompt, "kind": clip.kind, **best.to_json()}
    entry["shortcoming"] = best.verdict.shortcoming if clip.kind == "add" else ""
    entry["candidates"] = [take.to_json() for take in takes]
    return entry | ({"sweep": [take.to_json() for take in sweep]} if sweep else {})


if __name__ == "__main__":
    main()

"""Change spectrograms by instruction, and say whether the change was made.

    python inference_instruct_pix2pix.py --audio raw-audio/rock-0001.ogg --prompt "add a female vocal rock melody" --best_of 4
    python inference_instruct_pix2pix.py --model_id models/riff-pix2pix-final --data_root edit-data --max_samples 8 --sweep

Inputs are 5.11 s of a song, whose vocal is taken out first, or the pairs of a data set: a folder with metadata.jsonl
(--data_root), or a hub id or folder of Parquet files (--dataset_id). BASE_SAVE_PATH gets, for every clip, original, sample
and target as PNG and WAV and a sheet of them, scores.json, and index.html to look and listen. Whether an edit was performed is
judged from the pictures, without a network; --best_of N draws N candidates and keeps the best. The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.heading("model")
    add = parser.add_argument
    add("--model_id", default="models/riff-pix2pix-mini", help="folder, .ckpt or hub id of an InstructPix2Pix pipeline or its UNet")
    add("--base", help="base to use instead of the one that --model_id names")
    parser.heading("what is changed")
    add("--dataset_id", help="hub id or Parquet folder of a data set with original_image, edit_prompt, edited_image")
    add("--data_root", type=Path, help="folder of edit pairs (metadata.jsonl), or their shards as 'DIR/*.tar'")
    add("--max_samples", type=int, default=8, help="clips of the data set, from its beginning")
    add("--audio", type=Path, help="song to edit, instead of a data set")
    add("--start", type=float, default=0.0, help="where in the song the clip begins, seconds")
    parser.add_separation(none="--audio is edited as it is: an accompaniment, or a song whose vocal shall be removed")
    parser.heading("sampling")
    add("--prompt", help="the instruction (default: the data set's own; for a song, add a vocal melody)")
    add("--num_inference_steps", type=int, default=20, help="denoising steps")
    add(
        "--image_guidance_scale",
        type=float,
        help="pull of the input, may be below 1 (default: what the model recommends, else 1.5)",
    )
    add("--guidance_scale", type=float, help="pull of the instruction (default: what the model recommends, else 7.5)")
    add("--negative_prompt", default="", help="what not to do")
    add("--best_of", type=int, default=1, help="candidates to draw; the best by score is kept")
    parser.heading("grid of scales")
    parser.add_flag("sweep", default=False, help="draw every clip at a grid of guidance scales too, with each one's scores")
    add("--sweep_image_scales", type=float, nargs="+", default=[0.8, 1.2, 1.6, 2.0], help="rows of the grid")
    add("--sweep_text_scales", type=float, nargs="+", default=[1.5, 3.0, 5.0, 7.5], help="columns of the grid")
    parser.heading("results")
    add("--base_save_path", type=Path, default=Path("outputs/edits"), help="folder for the results")
    add("--vocal_db", type=float, default=3.0, help="how loud a vocal that the model paints alone is added, dB over the input")
    add("--griffin_lim_iterations", type=int, default=16, help="rounds of phase reconstruction")
    parser.add_device()
    parser.add_seed()
    parser.add_overwrite("results that are there")
    args = parser.parse_args(argv)
    if sum(given is not None for given in (args.audio, args.data_root, args.dataset_id)) != 1:
        parser.error("give one of --audio FILE, --data_root FOLDER and --dataset_id NAME")
    if min(args.max_samples, args.num_inference_steps, args.best_of) < 1:
        parser.error("--max_samples, --num_inference_steps and --best_of must be 1 or more")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from riff.errors import OptionError, RiffError
    from riff.evaluation.edit_pages import ShownEdit, write_edits_page
    from riff.evaluation.edit_takes import best_take, draw_candidates, draw_sweep, write_sweep
    from riff.evaluation.report import Take
    from riff.files import make_folder, write_json
    from riff.models.edit import load_edit_pipeline
    from riff.sampling.control import prepare_pipeline
    from riff.sampling.edit import edit_options_for
    from riff.sampling.edit_clip import edit_target, vocal_at_level, write_edit

    if (args.base_save_path / "scores.json").exists() and not args.overwrite:
        raise OptionError(f"--base_save_path {args.base_save_path}: holds results already; use another folder, or --overwrite")
    make_folder(args.base_save_path)
    device, target = cli.choose_device(args.device), edit_target(args.model_id)
    more = {"steps": args.num_inference_steps, "negative_prompt": args.negative_prompt}
    options = edit_options_for(args.model_id, args.guidance_scale, args.image_guidance_scale, **more)
    clips, failures = load_clips(args, target, device)
    pipeline = prepare_pipeline(load_edit_pipeline(args.model_id, args.base), device)
    grid = (args.sweep_image_scales, args.sweep_text_scales)
    draws = args.best_of + (len(grid[0]) * len(grid[1]) if args.sweep else 0)
    shown, scores = [], []
    with cli.progress_bar(total=len(clips) * draws * options.steps, desc="sampling", unit="step") as progress:
        drawing = {"target": target, "vocal_db": args.vocal_db, "on_step": progress.update}
        for number, clip in enumerate(clips):
            folder, seed = args.base_save_path / f"{number:03d}-{clip.name}", args.seed + number
            takes = draw_candidates(pipeline, clip, options, seed, args.best_of, **drawing)
            best = best_take(takes)
            vocal = vocal_at_level(best.painted, clip.before, args.vocal_db) if target == "vocals" else None
            files = write_edit(folder, clip, best.after, vocal, clip.prompt, args.griffin_lim_iterations)
            sweep = draw_sweep(pipeline, clip, options, seed, *grid, **drawing) if args.sweep else []
            sheet = folder / "sweep.png"
            swept = Take(f"seed {seed} at other scales; {write_sweep(sheet, sweep, len(grid[1]))}", sheet) if sweep else None
            shown.append(ShownEdit(clip, best, files, args.best_of, swept))
            scores.append(describe(folder.name, clip, best, takes, sweep))
    write_json(args.base_save_path / "scores.json", {"target": target, "clips": scores})
    performed = sum(score["performed"] for score in scores)
    command = f"python inference_instruct_pix2pix.py --model_id {args.model_id} --seed {args.seed} --best_of {args.best_of}"
    page = write_edits_page(args.base_save_path, shown, args.model_id, command)
    cli.write_manifest(args.base_save_path / "manifest.json", vars(args), target=target, performed=performed, clips=len(clips))
    for score in scores:
        if not score["performed"]:
            drawn = f"none of {args.best_of} candidates counts" if args.best_of > 1 else "this does not count"
            cli.warn(f"{score['name']}: {drawn} as the edit; try --best_of, another --seed, or --sweep to find better scales")
    print(f"{performed} of {len(clips)} edits performed: open {page}")
    if failures:
        raise RiffError(f"{len(failures)} of {len(failures) + len(clips)} clips could not be edited; the first: {failures[0]}")


def load_clips(args: cli.argparse.Namespace, target: str, device: str) -> tuple[list, list]:
    """The clips to edit, and the errors of those that cannot be read."""
    from riff.audio.separation import open_songs, separation_options
    from riff.data.edit_records import EDIT_PAIRS
    from riff.data.instructions import kind_of_prompt
    from riff.data.stores import open_dataset, open_pairs
    from riff.errors import RiffError
    from riff.sampling.edit_clip import clip_from_audio, clip_from_record

    if args.audio:
        taken_apart = args.separator != "none"
        opener = open_songs(separation_options(args, device), [args.audio], say=cli.warn) if taken_apart else None
        prompt = args.prompt or "add a vocal melody"
        return [clip_from_audio(args.audio, opener, args.start, prompt, kind_of_prompt(prompt), device)], []
    clips, failures = [], []
    store, records = open_dataset(args.dataset_id, EDIT_PAIRS) if args.dataset_id else open_pairs(args.data_root, EDIT_PAIRS)
    for record in records[: args.max_samples]:
        try:
            clips.append(clip_from_record(store, record, target, args.prompt))
        except RiffError as error:
            failures.append(error)
    if not clips:
        raise failures[0]
    return clips, failures


def describe(name: str, clip, best, takes, sweep) -> dict:  # type: ignore[no-untyped-def]
    """One clip's entry in scores.json."""
    entry = {"name": name, "prompt": clip.prompt, "kind": clip.kind, **best.to_json()}
    entry["candidates"] = [take.to_json() for take in takes]
    return entry | ({"sweep": [take.to_json() for take in sweep]} if sweep else {})


if __name__ == "__main__":
    main()

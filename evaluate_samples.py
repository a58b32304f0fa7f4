"""Measure how well a model does on songs that it never saw.

    python evaluate_samples.py --model models/riff-cnet-mini --songs demo:16 --output outputs/evaluation
    python evaluate_samples.py --experiment edit --model models/riff-pix2pix-mini --songs demo:24 --best_of 4

The experiment `control` asks how well samples follow the accompaniment's edges, `edit` how often an instruction is followed
and what that costs the backing. Prints a table and writes OUTPUT/results.json and OUTPUT/index.html with players and
pictures. Songs are synthesised (demo:N, from a catalogue that no model was trained on) or read from a folder in MUSDB's
layout, whose prompt_file.json is used where it is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from riff import cli

EVALUATION_CATALOGUE = 3
EXPERIMENTS = {"control": "models/riff-cnet-mini", "edit": "models/riff-pix2pix-mini"}  # with their default models


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--experiment",
        default="control",
        choices=tuple(EXPERIMENTS),
        help="does the sample follow the edges; is the edit performed",
    )
    add(
        "--model",
        help="folder, .ckpt or hub id of a control or edit model (default: models/riff-cnet-mini, models/riff-pix2pix-mini)",
    )
    add("--base", help="base to use instead of the one that --model names")
    add("--songs", default="demo:16", help="demo:N, or a folder of SONG/{vocals,drums,bass,other}.wav")
    add("--steps", type=int, default=20, help="denoising steps")
    add("--scale", type=float, help="classifier-free guidance (default: what the model recommends, else 4; edit: 7.5)")
    add("--strength", type=float, help="control: of the control (default: what the model recommends, else 1)")
    add("--image_scale", type=float, help="edit: guidance of the input (default: what the model recommends, else 1.5)")
    add("--best_of", type=int, default=1, help="edit: candidates a clip, of which the best by score has a row of its own")
    add("--edit_kinds", nargs="+", default=["add"], choices=("add", "remove", "noop"), help="edit: instructions to give")
    add(
        "--instruction", default="add {vocal}", help="edit: how an addition is worded; {vocal} is what the song's prompt says of it"
    )
    parser.add_flag("held_out_wording", default=False, help="edit: ask for demo songs' vocals in words that were not trained on")
    add("--train_data_dir", type=Path, help="edit: training pairs, to measure the distance to the nearest")
    add("--num_shown", type=int, default=6, help="songs shown on the page")
    add("--output", type=Path, default=Path("outputs/evaluation"), help="folder for the results")
    parser.add_device()
    parser.add_seed()
    args = parser.parse_args(argv)
    if min(args.best_of, args.steps) < 1:
        parser.error("--best_of and --steps must be 1 or more")
    args.model = args.model or EXPERIMENTS[args.experiment]
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from tqdm import tqdm

    clips = load_clips(args.songs, args.held_out_wording)
    with tqdm(total=len(clips), desc="songs", unit="song") as progress:
        measure = measure_edit if args.experiment == "edit" else measure_control
        sampling, scored, means, metrics, write_page = measure(args, clips, progress.update)
    print_table(means, metrics)
    songs = [{"song": one.clip, "kind": one.kind, **one.scores} for one in scored]
    cli.write_manifest(args.output / "results.json", vars(args), sampling=sampling, means=means, songs=songs)
    command = f"python evaluate_samples.py --model {args.model} --songs {args.songs} --seed {args.seed}"
    if args.experiment != "control":
        command += " --held_out_wording" if args.held_out_wording else ""
        command += f" --experiment {args.experiment} --best_of {args.best_of} --edit_kinds {' '.join(args.edit_kinds)}"
    print(write_page(args.output, scored, means, command, args.num_shown))


def measure_control(args: cli.argparse.Namespace, clips: list, on_clip) -> tuple:  # type: ignore[no-untyped-def]
    from dataclasses import asdict

    from riff.evaluation.control import METRICS, evaluate_control, summarise
    from riff.evaluation.pages import write_control_page
    from riff.models.control import load_control_pipeline
    from riff.sampling.control import options_for, prepare_pipeline

    pipeline = prepare_pipeline(load_control_pipeline(args.model, args.base), cli.choose_device(args.device))
    options = options_for(args.model, args.scale, args.strength, steps=args.steps)
    scored = evaluate_control(pipeline, clips, options, args.seed, on_clip=on_clip)
    return asdict(options), scored, summarise(scored), METRICS, write_control_page


def measure_edit(args: cli.argparse.Namespace, clips: list, on_clip) -> tuple:  # type: ignore[no-untyped-def]
    from dataclasses import asdict

    from riff.evaluation.edit_experiment import EDIT_METRICS, evaluate_edit, summarise_edits, training_fingerprints
    from riff.evaluation.edit_pages import write_edit_page
    from riff.models.edit import load_edit_pipeline
    from riff.sampling.edit import edit_options_for, prepare_edit_pipeline
    from riff.sampling.edit_clip import edit_target

    target = edit_target(args.model)
    training = training_fingerprints(args.train_data_dir, target) if args.train_data_dir else None
    pipeline = prepare_edit_pipeline(load_edit_pipeline(args.model, args.base), cli.choose_device(args.device))
    options = edit_options_for(args.model, args.scale, args.image_scale, steps=args.steps)
    kinds = list(dict.fromkeys(args.edit_kinds))
    scored = evaluate_edit(
        pipeline, clips, options, args.seed, args.best_of, target, kinds, training, args.instruction, on_clip=on_clip
    )
    return asdict(options) | {"target": target}, scored, summarise_edits(scored), EDIT_METRICS, write_edit_page


def print_table(means: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> None:
    names = max(12, *(len(kind) + 2 for kind in means))
    print(f"{'':{names}}" + "".join(f"{metric:>{len(metric) + 2}}" for metric in metrics))
    for kind, row in means.items():
        cells = [f"{row[metric]:.3f}" if metric in row else "-" for metric in metrics]
        print(f"{kind:{names}}" + "".join(f"{cell:>{len(metric) + 2}}" for metric, cell in zip(metrics, cells, strict=True)))


def load_clips(songs: str, held_out_wording: bool) -> list:
    """`demo:N` or a folder -> clips whose parts are known."""
    from riff.errors import OptionError
    from riff.evaluation.songs import clips_of_folder

    if not songs.startswith("demo:"):
        if held_out_wording:
            raise OptionError(f"--held_out_wording is of demo songs, and --songs is {songs}; leave one of them out")
        return clips_of_folder(Path(songs))
    if not songs[5:].isdigit() or int(songs[5:]) < 1:
        raise OptionError(f"--songs {songs}: write demo:N with N of 1 or more, or a folder")
    from demo.evaluation import demo_clips

    return demo_clips(EVALUATION_CATALOGUE, int(songs[5:]), held_out_wording)


if __name__ == "__main__":
    cli.run(main)

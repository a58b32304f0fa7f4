"""Measure how well a model does on songs that it never saw.

    python tools/evaluate_samples.py --model models/riff-cnet-mini --songs demo:16 --output outputs/evaluation
    python tools/evaluate_samples.py --experiment edit --model models/riff-pix2pix-mini --songs demo:24 --best_of 4
    python tools/evaluate_samples.py --experiment need seeds prompts --songs demo:4

An experiment is one question. control: do samples follow the accompaniment's edges? edit: how often is an instruction
followed, and what does that cost the backing? need: what can the base do without a ControlNet, started from a picture? seeds:
do other seeds sing something else over the same backing? prompts: does the vocal become what the prompt says? settings: what
does each setting cost and give? ladder: where does the model stand between no vocal, wrong ones and the true one?

Prints a table and writes OUTPUT/results.json and OUTPUT/index.html with players and pictures, the accompaniment's edges over
them; several experiments write OUTPUT/NAME/ each, draw nothing twice, and OUTPUT/index.html leads to them. Songs are
synthesised (demo:N, from a catalogue that no model was trained on) or read from a folder in MUSDB's layout, whose
prompt_file.json is used where it is there.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from riff import cli
from riff.errors import OptionError, RiffError
from riff.experiments.experiments import ALL, MODULES, find_experiments

FILES, OVERVIEW = ("clips/*", "index.html"), ("index.html",)  # of the results of one experiment, and of several together
EVALUATION_CATALOGUE, STYLE_CATALOGUE = 3, 7
SHARED = ("experiment", "model", "base", "songs", "clips", "held_out_wording", "seed", "device", "num_shown")  # by all experiments


def make_parser() -> cli.ArgumentParser:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--experiment", nargs="+", default=["control"], choices=(*MODULES, ALL), metavar="NAME", help=f"{', '.join(MODULES)} or all"
    )
    add(
        "--model",
        help="folder, .ckpt or hub id of a control or edit model (default: models/riff-cnet-mini, models/riff-pix2pix-mini)",
    )
    add("--base", help="base to use instead of the one that --model names")
    add(
        "--songs",
        default="demo:16",
        help="demo:N (demo-v2:N: of the larger world), or a folder of SONG/{vocals,drums,bass,other}.wav",
    )
    which = "of a folder's songs: the first clip with a vocal, or those of docs/musdb_vocal_inpainting.md"
    add("--clips", default="first", choices=("first", "benchmark"), help=which)
    add("--steps", type=cli.DENOISING_STEPS, default=20, help="denoising steps")
    add("--scale", type=cli.GUIDANCE, help="classifier-free guidance (default: what the model recommends, else 4; edit: 7.5)")
    add("--num_shown", type=cli.whole(0), default=6, help="songs shown on the page")
    add("--output", type=Path, default=Path("outputs/evaluation"), help="folder for the results")
    parser.add_device()
    parser.add_sampling_seed()
    parser.add_overwrite("results that are there")
    parser.heading("experiments with a control model")
    add("--strength", type=cli.GUIDANCE, help="of the control (default: what the model recommends, else 1)")
    parser.heading("--experiment seeds")
    add("--num_seeds", type=cli.whole(2), default=8, help="samples of every song, which are compared with each other")
    parser.heading("--experiment prompts")
    add("--style_songs", default="demo:75", help="other songs to learn styles from, demo:N or a folder as in --songs")
    parser.heading("--experiment settings")
    names = ("strength", "canny", "guidance", "steps", "sampler")
    add("--settings", nargs="+", default=list(names), choices=names, help="settings to change, one at a time")
    add("--compare", nargs="+", default=[], metavar="NAME=FOLDER", help="further models, each a row of its own")
    parser.heading("--experiment ladder")
    add("--vocals", type=Path, help="judge another system's vocals in place of the model's: a folder of CLIP.wav")
    add("--clap", metavar="MODEL", help="CLAP scores and Frechet distances too, by this folder or hub id; auto: LAION's")
    _add_edit_flags(parser)
    return parser


def _add_edit_flags(parser: cli.ArgumentParser) -> None:
    parser.heading("--experiment edit")
    add = parser.add_argument
    add("--image_scale", type=cli.GUIDANCE, help="guidance of the input (default: what the model recommends, else 1.5)")
    add("--best_of", type=cli.whole(1), default=1, help="candidates a clip, of which the best by score has a row of its own")
    add("--edit_kinds", nargs="+", default=["add"], choices=("add", "remove", "noop"), help="instructions to give")
    add("--instruction", default="add {vocal}", help="how an addition is worded; {vocal} is what the song's prompt says of it")
    wording = "ask for demo songs' vocals in words that were not trained on"
    parser.add_flag("held_out_wording", default=False, help=wording)
    add("--train_data_dir", type=Path, help="training pairs, to measure the distance to the nearest")


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    experiments = find_experiments(args.experiment, args.model)
    folders = result_folders(args, [experiment.name for experiment, _ in experiments])
    for folder in folders.values():
        folder.check()
    clips = load_clips(args.songs, EVALUATION_CATALOGUE, args.held_out_wording, args.clips)
    if len(experiments) == 1:
        return run_experiments(parser, args, experiments, folders, clips, None)
    inputs = (args.model, args.base, args.songs)
    with cli.ResultFolder(args.output, "--output", OVERVIEW, inputs, args.overwrite).written() as overview:
        status = run_experiments(parser, args, experiments, folders, clips, overview)
    print(args.output / "index.html")
    return status


def result_folders(args: argparse.Namespace, names: Sequence[str]) -> dict[str, cli.ResultFolder]:
    """Where the results of each experiment go: --output, or, of several, folders of their names in it."""
    inputs = (args.model, args.base, args.songs, args.style_songs, args.vocals, args.train_data_dir)
    places = {name: args.output / name if len(names) > 1 else args.output for name in names}
    settings = {"inputs": inputs, "overwrite": args.overwrite, "manifest": "results.json"}
    return {name: cli.ResultFolder(place, "--output", FILES, **settings) for name, place in places.items()}


def run_experiments(
    parser: cli.ArgumentParser,
    args: argparse.Namespace,
    experiments: Sequence[tuple[Any, Any]],
    folders: dict[str, cli.ResultFolder],
    clips: list,
    overview: Path | None,
) -> int:
    """Run each experiment and write its results as soon as they are there; of several, one that fails leaves the others alone.

    Args:
        experiments: each with the kind of model that it measures. overview: where a page over several of them goes.

    Returns:
        The exit status.
    """
    from riff.experiments.bench import load_bench
    from riff.experiments.pages import Answer, table_text, write_answer, write_overview

    benches: dict[str, Any] = {}  # by kind of model: experiments of one kind share what was drawn
    answers, failed = [], 0
    for experiment, kind in experiments:
        flags = argparse.Namespace(**vars(args) | {"experiment": [experiment.name], "model": args.model or kind.example})
        folder = folders[experiment.name]
        try:
            with folder.written() as place:
                if kind.name not in benches:
                    bench = load_bench(kind, flags.model, args.base, cli.choose_device(args.device), clips, args.seed)
                    benches[kind.name] = replace(bench, load_clips=partial(load_clips, catalogue=STYLE_CATALOGUE))
                result = experiment.measure(benches[kind.name], vars(args))
                answer = Answer(experiment, result, parser.command(flags, (*SHARED, *experiment.flags)))
                write_answer(place, answer, clips, vars(flags), args.num_shown)
        except RiffError as error:
            if overview is None:
                raise
            cli.warn(f"error: --experiment {experiment.name}: {error}")
            failed += 1
            continue
        answers.append(answer)
        print(table_text(experiment, result.means), *result.remarks, folder.path / "index.html", sep="\n")
    if not answers:
        raise RiffError(f"none of the {len(experiments)} experiments came to a result; what stopped each is said above")
    if overview is not None:
        write_overview(overview, answers, args.output)
        cli.write_manifest(overview / "manifest.json", vars(args), experiments=[answer.experiment.name for answer in answers])
    return cli.EXIT_FAILURE if failed else 0


def load_clips(songs: str, catalogue: int, held_out_wording: bool = False, which: str = "first") -> list:
    """`demo:N`, `demo-v1:N`, `demo-v2:N` or a folder -> clips whose parts are known."""
    from riff.experiments.musdb import benchmark_clips
    from riff.experiments.songs import clips_of_folder

    if not re.match(r"demo(-v\d+)?:", songs):
        if held_out_wording:
            raise OptionError(f"--held_out_wording is of demo songs, and --songs is {songs}; leave one of them out")
        return benchmark_clips(Path(songs)) if which == "benchmark" else clips_of_folder(Path(songs))
    if which == "benchmark":
        raise OptionError(f"--clips benchmark is of songs in a folder, and --songs is {songs}; leave one of them out")
    from demo.evaluation import demo_clips
    from demo.worlds import parse_songs

    found = parse_songs(songs)
    if found is None:
        raise OptionError(f"{songs}: no songs; write demo:N with N of 1 or more, demo-v1:N, demo-v2:N or a folder")
    world, count = found
    return demo_clips(catalogue, count, held_out_wording, world)


if __name__ == "__main__":
    main()

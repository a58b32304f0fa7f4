"""Evaluate a model on songs that are not in its training data.

    python tools/evaluate_samples.py --model models/riff-cnet-mini --songs demo:16 --output outputs/evaluation
    python tools/evaluate_samples.py --experiment edit --model models/riff-pix2pix-mini --songs demo:24 --best_of 4
    python tools/evaluate_samples.py --experiment need seeds prompts --songs demo:4
    python tools/evaluate_samples.py --experiment takes --songs real:my-songs --clips whole

An experiment answers one question. control: do samples follow the accompaniment's edges? edit: how often is an instruction
followed, and what does that cost the accompaniment? need: how far does the base get without a ControlNet, by image-to-image?
seeds: do other seeds give other vocals over the same accompaniment? prompts: does the vocal become what the prompt says?
fit: does the vocal belong to its song? takes: what is a take worth, over any song?
settings: what does each setting cost and gain? ladder: where does the model stand between no vocal, wrong ones and the true one?

Prints a table and writes OUTPUT/results.json and OUTPUT/index.html with players and spectrograms, also with the accompaniment's
edges over them. Several experiments write OUTPUT/NAME/ each and share their samples, and OUTPUT/index.html leads to them. Songs
are synthesised (demo:N, from a catalogue that no model was trained on), real (stempeg's example, downloaded by pip; with real:DIR
also the songs of a folder, which are separated where they come without stems), or read from a folder in MUSDB's layout. A folder's
prompt_file.json is used if there is one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from riff import cli
from riff.cli.errors import named_flag
from riff.devices import choose_device
from riff.errors import OptionError, RiffError
from riff.experiments import ALL, NAMES, find_experiments

if TYPE_CHECKING:  # --help needs no models' libraries
    from riff.experiments.clips import ReferenceClip
    from riff.experiments.experiment import Evaluation, Experiment
    from riff.models.model_types import ModelType
    from riff.separation.separator import SeparationOptions

FILES, OVERVIEW = ("clips/*", "index.html"), ("index.html",)  # of the results of one experiment, and of several together
EVALUATION_CATALOGUE, STYLE_CATALOGUE = 3, 7
SHARED = (
    "experiment",
    "model",
    "base",
    "songs",
    "catalogue",
    "clips",
    "separator",
    "held_out_wording",
    "seed",
    "device",
    "num_shown",
    "steps",
    "guidance_scale",
)


def make_parser() -> cli.ArgumentParser:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--experiment", nargs="+", default=["control"], choices=(*NAMES, ALL), metavar="NAME", help=f"{', '.join(NAMES)} or all")
    add(
        "--model",
        help="folder, .ckpt or hub id of a control or edit model (default: models/riff-cnet-mini, models/riff-pix2pix-mini)",
    )
    add("--base", help="base to use instead of the one that --model names")
    add(
        "--songs",
        default="demo:16",
        help="demo:N, real, real:DIR, or a folder of SONG/{vocals,drums,bass,other}.wav",
    )
    add("--catalogue", type=cli.whole(0), default=EVALUATION_CATALOGUE, help="of the demo songs; scales are chosen on 4")
    which = (
        "of a folder's songs: the first clip with a vocal, those of docs/musdb_vocal_inpainting.md, or of real songs the whole, "
        "20 s at most"
    )
    add("--clips", default="first", choices=("first", "benchmark", "whole"), help=which)
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    add(
        "--guidance_scale",
        type=cli.GUIDANCE,
        help="classifier-free guidance (default: what the model recommends, else 4; edit: 7.5)",
    )
    add("--num_shown", type=cli.whole(0), default=6, help="songs shown on the page")
    add("--output", type=Path, default=Path("outputs/evaluation"), help="folder for the results")
    parser.add_device()
    parser.add_sampling_seed()
    parser.add_overwrite("results that are there")
    parser.add_separation()
    parser.heading("experiments with a control model")
    add("--strength", type=cli.GUIDANCE, help="of the control (default: what the model recommends, else 1)")
    parser.heading("--experiment seeds")
    add("--num_seeds", type=cli.whole(2), default=8, help="samples of every song, compared pair by pair")
    parser.heading("--experiment prompts")
    add("--style_songs", default="demo:75", help="songs to fit the style classifier to, demo:N or a folder as in --songs")
    parser.heading("--experiment settings")
    names = ("strength", "canny", "guidance", "steps", "sampler")
    add("--settings", nargs="+", default=list(names), choices=names, help="settings to change, one at a time")
    add("--compare", nargs="+", type=named_model, default=[], metavar="NAME=FOLDER", help="further models, each with a row")
    parser.heading("--experiment ladder")
    add("--vocals", type=Path, help="score another system's vocals in place of the model's: a folder of CLIP.wav")
    add("--clap", metavar="MODEL", help="also CLAP scores and Frechet distances, by this folder or hub id; auto: LAION's")
    _add_edit_flags(parser)
    return parser


def _add_edit_flags(parser: cli.ArgumentParser) -> None:
    parser.heading("--experiment edit")
    add = parser.add_argument
    add("--image_guidance_scale", type=cli.GUIDANCE, help="guidance of the input (default: what the model recommends, else 1.5)")
    add("--best_of", type=cli.whole(1), default=1, help="samples a clip, of which the best by score has a row")
    add("--edit_kinds", nargs="+", default=["add"], choices=("add", "remove", "noop"), help="instructions to give")
    add(
        "--instruction",
        default="add {vocal}",
        help="wording of an addition; {vocal} is the vocal as the song's prompt describes it",
    )
    wording = "ask for the vocals of demo songs in wordings that are not in the training data"
    parser.add_flag("held_out_wording", default=False, help=wording)
    add("--train_data_dir", type=Path, help="training pairs, to measure the distance to the nearest one")


def named_model(text: str) -> str:
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise cli.argparse.ArgumentTypeError(f"{text}: write NAME=FOLDER")
    return text


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    from riff.separation.separator import separation_options

    with named_flag("--model "):
        experiments = find_experiments(args.experiment, args.model)
    folders = result_folders(args, [experiment.name for experiment, _ in experiments])
    for folder in folders.values():
        folder.check()
    clips = load_clips(args.songs, args.catalogue, args.held_out_wording, args.clips, separation_options(args))
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
    experiments: Sequence[tuple[Experiment, ModelType]],
    folders: dict[str, cli.ResultFolder],
    clips: Sequence[ReferenceClip],
    overview: Path | None,
) -> int:
    """Run each experiment and write its results when they are complete; of several, the others go on after an error.

    Args:
        experiments: each with the type of the model that it evaluates. overview: folder of the page over all experiments.

    Returns:
        The exit status.
    """
    from riff.experiments.experiment import load_evaluation
    from riff.experiments.pages import FinishedExperiment, table_text, write_overview, write_results

    evaluations: dict[str, Evaluation] = {}  # by model type; its experiments share samples
    sampling = {
        "guidance_scale": args.guidance_scale,
        "strength": args.strength,
        "image_guidance_scale": args.image_guidance_scale,
        "steps": args.steps,
    }
    finished, failed = [], 0
    for experiment, model_type in experiments:
        flags = argparse.Namespace(**vars(args) | {"experiment": [experiment.name], "model": args.model or model_type.example})
        folder = folders[experiment.name]
        try:
            with folder.written() as place:
                if model_type.name not in evaluations:
                    evaluation = load_evaluation(flags.model, clips, args.base, choose_device(args.device), args.seed, **sampling)
                    evaluations[model_type.name] = replace(evaluation, load_clips=partial(load_clips, catalogue=STYLE_CATALOGUE))
                evaluation = evaluations[model_type.name]
                result = experiment.measure(evaluation, vars(args))
                scale = "strength" if evaluation.model.follows_edges else "image_guidance_scale"
                command = parser.command(flags, list(dict.fromkeys((*SHARED, scale, *experiment.flags))))
                finished.append(FinishedExperiment(experiment, result, command))
                write_results(place, finished[-1], clips, vars(flags), args.num_shown)
        except RiffError as error:
            if overview is None:
                raise
            cli.warn(f"error: --experiment {experiment.name}: {error}")
            failed += 1
            continue
        print(table_text(experiment, result.means), *result.remarks, folder.path / "index.html", sep="\n")
    if not finished:
        raise RiffError(f"none of the {len(experiments)} experiments has a result; the reasons are above")
    if overview is not None:
        write_overview(overview, finished, args.output)
        cli.write_manifest(overview / "manifest.json", vars(args), experiments=[one.experiment.name for one in finished])
    return cli.EXIT_FAILURE if failed else 0


def load_clips(
    songs: str,
    catalogue: int,
    held_out_wording: bool = False,
    which: str = "first",
    separation: SeparationOptions | None = None,
) -> list[ReferenceClip]:
    """Clips of `demo:N`, `real`, `real:DIR` or of a folder.

    Raises:
        OptionError: flags that do not go together, or no songs. AudioError: as `clips_of_folder`.
        ModelError: as `fetch_example`.
    """
    from riff.experiments.clips import clips_of_folder
    from riff.experiments.musdb import benchmark_clips

    real, _, folder = songs.partition(":")
    if which == "whole" and real != "real":
        raise OptionError(f"--clips whole is of --songs real, and --songs is {songs}; leave one of them out")
    if real == "real" and which != "benchmark" and not held_out_wording:
        return load_real_clips(folder, which == "whole", separation)
    if not songs.startswith("demo:"):
        if held_out_wording:
            raise OptionError(f"--held_out_wording is of demo songs, and --songs is {songs}; leave one of them out")
        return benchmark_clips(Path(songs)) if which == "benchmark" else clips_of_folder(Path(songs))
    if which == "benchmark":
        raise OptionError(f"--clips benchmark is of songs in a folder, and --songs is {songs}; leave one of them out")
    from demo.evaluation import demo_clips, parse_songs

    count = parse_songs(songs)
    if count is None:
        raise OptionError(f"{songs}: no songs; write demo:N with N of 1 or more, or a folder")
    return demo_clips(catalogue, count, held_out_wording)


def load_real_clips(folder: str, whole: bool, separation: SeparationOptions | None) -> list[ReferenceClip]:
    """Clips of stempeg's example and of the songs of a folder, if one is given; without the example where only it is missing."""
    from riff.errors import ModelError
    from riff.experiments.real_songs import fetch_example, real_clips
    from riff.separation.separator import SeparationOptions

    clips = []
    try:
        clips = real_clips(fetch_example(), separation or SeparationOptions(), whole, cli.warn)
    except ModelError as error:
        if not folder:
            raise
        cli.warn(f"without stempeg's example: {error}")
    return clips + (real_clips(Path(folder), separation or SeparationOptions(), whole, cli.warn) if folder else [])


if __name__ == "__main__":
    main()

"""Measure how well a model's samples follow the accompaniment, on songs that it never saw.

    python evaluate_samples.py --model models/riff-cnet-mini --songs demo:16 --output outputs/evaluation

Prints a table and writes OUTPUT/results.json and OUTPUT/index.html with players and pictures. Songs are synthesised
(demo:N, from a catalogue that no model was trained on) or read from a folder in MUSDB's layout, whose prompt_file.json is
used where it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli

EVALUATION_CATALOGUE = 3


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--experiment", default="control", choices=("control",), help="control: does the sample follow the edges?")
    add("--model", default="models/riff-cnet-mini", help="folder or hub id of a control pipeline or a ControlNet")
    add("--base", help="base to use instead of the one that --model names")
    add("--songs", default="demo:16", help="demo:N, or a folder of SONG/{vocals,drums,bass,other}.wav")
    add("--steps", type=int, default=20, help="denoising steps")
    add("--scale", type=float, help="classifier-free guidance (default: what the model recommends, else 4)")
    add("--strength", type=float, help="of the control (default: what the model recommends, else 1)")
    add("--num_shown", type=int, default=6, help="songs shown on the page")
    add("--output", type=Path, default=Path("outputs/evaluation"), help="folder for the results")
    parser.add_device()
    parser.add_seed()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from dataclasses import asdict

    from tqdm import tqdm

    from riff.evaluation.control import METRICS, evaluate_control, summarise
    from riff.evaluation.pages import write_control_page
    from riff.models.control import load_control_pipeline
    from riff.sampling.control import options_for, prepare_pipeline

    clips = load_clips(args.songs)
    pipeline = prepare_pipeline(load_control_pipeline(args.model, args.base), cli.choose_device(args.device))
    with tqdm(total=len(clips), desc="songs", unit="song") as progress:
        options = options_for(args.model, args.scale, args.strength, steps=args.steps)
        scored = evaluate_control(pipeline, clips, options, args.seed, on_clip=progress.update)
    means = summarise(scored)
    print(f"{'':12}" + "".join(f"{metric:>22}" for metric in METRICS))
    for kind, row in means.items():
        print(f"{kind:12}" + "".join(f"{row[metric]:22.3f}" for metric in METRICS))
    songs = [{"song": one.clip, "kind": one.kind, **one.scores} for one in scored]
    cli.write_manifest(args.output / "results.json", vars(args), sampling=asdict(options), means=means, songs=songs)
    command = f"python evaluate_samples.py --model {args.model} --songs {args.songs} --seed {args.seed}"
    print(write_control_page(args.output, scored, means, command, args.num_shown))


def load_clips(songs: str) -> list:
    """`demo:N` or a folder -> clips whose parts are known."""
    from riff.errors import OptionError
    from riff.evaluation.songs import clips_of_folder

    if not songs.startswith("demo:"):
        return clips_of_folder(Path(songs))
    if not songs[5:].isdigit() or int(songs[5:]) < 1:
        raise OptionError(f"--songs {songs}: write demo:N with N of 1 or more, or a folder")
    from demo.evaluation import demo_clips

    return demo_clips(EVALUATION_CATALOGUE, int(songs[5:]))


if __name__ == "__main__":
    cli.run(main)

"""Make the page to listen to: songs, their backings, and new vocals over them by both small models.

    python demo/make_listening_page.py

Writes OUTPUT/listen.html and its sounds and images under OUTPUT/listen/ (OGG Opus, WebP), which open from disk and as a
site. The songs are synthesised, of a catalogue that no model was trained on. The same command writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("docs"), help="folder for listen.html and listen/")
    add("--models", nargs="+", default=["models/riff-cnet-mini", "models/riff-pix2pix-mini"], help="control and edit models")
    add("--songs", type=cli.whole(0), nargs="+", default=[0, 2, 4], help="numbers of the songs to hear a part of")
    add("--seconds", type=cli.times(1, 60), default=8.0, help="length of the parts")
    add("--whole_song", type=cli.whole(0), default=21, help="number of the song to hear as a whole")
    add("--whole_seconds", type=cli.times(1, 600), default=20.0, help="its length")
    add("--tunes", type=cli.whole(0), default=2, help="number of the first songs that get takes with a composed tune too")
    add("--steps", type=cli.DENOISING_STEPS, help="denoising steps (default: the model's recommendation, else 20)")
    parser.add_seed()
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    import torch

    from demo.listening_page import make_example, write_listening_page
    from riff.sampling.melody import COMPOSE, tune_for
    from riff.sampling.song import load_song_model

    torch.set_num_threads(1)  # the order of sums, and with it the last bit, depends on their number
    models = {Path(model).name: load_song_model(model, steps=args.steps) for model in args.models}
    tunes = {Path(model).name: tune for model in args.models if (tune := tune_for(model, COMPOSE, None))}
    parts = [
        make_example(args.output, models, tunes, number, args.seconds, args.seed, tuned=place < args.tunes)
        for place, number in enumerate(args.songs)
    ]
    whole = make_example(args.output, models, tunes, args.whole_song, args.whole_seconds, args.seed, whole=True)
    steps = max(model.options.steps for model in models.values())
    print(f"open {write_listening_page(args.output, [*parts, whole], args.seed, steps)}")


if __name__ == "__main__":
    cli.run(main)

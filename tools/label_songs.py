"""Write a prompt for every song of a folder, by listening to it: style, mood, voice and tempo.

    python tools/label_songs.py --audio_dir raw-audio --output prompts.json --review review.html

OUTPUT is a prompt file for --prompt_file of make_cnet_dataset.py or, with --template edit, of preprocess_musdb.py. Each line also
holds the words that were considered, with a confidence each; what is not sure (below 0.7) is not in the prompt. The review page
plays every song beside its prompt, and saves the corrected file. Songs that have a line are kept, corrected or not. A song that
cannot be labelled is named, the others go on, and the exit status is 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from riff import cli
from riff.cli.errors import named_flag
from riff.devices import choose_device


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--audio_dir", type=Path, required=True, help="folder of songs, or of MUSDB18, as SONG/ or SONG.stem.mp4")
    parser.add_argument("--output", type=Path, required=True, help="the prompt file, one JSON object a line")
    parser.add_argument(
        "--template", default="control", choices=("control", "edit"), help='"Generate a ..." for pairs, or "add a ..." for edits'
    )
    parser.add_argument("--review", type=Path, metavar="PAGE.html", help="write a page to listen and correct")
    parser.add_separation()
    parser.add_device()
    parser.add_overwrite("the lines of songs that are labelled already")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.files import make_folder, only_writer
    from riff.pairs.songs import list_songs
    from riff.report.review_page import check_page, write_review
    from riff.separation.separator import open_songs, separation_options
    from riff.tagging.label import label_songs, read_labels

    with named_flag("--audio_dir "):
        songs = list_songs(args.audio_dir)
    read_labels(args.output, args.template)
    if args.review:
        check_page(args.review)
    opener = open_songs(separation_options(args, choose_device(args.device)), [song.path for song in songs], cli.warn)
    names = {song.name if args.template == "control" else song.plain_name: song.path for song in songs}
    make_folder(args.output.parent)
    with only_writer(args.output.parent):
        wanted = {name: partial(opener.open, path) for name, path in names.items()}
        report = label_songs(wanted, args.output, args.template, args.overwrite, cli.warn)
    if args.review and (report.labelled or report.kept):
        lines = {line["file"]: line for line in read_labels(args.output, args.template)}
        shown = {name: path for name, path in names.items() if name in lines}
        print(write_review(args.review, args.output.name, list(lines.values()), shown, args.template))
    made, kept, failed = len(report.labelled), len(report.kept), len(report.failed)
    print(f"{made} songs labelled in {args.output}, {kept} had a prompt (--overwrite labels them again), {failed} failed")
    return cli.EXIT_FAILURE if failed else 0


if __name__ == "__main__":
    main()

"""Take songs apart into vocals and accompaniment.

    python tools/separate_audio.py --audio song.mp3 --output outputs/stems
    python tools/separate_audio.py --audio raw-audio --output outputs/stems --separator repet

Writes OUTPUT/SONG/vocals.wav and OUTPUT/SONG/accompaniment.wav at the song's own rate, channels and length, aligned to the
sample. Songs that are there already are skipped; OUTPUT/songs.json knows which files they were, so that another file of the
same name replaces nothing. A song that cannot be read is named, the others go on, and the exit status is 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--audio", type=Path, required=True, help="an audio file, or a folder of them")
    parser.add_argument("--output", type=Path, required=True, help="folder for SONG/{vocals,accompaniment}.wav")
    parser.add_separation()
    parser.add_argument(
        "--stems", type=cli.whole(2, 5), default=2, choices=(2, 4, 5), help="parts: 4 are vocals, drums, bass, other; 5 add piano"
    )
    parser.add_argument("--format", default="wav", choices=("wav", "flac"), help="wav is 32-bit float, flac 24-bit")
    parser.add_device()
    parser.add_overwrite("songs that were separated before")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.audio.io import list_audio_files
    from riff.files import make_folder, only_writer
    from riff.separation.separator import open_songs, separation_options

    songs = list_audio_files(args.audio) if args.audio.is_dir() else [args.audio]
    opener = open_songs(separation_options(args, cli.choose_device(args.device), args.stems), songs, say=cli.warn)
    make_folder(args.output)
    with only_writer(args.output, "--output"):
        made, failed = separate_all(songs, opener, args)
    skipped = len(songs) - made - failed
    print(f"{made} songs separated into {args.output}, {skipped} were there (--overwrite makes them again), {failed} failed")
    return cli.EXIT_FAILURE if failed else 0


def separate_all(songs: Sequence[Path], opener: Any, args: cli.argparse.Namespace) -> tuple[int, int]:
    """Separate each song that is not there yet; returns how many were made and how many failed, which are named."""
    from riff.audio.io import plain_name
    from riff.separation.separator import SeparatedSongs, separate_to_files

    separated = SeparatedSongs(args.output)
    separated.expect(songs)
    made = failed = 0
    progress = cli.progress_bar(songs, desc="songs", unit="song")
    for song in progress:
        progress.set_postfix_str(song.name)
        try:
            separated.require_same(song, args.overwrite)
            place = args.output / plain_name(song.name)
            if separate_to_files(song, opener, place, f".{args.format}", args.stems, args.overwrite):
                separated.note(song)
                made += 1
        except Exception as error:  # of whatever kind, the other songs go on
            cli.warn(f"error: {cli.item_error(song, error)}")
            failed += 1
    return made, failed


if __name__ == "__main__":
    main()

"""Take songs apart into vocals and accompaniment.

    python separate_audio.py --audio song.mp3 --output outputs/stems
    python separate_audio.py --audio raw-audio --output outputs/stems --separator repet

Writes OUTPUT/SONG/vocals.wav and OUTPUT/SONG/accompaniment.wav at the song's own rate, channels and length, aligned to the
sample. Songs that are there already are skipped. A song that cannot be read is named, the others go on, and the exit
status is 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    from riff.audio.io import list_audio_files, plain_name
    from riff.audio.separation import open_songs, separate_to_files, separation_options
    from riff.errors import AudioError, RiffError
    from riff.files import make_folder

    songs = list_audio_files(args.audio) if args.audio.is_dir() else [args.audio]
    opener = open_songs(separation_options(args, cli.choose_device(args.device), args.stems), songs, say=cli.warn)
    make_folder(args.output)
    first_of: dict[str, Path] = {}
    made = failed = 0
    progress = cli.progress_bar(songs, desc="songs", unit="song")
    for song in progress:
        progress.set_postfix_str(song.name)
        try:
            name = plain_name(song.name)
            if first_of.setdefault(name, song) != song:
                raise AudioError(f"{song}: its stems would replace those of {first_of[name].name}; rename one of them")
            made += separate_to_files(song, opener, args.output / name, f".{args.format}", args.stems, args.overwrite)
        except RiffError as error:
            cli.warn(f"error: {error}")
            failed += 1
    skipped = len(songs) - made - failed
    print(f"{made} songs separated into {args.output}, {skipped} were there (--overwrite makes them again), {failed} failed")
    return cli.EXIT_FAILURE if failed else 0


if __name__ == "__main__":
    main()

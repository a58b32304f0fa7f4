"""Take songs apart into vocals and accompaniment.

    python separate_audio.py --audio song.mp3 --output outputs/stems
    python separate_audio.py --audio raw-audio --output outputs/stems

Writes OUTPUT/SONG/vocals.wav and OUTPUT/SONG/accompaniment.wav at the song's own rate, channels and length, as float
WAV: together they are the song. Songs that are there already are skipped. A song that cannot be read is named, the
others go on, and the exit status is 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from riff import cli

PARTS = ("vocals", "accompaniment")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--audio", type=Path, required=True, help="an audio file, or a folder of them")
    parser.add_argument("--output", type=Path, required=True, help="folder for SONG/{vocals,accompaniment}.wav")
    parser.add_argument("--separator", default="repet", help="how songs are separated")
    parser.add_device()
    parser.add_overwrite("songs that were separated before")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from tqdm import tqdm

    from riff.audio.io import list_audio_files, read_audio, write_audio
    from riff.audio.separation import create_separator
    from riff.errors import AudioError, RiffError
    from riff.files import make_folder

    songs = list_audio_files(args.audio) if args.audio.is_dir() else [args.audio]
    separator = create_separator(args.separator, cli.choose_device(args.device))
    make_folder(args.output)
    first_of: dict[str, Path] = {}
    skipped = failed = 0
    progress = tqdm(songs, desc="songs", unit="song")
    for song in progress:
        progress.set_postfix_str(song.name)
        files = {part: args.output / song.stem / f"{part}.wav" for part in PARTS}
        try:
            if first_of.setdefault(song.stem, song) != song:
                raise AudioError(f"{song}: its stems would replace those of {first_of[song.stem].name}; rename one of them")
            if not args.overwrite and all(file.exists() for file in files.values()):
                skipped += 1
                continue
            audio = read_audio(song)
            stems = separator.separate(audio.waveform, audio.sample_rate)
            for part, file in files.items():
                write_audio(file, getattr(stems, part), audio.sample_rate, subtype="FLOAT")
        except RiffError as error:
            tqdm.write(f"error: {error}", file=sys.stderr)
            failed += 1
    made = len(songs) - skipped - failed
    print(f"{made} songs separated into {args.output}, {skipped} were there (--overwrite makes them again), {failed} failed")
    return cli.EXIT_FAILURE if failed else 0


if __name__ == "__main__":
    cli.run(main)

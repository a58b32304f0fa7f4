"""Separate songs into vocals and accompaniment.

    python tools/separate_audio.py --audio song.mp3 --output outputs/stems
    python tools/separate_audio.py --audio raw-audio --output outputs/stems --separator repet

Writes OUTPUT/SONG/vocals.wav and OUTPUT/SONG/accompaniment.wav at the song's own rate, channels and length, aligned to the
sample. Songs whose stems exist are skipped; OUTPUT/songs.json lists the files they were made from, so that another file of the
same name replaces nothing. A song that cannot be read is named, the others are separated, and the exit status is 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from riff import cli
from riff.audio.io import list_audio_files, plain_name, write_audio
from riff.devices import choose_device
from riff.errors import AudioError
from riff.files import atomic_path, make_folder, only_writer, read_mapping, readable, write_json

STEMS = {
    2: ("vocals", "accompaniment"),
    4: ("vocals", "drums", "bass", "other"),
    5: ("vocals", "drums", "bass", "piano", "other"),
}


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("--audio", "--audio_dir", type=Path, required=True, help="an audio file, or a folder of them")
    parser.add_argument("--output", type=Path, required=True, help="folder for SONG/{vocals,accompaniment}.wav")
    parser.add_separation()
    parser.add_argument(
        "--stems", type=cli.whole(2, 5), default=2, choices=(2, 4, 5), help="4 are vocals, drums, bass, other; 5 add piano"
    )
    parser.add_argument("--format", default="wav", choices=("wav", "flac"), help="wav is 32-bit float, flac 24-bit")
    parser.add_device()
    parser.add_overwrite("songs that were separated before")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from riff.separation.separator import open_songs, separation_options

    songs = list_audio_files(args.audio) if args.audio.is_dir() else [args.audio]
    opener = open_songs(separation_options(args, choose_device(args.device), args.stems), songs, warn=cli.warn)
    make_folder(args.output)
    separated = failed = 0
    with only_writer(args.output):
        index = SongIndex(args.output, songs)
        progress = cli.progress_bar(songs, desc="songs", unit="song")
        for song in progress:
            progress.set_postfix_str(song.name)
            try:
                index.check(song, args.overwrite)
                if separate_to_files(song, opener, index.folder(song), f".{args.format}", args.stems, args.overwrite):
                    index.add(song)
                    separated += 1
            except Exception as error:
                cli.warn(f"error: {cli.item_error(song, error)}")
                failed += 1
    skipped = len(songs) - separated - failed
    print(f"{separated} songs separated into {args.output}, {skipped} were there (--overwrite replaces them), {failed} failed")
    return cli.EXIT_FAILURE if failed else 0


def separate_to_files(
    song: Path, opener: Any, folder: Path, suffix: str = ".wav", num_stems: int = 2, overwrite: bool = False
) -> bool:
    """Write a song's stems as FOLDER/STEM.wav, float, or as FOLDER/STEM.flac, 24 bits; False if all of them exist.

    Raises:
        AudioError: the song cannot be read, or the separator has no such stems.
        OptionError: some of the files exist, or one is the song itself.
    """
    files = {name: folder / f"{name}{suffix}" for name in STEMS[num_stems]}
    if not overwrite and all(file.exists() for file in files.values()):
        return False
    cli.check_new_files(files.values(), [song], overwrite)
    stems, rate = opener.open(song)
    for name in files:
        if name not in ("accompaniment", *stems.parts):
            found = f"{opener.name} gives {', '.join(stems.parts)} and no {name}"
            raise AudioError(f"{song}: {found}; choose another number of --stems")
    with ExitStack() as stack:  # all stems or none
        for name, file in files.items():
            stem = stems.accompaniment if name == "accompaniment" else stems.parts[name]
            write_audio(stack.enter_context(atomic_path(file)), stem, rate, subtype="FLOAT" if suffix == ".wav" else None)
    return True


class SongIndex:
    """`OUTPUT/songs.json`: the file, by name and size, that each folder of stems was made from.

    Of two songs of one run with the same folder, it belongs to the one it was made from, else to the first.
    """

    def __init__(self, output: Path, songs: Sequence[Path]) -> None:
        self._output, self._file = output, output / "songs.json"
        self._separated: dict[str, Any] = read_mapping(self._file) if self._file.exists() else {}
        self._expected: dict[str, str] = {}
        for song in songs:
            self._expected.setdefault(self._key(song), readable(song.name))

    def folder(self, song: Path) -> Path:
        return self._output / plain_name(song.name)

    def _key(self, song: Path) -> str:
        return readable(self.folder(song).name)

    def check(self, song: Path, overwrite: bool) -> None:
        """Refuse a song whose stems would replace another's; with `overwrite`, only another file name is another song.

        Raises:
            AudioError: names the other.
        """
        from riff.files import readable

        known = self._separated.get(self._key(song))
        owner = known["file"] if known else self._expected[self._key(song)]
        if owner != readable(song.name):
            raise AudioError(f"{song}: its stems would replace those of {owner}; rename one of them")
        if known and not overwrite and song.is_file() and known["bytes"] != song.stat().st_size:
            raise AudioError(f"{song}: {self.folder(song)} holds the stems of another {owner}; rename it, or use --overwrite")

    def add(self, song: Path) -> None:
        """Record that a song's stems exist."""
        self._separated[self._key(song)] = {"file": readable(song.name), "bytes": song.stat().st_size}
        write_json(self._file, self._separated)


if __name__ == "__main__":
    main()

"""Songs taken apart: by the stems they come with, or by a separator chosen by name."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from riff.audio.io import plain_name, read_audio, write_audio
from riff.cli import check_new_files
from riff.errors import AudioError, ModelError, OptionError, RiffError
from riff.files import atomic_path, read_mapping, readable, write_json
from riff.separation.stems import ACCOMPANIMENT, VOCALS, Stems, StemsFolder, read_stems, stem_files, stems_beside

PART_NAMES = {2: (VOCALS, ACCOMPANIMENT), 4: (VOCALS, "drums", "bass", "other"), 5: (VOCALS, "drums", "bass", "piano", "other")}


@dataclass(frozen=True)
class SeparationOptions:
    """How songs are taken apart.

    Attributes:
        separator: one of `SEPARATORS`, or `auto` or `stems` (see `open_songs`).
        stems_dir: folder of songs with stems, to be taken instead of separating.
        num_stems: 2 (vocals and accompaniment), or 4 or 5 where the separator can.
        device: torch's name for where a model runs.
        spleeter_model_dir: where Spleeter's weights lie, or are to lie (default: `riff.separation.spleeter_weights` finds it).
    """

    separator: str = "auto"
    stems_dir: Path | None = None
    num_stems: int = 2
    device: str = "cpu"
    spleeter_model_dir: Path | None = None


def separation_options(args: Namespace, device: str = "cpu", num_stems: int = 2) -> SeparationOptions:
    """The options of the flags that `riff.cli.ArgumentParser.add_separation` adds."""
    return SeparationOptions(args.separator, args.stems_dir, num_stems, device, args.spleeter_model_dir)


class Separator(Protocol):
    """What takes a song apart. It is loaded once and used for any number of songs."""

    name: str

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Split a song of any length, rate and number of channels.

        A long song is worked on in blocks, so that nothing but the song and its parts grows with its length (the original
        Spleeter alone takes it whole).

        Args:
            waveform: float32, shape (channels, samples), finite.
            sample_rate: Hz.

        Returns:
            Parts of the same shape and rate, aligned to the sample.
        """
        ...


def _spleeter(options: SeparationOptions) -> Separator:
    from riff.separation.spleeter import SpleeterSeparator

    return SpleeterSeparator(options.num_stems, options.spleeter_model_dir, options.device)


def _spleeter_tf(options: SeparationOptions) -> Separator:
    from riff.separation.spleeter_tf import SpleeterTensorFlow

    return SpleeterTensorFlow(options.num_stems, options.spleeter_model_dir)


def _demucs(options: SeparationOptions) -> Separator:
    from riff.separation.demucs import DemucsSeparator

    return DemucsSeparator(options.separator, options.device)


def _repet(options: SeparationOptions) -> Separator:
    from riff.separation.repet import RepetSeparator

    return RepetSeparator()


# A factory imports what it needs, when it is needed.
SEPARATORS: dict[str, Callable[[SeparationOptions], Separator]] = {
    "spleeter": _spleeter,
    "spleeter-tf": _spleeter_tf,
    "demucs": _demucs,
    "demucs_ft": _demucs,
    "repet": _repet,
}


def create_separator(options: SeparationOptions) -> Separator:
    """Make a separator by its name.

    Raises:
        OptionError: there is none of this name; lists the names.
    """
    if options.separator not in SEPARATORS:
        raise OptionError(f"--separator {options.separator}: no such separator; choose from auto, stems, {', '.join(SEPARATORS)}")
    return SEPARATORS[options.separator](options)


class SongOpener:
    """Opens songs as stems: from `stems_dir`, from beside the song, or by separating it.

    Attributes:
        name: what the songs go through, for manifests: a separator's name, or `stems`.
    """

    def __init__(
        self,
        separator: Separator | None,
        stems_dir: StemsFolder | None = None,
        use_stems_beside: bool = True,
        options: SeparationOptions | None = None,
    ) -> None:
        self.name = separator.name if separator else "stems"
        self._separator, self._stems_dir, self._use_stems_beside = separator, stems_dir, use_stems_beside
        self._options = options

    def __getstate__(self) -> dict[str, Any]:
        """To another process goes how the separator is made, and not its weights."""
        return self.__dict__ | {"_separator": None}

    def sources(self, song: Path, name: str | None = None) -> list[Path]:
        """The files that `open` reads, as far as they are there.

        Raises:
            AudioError: there is nothing of this song in `stems_dir`.
        """
        place = self._stems_of(song, name)
        return [song] if place is None else stem_files(place)

    def _stems_of(self, song: Path, name: str | None) -> Path | None:
        if self._stems_dir is not None:
            return self._stems_dir.find(name or plain_name(song.name))
        return stems_beside(song) if self._use_stems_beside else None

    def open(self, song: Path, name: str | None = None, check: Callable[[float], object] | None = None) -> tuple[Stems, int]:
        """The song's stems and their sample rate.

        Args:
            song: file of the mixture.
            name: as `stems_dir` knows it (default: the file's name without suffix).
            check: called with the song's duration in seconds before the song is separated; what it raises is passed on.

        Raises:
            AudioError: the song or its stems are missing or cannot be read.
        """
        place = self._stems_of(song, name)
        if place is not None:
            stems, rate = read_stems(place)
            if check is not None:
                check(stems.vocals.shape[1] / rate)
            return stems, rate
        if self._separator is None and self._options is not None:
            self._separator = create_separator(self._options)
        if self._separator is None:
            raise AudioError(f"{song}: comes without stems; give --stems_dir, or another --separator than stems")
        audio = read_audio(song)
        if check is not None:
            check(audio.duration_s)
        try:
            return self._separator.separate(audio.waveform, audio.sample_rate), audio.sample_rate
        except RiffError as error:  # of a process that failed, which does not know the song
            raise AudioError(f"{song}: {error}") from error


def open_songs(options: SeparationOptions, songs: Sequence[Path], say: Callable[[str], object] = print) -> SongOpener:
    """Decide how songs are taken apart.

    `stems` takes given stems only. `auto` takes stems where they are given, and separates the other songs with Spleeter
    if its weights are there or can be had, else with REPET.

    Args:
        songs: files of the mixtures.
        say: is told what `auto` had to do without.

    Raises:
        OptionError: no such separator, or stems and a separator at the same time.
    """
    if options.stems_dir is not None:
        if options.separator not in ("auto", "stems"):
            raise OptionError(f"--separator {options.separator}: --stems_dir gives the stems already; leave one of them out")
        return SongOpener(None, StemsFolder(options.stems_dir))
    if options.separator == "stems" or (options.separator == "auto" and all(stems_beside(song) for song in songs)):
        return SongOpener(None)
    if options.separator != "auto":
        return SongOpener(create_separator(options), use_stems_beside=False, options=options)
    chosen = replace(options, separator="spleeter")
    try:
        separator = create_separator(chosen)
    except ModelError as error:
        say(f"separating with repet, which needs no weights and is worse than Spleeter: {error}")
        chosen = replace(options, separator="repet")
        separator = create_separator(chosen)
    return SongOpener(separator, options=chosen)


def separate_to_files(
    song: Path, opener: SongOpener, folder: Path, suffix: str = ".wav", num_stems: int = 2, overwrite: bool = False
) -> bool:
    """Write a song's parts as FOLDER/PART.wav, float, or as FOLDER/PART.flac, 24 bits; False if they were there.

    Raises:
        AudioError: the song cannot be read, or has no such parts.
        OptionError: some of the files are there, or one is the song itself.
    """
    files = {name: folder / f"{name}{suffix}" for name in PART_NAMES[num_stems]}
    if not overwrite and all(file.exists() for file in files.values()):
        return False
    check_new_files(files.values(), [song], overwrite)
    stems, rate = opener.open(song)
    for name in files:
        if name != ACCOMPANIMENT and name not in stems.parts:
            raise AudioError(
                f"{song}: {opener.name} gives {', '.join(stems.parts)} and no {name}; choose another number of --stems"
            )
    with ExitStack() as stack:  # all parts or none
        for name, file in files.items():
            part = stems.accompaniment if name == ACCOMPANIMENT else stems.parts[name]
            write_audio(stack.enter_context(atomic_path(file)), part, rate, subtype="FLOAT" if suffix == ".wav" else None)
    return True


class SeparatedSongs:
    """`OUTPUT/songs.json`: which file each folder of stems was made from, by name and size."""

    def __init__(self, output: Path) -> None:
        self._file = output / "songs.json"
        self._songs: dict[str, Any] = read_mapping(self._file) if self._file.exists() else {}
        self._expected: dict[str, str] = {}

    def expect(self, songs: Sequence[Path]) -> None:
        """Tell the songs of a run: of two of one name the folder is the one's that it was made from, else the first's."""
        for song in songs:
            self._expected.setdefault(_folder_name(song), readable(song.name))

    def require_same(self, song: Path, overwrite: bool = False) -> None:
        """Refuse a song whose stems would lie in the place of another's.

        Args:
            overwrite: take another recording in a file of the same name for a new state of the song.

        Raises:
            AudioError: names the other.
        """
        name, known = _folder_name(song), self._songs.get(_folder_name(song))
        owner = known["file"] if known else self._expected.get(name, readable(song.name))
        if owner != readable(song.name):
            raise AudioError(f"{song}: its stems would replace those of {owner}; rename one of them")
        if known and not overwrite and song.is_file() and known["bytes"] != song.stat().st_size:
            raise AudioError(
                f"{song}: {self._file.parent / name} holds the stems of another {owner}; rename it, or use --overwrite"
            )

    def note(self, song: Path) -> None:
        """Write down that a song's stems are there."""
        self._songs[_folder_name(song)] = {"file": readable(song.name), "bytes": song.stat().st_size}
        write_json(self._file, self._songs)


def _folder_name(song: Path) -> str:
    return readable(plain_name(song.name))

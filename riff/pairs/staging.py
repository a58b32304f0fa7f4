"""The making of one song's pairs, in any process, in a folder of its own that is renamed when it is complete."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from riff.cli import item_error
from riff.errors import AudioError, AudioWarning
from riff.files import flush, folder_of_process, make_folder, remove_leftovers, write_json
from riff.pairs.journal import Content, content_of, is_unchanged
from riff.pairs.songs import SongFile

STAGING = ".staging"
SONG_FILE = "song.json"


@dataclass(frozen=True)
class ClipCount:
    """clips: complete clips in the song; dropped: those with too little of the stem that is to be learnt."""

    clips: int
    dropped: int


@dataclass(frozen=True)
class SongJob:
    """A song to be made into pairs. slug: names its files. prompt: or prompts, as the maker takes them."""

    song: SongFile
    slug: str
    prompt: Any


@dataclass(frozen=True)
class Failure:
    """Why a song could not be made, in one line."""

    message: str


class SongMaker(Protocol):
    """Makes songs into pairs of one type. It is pickled for worker processes, and loads its models on first use."""

    def sources(self, song: SongFile) -> Sequence[Path]:
        """The files that `make` reads."""
        ...

    def make(self, job: SongJob, folder: Path) -> tuple[Sequence[Any], ClipCount]:
        """Write the song's images into a folder, and return the records (dataclasses) with their paths in it.

        Raises:
            RiffError: the song cannot be read or used.
        """
        ...


@dataclass(frozen=True)
class StagedSong:
    """A song whose pairs are made, but not yet moved to the others.

    Attributes:
        slug: of its folder. prompt, content: what its pairs were made with and from.
        records: of its pairs, in order, with their final paths. files: all that belong to it, by the same paths.
        clips, dropped: as in `ClipCount`.
        warnings: of the files that were read.
    """

    slug: str
    song: str
    prompt: Any
    content: Content
    records: Sequence[dict[str, Any]]
    files: Sequence[str]
    clips: int
    dropped: int
    warnings: Sequence[str] = ()

    def files_of(self, records: Iterable[dict[str, Any]]) -> list[str]:
        """The images of these records, and the sounds of the same clips."""
        files = set(self.files)
        clips = {Path(value).stem for record in records for value in record.values() if value in files}
        return [file for file in self.files if is_of_clips(file, clips)]


def is_of_clips(file: str | Path, clips: Collection[str]) -> bool:
    """Whether a file is an image of one of these clips, CLIP.png, or a sound, CLIP_input.wav or CLIP_edited.wav."""
    stem = Path(file).stem
    return stem in clips or stem.rpartition("_")[0] in clips


class Staging:
    """`FOLDER/.staging/SLUG/`: workers put complete songs there, and one process moves their files to FOLDER."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._staging = folder, folder / STAGING

    def find(self, slug: str) -> StagedSong | None:
        path = self._staging / slug / SONG_FILE
        return StagedSong(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def songs(self) -> list[StagedSong]:
        folders = self._staging.iterdir() if self._staging.exists() else ()
        return [song for folder in folders if (song := self.find(folder.name))]

    def make(self, job: SongJob, maker: SongMaker) -> StagedSong:
        """Make a song's pairs, flush them to disk, and rename their folder; a staged song of the same content is kept.

        Raises:
            RiffError: the song cannot be read or used, or changed while it was read.
        """
        sources = maker.sources(job.song)
        content = content_of(sources)
        if staged := self.find(job.slug):
            if (staged.song, staged.prompt, staged.content["hash"]) == (job.song.name, job.prompt, content["hash"]):
                return staged
            self.undo(job.slug)
        make_folder(self._staging)
        target = self._staging / job.slug
        temporary = folder_of_process(target)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", AudioWarning)
                records, count = maker.make(job, temporary)
            messages = list(dict.fromkeys(str(warning.message) for warning in caught if warning.category is AudioWarning))
            if not is_unchanged(sources, content):
                raise AudioError(f"{job.song.path}: changed while it was read; run the same command again")
            files = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
            rows = [asdict(record) for record in records]
            song = StagedSong(job.slug, job.song.name, job.prompt, content, rows, files, count.clips, count.dropped, messages)
            write_json(temporary / SONG_FILE, asdict(song))
            flush(temporary / file for file in files)
            if target.exists():  # put there by a worker of a run that was killed a moment ago
                shutil.rmtree(target)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return song

    def move(self, song: StagedSong, files: Iterable[str]) -> None:
        """Move files to their final paths, except those that an interrupted run has moved already."""
        for file in files:
            staged, target = self._staging / song.slug / file, self._folder / file
            if staged.exists():
                make_folder(target.parent)
                os.replace(staged, target)

    def drop(self, slug: str) -> None:
        (self._staging / slug / SONG_FILE).unlink(missing_ok=True)  # first: without it, the folder is no staged song
        shutil.rmtree(self._staging / slug, ignore_errors=True)

    def undo(self, slug: str) -> None:
        """Drop a song of which some files may have been moved already."""
        if song := self.find(slug):
            for file in song.files:
                (self._folder / file).unlink(missing_ok=True)
        self.drop(slug)

    def tidy(self) -> None:
        """Remove the temporary folders of processes that were killed."""
        remove_leftovers(self._staging)

    def finish(self) -> None:
        """Remove everything, with the files of songs that are no longer wanted."""
        for song in self.songs():
            self.undo(song.slug)
        shutil.rmtree(self._staging, ignore_errors=True)


@dataclass(frozen=True)
class StageSong:
    """The work of an engine: makes a song in the `Staging` of a folder of pairs; any error fails that song alone."""

    folder: Path
    maker: SongMaker

    def __call__(self, job: SongJob) -> StagedSong | Failure:
        try:
            return Staging(self.folder).make(job, self.maker)
        except Exception as error:
            return Failure(item_error(job.song.path, error))

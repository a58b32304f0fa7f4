"""The making of one song's pairs, in any process: what goes in, and what comes out."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from riff.cli import item_error
from riff.errors import AudioError, AudioWarning
from riff.pairs.journal import content_of, is_unchanged
from riff.pairs.songs import SongFile
from riff.pairs.staging import StagedSong, Staging


@dataclass(frozen=True)
class ClipCount:
    """clips: whole clips in the song; dropped: those with next to none of the part that matters."""

    clips: int
    dropped: int


@dataclass(frozen=True)
class SongJob:
    """A song to be made into pairs. slug: stands for it in file names. prompt: or prompts, as the maker takes them."""

    song: SongFile
    slug: str
    prompt: Any


@dataclass(frozen=True)
class Failure:
    """Why a song came to nothing, in one line."""

    message: str


class SongMaker(Protocol):
    """Makes songs into pairs of one kind. It travels to other processes, and loads what it needs when it first needs it."""

    def sources(self, song: SongFile) -> Sequence[Path]:
        """The files that `make` reads."""
        ...

    def make(self, job: SongJob, folder: Path) -> tuple[Sequence[Any], ClipCount]:
        """Write the song's pictures into a folder, by the paths in the records, which are dataclasses.

        Raises:
            RiffError: it cannot be read, or holds nothing that can be used.
        """
        ...


@dataclass(frozen=True)
class StageSong:
    """Puts songs into the `Staging` of a folder of pairs; one that is there already, of the same content, stays as it is."""

    folder: Path
    maker: SongMaker

    def __call__(self, job: SongJob) -> StagedSong | Failure:
        try:
            return self._stage(job, Staging(self.folder))
        except Exception as error:  # of whatever kind, the other songs go on
            return Failure(item_error(job.song.path, error))

    def _stage(self, job: SongJob, staging: Staging) -> StagedSong:
        sources = self.maker.sources(job.song)
        content = content_of(sources)
        earlier = staging.find(job.slug)
        if earlier is not None:
            if (earlier.song, earlier.prompt, earlier.content["hash"]) == (job.song.name, job.prompt, content["hash"]):
                return earlier
            staging.undo(job.slug)
        written = staging.new_folder(job.slug)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", AudioWarning)
                records, count = self.maker.make(job, written)
            heard = list(dict.fromkeys(str(warning.message) for warning in caught if warning.category is AudioWarning))
            if not is_unchanged(sources, content):
                raise AudioError(f"{job.song.path}: changed while it was read; run the same command again")
            files = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
            rows = [asdict(record) for record in records]
            song = StagedSong(job.slug, job.song.name, job.prompt, content, rows, files, count.clips, count.dropped, heard)
            staging.put(song, written)
        finally:
            shutil.rmtree(written, ignore_errors=True)
        return song

"""Songs whose pairs are made but do not lie among the others yet: each in a folder of its own, whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from riff.files import flush, folder_of_process, make_folder, remove_leftovers, write_json
from riff.pairs.journal import Content

STAGING = ".staging"
FACTS = "song.json"


@dataclass(frozen=True)
class StagedSong:
    """What a song came to.

    Attributes:
        slug: of its folder. prompt, content: what it was made with and from.
        records: of its pairs, in order, with paths as they will be. files: all that belongs to it, by the same paths.
        clips: whole clips in the song. dropped: those with next to none of the part that matters.
        warnings: what is to be said of it.
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
        """Those that belong to these records: pictures, and sounds of the same clips."""
        known = set(self.files)
        clips = {Path(value).stem for record in records for value in record.values() if value in known}
        return [file for file in self.files if is_of_clips(file, clips)]


def is_of_clips(file: str | Path, clips: Collection[str]) -> bool:
    """Whether a file is a picture of one of these clips, CLIP.png, or a sound, CLIP_input.wav or CLIP_edited.wav."""
    stem = Path(file).stem
    return stem in clips or stem.rpartition("_")[0] in clips


class Staging:
    """`FOLDER/.staging/`: workers put songs there, and one process takes them into FOLDER.

    Args:
        folder: of the pairs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._staging = folder, folder / STAGING

    def put(self, song: StagedSong, written: Path) -> None:
        """Keep the folder `written` as this song's, on the disk and not only in its cache."""
        write_json(written / FACTS, asdict(song))
        flush(written / file for file in song.files)
        target = self._staging / song.slug
        if target.exists():  # of another content, or by a worker whose run was killed a moment ago
            shutil.rmtree(target)
        os.replace(written, target)

    def new_folder(self, slug: str) -> Path:
        """An empty folder for a song that is being made."""
        make_folder(self._staging)
        return folder_of_process(self._staging / slug)

    def find(self, slug: str) -> StagedSong | None:
        facts = self._staging / slug / FACTS
        return StagedSong(**json.loads(facts.read_text(encoding="utf-8"))) if facts.exists() else None

    def songs(self) -> list[StagedSong]:
        """All that are there."""
        places = self._staging.iterdir() if self._staging.exists() else ()
        return [song for place in places if (song := self.find(place.name))]

    def move(self, song: StagedSong, files: Iterable[str]) -> None:
        """Move files to where the records say; those that an earlier run has moved are there."""
        for file in files:
            staged, target = self._staging / song.slug / file, self._folder / file
            if staged.exists():
                make_folder(target.parent)
                os.replace(staged, target)

    def drop(self, slug: str) -> None:
        (self._staging / slug / FACTS).unlink(missing_ok=True)  # first: what is half removed is not there
        shutil.rmtree(self._staging / slug, ignore_errors=True)

    def undo(self, slug: str) -> None:
        """Drop a song of which some files may have been moved already."""
        if song := self.find(slug):
            remove_files(self._folder, song.files)
        self.drop(slug)

    def tidy(self) -> None:
        """Remove what processes left that were killed."""
        remove_leftovers(self._staging)

    def finish(self) -> None:
        """Leave nothing: what was not taken in is no longer wanted."""
        for song in self.songs():
            self.undo(song.slug)
        shutil.rmtree(self._staging, ignore_errors=True)


def remove_files(folder: Path, files: Iterable[str]) -> None:
    for file in files:
        (folder / file).unlink(missing_ok=True)

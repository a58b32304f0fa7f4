"""Which songs are done, so that an interrupted run resumes and repeats nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from riff.data.lines import json_lines
from riff.errors import AudioError, DataError
from riff.files import readable, write_text

SONGS_FILE = "songs.jsonl"


class SongJournal:
    """The songs that are done, a line each in `songs.jsonl`, and the file of their records beside it.

    A song's records are appended first and its journal line second, so records of a song without a line come from an
    interrupted run. They stay until `remove_unfinished`, because they name the images that the run left.

    Attributes:
        done: a song's line by its name: how many pairs, of which prompt, of which content. num_pairs: of all songs.
    """

    def __init__(self, records_file: Path) -> None:
        self._records, self._songs = records_file, records_file.with_name(SONGS_FILE)
        self.done: dict[str, dict[str, Any]] = {line["song"]: line for line in _complete_lines(self._songs)}
        self.num_pairs = len(self.finished())
        self._write_songs()

    def finished(self) -> list[dict[str, Any]]:
        """The records of songs that are done."""
        return [record for record in _complete_lines(self._records) if record.get("song") in self.done]

    def unfinished(self) -> list[dict[str, Any]]:
        """The records of songs that are not done."""
        return [record for record in _complete_lines(self._records) if record.get("song") not in self.done]

    def remove_unfinished(self) -> None:
        """Remove the records of songs that are not done, and an incomplete last line."""
        write_text(self._records, _as_lines(self.finished()))

    def add(self, song: str, records: Sequence[Mapping[str, Any]], **facts: Any) -> None:
        """Record a song as done, with its records and further facts; requires `remove_unfinished` before."""
        _append(self._records, records)
        self.done[song] = {"song": song, "pairs": len(records), **facts}
        _append(self._songs, [self.done[song]])
        self.num_pairs += len(records)

    def forget(self, song: str) -> None:
        """Record a song as not done; its records are unfinished from then on."""
        self.num_pairs -= self.done.pop(song)["pairs"]
        self._write_songs()

    def _write_songs(self) -> None:
        write_text(self._songs, _as_lines(self.done.values()))


def _complete_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file that may end in the middle of a line.

    Raises:
        DataError: another line is no object; what follows it would be lost.
    """
    lines = json_lines(path) if path.exists() else []
    for line in lines:
        if not line.problem:
            yield line.value
        elif line is not lines[-1] or path.read_bytes().endswith(b"\n"):  # else half an object, or half a character
            way_out = f"python tools/inspect_dataset.py {path.parent} --fix sets it aside"
            if path.name == SONGS_FILE:
                way_out = "take the line out, and its song is made again"
            raise DataError(f"{path}: line {line.number} {line.problem}; {way_out}")


def _as_lines(objects: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)


def _append(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_as_lines(objects))
        file.flush()
        os.fsync(file.fileno())


Content = dict[str, Any]  # identifies what a song was read from, in the journal


def content_of(files: Sequence[Path]) -> Content:
    """The files' names, sizes and modification times, and a hash of their bytes.

    Raises:
        AudioError: one of them cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
        except OSError as error:
            raise _unreadable(file, error) from error
    return {"files": _stats(files), "hash": digest.hexdigest()}


def is_unchanged(files: Sequence[Path], earlier: Mapping[str, Any]) -> bool:
    """Whether the files hold the same bytes; assumed where names, sizes and modification times are equal.

    Raises:
        AudioError: one of them cannot be read.
    """
    return _stats(files) == earlier.get("files") or content_of(files)["hash"] == earlier.get("hash")


def _stats(files: Sequence[Path]) -> list[list[Any]]:
    try:
        return [[readable(file.name), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]
    except OSError as error:
        raise _unreadable(Path(error.filename), error) from error


def _unreadable(file: Path, error: OSError) -> AudioError:
    return AudioError(f"{file}: cannot be read ({error.strerror}); put it back, or take the song out")

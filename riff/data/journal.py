"""Which songs are done, so that a run that broke off can go on and repeats nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from riff.files import write_text

SONGS_FILE = "songs.jsonl"


class SongJournal:
    """The songs that are done, a line each in `songs.jsonl`, and the file of their records beside it.

    A song's records are appended to their file first and its line to the journal second, so that records of a song without a
    line are from a run that broke off; they are dropped on opening.

    Attributes:
        done: a song's line by its name: how many pairs, of which prompt, of which content. num_pairs: of all songs.
        unfinished: the records that were dropped on opening.
    """

    def __init__(self, records_file: Path) -> None:
        self._records, self._songs = records_file, records_file.with_name(SONGS_FILE)
        self.done: dict[str, dict[str, Any]] = {line["song"]: line for line in _whole_lines(self._songs)}
        records = list(_whole_lines(self._records))
        self.unfinished = [record for record in records if record.get("song") not in self.done]
        self._keep(record for record in records if record.get("song") in self.done)

    def add(self, song: str, records: Iterable[Mapping[str, Any]], **facts: Any) -> None:
        """Note a song as done: its records, and what else is to be known of it."""
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        _append(self._records, lines)
        self.done[song] = {"song": song, "pairs": len(lines), **facts}
        _append(self._songs, [json.dumps(self.done[song], ensure_ascii=False)])
        self.num_pairs += len(lines)

    def forget(self, song: str) -> list[dict[str, Any]]:
        """Take a song out again, and return its records."""
        del self.done[song]
        records = list(_whole_lines(self._records))
        self._keep(record for record in records if record.get("song") in self.done)
        return [record for record in records if record.get("song") == song]

    def _keep(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write both files anew: with these records, and the songs that are done."""
        kept = [json.dumps(record, ensure_ascii=False) for record in records]
        self.num_pairs = len(kept)
        # The journal first: what it does not name counts for nothing.
        write_text(self._songs, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.done.values()))
        write_text(self._records, "".join(line + "\n" for line in kept))


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON objects of a file that may end in the middle of a line."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # half an object, or half a character
            return


def _append(path: Path, lines: list[str]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())

"""Shards as plain tars in WebDataset's layout: KEY.source.png, KEY.target.png, KEY.json, ... one pair after the other."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from riff.data.shard_layouts import ShardLayout, layout_by
from riff.data.shards import ShardFile, ShardItem
from riff.errors import DataError
from riff.files import write_text

RECORD = "json"  # the member of a pair that is no picture
ABSENT = -1  # offset of a picture that a pair does without
LONGEST_END = 1 << 20  # bytes of zeros that may follow the last member


class TarShard:
    """A tar whose members are read at random by an index, which is made once: where the pictures lie, and the records.

    Args:
        index: file that keeps it.
    """

    def __init__(self, path: Path, layout: ShardLayout, index: Path) -> None:
        self.path, self._layout, self._index = path, layout, index
        self._file, self._keys = ShardFile(path), list(layout.members)
        self._places = np.empty((0, len(self._keys), 2), np.int64)  # (pairs, pictures, 2): offset and size

    def items(self) -> list[ShardItem]:
        index = self._read_index() or self._make_index()
        self._places = np.array(index["places"], np.int64)
        there = (self._places[:, :, 0] != ABSENT).tolist()
        return [
            ShardItem(name, record, frozenset(key for key, is_there in zip(self._keys, flags, strict=True) if is_there))
            for name, record, flags in zip(index["names"], index["records"], there, strict=True)
        ]

    def read(self, row: int, key: str) -> bytes:
        offset, size = self._places[row, self._keys.index(key)].tolist()
        with self._file.opened() as file:
            file.seek(offset)
            return file.read(size)

    def _read_index(self) -> dict[str, Any] | None:
        """The index that is kept, unless it is of another state of the shard or of the other kind of pairs."""
        try:
            index = json.loads(self._index.read_text(encoding="utf-8"))
            return index if index["of"] == self._identity() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _make_index(self) -> dict[str, Any]:
        names, places = self._check(self._list_members())
        with self._file.opened() as file:
            records = [self._parse(file, name, *members[0]) for name, members in zip(names, places, strict=True)]
        pictures = [members[1:] for members in places]
        index = {"of": self._identity(), "names": names, "places": pictures, "records": records}
        write_text(self._index, json.dumps(index, ensure_ascii=False))
        return index

    def _identity(self) -> list[Any]:
        return [*self._file.identity, self._keys]

    def _parse(self, file: BinaryIO, name: str, offset: int, size: int) -> dict[str, Any]:
        file.seek(offset)
        try:
            values = json.loads(file.read(size))
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise DataError(f"{self.path}: {name}.{RECORD} is no JSON object; pack the pairs again")
        return values

    def _list_members(self) -> dict[str, dict[str, tuple[int, int]]]:
        """name of a pair -> what comes after it, without the suffix of a picture -> (offset, size), from the tar's headers."""
        members: dict[str, dict[str, tuple[int, int]]] = {}
        with self._file.opened() as file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    for member in tar:
                        self._note(member, members)
                    end = tar.offset
            except (tarfile.TarError, EOFError, OSError) as error:
                raise DataError(f"{self.path}: no whole, uncompressed tar ({error}); copy or unpack it again") from error
            # What is cut off between two members, or in a header, tarfile takes for the end.
            file.seek(end)
            rest = file.read(LONGEST_END)
            if len(rest) < tarfile.BLOCKSIZE or any(rest):
                raise DataError(f"{self.path}: is cut off after {len(members)} pairs, or goes on after its end; copy it again")
        return members

    def _note(self, member: tarfile.TarInfo, members: dict[str, dict[str, tuple[int, int]]]) -> None:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{self.path}: the member {member.name} leaves the folder that it is unpacked in; pack the pairs again")
        if member.isdir():
            return
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise DataError(f"{self.path}: the member {member.name} is no plain file; pack the pairs again")
        stem, _, suffixes = path.name.partition(".")
        if not stem or not suffixes:
            return
        of_pair = members.setdefault(str(path.with_name(stem)), {})
        part = suffixes.lower() if suffixes.lower() == RECORD else suffixes.lower().rpartition(".")[0]
        if part in of_pair:
            raise DataError(f"{self.path}: {member.name} comes after another {part} of the same pair; give every pair its own key")
        if part:
            of_pair[part] = (member.offset_data, member.size)

    def _check(self, members: dict[str, dict[str, tuple[int, int]]]) -> tuple[list[str], list[list[tuple[int, int]]]]:
        """The pairs' names, and the offset and size of each one's record and pictures, in their order.

        Raises:
            DataError: a pair without its record or a picture, pairs of the other kind, or none.
        """
        parts = [RECORD, *self._layout.members.values()]
        required = {self._layout.members[key] for key in self._layout.required}
        names, places = [], []
        for name, of_pair in members.items():
            if not of_pair:
                continue
            other = layout_by("members", set(of_pair))
            if other not in (None, self._layout):
                raise DataError(f"{self.path}: holds {other.record_format.kind}, which {other.trained_by} takes")
            missing = sorted((required | {RECORD}) - set(of_pair))
            if missing:
                raise DataError(f'{self.path}: {name} has no "{missing[0]}"; pack the pairs again')
            names.append(name)
            places.append([of_pair.get(part, (ABSENT, 0)) for part in parts])
        if not names:
            raise DataError(f"{self.path}: holds no {self._layout.record_format.kind}")
        return names, places


class TarWriter:
    """Writes pairs as members named by their numbers, with nothing in the headers that differs from run to run."""

    def __init__(self, path: Path, layout: ShardLayout, first: int) -> None:
        """first: number of the first pair."""
        self._layout, self._number = layout, first
        self._tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def add(self, record: Any, pictures: Mapping[str, bytes]) -> None:
        values = asdict(record)
        for key, content in pictures.items():
            suffix = Path(values[key]).suffix.lower() or ".png"
            self._add(f"{self._layout.members[key]}{suffix}", content)
        self._add(RECORD, json.dumps(values, ensure_ascii=False).encode())
        self._number += 1

    def _add(self, suffixes: str, content: bytes) -> None:
        member = tarfile.TarInfo(f"{self._number:08d}.{suffixes}")
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

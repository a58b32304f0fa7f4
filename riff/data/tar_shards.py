"""Shards as plain tars in WebDataset's layout: KEY.source.png, KEY.target.png, KEY.json, ... one pair after the other."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np

from riff.data.shard_layouts import ShardLayout, layout_by
from riff.data.shards import ShardFile, ShardItem
from riff.errors import DataError
from riff.files import atomic_path, make_folder

RECORD = "json"  # the member of a pair that is no picture
ABSENT = -1  # offset of a picture that a pair does without
LONGEST_END = 1 << 20  # bytes of zeros that may follow the last member


class TarShard:
    """A tar whose members are read at random by an index of where they lie, made once.

    Args:
        index: file that keeps it.

    Raises:
        DataError: no whole tar, or one that holds other things than pairs of this layout.
    """

    def __init__(self, path: Path, layout: ShardLayout, index: Path) -> None:
        self.path, self._layout = path, layout
        self._file, self._keys = ShardFile(path), list(layout.members)
        kept = self._load_index(index)
        self._names, self._places = kept or self._make_index(index)

    def items(self) -> Iterator[ShardItem]:
        with self._file.opened() as file:
            for name, (record, *pictures) in zip(self._names.tolist(), self._places.tolist(), strict=True):
                there = frozenset(key for key, (offset, _) in zip(self._keys, pictures, strict=True) if offset != ABSENT)
                file.seek(record[0])
                yield ShardItem(name, self._parse(name, file.read(record[1])), there)

    def read(self, row: int, key: str) -> bytes:
        offset, size = self._places[row, 1 + self._keys.index(key)].tolist()
        with self._file.opened() as file:
            file.seek(offset)
            return file.read(size)

    def _parse(self, name: str, text: bytes) -> dict[str, Any]:
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise DataError(f"{self.path}: {name}.{RECORD} is no JSON object; pack the pairs again")
        return values

    def _load_index(self, index: Path) -> tuple[np.ndarray, np.ndarray] | None:
        """The index that is kept, unless it is of another state of the shard or of the other kind of pairs."""
        try:
            with np.load(index) as kept:
                same = kept["shard"].tolist() == [*self._file.identity] and kept["keys"].tolist() == self._keys
                return (kept["names"], kept["places"]) if same else None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def _make_index(self, index: Path) -> tuple[np.ndarray, np.ndarray]:
        names, places = self._check(self._list_members())
        make_folder(index.parent)
        with atomic_path(index) as temporary:
            np.savez(temporary, names=names, places=places, shard=self._file.identity, keys=self._keys)
        return names, places

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

    def _check(self, members: dict[str, dict[str, tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
        """Names (pairs,), and int64 (pairs, 1 + pictures, 2) offsets and sizes of the record and the pictures in their order."""
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
        return np.array(names), np.array(places, np.int64)


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

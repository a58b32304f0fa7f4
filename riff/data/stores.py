"""Where pairs lie and how their pictures are read: a folder of files, or shards."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

from riff.data.lines import record_of
from riff.data.parquet_shards import ParquetShard
from riff.data.shard_layouts import Record, ShardLayout
from riff.data.shards import Shard, ShardItem
from riff.data.tar_shards import TarShard
from riff.data.unpack import DEFAULT_CACHE
from riff.errors import DataError, RiffError

CACHE_FOLDER = ".cache"
INDEX_FOLDER = "index"


class PairStore(Protocol):
    """Where the pictures of pairs lie; records name them, and only the store knows what a name means.

    Attributes:
        folder: what the manifest lies in. cache: folder for what is computed from the pictures.
    """

    folder: Path
    cache: Path

    def open(self, picture: str) -> Path | BinaryIO:
        """The picture for `load_image` and its kin: a path, or a file that says in messages where it lies."""

    def read(self, picture: str) -> bytes:
        """Its file's bytes.

        Raises:
            DataError: it cannot be read.
        """


class FolderStore:
    """A folder of files; a picture's name is its path in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / CACHE_FOLDER

    def open(self, picture: str) -> Path:
        return self.folder / picture

    def read(self, picture: str) -> bytes:
        try:
            return self.open(picture).read_bytes()
        except OSError as error:
            path = self.open(picture)
            raise DataError(f"{path}: this picture of a pair is missing ({error.strerror}); make the pairs again") from error


class PartsStore(FolderStore):
    """Folders of pairs beside each other, made with the same settings; a picture's name is its path in the folder around them."""

    def __init__(self, folder: Path, parts: Sequence[Path]) -> None:
        super().__init__(folder)
        self._around, self.folder = folder, parts[0]

    def open(self, picture: str) -> Path:
        return self._around / picture


class ShardStore:
    """Shards; a picture's name is SHARD/ROW/KEY/NAME: the shard's path in the folder, the pair, its picture, what that was called.

    Nothing of a picture stays in memory. The store can be pickled, and read in any process.
    """

    def __init__(self, folder: Path, cache: Path, shards: Iterable[Shard]) -> None:
        self.folder, self.cache = folder, cache
        self._shards = {_label(shard.path, folder): shard for shard in shards}

    def open(self, picture: str) -> BinaryIO:
        return _Picture(self.read(picture), str(self.folder / picture))

    def read(self, picture: str) -> bytes:
        label, row, key, _ = picture.rsplit("/", 3)
        return self._shards[label].read(int(row), key)

    def records(self, layout: ShardLayout[Record]) -> list[Record]:
        """The pairs of all shards, in the order of the shards and of the pairs in them.

        Raises:
            DataError: a shard that is empty, or holds a pair with a bad value, without a picture that it needs, or with a path
                that leaves the folder; names it.
        """
        records: list[Record] = []
        for label, shard in self._shards.items():
            before = len(records)
            for row, item in enumerate(shard.items()):
                try:
                    records.append(self._record(item, layout, f"{label}/{row}"))
                except RiffError as error:
                    raise DataError(f"{shard.path}: {item.name}: {error}") from error
            if len(records) == before:
                raise DataError(f"{shard.path}: holds no {layout.record_format.kind}")
        return records

    def _record(self, item: ShardItem, layout: ShardLayout[Record], place: str) -> Record:
        missing = [key for key in layout.required if key not in item.pictures]
        if missing:
            raise DataError(f'has no picture "{missing[0]}"')
        # Of the paths that the pictures had, the names are kept: samples are called after them.
        paths = {key: item.values.get(key) or Path(item.name).name for key in item.pictures}
        values = {key: value for key, value in item.values.items() if key not in layout.members} | paths
        record = record_of(values, self.folder, layout.record_type, layout.record_format)
        return replace(record, **{key: f"{place}/{key}/{Path(path).name}" for key, path in paths.items()})  # type: ignore[type-var]


class _Picture(io.BytesIO):
    """A picture's bytes; as text, the place where they lie."""

    def __init__(self, content: bytes, place: str) -> None:
        super().__init__(content)
        self._place = place

    def __str__(self) -> str:
        return self._place


def open_shards(paths: Sequence[Path], layout: ShardLayout, cache: Path | None = None) -> ShardStore:
    """A store of shards, in the order of their names, numbers in them as numbers.

    Args:
        cache: (default: beside the shards or, where nothing can be written there, the user's).

    Raises:
        DataError: a shard that is missing, broken, or of other pairs.
    """
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    cache = cache or _cache_of(folder)
    return ShardStore(folder, cache, [_open_shard(path, layout, cache, folder) for path in sorted(paths, key=_order)])


def _order(path: Path) -> list[tuple[int, str]]:
    """Sorts names with their numbers as numbers: 9 goes before 10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(path))]


def _open_shard(path: Path, layout: ShardLayout, cache: Path, folder: Path) -> Shard:
    if path.suffix == ".parquet":
        return ParquetShard(path, layout)
    return TarShard(path, layout, cache / INDEX_FOLDER / f"{_label(path, folder).replace('/', '~')}.json")


def _label(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _cache_of(folder: Path) -> Path:
    beside = folder / CACHE_FOLDER
    if os.access(beside if beside.exists() else folder, os.W_OK):
        return beside
    return DEFAULT_CACHE / f"{folder.name}-{hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()}"

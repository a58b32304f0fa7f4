"""Pairs in one file with random access: a tar, a Parquet file, or a data set that `datasets` has loaded.

`datasets` itself reads tars sequentially, and copies both formats into its cache before random access.
"""

from __future__ import annotations

import json
import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from riff.data.pair_types import PairType
from riff.data.records import CONTROL_PAIRS, EDIT_PAIRS
from riff.errors import DataError, OptionError

RECORD = "json"  # the member of a tar that holds a pair's record
LONGEST_END = 1 << 20  # bytes of zeros that may follow a tar's last member
ABSENT = (0, -1)  # offset and size of an optional image that is not there
COLUMNS_KEPT = 3  # of the row groups read last, so that sequential access reads each group once
LISTED_ROWS = 1000  # per batch
Members = dict[str, tuple[int, int]]  # of a pair in a tar: name -> offset and size


class Shard(ABC):
    """Pairs in one file, readable after `pairs` was called. It holds no open file, so it can be pickled."""

    def __init__(self, path: Path, pair_type: PairType) -> None:
        self.path, self.pair_type = path, pair_type
        self._state: tuple[int, int] | None = None

    @abstractmethod
    def pairs(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Each pair's name, and its record as a dict with a path for each image that it has.

        Raises:
            DataError: the file is broken, or holds anything but pairs of this type.
        """

    @abstractmethod
    def read(self, row: int, key: str) -> bytes:
        """The bytes of an image of a pair.

        Raises:
            DataError: the file is missing, or has changed since the pairs were listed.
        """

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, open for reading inside the block; its size and modification time must not have changed."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); copy the shard again, or leave it out") from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            state = (status.st_size, status.st_mtime_ns)
            if self._state not in (None, state):
                raise DataError(f"{self.path}: has changed since its pairs were listed; start again")
            self._state = state
            yield file

    def check_images(self, column: str, schema: Any) -> None:
        """Raise DataError unless a column of an Arrow schema holds images as the hub's Image feature has them."""
        column_type = schema.field(column).type
        if not {"bytes", "path"} <= {column_type.field(number).name for number in range(column_type.num_fields)}:
            raise DataError(f'{self.path}: the column "{column}" holds no images; it must be an Image column')

    def bytes_in(self, image: Mapping[str, Any] | None, row: int) -> bytes:
        """The bytes in a row of such a column; never those of a local file that it may name instead."""
        if not image or image["bytes"] is None:
            raise DataError(f"{self.path}: row {row} holds no image itself; make the data set with the images' bytes in it")
        return image["bytes"]

    def refuse_other_type(self, attribute: str, names: Collection[str]) -> None:
        """Raise DataError if the names (values of an `attribute` of `ImageField`) are those of the other type of pairs."""
        for other in (CONTROL_PAIRS, EDIT_PAIRS):
            if other.name != self.pair_type.name and not other.missing(attribute, names):
                raise DataError(f"{self.path}: holds {other.name}, which {other.trained_by} takes")


class TarShard(Shard):
    """A plain tar in WebDataset's layout: KEY.source.png, KEY.target.png, KEY.json, ...; KEY may lie in a folder."""

    def pairs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        found = {name: members for name, members in self._list_members().items() if members}
        images = self.pair_type.images
        spans = [[members.get(image.folder, ABSENT) for image in images.values()] for members in found.values()]
        self._spans = np.array(spans, np.int64).reshape(-1, len(images), 2)  # (pairs, images, 2): offset and size
        with self.opened() as file:
            for name, members in found.items():
                if missing := [*({RECORD} - set(members)), *self.pair_type.missing("folder", members)]:
                    self.refuse_other_type("folder", members)
                    raise DataError(f'{self.path}: {name} has no "{missing[0]}"; pack the pairs again')
                record = self._read_record(file, name, *members[RECORD])
                there = [key for key, image in images.items() if image.folder in members]
                yield name, record | dict.fromkeys(images, "") | {key: record.get(key) or Path(name).name for key in there}

    def read(self, row: int, key: str) -> bytes:
        offset, size = self._spans[row, list(self.pair_type.images).index(key)].tolist()
        with self.opened() as file:
            file.seek(offset)
            return file.read(size)

    def _read_record(self, file: BinaryIO, name: str, offset: int, size: int) -> dict[str, Any]:
        file.seek(offset)
        try:
            record = json.loads(file.read(size))
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DataError(f"{self.path}: {name}.{RECORD} is no JSON object; pack the pairs again")
        return record

    def _list_members(self) -> dict[str, Members]:
        """The members of each pair by its name, from the tar's headers; empty for other files."""
        pairs: dict[str, Members] = {}
        with self.opened() as file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    for member in tar:
                        self._add_member(member, pairs)
                    end = tar.offset
            except (tarfile.TarError, EOFError, OSError) as error:
                raise DataError(f"{self.path}: not a complete, uncompressed tar ({error}); copy or unpack it again") from error
            # tarfile does not notice a tar that is truncated between two members, or in a header.
            file.seek(end)
            rest = file.read(LONGEST_END)
            if len(rest) < tarfile.BLOCKSIZE or any(rest):
                raise DataError(f"{self.path}: is truncated after {len(pairs)} pairs, or continues after its end; copy it again")
        return pairs

    def _add_member(self, member: tarfile.TarInfo, pairs: dict[str, Members]) -> None:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{self.path}: the member {member.name} leaves the folder it is unpacked into; pack the pairs again")
        if member.isdir():
            return
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise DataError(f"{self.path}: the member {member.name} is not a plain file; pack the pairs again")
        stem, _, suffixes = path.name.lower().partition(".")
        part = suffixes if suffixes == RECORD else suffixes.rpartition(".")[0]
        if not stem or not suffixes:
            return
        members = pairs.setdefault(str(path.with_name(path.name[: len(stem)])), {})
        if part in members:
            raise DataError(f"{self.path}: {member.name} comes after another {part} of the same pair; give every pair its own key")
        if part:
            members[part] = (member.offset_data, member.size)


class ParquetShard(Shard):
    """A Parquet file with one row per pair and the images in Image columns; read by row groups."""

    def pairs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._parquet() as parquet:
            self._check(parquet.schema_arrow)
            sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            self._ends = np.cumsum(sizes)
            names = parquet.schema_arrow.names
            columns = {key: image.column for key, image in self.pair_type.images.items() if image.column in names}
            wanted = [key for key in self.pair_type.values if key in names] + [f"{column}.path" for column in columns.values()]
            batches = parquet.iter_batches(LISTED_ROWS, columns=wanted, use_threads=False)
            for row, values in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
                images = {key: values.pop(column) for key, column in columns.items()}
                yield f"{row:06d}", values | {key: image and (image["path"] or f"{row:06d}") for key, image in images.items()}

    def read(self, row: int, key: str) -> bytes:
        group = int(np.searchsorted(self._ends, row, side="right"))
        first = int(self._ends[group - 1]) if group else 0
        return self.bytes_in(_read_column(self, group, self.pair_type.images[key].column)[row - first].as_py(), row)

    def read_column(self, group: int, column: str) -> Any:
        """The images of a row group, without their paths."""
        with self._parquet() as parquet:
            return parquet.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False).column(0)

    @contextmanager
    def _parquet(self) -> Iterator[Any]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise OptionError("reading Parquet files needs one more package: pip install pyarrow") from error
        with self.opened() as file:
            try:
                yield pyarrow.parquet.ParquetFile(file)
            except (pyarrow.ArrowException, OSError) as error:
                text = " ".join(str(error).split())[:120]
                raise DataError(f"{self.path}: not a complete Parquet file ({text}); copy it again") from error

    def _check(self, schema: Any) -> None:
        if missing := [*self.pair_type.missing("column", schema.names), *({self.pair_type.prompt} - set(schema.names))]:
            self.refuse_other_type("column", schema.names)
            raise DataError(f'{self.path}: has no column "{missing[0]}"; there are {", ".join(schema.names)}')
        for image in self.pair_type.images.values():
            if image.column in schema.names:
                self.check_images(image.column, schema)


@lru_cache(maxsize=COLUMNS_KEPT)
def _read_column(shard: ParquetShard, group: int, column: str) -> Any:
    return shard.read_column(group, column)


class LoadedShard(Shard):
    """The rows of a data set that `datasets` has loaded and memory-mapped.

    Args:
        columns: of the images and of the prompt, by the record's keys; other values from columns of their keys, if present.
    """

    def __init__(self, path: Path, pair_type: PairType, rows: Any, columns: Mapping[str, str]) -> None:
        super().__init__(path, pair_type)
        for key in pair_type.images:
            self.check_images(columns[key], rows.features.arrow_schema)
        self._rows, self._columns = rows.with_format("arrow"), columns

    def pairs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        columns = {key: self._columns.get(key, key) for key in self.pair_type.values}
        columns = {key: column for key, column in columns.items() if column in self._rows.column_names}
        for row, values in enumerate(self._rows.select_columns(list(dict.fromkeys(columns.values()))).with_format(None)):
            known = {key: values[column] for key, column in columns.items() if values[column] is not None}
            # A song may be given by its number, for example.
            known |= {key: str(value) for key, value in known.items() if self.pair_type.values[key] is str}
            yield f"row {row}", known | dict.fromkeys(self.pair_type.images, f"{row:06d}")

    def read(self, row: int, key: str) -> bytes:
        return self.bytes_in(self._rows[row].column(self._columns[key])[0].as_py(), row)

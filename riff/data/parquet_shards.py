"""Shards as Parquet files: a row a pair, its pictures' bytes and paths in columns as the hub's Image feature has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from riff.data.shard_layouts import ShardLayout, layout_by
from riff.data.shards import ShardFile, ShardItem
from riff.errors import DataError, OptionError

GROUP_ROWS = 10  # pairs that are read at once: to come to one picture, those beside it in its column are read as well
COLUMNS_KEPT = 3  # of row groups read last, so that going through pairs in their order reads each once
LISTED_ROWS = 1000  # at once
PLAIN: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}  # PNGs gain nothing by more


class ParquetShard:
    """A Parquet file that is read by row groups.

    Raises:
        OptionError: pyarrow is not installed.
        DataError: no whole Parquet file, or one with other columns than pairs of this layout have.
    """

    def __init__(self, path: Path, layout: ShardLayout) -> None:
        self.path, self._layout, self._file = path, layout, ShardFile(path)
        with self._opened() as parquet:
            self._check(parquet.schema_arrow)
            metadata = parquet.metadata
            self._ends = np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])

    def items(self) -> Iterator[ShardItem]:
        with self._opened() as parquet:
            there = parquet.schema_arrow.names
            columns = {key: column for key, column in self._layout.columns.items() if column in there}
            wanted = [name for name in self._layout.values if name in there] + [f"{column}.path" for column in columns.values()]
            row = 0
            for batch in parquet.iter_batches(LISTED_ROWS, columns=wanted, use_threads=False):
                for values in batch.to_pylist():
                    pictures = {key: values.pop(column) for key, column in columns.items()}
                    paths = {key: picture["path"] for key, picture in pictures.items() if picture is not None}
                    yield ShardItem(f"{row:06d}", values | paths, frozenset(paths))
                    row += 1

    def read(self, row: int, key: str) -> bytes:
        group = int(np.searchsorted(self._ends, row, side="right"))
        first = int(self._ends[group - 1]) if group else 0
        content = _read_column(self, group, self._layout.columns[key])[row - first].as_py()
        if content is None:
            raise DataError(f"{self.path}: row {row} holds no picture itself; make the data set with the pictures' bytes in it")
        return content

    def read_column(self, group: int, column: str) -> Any:
        """The pictures of a row group: an array of bytes."""
        with self._opened() as parquet:
            return parquet.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False).column(0).combine_chunks().field(0)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        pyarrow = _pyarrow()
        with self._file.opened() as file:
            try:
                yield pyarrow.parquet.ParquetFile(file)
            except (pyarrow.ArrowException, OSError) as error:
                text = " ".join(str(error).split())[:120]
                raise DataError(f"{self.path}: no whole Parquet file ({text}); copy it again") from error

    def _check(self, schema: Any) -> None:
        required = [self._layout.columns.get(key, key) for key in self._layout.record_format.required]
        other = layout_by("columns", set(schema.names))
        missing = [name for name in required if name not in schema.names]
        if missing and other not in (None, self._layout):
            raise DataError(f"{self.path}: holds {other.record_format.kind}, which {other.trained_by} takes")  # type: ignore[union-attr]
        if missing:
            raise DataError(f'{self.path}: has no column "{missing[0]}"; there are {", ".join(schema.names)}')
        for column in self._layout.columns.values():
            if column in schema.names and {"bytes", "path"} - {field.name for field in _fields(schema.field(column).type)}:
                raise DataError(f'{self.path}: the column "{column}" holds no pictures; it must be an Image column')


def _fields(kind: Any) -> list[Any]:
    """The fields of a column's type, none of what is no struct."""
    return [kind.field(number) for number in range(kind.num_fields)]


@lru_cache(maxsize=COLUMNS_KEPT)
def _read_column(shard: ParquetShard, group: int, column: str) -> Any:
    return shard.read_column(group, column)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise OptionError("reading Parquet files needs one more package: pip install pyarrow") from error
    return pyarrow


class ParquetWriter:
    """Writes pairs as rows that `datasets` knows as pictures with their values.

    Raises:
        OptionError: `datasets` is not installed.
    """

    def __init__(self, path: Path, layout: ShardLayout) -> None:
        try:
            from datasets import Features, Image, Value
        except ImportError as error:
            raise OptionError("writing Parquet files needs one more package: pip install datasets") from error
        kinds = {str: Value("string"), float: Value("float64")}
        pictures = {column: Image() for column in layout.columns.values()}
        self._schema = Features(pictures | {name: kinds[kind] for name, kind in layout.values.items()}).arrow_schema
        self._layout, self._rows = layout, list[dict[str, Any]]()
        self._writer = _pyarrow().parquet.ParquetWriter(path, self._schema, **PLAIN)

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._writer.close()

    def add(self, record: Any, pictures: Mapping[str, bytes]) -> None:
        values = asdict(record)
        row = {name: values[name] for name in self._layout.values}
        row |= {self._layout.columns[key]: {"bytes": content, "path": values[key]} for key, content in pictures.items()}
        self._rows.append(row)
        if len(self._rows) == GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(_pyarrow().Table.from_pylist(self._rows, self._schema))
            self._rows.clear()

"""A shard of pairs, and what its two formats have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from riff.errors import DataError


@dataclass(frozen=True)
class ShardItem:
    """What a shard holds of a pair, before it is checked.

    Attributes:
        name: in messages and, where no path is said, of its pictures. values: the record's, with the paths it was made from.
        pictures: keys of the pictures that are there.
    """

    name: str
    values: dict[str, Any]
    pictures: frozenset[str]


class Shard(Protocol):
    """Pairs in one file, read at random once they are listed. It can be pickled, and holds no open file, for any process."""

    path: Path

    def items(self) -> Iterable[ShardItem]:
        """The pairs in their order, without their pictures.

        Raises:
            DataError: the shard is broken, or holds other things than pairs of its layout.
        """

    def read(self, row: int, key: str) -> bytes:
        """A picture of a pair, as its file was.

        Raises:
            DataError: the shard is gone, or not the one that was there when the pairs were listed.
        """


class ShardWriter(Protocol):
    """Writes the pairs of one shard."""

    def add(self, record: Any, pictures: Mapping[str, bytes]) -> None:
        """Add a pair: its record, and the bytes of its pictures by their keys in the record; the same pairs give the same bytes."""


class ShardFile:
    """A file that must stay what it is while it is read: its size and the time of its last change are looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.identity = _identity(path.stat())
        except OSError as error:
            raise DataError(f"{path}: no such shard ({error.strerror}); copy it again, or leave it out") from error

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, open for reading inside the block.

        Raises:
            DataError: it is gone, or another one.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); copy the shard again") from error
        with os.fdopen(descriptor, "rb") as file:
            if _identity(os.fstat(descriptor)) != self.identity:
                raise DataError(f"{self.path}: has changed since its pairs were listed; start again")
            yield file


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns

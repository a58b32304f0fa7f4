"""Read TensorFlow's checkpoint files without TensorFlow.

A checkpoint PREFIX is `PREFIX.index`, a sorted table of name -> where and what, and `PREFIX.data-00000-of-00001`, the raw
values. The table is LevelDB's (its `doc/table_format.md`): blocks of prefix-compressed keys, a block that lists the
blocks, and a footer. The entries are TensorFlow's `tensor_bundle.proto`, in Protocol Buffers' wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from riff.errors import ModelError

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # DT_FLOAT and so on, of TensorFlow's types.proto
MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies in the data file (bytes), and what it is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint by name.

    Args:
        prefix: the files' path without `.index` and `.data-00000-of-00001`.

    Raises:
        ModelError: a file is missing, cut off or damaged, or holds what this cannot read; names the file.
    """
    entries = read_index(prefix.with_name(f"{prefix.name}.index"))
    path = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    content = memoryview(_read(path))
    return {name: _tensor(path, name, entry, content) for name, entry in entries.items()}


def read_index(path: Path) -> dict[str, Entry]:
    """The entries of a checkpoint's `.index` file by the tensors' names.

    Raises:
        ModelError: see `read_checkpoint`.
    """
    content = _read(path)
    try:
        if len(content) < FOOTER_BYTES or int.from_bytes(content[-8:], "little") != MAGIC:
            raise _Damaged("it does not end as a table of tensors does")
        _, position = _handle(content, len(content) - FOOTER_BYTES)  # of a block that checkpoints leave empty
        (start, size), _ = _handle(content, position)
        entries = {}
        for _, place in _block(content, start, size):
            (start, size), _ = _handle(place, 0)
            entries.update({key.decode(): _entry(value) for key, value in _block(content, start, size) if key})
    except (_Damaged, IndexError, ValueError, struct.error) as error:  # what reading past an end or nonsense raises
        raise ModelError(f"{path}: damaged, or no TensorFlow checkpoint ({error}); get it again") from error
    return entries


class _Damaged(Exception):
    """Content that does not fit the format."""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); get the checkpoint again") from error


def _tensor(path: Path, name: str, entry: Entry, content: memoryview) -> np.ndarray:
    raw = content[entry.offset : entry.offset + entry.size]
    if len(raw) < entry.size:
        raise ModelError(f"{path}: cut off inside {name}; get the checkpoint again")
    if _masked_checksum(raw) != entry.checksum:
        raise ModelError(f"{path}: damaged, the checksum of {name} does not fit; get the checkpoint again")
    return np.frombuffer(raw, entry.dtype).reshape(entry.shape)


def _masked_checksum(content: bytes | memoryview) -> int:
    """CRC-32C as LevelDB stores it: turned by 15 bits and shifted, so that a checksum of checksums means something."""
    checksum = google_crc32c.value(bytes(content))
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) entries of a block; a key gives only what differs from the key before."""
    block = content[start : start + size]
    compression, checksum = struct.unpack_from("<BI", content, start + size)  # what follows every block
    if compression:
        raise _Damaged("its table is compressed")
    if _masked_checksum(content[start : start + size + 1]) != checksum:
        raise _Damaged("a checksum does not fit")
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end, position, key = size - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise _Damaged("a block that cannot hold what it says")
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    """((start, size) of a block, position behind)."""
    start, position = _varint(content, position)
    size, position = _varint(content, position)
    return (start, size), position


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """(a number in groups of seven bits, the lowest first, position behind)."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Damaged("a number does not end")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a Protocol Buffers message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value = message[position : position + length]
            position += length
        elif kind == 5:
            (value,) = struct.unpack_from("<I", message, position)
            position += 4
        else:
            raise _Damaged(f"a field of kind {kind}")
        yield tag >> 3, value


def _entry(message: bytes) -> Entry:
    """Parse a BundleEntryProto."""
    values = dict(_fields(message))
    dtype, shape, shard, offset, size, checksum = (values.get(number, 0) for number in range(1, 7))
    if dtype not in DTYPES:
        raise _Damaged(f"a tensor of type {dtype!r}")
    if shard or 7 in values:
        raise _Damaged("it is spread over several files")
    if not (isinstance(offset, int) and isinstance(size, int) and isinstance(checksum, int)):
        raise _Damaged("a place that is no number")
    dimensions = _shape(shape) if isinstance(shape, bytes) else ()
    kind = np.dtype(DTYPES[dtype])
    if len(dimensions) > MOST_DIMENSIONS or size != kind.itemsize * int(np.prod(dimensions, dtype=object)):
        raise _Damaged(f"a tensor of shape {dimensions} in {size} bytes")
    return Entry(kind, dimensions, offset, size, checksum)


def _shape(message: bytes) -> tuple[int, ...]:
    """Parse a TensorShapeProto."""
    sizes = []
    for number, dimension in _fields(message):
        if number == 2 and isinstance(dimension, bytes):
            size = dict(_fields(dimension)).get(1, 0)
            if not isinstance(size, int):
                raise _Damaged("a dimension that is no number")
            sizes.append(size)
    return tuple(sizes)

"""Read TensorFlow's checkpoint files without TensorFlow.

A checkpoint PREFIX is `PREFIX.index`, a sorted table of entries by tensor name, and `PREFIX.data-00000-of-00001`, the raw
values. The table is LevelDB's (its `doc/table_format.md`): blocks of prefix-compressed keys, a block that lists the
blocks, and a footer. The entries are TensorFlow's `tensor_bundle.proto`, in Protocol Buffers' wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from riff.errors import ModelError

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # DT_FLOAT and so on, of TensorFlow's types.proto
MAX_DIMENSIONS = 8
NORM_TENSORS = ("moving_mean", "moving_variance", "gamma", "beta")  # of Keras' batch normalisation


@dataclass(frozen=True)
class Entry:
    """A tensor's type, shape, and place in the data file (bytes)."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def layer_name(layer: str, number: int) -> str:
    """Keras' name of the n-th layer of a type, from 0 on."""
    return f"{layer}_{number}" if number else layer


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint by name.

    Args:
        prefix: the files' path without `.index` and `.data-00000-of-00001`.

    Raises:
        ModelError: a file is missing, cut off or damaged, or of a format that this cannot read; names the file.
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
        position = _varints(content, len(content) - FOOTER_BYTES, 2)[-1]  # after a block that checkpoints leave empty
        entries = {}
        for _, handle in _block(content, *_varints(content, position, 2)[:2]):
            entries.update({key.decode(): _entry(value) for key, value in _block(content, *_varints(handle, 0, 2)[:2]) if key})
    except (_Damaged, DecodeError, IndexError, ValueError, TypeError, struct.error) as error:
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
    """CRC-32C as LevelDB stores it: rotated by 15 bits plus a constant, so that a checksum of checksums is meaningful."""
    checksum = google_crc32c.value(bytes(content))
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) entries of a block; a key is stored as its difference to the previous one."""
    block = content[start : start + size]
    compression, checksum = struct.unpack_from("<BI", content, start + size)
    if compression:
        raise _Damaged("its table is compressed")
    if _masked_checksum(content[start : start + size + 1]) != checksum:
        raise _Damaged("a checksum does not fit")
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end, position, key = size - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise _Damaged("a block that is smaller than its list of restarts")
    while position < end:
        shared, unshared, length, position = _varints(block, position, 3)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _varints(content: bytes, position: int, count: int) -> list[int]:
    """So many numbers in groups of seven bits, the lowest first, and the position after them."""
    values = []
    for _ in range(count):
        value = 0
        for shift in range(0, 70, 7):
            byte = content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise _Damaged("a number does not end")
        values.append(value)
    return [*values, position]


def _fields(message: Any) -> list[tuple[int, Any]]:
    """(field number, int or bytes) of a Protocol Buffers message."""
    return [(field.field_number, field.data) for field in UnknownFieldSet(Empty.FromString(message))]


def _entry(message: bytes) -> Entry:
    """Parse a BundleEntryProto."""
    values = dict(_fields(message))
    number, shape, shard, offset, size, checksum = (values.get(field, b"" if field == 2 else 0) for field in range(1, 7))
    if number not in DTYPES:
        raise _Damaged(f"a tensor of type {number!r}")
    if shard or 7 in values:
        raise _Damaged("it is spread over several files")
    if not (isinstance(offset, int) and isinstance(size, int) and isinstance(checksum, int)):
        raise _Damaged("an offset, size or checksum that is no number")
    dimensions = tuple(dict(_fields(dimension)).get(1, 0) for field, dimension in _fields(shape) if field == 2)
    dtype = np.dtype(DTYPES[number])
    if len(dimensions) > MAX_DIMENSIONS or size != dtype.itemsize * int(np.prod(dimensions, dtype=object)):
        raise _Damaged(f"a tensor of shape {dimensions} in {size} bytes")
    return Entry(dtype, dimensions, offset, size, checksum)

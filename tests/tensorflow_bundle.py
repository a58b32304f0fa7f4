"""Write checkpoints as TensorFlow does, by hand, to test what reads them."""

from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import numpy as np

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
MAGIC = 0xDB4775248B80FB57


def write_bundle(prefix: Path, tensors: dict[str, np.ndarray], block_entries: int = 16) -> None:
    """Write PREFIX.index and PREFIX.data-00000-of-00001.

    Args:
        block_entries: how many keys go to a block of the table.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data, entries = bytearray(), [(b"", b"\x08\x01\x1a\x02\x08\x01")]  # the header: one file, version 1
    for name, tensor in sorted(tensors.items()):
        raw = np.ascontiguousarray(tensor).tobytes()
        entries.append((name.encode(), entry(tensor, len(data), raw)))
        data += raw
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(bytes(data))
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries, block_entries))


def entry(tensor: np.ndarray, offset: int, raw: bytes) -> bytes:
    """A BundleEntryProto."""
    shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
    places = field(1, TYPES[str(tensor.dtype)]) + field(2, shape) + field(4, offset) + field(5, len(raw))
    return places + b"\x35" + struct.pack("<I", masked_checksum(raw))


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    groups = []
    while True:
        groups.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(groups)


def masked_checksum(content: bytes) -> int:
    checksum = google_crc32c.value(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def table(entries: list[tuple[bytes, bytes]], block_entries: int) -> bytes:
    content, handles = b"", []
    for first in range(0, len(entries), block_entries):
        content, handle = with_block(content, entries[first : first + block_entries])
        handles.append((entries[min(first + block_entries, len(entries)) - 1][0] + b"~", handle))
    content, empty = with_block(content, [])
    content, index = with_block(content, handles)
    return content + (empty + index).ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def with_block(content: bytes, entries: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Append a block of prefix-compressed entries; (content, the block's handle)."""
    block, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    block += struct.pack("<II", 0, 1)  # one restart point, at the start
    handle = varint(len(content)) + varint(len(block))
    return content + block + b"\0" + struct.pack("<I", masked_checksum(block + b"\0")), handle

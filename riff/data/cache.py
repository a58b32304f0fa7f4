"""Arrays that are computed once and kept: shards of 256 rows, memory-mapped when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from riff.cli import progress_bar
from riff.files import atomic_path, make_folder, write_json

SHARD_ROWS = 256


class ArrayCache:
    """Rows of one shape and dtype by key. Each shard is whole or not there, so a run that broke off loses at most one.

    Files: `rows-HASH.npy` with the rows, `rows-HASH.json` with their keys (written last), HASH being that of the keys. So
    processes that store at once never write different keys under one name. A shard whose files do not fit each other, and those
    of earlier versions (`shard-00000.npy`), which could get mixed up, are computed anew.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._places: dict[str, tuple[str, int]] = {}
        self._shards: dict[str, np.ndarray] = {}
        for file in sorted(self.folder.glob("rows-*.json")):
            keys = _read_keys(file)
            if keys is not None and file.stem == _shard_name(keys):
                self._places.update({key: (file.stem, row) for row, key in enumerate(keys)})

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> np.ndarray:
        """The row, read-only, shape and dtype as they were stored."""
        shard, row = self._places[key]
        if shard not in self._shards:
            self._shards[shard] = np.load(self.folder / f"{shard}.npy", mmap_mode="r")
        return self._shards[shard][row]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_shards": {}}  # a worker process maps the files itself

    def fill(self, keys: Sequence[str], compute: Callable[[Sequence[str]], np.ndarray], batch_size: int, description: str) -> int:
        """Compute the rows of the keys that are missing, in order and in batches, and return how many there were.

        Args:
            compute: keys -> array of one row a key.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self]
        with progress_bar(total=len(missing), desc=description, disable=None if missing else True) as progress:
            for start in range(0, len(missing), SHARD_ROWS):
                shard_keys, rows = missing[start : start + SHARD_ROWS], []
                for first in range(0, len(shard_keys), batch_size):
                    batch = shard_keys[first : first + batch_size]
                    rows.append(compute(batch))
                    progress.update(len(batch))
                self._store(shard_keys, np.concatenate(rows))
        return len(missing)

    def _store(self, keys: list[str], rows: np.ndarray) -> None:
        make_folder(self.folder)
        name = _shard_name(keys)
        with atomic_path(self.folder / f"{name}.npy") as temporary:
            np.save(temporary, rows)
        write_json(self.folder / f"{name}.json", keys)
        self._places.update({key: (name, row) for row, key in enumerate(keys)})


def _shard_name(keys: Sequence[str]) -> str:
    return f"rows-{hashlib.blake2b(json.dumps(keys).encode(), digest_size=16).hexdigest()}"


def _read_keys(file: Path) -> list[str] | None:
    """The keys of a shard; None where they cannot be read, or the rows beside them are not there or are not as many."""
    try:
        keys = json.loads(file.read_text(encoding="utf-8"))
        rows = np.load(file.with_suffix(".npy"), mmap_mode="r")
    except (OSError, ValueError, EOFError):  # the last is of an empty file
        return None
    return keys if isinstance(keys, list) and len(keys) == len(rows) else None

"""Arrays that are computed once and kept: shards of 256 rows, memory-mapped when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from riff.cli import progress_bar
from riff.files import atomic_path, make_folder, write_json

SHARD_ROWS = 256


class ArrayCache:
    """Rows of one shape and dtype by key. Each shard is whole or not there, so a run that broke off loses at most one.

    Files: `shard-00000.npy` with the rows, `shard-00000.json` with their keys (written last).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._places: dict[str, tuple[int, int]] = {}
        self._shards: dict[int, np.ndarray] = {}
        for number, file in enumerate(sorted(self.folder.glob("shard-*.json"))):
            for row, key in enumerate(json.loads(file.read_text())):
                self._places[key] = (number, row)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> np.ndarray:
        """The row, read-only, shape and dtype as they were stored."""
        shard, row = self._places[key]
        if shard not in self._shards:
            self._shards[shard] = np.load(self._file(shard, ".npy"), mmap_mode="r")
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
        number = len(list(self.folder.glob("shard-*.json")))
        with atomic_path(self._file(number, ".npy")) as temporary:
            np.save(temporary, rows)
        write_json(self._file(number, ".json"), keys)
        self._places.update({key: (number, row) for row, key in enumerate(keys)})

    def _file(self, number: int, suffix: str) -> Path:
        return self.folder / f"shard-{number:05d}{suffix}"

"""Rows that were computed once are read back as they are, whoever else stores at the same time."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from riff.data import latents as cache
from riff.data.latents import ArrayCache


def rows_of(keys: Sequence[str]) -> np.ndarray:
    """Rows that tell their key."""
    return np.stack([np.full((2, 3), float(key.rpartition("-")[2]), np.float16) for key in keys])


def fill(folder: Path, keys: Sequence[str]) -> int:
    return ArrayCache(folder).fill(keys, rows_of, 3, "rows")


def check(folder: Path, keys: Sequence[str]) -> None:
    kept = pickle.loads(pickle.dumps(ArrayCache(folder)))
    for key in keys:
        np.testing.assert_array_equal(kept[key], rows_of([key])[0], err_msg=key)


def _fill_in_step(folder: Path, keys: Sequence[str], barrier: Any) -> None:
    def compute(batch: Sequence[str]) -> np.ndarray:
        barrier.wait(20)  # both store in the same moment
        return rows_of(batch)

    cache.SHARD_ROWS = 2
    kept = ArrayCache(folder)
    kept.fill(keys, compute, 2, "rows")
    for key in keys:
        np.testing.assert_array_equal(kept[key], rows_of([key])[0])


@pytest.mark.parametrize("shared", [0, 1, 40])
def test_two_processes_that_store_at_once_read_their_own_rows(tmp_path: Path, shared: int) -> None:
    """Of keys that are all different, all but one different, or the same."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    keys = [[*(f"both-{n}" for n in range(shared)), *(f"{name}-{n}" for n in range(shared, 40))] for name in ("a", "b")]
    processes = [context.Process(target=_fill_in_step, args=(tmp_path, own, barrier)) for own in keys]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for own in keys:
        check(tmp_path, own)
    assert fill(tmp_path, [*keys[0], *keys[1]]) == 0


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    assert fill(tmp_path, ["a-1", "a-2", "a-1"]) == 2
    assert fill(tmp_path, ["a-2", "a-3"]) == 1
    check(tmp_path, ["a-1", "a-2", "a-3"])


@pytest.mark.parametrize("damage", ["fewer rows", "other keys", "no rows", "empty rows", "no keys", "an older version"])
def test_a_shard_whose_files_do_not_fit_is_computed_anew(tmp_path: Path, damage: str) -> None:
    fill(tmp_path, ["a-1", "a-2"])
    (rows,), (keys,) = tmp_path.glob("*.npy"), tmp_path.glob("*.json")
    if damage == "fewer rows":
        np.save(rows, rows_of(["a-1"]))
    elif damage == "other keys":
        keys.write_text(json.dumps(["a-2", "a-1"]))
    elif damage == "no rows":
        rows.unlink()
    elif damage == "empty rows":
        rows.write_bytes(b"")
    elif damage == "no keys":
        keys.write_text('["a-1"')
    else:  # numbered, and perhaps with the rows of another process
        np.save(rows, rows_of(["a-8", "a-9"]))
        rows.rename(tmp_path / "shard-00000.npy")
        keys.rename(tmp_path / "shard-00000.json")
    assert fill(tmp_path, ["a-1", "a-2"]) == 2
    check(tmp_path, ["a-1", "a-2"])

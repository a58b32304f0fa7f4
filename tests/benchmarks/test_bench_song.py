"""The benchmark of whole songs runs the script that people run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import last_error, run_script


def test_factors_are_shares_of_the_songs_length(tiny_control: Path, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    flags = ("--models", tiny_control, "--seconds", 6, "--steps", 1, "--output", output)
    printed = run_script("benchmarks/bench_song.py", *flags).stdout
    (row,) = json.loads(output.read_text())["rows"]
    factors = row["factors"]
    assert set(factors) == {"loading", "separation", "images", "sampling", "sound", "all"}
    assert factors.pop("all") == pytest.approx(sum(factors.values()))
    assert min(factors.values()) > 0
    assert row["peak_mb"] > 100
    assert f"{row['peak_mb']:.0f}" in printed


def test_what_fails_is_said_in_one_line(tmp_path: Path) -> None:
    done = run_script("benchmarks/bench_song.py", "--models", tmp_path, "--seconds", 2, "--output", tmp_path / "x.json", code=2)
    assert "inpaint_song.py ended with 2" in last_error(done)

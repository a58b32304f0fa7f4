"""The GPU day runs on a CPU at toy size, without the packages that it says it does not need, and goes on where it stopped."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

# A Python whose packages are torch, transformers, accelerate, Lightning, diffusers and what these require.
WITHOUT = """
import importlib.metadata, importlib.util, runpy, sys
from importlib.machinery import PathFinder

MISSING = {
    "av", "cv2", "datasets", "deflate", "gradio", "librosa", "mido", "mir_eval", "peft", "pooch", "pyloudnorm", "scikit-learn",
    "scipy", "sklearn", "soundfile", "soxr",
}

class Others:
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in MISSING else PathFinder.find_spec(name, path, target)

def from_name(name, real=importlib.metadata.Distribution.from_name):
    if name.lower() in MISSING:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)

sys.meta_path[sys.meta_path.index(PathFinder)] = Others
importlib.metadata.Distribution.from_name = from_name
sys.path[0] = "benchmarks"
sys.argv[0] = "benchmarks/gpu_day.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def flags(base: Path, output: Path, minutes: float, *parts: str) -> list[str]:
    words = ("--base", base, "--device", "cpu", "--steps", 2, "--learning_steps", 30, "--batch_size", 2, "--output", output)
    return [str(word) for word in (*words, "--minutes", minutes, "--parts", *parts)]


def results(output: Path) -> dict[str, dict[str, float]]:
    return json.loads((output / "results.json").read_text())["results"]


def test_parts_run_and_are_kept(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = flags(tiny_base, tmp_path, 5, "memory edit 24", "learning", "sampling edit", "small models")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first = results(tmp_path)
    assert first["memory edit 24"]["predicted_gib"] > 0
    assert first["learning"]["last_loss"] < first["learning"]["first_loss"]
    assert first["sampling edit"]["seconds_per_clip"] > 0
    assert first["small models"]["error"] == "RuntimeError: needs ControlNet pairs in --train_data_dir"  # the others went on
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr("gpu_day.memory", lambda *_: time.sleep(60))
    importlib.import_module("gpu_day").main(flags(tiny_base, tmp_path, 0.01, "learning", "memory edit 8"))
    again = results(tmp_path)
    assert {part: again[part] for part in first} == first
    assert again["memory edit 8"]["error"] == "TimeoutError: no time was left"

"""A run that is killed at any moment and started again ends as one that was left alone; a full disk ends in one line."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run_script

from riff.audio.io import write_audio

RATE = 44_100
CLIPS = 2


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six songs of two clips each."""
    folder = tmp_path_factory.mktemp("mixtures")
    flags = ("--num_songs", 6, "--seconds", 5.2 * CLIPS, "--seed", 6, "--mixtures_only", "--format", "flac", "--num_workers", 1)
    run_script("demo/make_songs.py", *flags, "--output", folder)
    return folder


def command(mixtures: Path, pairs: Path) -> list[str]:
    flags = ["--audio_dir", mixtures, "--train_data_dir", pairs, "--prompt_file", mixtures / "prompt_file.json"]
    return ["make_cnet_dataset.py", *map(str, flags), "--separator", "repet", "--no-pitch_augment", "--min_vocal_ratio", "0"]


@pytest.fixture(scope="module")
def undisturbed(mixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "pairs"
    run_script(*command(mixtures, folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, which tells the time."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"}


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_started_again(mixtures: Path, undisturbed: Path, tmp_path: Path, kills: int) -> None:
    folder, moments = tmp_path / "pairs", random.Random(kills)
    files = len(contents(undisturbed))
    for goal in sorted(moments.randrange(1, files - 6) for _ in range(kills)):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, *command(mixtures, folder)], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and sum(1 for path in folder.rglob("*") if path.is_file()) < goal:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))  # into whatever comes next
        assert process.poll() is None, "it ended before it was killed"
        process.kill()
        process.wait()
        assert len((folder / "songs.jsonl").read_text().splitlines()) < 6
    run_script(*command(mixtures, folder))
    ours, theirs = contents(folder), contents(undisturbed)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []


def limited(script: str, *flags: object) -> subprocess.CompletedProcess[str]:
    """Run a script that may write no file above 64 KiB, where writing stops as on a full disk."""
    words = " ".join(f"'{word}'" for word in (sys.executable, script, *flags))
    return subprocess.run(["bash", "-c", f"ulimit -f 64; exec {words}"], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_full_disk_ends_in_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 6 * RATE)).astype(np.float32)
    write_audio(tmp_path / "songs" / "song.wav", noise, RATE)
    (tmp_path / "prompts.json").write_text('{"file": "song.wav", "prompt": "x"}\n')
    files = ("--audio_dir", tmp_path / "songs", "--prompt_file", tmp_path / "prompts.json", "--train_data_dir", tmp_path / "pairs")
    flags = (*files, "--separator", "repet", "--no-pitch_augment", "--min_vocal_ratio", 0)
    done = limited("make_cnet_dataset.py", *flags)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "File too large" in errors[0]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*.tmp.*")) == []
    assert (tmp_path / "pairs" / "songs.jsonl").read_text() == ""
    run_script("make_cnet_dataset.py", *flags)
    assert len((tmp_path / "pairs" / "songs.jsonl").read_text().splitlines()) == 1


def test_a_full_disk_while_separating(tmp_path: Path) -> None:
    write_audio(tmp_path / "song.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (2, 2 * RATE)).astype(np.float32), RATE)
    done = limited("separate_audio.py", "--audio", tmp_path / "song.wav", "--output", tmp_path / "out", "--separator", "repet")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []

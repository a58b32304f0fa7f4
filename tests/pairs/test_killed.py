"""A run that is killed at any moment and started again gives the result of an undisturbed run; a full disk ends in one line."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, pair_files, run_script

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


def command(mixtures: Path, pairs: Path, workers: int = 1) -> list[str]:
    flags = ["--audio_dir", mixtures, "--train_data_dir", pairs, "--prompt_file", mixtures / "prompt_file.json"]
    flags += ["--separator", "repet", "--no-pitch_augment", "--min_vocal_ratio", 0, "--num_workers", workers]
    return ["make_cnet_dataset.py", *map(str, flags)]


@pytest.fixture(scope="module")
def undisturbed(mixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "pairs"
    run_script(*command(mixtures, folder))
    return folder


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_and_started_again(mixtures: Path, undisturbed: Path, tmp_path: Path, kills: int, workers: int) -> None:
    moments, expected, left = random.Random(kills), pair_files(undisturbed), kills
    for attempt in range(kills):  # a finished folder is compared before the next one begins
        folder = tmp_path / f"pairs-{attempt}"
        while left and len(pair_files(folder)) < len(expected):
            left -= kill_one(mixtures, folder, workers, moments.uniform(0, 1))
        run_script(*command(mixtures, folder, workers))
        ours = pair_files(folder)
        assert ours.keys() == expected.keys()
        assert [name for name in expected if ours[name] != expected[name]] == []
        if not left:
            return


def kill_one(mixtures: Path, folder: Path, workers: int, seconds: float) -> bool:
    """Kill a run the given seconds after its first write; returns whether it was still running."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *command(mixtures, folder, workers)]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and all(
        before.get(path) == path.stat().st_mtime_ns for path in folder.glob("*.json*") if path.is_file()
    ):
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    return process.wait() == -9


def limited(script: str, *flags: object) -> subprocess.CompletedProcess[str]:
    """Run a script under a limit of 64 KiB per file; beyond it writing fails as on a full disk."""
    words = " ".join(f"'{word}'" for word in (sys.executable, script, *flags))
    return subprocess.run(["bash", "-c", f"ulimit -f 64; exec {words}"], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_full_disk_ends_in_one_line(tmp_path: Path, workers: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 6 * RATE)).astype(np.float32)
    for number in range(workers):
        write_audio(tmp_path / "songs" / f"song-{number}.wav", noise, RATE)
    (tmp_path / "prompts.json").write_text('{"file": "song-0.wav", "prompt": "x"}\n')
    files = ("--audio_dir", tmp_path / "songs", "--prompt_file", tmp_path / "prompts.json", "--train_data_dir", tmp_path / "pairs")
    flags = (*files, "--separator", "repet", "--no-pitch_augment", "--min_vocal_ratio", 0, "--num_workers", workers)
    done = limited("make_cnet_dataset.py", *flags)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "File too large" in errors[0]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*.tmp.*")) == []
    assert (tmp_path / "pairs" / "songs.jsonl").read_text() == ""
    run_script("make_cnet_dataset.py", *flags)
    assert len((tmp_path / "pairs" / "songs.jsonl").read_text().splitlines()) == workers


def test_a_full_disk_while_separating(tmp_path: Path) -> None:
    write_audio(tmp_path / "song.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (2, 2 * RATE)).astype(np.float32), RATE)
    done = limited(
        "tools/separate_audio.py", "--audio", tmp_path / "song.wav", "--output", tmp_path / "out", "--separator", "repet"
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []

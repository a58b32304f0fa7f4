"""Songs made into pairs by several processes, shards and a Ray cluster: the same bytes as by one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, last_error, make_pairs, pair_files, run_script

from riff.data.records import CONTROL_PAIRS, read_records
from riff.data.stores import open_pairs
from riff.errors import DataError, OptionError
from riff.files import only_writer, read_mapping
from riff.pairs.songs import SongFile, shard_of_songs


@pytest.mark.parametrize("flags", [("--num_workers", 3), ("--engine", "ray", "--num_workers", 2)], ids=["processes", "ray"])
def test_the_pairs_are_the_same_wherever_they_are_made(songs: Path, pairs: Path, tmp_path: Path, flags: tuple) -> None:
    done = make_pairs(songs, tmp_path / "pairs", *flags)
    assert "4 songs made now" in done.stdout
    assert pair_files(tmp_path / "pairs") == pair_files(pairs)
    assert "it/s" not in done.stderr


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six songs without stems, long enough to interrupt a run."""
    folder = tmp_path_factory.mktemp("mixtures")
    flags = ("--num_songs", 6, "--seconds", 10.4, "--seed", 6, "--mixtures_only", "--format", "flac", "--num_workers", 1)
    run_script("demo/make_songs.py", *flags, "--output", folder)
    return folder


def start(mixtures: Path, pairs: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a run of two workers; returns it and the workers once a song is staged."""
    flags = ["--audio_dir", mixtures, "--prompt_file", mixtures / "prompt_file.json", "--train_data_dir", pairs]
    flags += ["--separator", "repet", "--min_vocal_ratio", 0, "--num_workers", 2, "--no-pitch_augment"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "make_cnet_dataset.py", *map(str, flags)]
    run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not list((pairs / ".staging").glob("[!.]*")):
        time.sleep(0.01)
    assert run.poll() is None, run.stderr and run.stderr.read()
    # The workers are children of the fork server, beside the resource tracker.
    return run, [process for process in psutil.Process(run.pid).children(recursive=True) if process.cpu_times().user > 0.05]


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_in_one_line_and_the_next_goes_on(mixtures: Path, tmp_path: Path) -> None:
    run, processes = start(mixtures, tmp_path / "pairs")
    leaves = [process for process in processes if not process.children()]
    leaves[-1].kill()
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 2, stderr
    assert stderr.splitlines()[-1].startswith("error: a worker process was ended from outside")
    assert "Traceback" not in stderr
    assert list((tmp_path / "pairs" / ".staging").glob(".*.tmp.*")) == []


@pytest.mark.slow
def test_workers_end_with_their_run_however_it_ends(mixtures: Path, tmp_path: Path) -> None:
    for number, way in enumerate((signal.SIGKILL, signal.SIGINT)):
        run, processes = start(mixtures, tmp_path / f"pairs-{number}")
        began = time.monotonic()
        run.send_signal(way)
        stderr = run.communicate(timeout=120)[1]
        assert run.returncode == (-9 if way == signal.SIGKILL else 130), stderr
        assert psutil.wait_procs(processes, timeout=20)[1] == []
        assert time.monotonic() - began < 20
        assert "Traceback" not in stderr


def test_a_second_run_on_one_folder_is_refused(songs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    with only_writer(folder):
        error = last_error(make_pairs(songs, folder, code=2))
    assert f"{folder}: process {os.getpid()} on" in error
    assert "is writing there; wait for it, or use another folder" in error


def test_shards_are_made_apart_and_are_everything_once(songs: Path, pairs: Path, tmp_path: Path) -> None:
    names = []
    for index in (0, 1):
        make_pairs(songs, tmp_path, "--shard_index", index, "--num_shards", 2)
        folder = tmp_path / f"shard-{index:05d}-of-00002"
        names += [record.source for record in read_records(folder)] if (folder / "prompt.json").read_text() else []
    assert sorted(names) == sorted(record.source for record in read_records(pairs))
    store, records = open_pairs(tmp_path, CONTROL_PAIRS)
    assert sorted(record.source.split("/", 1)[1] for record in records) == sorted(names)
    whole = {record.target: (pairs / record.target).read_bytes() for record in read_records(pairs)}
    assert all(store.read(record.target) == whole[record.target.split("/", 1)[1]] for record in records)
    assert read_mapping(store.folder / "manifest.json")["settings"]["canny_high"] == 200
    shutil.rmtree(tmp_path / "shard-00001-of-00002")
    with pytest.raises(DataError, match=r"shard-00001-of-00002: no prompt\.json here; make this shard too"):
        open_pairs(tmp_path, CONTROL_PAIRS)


def test_a_songs_shard_does_not_depend_on_the_others() -> None:
    songs = [SongFile(f"song {number}", Path(f"{number}.wav")) for number in range(200)]
    shards = [shard_of_songs(songs, index, 7)[0] for index in range(7)]
    assert sorted(chain(*shards), key=lambda song: int(song.name[5:])) == songs
    assert min(map(len, shards)) > 10
    assert [song for song in shards[3] if song in songs[::2]] == shard_of_songs(songs[::2], 3, 7)[0]
    assert shard_of_songs(songs, None, None) == (songs, "")


@pytest.mark.parametrize(("index", "count"), [(0, None), (None, 2), (2, 2), (-1, 2)])
def test_shards_that_cannot_be(index: int | None, count: int | None) -> None:
    with pytest.raises(OptionError, match="shard_index"):
        shard_of_songs([], index, count)


def test_flags_of_ray_without_ray(songs: Path, tmp_path: Path) -> None:
    error = last_error(make_pairs(songs, tmp_path / "p", "--ray_address", "auto", code=2))
    assert "--ray_address auto: only the engine ray takes it" in error

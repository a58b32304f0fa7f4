"""A run that is interrupted at any moment and started again gives the result of an undisturbed run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from riff.data.pair_types import MANIFEST
from riff.data.records import CONTROL_PAIRS, PairRecord
from riff.errors import AudioError, DataError, OptionError, RiffError
from riff.files import only_writer, write_json, write_new
from riff.pairs import staging
from riff.pairs.build import Build, BuildReport
from riff.pairs.output import OutputFolder
from riff.pairs.songs import SongFile
from riff.pairs.staging import ClipCount, SongJob
from riff.spectrogram.png import encode_png

SONGS = ("a", "b", "c")  # of two pairs each


@dataclass(frozen=True)
class SmallMaker:
    """Makes a song of N bytes into N pairs of two small images of its bytes; `meddle` is called with its path."""

    meddle: Callable[[Path], Any] = lambda path: None

    def sources(self, song: SongFile) -> list[Path]:
        return [song.path]

    def make(self, job: SongJob, folder: Path) -> tuple[list[PairRecord], ClipCount]:
        content = job.song.path.read_bytes()
        if not content:
            raise AudioError(f"{job.song.path}: empty")
        records = []
        for number, value in enumerate(content):
            paths = [f"{kind}/{job.slug}_{number}.png" for kind in ("source", "target")]
            for path in paths:
                write_new(folder / path, encode_png(np.full((4, 4), value, np.uint8)))
            records.append(PairRecord(paths[0], paths[1], prompt=job.prompt, song=job.song.name))
        self.meddle(job.song.path)
        return records, ClipCount(len(content), 0)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    for name in SONGS:
        (folder / name).write_bytes(name.encode() * 2)
    return folder


def build(songs: Path, pairs: Path, maker: SmallMaker = SmallMaker(), **options: Any) -> BuildReport:
    files = [SongFile(path.name, path) for path in sorted(songs.iterdir())]
    folder = OutputFolder(pairs, CONTROL_PAIRS)
    with folder.prepared({}, overwrite=False):
        write_json(pairs / MANIFEST, {"settings": {}})
        return Build(files, files, {}, "sing", folder, maker, "nothing", warn=lambda _: None, **options).run()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def kill_at(operation: int, run: Callable[[], Any]) -> bool:
    """Run in a child process that is killed at its n-th file system operation; returns whether it was."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = operation

    def count_calls(name: str) -> None:
        real = getattr(os, name)

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(9)
            return real(*args, **options)

        setattr(os, name, counted)

    for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
        count_calls(name)
    try:
        run()
    finally:
        os._exit(0)


def test_every_operation(songs: Path, tmp_path: Path) -> None:
    build(songs, tmp_path / "undisturbed")
    expected = contents(tmp_path / "undisturbed")
    operation = kills = 0
    while True:
        operation += 1
        pairs = tmp_path / f"pairs-{operation}"
        if not kill_at(operation, lambda pairs=pairs: build(songs, pairs)):  # type: ignore[misc]
            break
        kills += 1
        build(songs, pairs)
        assert contents(pairs) == expected, operation
    assert kills > 30


def test_every_operation_of_making_a_changed_song_again(songs: Path, tmp_path: Path) -> None:
    build(songs, tmp_path / "first")
    (songs / "b").write_bytes(b"x")  # now of one pair
    expected = {"source/b_0.png", "target/b_0.png"}
    for operation in range(1, 100):
        pairs = tmp_path / f"pairs-{operation}"
        os.system(f"cp -r {tmp_path / 'first'} {pairs}")
        if not kill_at(operation, lambda pairs=pairs: build(songs, pairs)):  # type: ignore[misc]
            break
        report = build(songs, pairs)
        assert report.pairs == 5
        found = contents(pairs)
        assert {name for name in found if "/b_" in name} == expected
        assert len(found) == 2 * 5 + 3
        assert not (pairs / staging.STAGING).exists()
    assert operation > 10


def test_a_file_that_changes_while_it_is_read_is_named_and_the_others_go_on(songs: Path, tmp_path: Path) -> None:
    def meddle(path: Path) -> None:
        if path.name == "b":
            path.write_bytes(b"other")

    report = build(songs, tmp_path / "pairs", SmallMaker(meddle))
    assert (report.made, report.failed) == (2, 1)
    assert not any("/b_" in name for name in contents(tmp_path / "pairs"))
    assert build(songs, tmp_path / "pairs").made == 1


def test_a_file_that_vanishes_is_named_and_one_that_is_done_already_keeps_its_pairs(songs: Path, tmp_path: Path) -> None:
    report = build(songs, tmp_path / "pairs", SmallMaker(lambda path: path.unlink() if path.name == "c" else None))
    assert (report.made, report.failed) == (2, 1)
    (songs / "c").write_bytes(b"cc")
    before = contents(tmp_path / "pairs")
    (songs / "a").unlink()
    (songs / "a").symlink_to(songs / "gone")
    report = build(songs, tmp_path / "pairs")
    assert (report.made, report.skipped) == (1, 2)
    assert {name: content for name, content in contents(tmp_path / "pairs").items() if name in before}.keys() == before.keys()


def test_the_same_content_at_another_time_is_not_made_again(songs: Path, tmp_path: Path) -> None:
    build(songs, tmp_path / "pairs")
    os.utime(songs / "b", ns=(1, 1))
    report = build(songs, tmp_path / "pairs")
    assert (report.made, report.skipped) == (0, 3)


def test_a_song_that_is_staged_and_no_longer_wanted_leaves_nothing(songs: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"

    def killed_after_two_moves() -> None:
        real, moves = os.replace, []

        def replace_some(source: Any, target: Any) -> None:
            if "/target/" in str(target) or "/source/" in str(target):
                moves.append(target)
                if len(moves) == 3:
                    os._exit(9)
            real(source, target)

        os.replace = replace_some  # type: ignore[assignment]
        build(songs, pairs)

    assert kill_at(10**6, killed_after_two_moves)
    assert (pairs / "source" / "a_0.png").exists()
    (songs / "a").unlink()
    build(songs, pairs)
    assert not any("/a_" in name for name in contents(pairs))


def test_only_one_run_at_a_time(songs: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    with only_writer(pairs):
        with pytest.raises(OptionError, match=rf"pairs: process {os.getpid()} on .* is writing there"):
            build(songs, pairs)
    assert build(songs, pairs).made == 3


def test_enough_pairs_cut_a_song_short_and_leave_no_file_behind(songs: Path, tmp_path: Path) -> None:
    report = build(songs, tmp_path / "pairs", max_pairs=3)
    assert (report.pairs, report.made, report.left_out) == (3, 2, 1)
    assert {name for name in contents(tmp_path / "pairs") if name.startswith("source/")} == {
        "source/a_0.png",
        "source/a_1.png",
        "source/b_0.png",
    }
    assert replace(report, skipped=0).songs == 3


@pytest.mark.parametrize(("file", "way_out"), [("prompt.json", "tools/inspect_dataset.py"), ("songs.jsonl", "take the line out")])
def test_a_damaged_line_is_named_and_nothing_after_it_is_lost(songs: Path, tmp_path: Path, file: str, way_out: str) -> None:
    build(songs, tmp_path / "pairs")
    path = tmp_path / "pairs" / file
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1][:20] + "\n"
    path.write_text("".join(lines))
    before = contents(tmp_path / "pairs")
    with pytest.raises(DataError, match=rf"{file}: line 2 is no JSON .*; .*{way_out}"):
        build(songs, tmp_path / "pairs")
    assert contents(tmp_path / "pairs") == before


def test_a_folder_that_cannot_be_written_ends_in_one_line(songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RiffError, match=r"/proc/riff-pairs: cannot create this folder"):
        build(songs, Path("/proc/riff-pairs"))
    (tmp_path / "pairs").mkdir(mode=0o555)
    if os.geteuid() == 0:  # root ignores permissions
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RiffError, match=r"pairs: this folder is not writable; choose another place"):
        build(songs, tmp_path / "pairs")

from __future__ import annotations

import json
import os
import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riff.errors import DataError, OptionError, RiffError
from riff.files import atomic_folder, atomic_path, inside, make_folder, read_mapping, write_json, write_text


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def break_off(place: AbstractContextManager[Path], error: type[BaseException]) -> None:
    """Write half of a file or folder, then raise."""
    with place as temporary:
        (temporary / "config.json" if temporary.is_dir() else temporary).write_text("half")
        raise error


def test_atomic_path_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "clip.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("whole")
        assert not (tmp_path / "a" / "clip.png").exists()
    assert contents(tmp_path) == {"a/clip.png": "whole"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [{}, {"clip.png": "old"}])
def test_atomic_path_leaves_what_was_there_when_the_block_raises(
    tmp_path: Path, before: dict[str, str], error: type[BaseException]
) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(error):
        break_off(atomic_path(tmp_path / "clip.png"), error)
    assert contents(tmp_path) == before


def test_atomic_folder_replaces_the_whole_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "model" / "stale.bin", "old")
    with atomic_folder(tmp_path / "model") as temporary:
        write_text(temporary / "unet" / "config.json", "new")
    assert contents(tmp_path) == {"model/unet/config.json": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [{}, {"model/config.json": "old"}])
def test_atomic_folder_leaves_what_was_there_when_the_block_raises(
    tmp_path: Path, before: dict[str, str], error: type[BaseException]
) -> None:
    for name, text in before.items():
        write_text(tmp_path / name, text)
    with pytest.raises(error):
        break_off(atomic_folder(tmp_path / "model"), error)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if before else [])


def test_atomic_folder_keeps_the_old_one_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    write_text(tmp_path / "model" / "config.json", "old")
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "model") as temporary:
        temporary.rmdir()
    assert contents(tmp_path) == {"model/config.json": "old"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, so nothing can lie below it; not even root can help that")
    below = tmp_path / "file" / "outputs"
    with pytest.raises(RiffError, match=r"outputs.*another place"):
        make_folder(below)
    with pytest.raises(RiffError, match="another place"), atomic_path(below / "x.png"):
        pytest.fail("the block must not run")
    with pytest.raises(RiffError, match="another place"), atomic_folder(below / "model"):
        pytest.fail("the block must not run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RiffError, match=r"locked.*not writable"):
        make_folder(tmp_path / "locked")


def test_json_is_readable_text(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"song": "Café"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"song": "Café"}
    assert "Café" in (tmp_path / "x.json").read_text(encoding="utf-8")


PARTS = st.one_of(
    st.sampled_from(["..", ".", "", "a", "clip.png", "~", "link", "loop", "\0", "\ud800", "x" * 300]), st.text(max_size=4)
)


@given(st.lists(PARTS, max_size=6), st.sampled_from(["", "/", "//", "../"]))
def test_inside_never_leaves_the_folder(parts: list[str], start: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pairs"
        folder.mkdir()
        (folder / "link").symlink_to(name)
        (folder / "loop").symlink_to(folder / "loop")
        with suppress(OptionError):
            path = inside(folder, start + "/".join(parts))
            assert os.path.commonpath([os.path.realpath(path), os.path.realpath(folder)]) == os.path.realpath(folder)


@pytest.mark.parametrize("relative", ["../x.png", "a/../../x.png", "/etc/passwd", "link/x.png", "a\0b", "\ud800"])
def test_inside_refuses(tmp_path: Path, relative: str) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "link").symlink_to(tmp_path)
    with pytest.raises(OptionError):
        inside(tmp_path / "pairs", relative)


@given(st.lists(st.sampled_from(["a", "source", "song 1", "ü"]), min_size=1, max_size=4))
def test_inside_gives_the_path(parts: list[str]) -> None:
    assert inside("train-data", "/".join(parts)) == Path("train-data", *parts).resolve()


def test_inside_takes_a_way_back_that_stays_within() -> None:
    assert inside("train-data", "a/../b.png") == Path("train-data/b.png").resolve()


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"rate": 1e-5, "keep": true}'), ("a.yaml", "rate: 1e-5\nkeep: true\n")])
def test_a_mapping_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_mapping(tmp_path / name) == {"rate": 1e-5, "keep": True}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"pairs": '),
        ("a.json", "[1]"),
        ("a.yaml", "a: [1"),
        ("a.yaml", "- 1\n"),
        ("a.yaml", "a: ${b}"),
        ("a.json", None),
    ],
)
def test_a_mapping_that_is_none_ends_in_one_line(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="cannot be read") as raised:
        read_mapping(tmp_path / name)
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)

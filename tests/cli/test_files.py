from __future__ import annotations

import json
import os
import resource
import tempfile
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from riff.errors import DataError, OptionError, RiffError
from riff.files import atomic_folder, atomic_path, inside, make_folder, read_mapping, write_json, write_text


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def break_off(place: AbstractContextManager[Path], error: type[BaseException]) -> None:
    """Write half of a file or folder, then raise."""
    with place as temporary:
        (temporary / "config.json" if temporary.is_dir() else temporary).write_text("half")
        raise error


def put_into(place: AbstractContextManager[Path], *names: str) -> None:
    with place as temporary:
        for name in names:
            write_text(temporary / name, "new")


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


def test_atomic_folder_replaces_what_it_is_told_and_keeps_the_rest(tmp_path: Path) -> None:
    for name in ("stale.bin", "unet/config.json", "vae/config.json", "vae/mine.txt", "mine.txt"):
        write_text(tmp_path / "model" / name, "old")
    with atomic_folder(tmp_path / "model", ["stale.bin", "unet/config.json", "vae/config.json", "gone.bin"]) as temporary:
        write_text(temporary / "unet" / "config.json", "new")
        assert "new" not in contents(tmp_path / "model").get("unet/config.json", "")
    assert contents(tmp_path) == {"model/unet/config.json": "new", "model/vae/mine.txt": "old", "model/mine.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"unet", "vae", "mine.txt"}


def test_atomic_folder_refuses_names_that_are_taken(tmp_path: Path) -> None:
    write_text(tmp_path / "model" / "config.json", "mine")
    write_text(tmp_path / "model" / "old.bin", "old")
    with pytest.raises(OptionError, match=r"model: holds config\.json by now"):
        put_into(atomic_folder(tmp_path / "model", ["old.bin"]), "config.json")
    with pytest.raises(OptionError, match="leaves its folder"):
        put_into(atomic_folder(tmp_path / "model", ["../model/../x"]), "other.json")
    assert contents(tmp_path) == {"model/config.json": "mine", "model/old.bin": "old"}


def test_a_working_folder_is_written_to_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_folder(".") as temporary:
        write_text(temporary / "config.json", "new")
    assert contents(tmp_path) == {"config.json": "new"}


@pytest.mark.parametrize("write", ["safetensors", "torch", "text"])
def test_a_full_disk_is_told_with_the_file_that_it_was_to_hold(tmp_path: Path, write: str) -> None:
    """Here a limit on the size of files, which a process cannot exceed; nothing is left."""
    ways = {
        "safetensors": lambda path: save_file({"a": torch.zeros(100_000)}, path),
        "torch": lambda path: torch.save({"a": torch.zeros(100_000)}, path.open("wb")),
        "text": lambda path: path.write_text("a" * 400_000),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised, atomic_path(tmp_path / "x.bin") as temporary:
            ways[write](temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "x.bin")
    assert not list(tmp_path.iterdir())


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
    (tmp_path / "model" / "unet").write_text("a file in its way")
    with pytest.raises(FileExistsError):
        put_into(atomic_folder(tmp_path / "model", ["config.json"]), "config.json", "unet/weights.bin")
    assert contents(tmp_path) == {"model/config.json": "old", "model/unet": "a file in its way"}


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

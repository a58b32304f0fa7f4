"""Pairs in shards: packed by the real script, read back as the folder is, and what is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, last_error, run_script
from hub_stand_in import TOKEN, Hub, Repository
from hypothesis import given
from hypothesis import strategies as st

from riff.data.export import plan_dataset, write_dataset
from riff.data.pack import FORMATS, split_into_shards, write_shard
from riff.data.pair_types import PairType
from riff.data.records import CONTROL_PAIRS, EDIT_PAIRS, EDIT_RECORDS_FILE, EditRecord, PairRecord, pairs_file
from riff.data.shard_files import expand_braces
from riff.data.shards import COLUMNS_KEPT, _read_column
from riff.data.stores import PairStore, open_pairs
from riff.errors import DataError, OptionError, RiffError
from riff.files import write_json
from riff.spectrogram.image import SpectrogramImage, image_size, load_grey, load_image, save_image

pytest.importorskip("datasets", reason="pip install datasets")
TYPES: dict[str, PairType[Any]] = {"control": CONTROL_PAIRS, "edit": EDIT_PAIRS}
SIZES = (5, 4, 7, 1)  # pairs of each song


def write_image(path: Path, seed: int) -> None:
    save_image(path, SpectrogramImage(np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8), max_value=1.0 + seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small pairs of four songs, of both types; one has no accompaniment."""
    folders_of: dict[str, Path] = {}
    for type_name in TYPES:
        folder = folders_of[type_name] = tmp_path_factory.mktemp(type_name) / "pairs"
        records: list[Any] = []
        for song, size in enumerate(SIZES):
            for clip in range(size):
                name = f"Mr.{song}_{clip}+0.png"
                more: dict[str, Any] = {"song": f"Mr.{song}", "start_s": 5.11 * clip, "semitones": -1.5}
                if type_name == "control":
                    more |= {"accompaniment": "" if len(records) == 2 else f"accompaniment/{name}"}
                    records.append(PairRecord(f"source/{name}", f"target/{name}", f"Gib mir „{song}“", **more))
                else:
                    records.append(EditRecord(f"input_image/{name}", f"edited_image/{name}", f"add {clip}", kind="remove", **more))
                for number, path in enumerate(TYPES[type_name].image_paths(records[-1]).values()):
                    write_image(folder / path, 3 * len(records) + number)
        (folder / TYPES[type_name].records_file).write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
        write_json(folder / "manifest.json", {"settings": {"target": "vocals"}})
    return folders_of


def pack(folder: Path, output: Path, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run_script("tools/pack_dataset.py", "--data_dir", folder, "--output", output, *more, code=code)


@pytest.fixture(scope="module")
def packed(folders: dict[str, Path]) -> Callable[..., Path]:
    """A folder of shards of a type of pairs, in a format, by the script; made once."""

    def make(type_name: str, form: str, pairs_per_shard: int = 6) -> Path:
        output = folders[type_name].parent / f"{form}-{pairs_per_shard}"
        if not output.exists():
            pack(folders[type_name], output, "--format", form, "--pairs_per_shard", pairs_per_shard)
        return output

    return make


def opened(place: str | Path, type_name: str) -> tuple[PairStore, list[Any]]:
    return open_pairs(Path(place), TYPES[type_name])


def contents(place: str | Path, type_name: str) -> list[tuple[Any, dict[str, bytes]]]:
    """The records without their images' names in the store, and their images."""
    store, records = opened(place, type_name)
    nameless = dict.fromkeys(TYPES[type_name].images, "")
    return [
        (replace(record, **nameless), {key: store.read(name) for key, name in TYPES[type_name].image_paths(record).items()})
        for record in records
    ]


def shard_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in FORMATS.values())


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("form", FORMATS)
def test_shards_hold_what_the_folder_holds_in_its_order(
    type_name: str, form: str, folders: dict, packed: Callable[..., Path]
) -> None:
    """Images byte by byte and values, however many shards there are, and whatever names them."""
    wanted, folder = contents(folders[type_name], type_name), packed(type_name, form)
    suffix = FORMATS[form]
    assert shard_names(folder) == [f"pairs-{number:06d}{suffix}" for number in range(4)]
    for place in (folder, f"{folder}/*{suffix}", f"{folder}/pairs-{{000000..000003}}{suffix}", packed(type_name, form, 100)):
        assert contents(place, type_name) == wanted
    store, records = opened(folder, type_name)
    base, of_folder = opened(folders[type_name], type_name)
    assert store.folder == folder
    for record, other in zip(records, of_folder, strict=True):
        for key, name in TYPES[type_name].image_paths(record).items():
            assert Path(name).name == Path(getattr(other, key)).name  # samples are called after it
            assert load_image(store.open(name)).max_value == load_image(base.open(getattr(other, key))).max_value
            assert image_size(store.open(name)) == (16, 16)


def test_a_store_travels_between_processes_and_holds_no_images(packed: Callable[..., Path]) -> None:
    for form in FORMATS:
        store, records = opened(packed("control", form), "control")
        wanted = [store.read(record.target) for record in records]
        pickled = pickle.dumps(store)
        assert len(pickled) < 5000 < sum(map(len, wanted))
        assert [pickle.loads(pickled).read(record.target) for record in records] == wanted
        child = os.fork()
        if not child:
            os._exit([store.read(record.target) for record in records[::-1]] != wanted[::-1])
        assert [store.read(record.target) for record in records] == wanted
        assert os.waitpid(child, 0)[1] == 0
    assert _read_column.cache_info().currsize <= COLUMNS_KEPT


def test_datasets_reads_both_formats(packed: Callable[..., Path], folders: dict[str, Path], tmp_path: Path) -> None:
    import datasets

    tars = datasets.load_dataset(
        "webdataset", data_files=f"{packed('edit', 'webdataset')}/*.tar", split="train", cache_dir=str(tmp_path)
    )
    rows = datasets.load_dataset(str(packed("edit", "parquet")), split="train", cache_dir=str(tmp_path))
    assert len(tars) == len(rows) == sum(SIZES)
    assert [row["__key__"] for row in tars] == [f"{number:08d}" for number in range(sum(SIZES))]
    store, records = opened(folders["edit"], "edit")
    edited = load_grey(store.open(records[3].edited_file_path))
    assert np.array_equal(np.array(tars[3]["edited_image.png"].convert("L")), edited)
    assert tars[3]["json"]["edit_prompt"] == records[3].edit_prompt
    assert rows[3]["original_image"].size == (16, 16)


def test_what_upload_musdb_writes_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["edit"]
    records = opened(folder, "edit")[1]
    write_dataset(plan_dataset(folder, records, largest=5000), "card", tmp_path / "set")
    assert len(list((tmp_path / "set" / "data").iterdir())) > 2
    assert contents(tmp_path / "set", "edit") == contents(folder, "edit")


def test_packing_goes_on_where_it_stopped_and_the_bytes_are_the_same(
    folders: dict[str, Path], packed: Callable[..., Path], tmp_path: Path
) -> None:
    folder, output = tmp_path / "pairs", tmp_path / "shards"
    shutil.copytree(folders["edit"], folder)
    broken = folder / opened(folder, "edit")[1][9].input_file_path
    whole = broken.read_bytes()
    broken.write_bytes(b"x" * len(whole))
    size = ("--pairs_per_shard", 6)
    assert f"{broken}: cannot be read as an image" in last_error(pack(folder, output, *size, code=2))
    assert sorted(path.name for path in output.iterdir()) == ["manifest.json", "pairs-000000.tar", "pairs-000001.tar"]
    with pytest.raises(DataError, match="holds 2 of 4 shards; pack or copy the others too"):
        opened(output, "edit")
    assert len(opened(f"{output}/*.tar", "edit")[1]) == 9  # named, they are what is wanted
    (output / ".pairs-000002.tmp.999999999.tar").write_bytes(b"half")
    broken.write_bytes(whole)
    done = pack(folder, output, *size)
    assert "17 pairs in 4 shards" in done.stdout
    assert "2 written now, 2 before" in done.stdout
    assert f"python train_instruct_pix2pix.py --train_data_dir {output}" in done.stdout
    undisturbed = packed("edit", "webdataset")
    assert {name: (output / name).read_bytes() for name in shard_names(output)} == {
        name: (undisturbed / name).read_bytes() for name in shard_names(undisturbed)
    }
    assert not list(output.glob(".pairs*"))
    assert "holds shards of other pairs or settings" in last_error(pack(folder, output, code=2))
    pack(folder, output, "--overwrite", "--format", "parquet")
    assert shard_names(output) == ["pairs-000000.parquet"]
    assert "--output" in last_error(pack(folder, folder, code=2))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=8), st.integers(1, 12))
def test_a_songs_pairs_stay_together_where_they_fit(runs: list[tuple[str, int]], most: int) -> None:
    records = [PairRecord("s", "t", "p", song=song, start_s=float(number)) for song, size in runs for number in range(size)]
    shards = split_into_shards(records, most)
    assert [record for shard in shards for record in shard] == records
    assert all(0 < len(shard) <= most for shard in shards)
    ends = np.cumsum([len(shard) for shard in shards])[:-1]
    for end in ends:
        if records[end - 1].song == records[end].song:  # a cut inside a song
            first, last = end - 1, end
            while first and records[first - 1].song == records[end].song:
                first -= 1
            while last + 1 < len(records) and records[last + 1].song == records[end].song:
                last += 1
            assert last - first + 1 > most


@pytest.mark.parametrize(
    ("pattern", "patterns"),
    [
        ("a/b.tar", ["a/b.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{x}", ["{x}"]),
    ],
)
def test_braces(pattern: str, patterns: list[str]) -> None:
    assert expand_braces(pattern) == patterns


@pytest.mark.parametrize("form", FORMATS)
def test_shards_are_read_in_the_order_of_their_numbers(
    form: str, packed: Callable[..., Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = packed("edit", form)
    for number, name in enumerate(shard_names(folder)):
        shutil.copy(folder / name, tmp_path / f"part{number + 8}{FORMATS[form]}")  # 8, 9, 10, 11
    assert contents(tmp_path, "edit") == contents(folders["edit"], "edit")


def write_tar(path: Path, members: Mapping[str, bytes], member_type: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), member_type
            tar.addfile(member, io.BytesIO(content))
    return path


RECORD = json.dumps({"prompt": "sing"}).encode()
PAIR = {"0.source.png": b"s", "0.target.png": b"t", "0.json": RECORD}


def test_a_tar_of_somebody_else_is_read(tmp_path: Path) -> None:
    """No song, no paths, other images, members in folders, and pairs that are not in one piece."""
    more = {"./a/clip_07.TARGET.JPG": b"jpg", "README.md": b"", "a/clip_07.json": RECORD, "./a/clip_07.source.png": b"edges"}
    write_tar(tmp_path / "own.tar", {**more, **PAIR, "0.wav": b"", "._0.json": b"", "b/x.y.json": b""} | {"b/x.y.json": b""})
    with pytest.raises(DataError, match=r'own\.tar: b/x has no "json"'):
        opened(tmp_path, "control")
    write_tar(tmp_path / "own.tar", {**more, **PAIR, "0.wav": b"", "._0.json": b""})
    store, (first, second) = opened(tmp_path, "control")
    assert (first.song, first.prompt, first.accompaniment) == ("clip", "sing", "")
    assert [store.read(name) for name in (first.source, first.target)] == [b"edges", b"jpg"]
    assert store.read(second.target) == b"t"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({name: content for name, content in PAIR.items() if name != "0.json"}, '0 has no "json"'),
        ({name: content for name, content in PAIR.items() if name != "0.source.png"}, '0 has no "source"'),
        ({**PAIR, "0.json": b"[1"}, r"0\.json is no JSON object"),
        ({**PAIR, "0.json": b"[1]"}, r"0\.json is no JSON object"),
        ({**PAIR, "0.json": b"{}"}, '0: has no "prompt"'),
        ({**PAIR, "0.json": b'{"prompt": "p", "start_s": "x"}'}, '0: "start_s" must be a number'),
        ({**PAIR, "0.json": b'{"prompt": "p", "source": "../../x.png"}'}, r"0: the path \.\./\.\./x.png leaves the folder"),
        ({**PAIR, "0.source.jpg": b""}, r"0\.source\.jpg comes after another source of the same pair"),
        ({**PAIR, "../1.json": RECORD}, r"the member \.\./1\.json leaves the folder"),
        ({**PAIR, "/etc/1.json": RECORD}, r"the member /etc/1\.json leaves the folder"),
        (
            {"0.input_image.png": b"", "0.edited_image.png": b"", "0.json": b"{}"},
            "edit pairs, which train_instruct_pix2pix.py takes",
        ),
        ({"README.md": b""}, "holds no pairs"),
        ({}, "holds no pairs"),
    ],
)
def test_a_tar_that_is_refused_is_named(members: dict[str, bytes], words: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "good.tar", PAIR)
    path = write_tar(tmp_path / "some.tar", members)
    with pytest.raises(DataError, match=words) as raised:
        opened(tmp_path, "control")
    assert str(raised.value).startswith(f"{path}: ")


def test_links_and_tars_that_are_not_whole_are_refused(packed: Callable[..., Path], tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"0.source.png": b""}, member_type=tarfile.SYMTYPE)
    with pytest.raises(DataError, match=r"the member 0\.source\.png is not a plain file"):
        opened(path, "control")
    whole = (packed("control", "webdataset") / "pairs-000000.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    second = whole.index(b"00000000.target.png")
    for cut in (0, 100, 700, second, second + 100, end - 10, end, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"x\.tar: (not a complete, uncompressed tar|is truncated)"):
            opened(path, "control")
    path.write_bytes(whole * 2)
    with pytest.raises(DataError, match="continues after its end"):
        opened(path, "control")
    path.write_bytes(b"\x1f\x8b\x08" + bytes(600))
    with pytest.raises(DataError, match="not a complete, uncompressed tar"):
        opened(path, "control")


@pytest.mark.parametrize("form", FORMATS)
def test_a_shard_that_changes_is_read_anew_but_not_while_it_is_read(form: str, packed: Callable[..., Path], tmp_path: Path) -> None:
    first, second = (packed("control", form) / f"pairs-00000{number}{FORMATS[form]}" for number in (0, 2))
    path = tmp_path / first.name
    shutil.copy(first, path)
    store, records = opened(path, "control")
    assert len(records) == 5
    shutil.copy(second, path)
    with pytest.raises(DataError, match=f"{path.name}: has changed since its pairs were listed; start again"):
        store.read(records[0].source)
    assert len(opened(path, "control")[1]) == 6
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        store.read(records[1].target)
    with pytest.raises(DataError, match="no file matches"):
        opened(path, "control")


def test_where_nothing_can_be_written_the_users_cache_is_taken(
    packed: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(packed("control", "webdataset") / "pairs-000000.tar", tmp_path)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and access(path, mode))
    monkeypatch.setattr("riff.data.stores.DEFAULT_CACHE", tmp_path / "home")
    store, _ = opened(tmp_path / "*.tar", "control")
    assert store.cache.parent == tmp_path / "home"
    assert not (tmp_path / ".cache").exists()


def test_parquet_files_that_are_refused_are_named(packed: Callable[..., Path], tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    good = packed("control", "parquet") / "pairs-000000.parquet"
    table = pyarrow.parquet.read_table(good)
    path = tmp_path / "x.parquet"

    def refused(words: str, type_name: str = "control") -> None:
        with pytest.raises(DataError, match=words) as raised:
            opened(path, type_name)
        assert str(raised.value).startswith(f"{path}: ")

    path.write_bytes(good.read_bytes()[:-100])
    refused("not a complete Parquet file")
    pyarrow.parquet.write_table(table.drop_columns(["prompt"]), path)
    refused('has no column "prompt"; there are source, target, accompaniment, song')
    pyarrow.parquet.write_table(table.set_column(0, "source", [["x"] * len(table)]), path)
    refused('the column "source" holds no images')
    pyarrow.parquet.write_table(table.set_column(3, "prompt", [["sing"] * (len(table) - 1) + [None]]), path)
    refused('000004: has no "prompt"')
    pyarrow.parquet.write_table(table.slice(0, 0), path)
    refused("holds no pairs")
    path.write_bytes(good.read_bytes())
    refused("holds pairs, which cnet_riff_training.py takes", "edit")
    elsewhere = [{"bytes": None, "path": "/etc/passwd"}, *table["source"].to_pylist()[1:]]
    pyarrow.parquet.write_table(
        table.set_column(0, "source", pyarrow.array([elsewhere[0]] * len(table), table["source"].type)), path
    )
    refused("000000: the path /etc/passwd leaves the folder")
    elsewhere[0]["path"] = "clip.png"
    pyarrow.parquet.write_table(table.set_column(0, "source", pyarrow.array(elsewhere, table["source"].type)), path)
    store, records = opened(path, "control")
    assert store.read(records[1].source)
    with pytest.raises(DataError, match=r"x\.parquet: row 0 holds no image itself"):
        store.read(records[0].source)


def test_places_that_are_none(packed: Callable[..., Path], tmp_path: Path) -> None:
    for form in FORMATS:
        shutil.copytree(packed("control", form), tmp_path / "both", dirs_exist_ok=True)
    for place, words in {
        f"{tmp_path}/*.tar": r"\*.tar: no file matches",
        f"{tmp_path}/both/pairs-{{000000..000009}}.tar": r"no file matches .*both/pairs-000004.tar",
        f"{tmp_path}/both/*": r"manifest.json is not a .tar or .parquet file",
        f"{tmp_path}/both": "holds tars and Parquet files",
        f"{tmp_path}/both/{{9..1}}.tar": "must rise",
        f"{tmp_path}/nowhere": r"nowhere/prompt.json: no pairs there; make them with make_cnet_dataset.py",
        f"{tmp_path}": "prompt.json: no pairs there",
    }.items():
        if place == f"{tmp_path}":
            shutil.rmtree(tmp_path / "both")
        with pytest.raises(RiffError, match=words):
            opened(place, "control")


CODE = """
import os
from pathlib import Path
from riff import cli
from riff.data.records import CONTROL_PAIRS
from riff.data.stores import HubAccess, open_pairs

def main(argv):
    store, records = open_pairs(Path("me/pairs"), CONTROL_PAIRS, HubAccess(os.environ["TOKEN"], Path("cache")))
    print(len(records), len(store.read(records[-1].target)), store.cache)

cli.run(main)
"""


def test_a_data_set_of_the_hub_is_downloaded_once(hub: Hub, packed: Callable[..., Path], tmp_path: Path) -> None:
    def list_pairs(**environment: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.lower().startswith(("hf_", "http"))}
        settings = {
            "HF_ENDPOINT": hub.url,
            "HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "TOKEN": TOKEN,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-c", CODE]
        return subprocess.run(command, cwd=tmp_path, env=kept | settings | environment, capture_output=True, text=True, timeout=300)

    missing = list_pairs()
    assert missing.returncode == 2
    (line,) = [line for line in missing.stderr.splitlines() if line.startswith("error: ")]
    assert "me/pairs: no such folder here (make one with make_cnet_dataset.py" in line
    assert "the hub gave no data set of that name" in line
    folder = packed("control", "webdataset")
    files = {f"data/{name}": (folder / name).read_bytes() for name in shard_names(folder)}
    hub.repositories["datasets/me/pairs"] = Repository(private=False, files={**files, "README.md": b"me", "big.bin": b"no"})
    done = list_pairs()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "17"
    assert done.stdout.split()[2] == "cache/me--pairs"
    assert not any("big.bin" in line for line in hub.requests)
    assert list_pairs(HF_HUB_OFFLINE="1").stdout == done.stdout


def test_without_the_libraries_the_error_names_them(
    packed: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = packed("control", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match="pip install pyarrow"):
        opened(folder, "control")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(OptionError, match="pip install datasets"):
        write_shard(tmp_path / "x.parquet", CONTROL_PAIRS, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [[], [pairs_file(), EDIT_RECORDS_FILE]])
def test_a_folder_of_no_or_both_types_is_not_packed(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("{}\n")
    message = last_error(pack(tmp_path, tmp_path / "shards", code=2))
    assert f"{tmp_path}: holds {'prompt.json and metadata.jsonl; keep' if names else 'no pairs (prompt.json or'}" in message
    assert not (tmp_path / "shards").exists()

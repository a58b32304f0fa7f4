"""upload_musdb.py as a process: the data set that it writes, and its upload to a local stand-in for the hub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, last_error, run_script
from hub_stand_in import TOKEN, Fault, Hub, Repository, assert_one_line, run_against_hub
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from riff.data.export import SHARDS, plan_dataset, sample_records, write_dataset
from riff.data.records import EDIT_KINDS, EDIT_PAIRS, EditRecord, read_edit_records
from riff.data.stores import FolderStore, HubAccess, open_dataset, open_pairs
from riff.errors import DataError, OptionError
from riff.files import write_json
from riff.spectrogram.image import SpectrogramImage, load_image, save_image

upload_pairs = partial(run_against_hub, "upload_musdb.py")
NAME = "me/edits-test"
REPO = f"datasets/{NAME}"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs of small images, four of each kind, in a folder as preprocess_musdb.py writes it."""
    folder = tmp_path_factory.mktemp("work") / "pairs"
    rng = np.random.default_rng(0)
    records = []
    for number in range(12):
        before, after = (f"{folder_name}/clip_{number}+0.png" for folder_name in ("input_image", "edited_image"))
        for path in (before, after):
            save_image(folder / path, SpectrogramImage(rng.integers(0, 256, (64, 64), np.uint8), max_value=float(number + 1)))
        song, kind = f"Björk & Co - Song {number // 4}", EDIT_KINDS[number % 3]
        place = (song, 5.11 * number, -3.0 + number % 7)
        records.append(EditRecord(before, after, f"add melody {number}", *place, kind, number + 1.0, number + 1.0))
    lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
    (folder / "metadata.jsonl").write_text(lines)
    manifest = {"settings": {"gen_stem": "vocals", "seed": 5}, "arguments": {"root_data_dir": "/home/me/musdb18"}}
    write_json(folder / "manifest.json", manifest)
    return folder


@pytest.fixture(scope="module")
def data_set(pairs: Path) -> Path:
    folder = pairs.parent / "parquet"
    done = run_script("upload_musdb.py", "--data_root", pairs, "--to_disk", folder)
    assert f"written to {folder}: 12 pairs in 1 files" in done.stdout
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_datasets_reads_the_images_unchanged(pairs: Path, data_set: Path, tmp_path: Path) -> None:
    import datasets

    wanted = {"original_image", "edit_prompt", "edited_image", "song", "start_s", "semitones", "kind"}
    given = read_edit_records(pairs)
    for loaded in (
        datasets.load_dataset(str(data_set), split="train", cache_dir=str(tmp_path)),
        datasets.load_dataset("parquet", data_files=str(data_set / "data" / "*.parquet"), split="train", cache_dir=str(tmp_path)),
    ):
        assert wanted <= set(loaded.column_names)
        assert loaded[0]["edited_image"].size == (64, 64)  # decoded as an image
        raw = loaded.cast_column("original_image", datasets.Image(decode=False))
        raw = raw.cast_column("edited_image", datasets.Image(decode=False))
        assert len(raw) == len(given)
        for row, record in zip(raw, given, strict=True):
            assert row["original_image"]["bytes"] == (pairs / record.input_file_path).read_bytes()
            assert row["edited_image"]["bytes"] == (pairs / record.edited_file_path).read_bytes()
            for column in wanted - {"original_image", "edited_image"}:
                assert row[column] == getattr(record, column), column


def test_the_data_set_read_back_equals_the_folder(pairs: Path, data_set: Path, tmp_path: Path) -> None:
    base, wanted = FolderStore(pairs), read_edit_records(pairs)
    for store, records in (
        open_pairs(data_set, EDIT_PAIRS),
        open_dataset(str(data_set), EDIT_PAIRS, hub=HubAccess(cache=tmp_path)),
    ):
        for record, before in zip(records, wanted, strict=True):
            for key in ("input_file_path", "edited_file_path"):
                assert store.read(getattr(record, key)) == base.read(getattr(before, key))
            renamed = replace(record, input_file_path=before.input_file_path, edited_file_path=before.edited_file_path)
            assert renamed == before
            assert load_image(store.open(record.edited_file_path)).max_value == pytest.approx(before.edited_max)


def test_the_card_shows_the_settings_and_no_local_paths(data_set: Path) -> None:
    card = DatasetCard((data_set / "README.md").read_text())
    assert card.data.to_dict()["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}
    ]
    assert "12 pairs of spectrograms of 3 songs" in card.text
    assert "gen_stem: vocals" in card.text
    assert "/home/me" not in str(card)


def test_writing_again_changes_nothing_and_another_data_set_is_not_replaced(pairs: Path, data_set: Path) -> None:
    before = files_below(data_set)
    common = ("--data_root", pairs, "--to_disk", data_set)
    assert "nothing new for" in run_script("upload_musdb.py", *common).stdout
    assert "choose another folder, or overwrite it" in last_error(
        run_script("upload_musdb.py", *common, "--num_samples_to_use", 5, code=2)
    )
    assert files_below(data_set) == before
    run_script("upload_musdb.py", *common, "--num_samples_to_use", 5, "--overwrite")
    assert files_below(data_set).keys() == before.keys()
    run_script("upload_musdb.py", *common, "--overwrite")
    assert files_below(data_set) == before  # the same pairs give the same bytes


def test_shards_are_written_whole_in_order(pairs: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    records = read_edit_records(pairs)
    plan = plan_dataset(pairs, records, largest=20_000)
    names = [f"{SHARDS}{number:05d}-of-{len(plan.shards):05d}.parquet" for number in range(len(plan.shards))]
    assert len(names) > 3
    assert write_dataset(plan, "card", tmp_path / "set")
    assert sorted(files_below(tmp_path / "set")) == ["README.md", *names]
    tables = [pyarrow.parquet.read_table(tmp_path / "set" / name) for name in names]
    assert [prompt for table in tables for prompt in table["edit_prompt"].to_pylist()] == [record.edit_prompt for record in records]


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 3))
def test_a_random_choice_of_pairs_keeps_their_order(size: int, count: int, seed: int) -> None:
    records = [EditRecord("i", "e", "p", start_s=float(number)) for number in range(size)]
    chosen = sample_records(records, count, seed)
    assert chosen == sample_records(records, count, seed)
    assert len(chosen) == min(size, count)
    assert [record.start_s for record in chosen] == sorted({record.start_s for record in chosen})


def test_the_upload_is_the_data_set_on_disk_and_a_second_one_sends_nothing(hub: Hub, pairs: Path, data_set: Path) -> None:
    work, flags = pairs.parent, ("--data_root", "pairs", "--repo_id", NAME)
    first = upload_pairs(work, hub.url, *flags)
    assert f"uploaded to {hub.url}/{REPO}: 2 files" in first.stdout, first.stderr
    assert hub.repositories[REPO].files == files_below(data_set)
    assert len(hub.repositories[REPO].commits) == 2
    hub.requests.clear()
    again = upload_pairs(work, hub.url, *flags, "--to_disk", "parquet")
    assert "nothing new for parquet" in again.stdout
    assert f"nothing new for {hub.url}/{REPO}" in again.stdout
    assert not hub.uploads()
    assert len(hub.repositories[REPO].commits) == 2


def test_files_of_an_earlier_data_set_are_deleted(hub: Hub, pairs: Path) -> None:
    old = {f"{SHARDS}00003-of-00004.parquet": b"old", "data/notes.txt": b"mine", "README.md": b"mine"}
    hub.repositories[REPO] = Repository(private=False, files=dict(old))
    result = upload_pairs(pairs.parent, hub.url, "--data_root", "pairs", "--repo_id", NAME)
    assert result.returncode == 0, result.stderr
    files = hub.repositories[REPO].files
    assert set(files) == {f"{SHARDS}00000-of-00001.parquet", "data/notes.txt", "README.md"}
    assert files["README.md"] == b"mine"


def test_a_dry_run_writes_nothing_and_sends_no_request(hub: Hub, pairs: Path) -> None:
    flags = ("--data_root", "pairs", "--repo_id", NAME, "--to_disk", "not-there", "--num_samples_to_use", "5", "--dry_run")
    result = upload_pairs(pairs.parent, hub.url, *flags, token=None)
    assert result.returncode == 0, result.stderr
    assert re.search(r"[\d,]+  data/train-00000-of-00001.parquet  \(5 pairs\)", result.stdout)
    assert f"would go to not-there and {NAME}: 5 pairs" in result.stdout
    assert not hub.requests
    assert not (pairs.parent / "not-there").exists()


def test_a_failing_hub_ends_in_one_line_and_the_same_command_resumes(hub: Hub, pairs: Path) -> None:
    flags = ("--data_root", "pairs", "--repo_id", NAME, "--private")
    hub.faults = [Fault("/commit/", 400)]
    failed = upload_pairs(pairs.parent, hub.url, *flags)
    assert failed.returncode == 2
    assert "run the same command again" in last_error(failed)
    assert len(hub.uploads()) == 1
    hub.faults.clear()
    assert upload_pairs(pairs.parent, hub.url, *flags).returncode == 0
    assert len(hub.uploads()) == 1
    assert hub.repositories[REPO].private


def test_errors_before_any_work(hub: Hub, pairs: Path, tmp_path: Path) -> None:
    run = partial(upload_pairs, pairs.parent, hub.url)
    data = ("--data_root", "pairs")
    assert_one_line(run(*data, "--repo_id", NAME, token=None), "HF_TOKEN")
    assert_one_line(run(*data, "--repo_id", "not a/name/at all", token=TOKEN), "USER/NAME")
    assert_one_line(run("--data_root", str(tmp_path), "--repo_id", NAME), "metadata.jsonl", "preprocess_musdb.py")
    assert_one_line(run(*data, "--to_disk", "."), "--output .", "choose another folder")
    assert not hub.requests


def test_missing_and_broken_images(pairs: Path, tmp_path: Path) -> None:
    (record, *_) = read_edit_records(pairs)
    (tmp_path / "input_image").mkdir()
    (tmp_path / "edited_image").mkdir()
    with pytest.raises(DataError, match="no such image"):
        plan_dataset(tmp_path, [record])
    for path in (record.input_file_path, record.edited_file_path):
        (tmp_path / path).write_text("not an image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        write_dataset(plan_dataset(tmp_path, [record]), "card", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_without_the_library_the_error_names_it(pairs: Path, tmp_path: Path) -> None:
    plan = plan_dataset(pairs, read_edit_records(pairs)[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "datasets", None)
        with pytest.raises(OptionError, match="pip install datasets"):
            write_dataset(plan, "card", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_library_is_imported_only_to_write(pairs: Path) -> None:
    code = f"import sys, upload_musdb; upload_musdb.main(['--data_root', {str(pairs)!r}, '--to_disk', 'x', '--dry_run']); "
    code += "print('datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.splitlines()[-1] == "False"

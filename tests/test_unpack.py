"""Data sets of the `datasets` library as folders of edit pairs."""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from riff.data.edit_records import read_edit_records
from riff.data.unpack import Columns, unpack_dataset
from riff.errors import DataError, OptionError
from riff.spectrogram.image import SpectrogramImage, load_image, save_image

datasets = pytest.importorskip("datasets", reason="pip install datasets")


def png(folder: Path, seed: int) -> bytes:
    """A small spectrogram with its parameters, as preprocess_musdb.py writes them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8)
    save_image(folder / "picture.png", SpectrogramImage(pixels, max_value=10.0 + seed))
    return (folder / "picture.png").read_bytes()


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of Parquet files, as a data set on the hub is."""

    def make(**columns: Any) -> Path:
        rows = {
            "original_image": [{"bytes": png(tmp_path, seed), "path": None} for seed in (1, 2)],
            "edit_prompt": ["add a sad female vocal", "remove the vocals"],
            "edited_image": [{"bytes": png(tmp_path, seed), "path": None} for seed in (3, 4)],
            **columns,
        }
        features = datasets.Features(
            {
                name: datasets.Image()
                if name.endswith("image")
                else datasets.Value("string" if isinstance(v[0], str) else "float64")
                for name, v in rows.items()
            }
        )
        folder = tmp_path / "parquet"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        dataset = datasets.Dataset.from_dict(rows, features=features)
        dataset.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
        return folder

    return make


def test_pictures_and_records_arrive_unchanged_and_once(parquet: Callable[..., Path], tmp_path: Path) -> None:
    source = parquet(song=["one", "two"], kind=["add", "remove"], start_s=[0.0, 5.11], artist=["a", "b"])
    folder = unpack_dataset(str(source), cache=tmp_path / "cache")
    first, second = read_edit_records(folder)
    assert (first.song, first.kind, first.edit_prompt) == ("one", "add", "add a sad female vocal")
    assert (second.song, second.kind, second.start_s) == ("two", "remove", 5.11)
    assert (folder / second.edited_file_path).read_bytes() == png(tmp_path, 4)
    assert load_image(folder / first.input_file_path).max_value == pytest.approx(11.0)
    written = (folder / "metadata.jsonl").stat().st_mtime_ns
    assert unpack_dataset(str(source), cache=tmp_path / "cache") == folder
    assert (folder / "metadata.jsonl").stat().st_mtime_ns == written


def test_columns_of_other_names(parquet: Callable[..., Path], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (32, 32), 128).save(buffer, format="JPEG")
    picture = {"bytes": buffer.getvalue(), "path": None}
    source = parquet(input_image=[picture, picture], instruction=["add", "add"])
    folder = unpack_dataset(str(source), Columns("input_image", "edited_image", "instruction"), cache=tmp_path / "cache")
    assert [record.edit_prompt for record in read_edit_records(folder)] == ["add", "add"]
    assert (folder / "input_image/000000.jpeg").read_bytes() == buffer.getvalue()


def test_what_cannot_be_unpacked_is_named(parquet: Callable[..., Path], tmp_path: Path) -> None:
    source = parquet(kind=["add", "melt"])
    with pytest.raises(OptionError, match=r"--original_image_column before: no such column.*there are original_image, edit_prompt"):
        unpack_dataset(str(source), Columns(original_image="before"), cache=tmp_path / "cache")
    with pytest.raises(DataError, match="column edit_prompt holds no pictures"):
        unpack_dataset(str(source), Columns(edited_image="edit_prompt"), cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"row 1: .*melt"):
        unpack_dataset(str(source), cache=tmp_path / "cache")
    broken = parquet(edited_image=[{"bytes": b"no picture", "path": None}] * 2)
    with pytest.raises(DataError, match="row 0: holds something that is no picture"):
        unpack_dataset(str(broken), cache=tmp_path / "cache")
    elsewhere = parquet(edited_image=[{"bytes": None, "path": str(tmp_path / "picture.png")}] * 2)
    with pytest.raises(DataError, match="row 0: holds no picture itself"):
        unpack_dataset(str(elsewhere), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*parquet*"))  # nothing half written
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "train.parquet").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"--dataset_name .*junk: cannot be read as a data set"):
        unpack_dataset(str(tmp_path / "junk"), cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        unpack_dataset(str(tmp_path / "nowhere"), cache=tmp_path / "cache")


def test_without_the_library_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptionError, match="pip install datasets"):
        unpack_dataset("someone/something")

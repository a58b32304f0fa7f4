"""Edit pairs in data sets that the `datasets` library reads."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from riff.data.records import EDIT_PAIRS, EditRecord
from riff.data.stores import HubAccess, PairStore, open_dataset
from riff.errors import DataError, OptionError
from riff.spectrogram.image import SpectrogramImage, load_image, save_image

datasets = pytest.importorskip("datasets", reason="pip install datasets")


def png(folder: Path, seed: int) -> bytes:
    """A small spectrogram with its parameters, as preprocess_musdb.py writes them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8)
    save_image(folder / "image.png", SpectrogramImage(pixels, max_value=10.0 + seed))
    return (folder / "image.png").read_bytes()


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


def opened(source: Path, cache: Path, **columns: str) -> tuple[PairStore, list[EditRecord]]:
    names = {"input_file_path": "original_image", "edited_file_path": "edited_image", "edit_prompt": "edit_prompt"} | columns
    return open_dataset(str(source), EDIT_PAIRS, names, hub=HubAccess(cache=cache))


def test_images_and_records_are_read_unchanged_in_any_process(parquet: Callable[..., Path], tmp_path: Path) -> None:
    source = parquet(song=["one", "two"], kind=["add", "remove"], start_s=[0.0, 5.11], artist=["a", "b"])
    store, (first, second) = opened(source, tmp_path / "cache")
    assert (first.song, first.kind, first.edit_prompt) == ("one", "add", "add a sad female vocal")
    assert (second.song, second.kind, second.start_s) == ("two", "remove", 5.11)
    assert store.read(second.edited_file_path) == png(tmp_path, 4)
    assert load_image(store.open(first.input_file_path)).max_value == pytest.approx(11.0)
    assert pickle.loads(pickle.dumps(store)).read(second.input_file_path) == png(tmp_path, 2)
    assert store.cache.parent == tmp_path / "cache"


def test_columns_of_other_names_and_types(parquet: Callable[..., Path], tmp_path: Path) -> None:
    """InstructPix2Pix's own data sets: JPEGs, and the columns of diffusers' example. A song may be told by its number."""
    buffer = io.BytesIO()
    Image.new("L", (32, 32), 128).save(buffer, format="JPEG")
    image = {"bytes": buffer.getvalue(), "path": None}
    source = parquet(input_image=[image, image], instruction=["add", "add"], song=[7.0, 7.0])
    store, records = opened(source, tmp_path / "cache", input_file_path="input_image", edit_prompt="instruction")
    assert [(record.edit_prompt, record.song) for record in records] == [("add", "7.0")] * 2
    assert store.read(records[0].input_file_path) == buffer.getvalue()
    assert Path(records[1].input_file_path).stem == "000001"


def test_what_cannot_be_read_is_named(parquet: Callable[..., Path], tmp_path: Path) -> None:
    cache, source = tmp_path / "cache", parquet(kind=["add", "melt"])
    with pytest.raises(OptionError, match=r"has no column before; name one of original_image, edit_prompt"):
        opened(source, cache, input_file_path="before")
    with pytest.raises(DataError, match='the column "edit_prompt" holds no images'):
        opened(source, cache, edited_file_path="edit_prompt")
    with pytest.raises(DataError, match=r"parquet: row 1: .*melt"):
        opened(source, cache)
    store, records = opened(parquet(edited_image=[{"bytes": b"no image", "path": None}] * 2), cache)
    with pytest.raises(DataError, match=r"parquet/0/edited_file_path/000000: cannot be read as an image"):
        load_image(store.open(records[0].edited_file_path))
    store, records = opened(parquet(edited_image=[{"bytes": None, "path": str(tmp_path / "image.png")}, None]), cache)
    for row, record in enumerate(records):  # a path would reach into this machine
        with pytest.raises(DataError, match=rf"parquet: row {row} holds no image itself"):
            store.read(record.edited_file_path)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "train.parquet").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"junk: cannot be read as a data set"):
        opened(tmp_path / "junk", cache)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        opened(tmp_path / "nowhere", cache)


def test_without_the_library_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(OptionError, match="pip install datasets"):
        open_dataset("someone/something", EDIT_PAIRS)

"""A `datasets` data set, from the hub or a folder of Parquet files, as a plain folder of edit pairs."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from riff.cli import progress_bar
from riff.data.edit_records import EDIT_RECORDS_FILE, EditRecord
from riff.errors import DataError, OptionError
from riff.files import atomic_folder
from riff.network import ask_once, unreachable

MORE_COLUMNS: dict[str, type] = {  # taken where they are
    "song": str,
    "start_s": float,
    "semitones": float,
    "kind": str,
    "input_max": float,
    "edited_max": float,
}
DEFAULT_CACHE = Path.home() / ".cache" / "riff-cnet"


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read."""

    original_image: str = "original_image"
    edited_image: str = "edited_image"
    edit_prompt: str = "edit_prompt"


def unpack_dataset(
    name: str,
    columns: Columns = Columns(),
    config: str | None = None,
    cache: Path | None = None,
    token: str | None = None,
    flag: str = "--dataset_name",
) -> Path:
    """Unpack the training split of a data set, once, into a folder that `read_edit_records` reads.

    The pictures' bytes stay as they are, with the parameters in their EXIF tags.

    Args:
        name: a hub id, or a folder that `datasets` can read: Parquet files, for example. config: its configuration.
        cache: where the folder is made (default: ~/.cache/riff-cnet).
        flag: that gave the name, for what is said of it.

    Returns:
        The folder.

    Raises:
        OptionError: `datasets` is not installed, or a column is not there.
        DataError: no such data set, or one that cannot be read.
    """
    dataset = _load(name, config, cache, token, flag)
    for flag, column in asdict(columns).items():
        if column not in dataset.column_names:
            there = ", ".join(dataset.column_names)
            raise OptionError(f"--{flag}_column {column}: no such column in {name}; there are {there}")
    if not len(dataset):
        raise DataError(f"{name}: holds no edit pairs")
    files = [(file["filename"], Path(file["filename"]).stat().st_size) for file in dataset.cache_files]
    identity = hashlib.blake2b(json.dumps([files, asdict(columns)]).encode(), digest_size=8).hexdigest()
    folder = (cache or DEFAULT_CACHE) / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name).strip('-.')}-{identity}"
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            _unpack(name, dataset, columns, temporary)
    return folder


def _load(name: str, config: str | None, cache: Path | None, token: str | None, flag: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise OptionError(f"{flag} {name}: reading it needs one more package: pip install datasets") from error
    datasets.disable_progress_bars()
    ask_once()
    if not Path(name).exists() and name.startswith((".", "/", "~")):
        raise DataError(f"{flag} {name}: no such folder")
    try:
        return datasets.load_dataset(name, config, split="train", cache_dir=cache and str(cache / "datasets"), token=token)
    except Exception as error:  # the library raises whatever comes up inside it
        silent = unreachable(error)
        text = f"the hub does not answer: {silent}" if silent else " ".join(str(error).split())[:160] or type(error).__name__
        way_out = "" if Path(name).exists() else "; without a network, give a folder of edit pairs instead"
        raise DataError(f"{flag} {name}: cannot be read as a data set ({text}){way_out}") from error


def _unpack(name: str, dataset: Any, columns: Columns, folder: Path) -> None:
    import datasets

    for column in (columns.original_image, columns.edited_image):
        if not isinstance(dataset.features[column], datasets.Image):
            raise DataError(f"{name}: column {column} holds no pictures; it must be an Image column")
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    parts = {"input_image": columns.original_image, "edited_image": columns.edited_image}
    for part in parts:
        (folder / part).mkdir()
    lines = []
    for row, example in enumerate(progress_bar(dataset, desc="unpacking", unit="pair")):
        more = {key: kind(example[key]) for key, kind in MORE_COLUMNS.items() if example.get(key) is not None}
        try:
            before, after = (_write_picture(folder / part, row, example[column]) for part, column in parts.items())
            record = EditRecord(before, after, str(example[columns.edit_prompt]), **more)
        except (DataError, OSError) as error:
            raise DataError(f"{name}: row {row}: {' '.join(str(error).split())[:160]}") from error
        lines.append(json.dumps(asdict(record), ensure_ascii=False) + "\n")
    (folder / EDIT_RECORDS_FILE).write_text("".join(lines), encoding="utf-8")


def _write_picture(folder: Path, row: int, value: Mapping[str, Any] | None) -> str:
    """Write a picture's bytes unchanged, and return its path beside `metadata.jsonl`.

    Raises:
        DataError: no bytes (a path would reach into this machine), or none of a picture.
    """
    content = value["bytes"] if value else None
    if content is None:
        raise DataError("holds no picture itself; make the data set with the pictures' bytes in it")
    try:
        with Image.open(io.BytesIO(content)) as picture:
            suffix = (picture.format or "png").lower()
    except (OSError, UnidentifiedImageError) as error:
        raise DataError("holds something that is no picture") from error
    file = folder / f"{row:06d}.{suffix}"
    file.write_bytes(content)
    return f"{folder.name}/{file.name}"

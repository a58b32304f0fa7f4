"""Edit pairs as a `datasets` data set on disk: Parquet files that hold the pictures, and a card that describes them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData
from PIL import Image, UnidentifiedImageError

from riff.cli import progress_bar
from riff.data.edit_records import EditRecord
from riff.data.parquet_shards import ParquetWriter
from riff.data.shard_layouts import EDIT_SHARDS
from riff.errors import DataError, OptionError
from riff.files import CARD, atomic_folder, atomic_path, files_below, sign_card

SHARDS = "data/train-"  # how the names of all Parquet files begin
TITLE = "Edits of spectrograms"
LARGEST_SHARD = 400_000_000  # bytes of pictures


@dataclass(frozen=True)
class Shard:
    """One Parquet file. name: its path in the data set. num_bytes: of its pictures."""

    name: str
    records: Sequence[EditRecord]
    num_bytes: int


def draw_records(records: Sequence[EditRecord], count: int, seed: int) -> list[EditRecord]:
    """`count` of the records, or all where there are fewer, drawn from all songs alike and left in their order."""
    kept = random.Random(seed).sample(range(len(records)), min(count, len(records)))
    return [records[number] for number in sorted(kept)]


def plan_shards(folder: Path, records: Sequence[EditRecord], largest: int = LARGEST_SHARD) -> list[Shard]:
    """Share records out over Parquet files, in their order.

    Raises:
        DataError: a picture is missing.
    """
    sizes = [sum(_picture(folder, path).stat().st_size for path in _pictures(record)) for record in records]
    num_shards = max(1, ceil(sum(sizes) / largest))
    bounds = [round(number * len(records) / num_shards) for number in range(num_shards + 1)]
    return [
        Shard(f"{SHARDS}{number:05d}-of-{num_shards:05d}.parquet", records[start:end], sum(sizes[start:end]))
        for number, (start, end) in enumerate(pairwise(bounds))
    ]


def _write_shard(folder: Path, shard: Shard, destination: Path) -> None:
    """Write a shard below `destination`, whole or not at all; the same pairs give the same bytes.

    Raises:
        OptionError: `datasets` is not installed.
        DataError: a picture cannot be read.
    """
    with atomic_path(destination / shard.name) as temporary, ParquetWriter(temporary, EDIT_SHARDS) as writer:
        for record in shard.records:
            pictures = (_read_picture(_picture(folder, path)) for path in _pictures(record))
            writer.add(record, dict(zip(EDIT_SHARDS.members, pictures, strict=True)))


def write_dataset(folder: Path, shards: Sequence[Shard], card: str, destination: Path, overwrite: bool = False) -> bool:
    """Write shards and card as a folder that `datasets.load_dataset` reads, whole or not at all; False if it is there.

    Raises:
        OptionError: something else is there; a data set is replaced if `overwrite` says so, other files never are.
        DataError: a picture cannot be read, or the place cannot be written.
    """
    if destination.exists():
        known = [destination / CARD, destination / "data", *destination.glob(f"{SHARDS}*.parquet")]
        if not destination.is_dir() or set(destination.rglob("*")) - set(known):
            raise OptionError(f"--to_disk {destination}: holds other things than a data set; choose a folder of its own")
        if (destination / CARD).is_file() and (destination / CARD).read_text(encoding="utf-8") == card:
            return False
        if any(destination.iterdir()) and not overwrite:
            raise OptionError(f"--to_disk {destination}: holds another data set; choose another folder, or --overwrite")
    try:
        with atomic_folder(destination, files_below(destination)) as temporary:
            for shard in progress_bar(shards, desc="writing", unit="file"):
                _write_shard(folder, shard, temporary)
            (temporary / CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{destination}: cannot be written ({error.strerror or error}); choose a place with room") from error
    return True


def dataset_card(folder: Path, shards: Sequence[Shard], settings: Mapping[str, Any]) -> str:
    """The README.md of a data set: where its files are, what its columns mean, how its pairs were made.

    It ends in a fingerprint of the pairs, so that two data sets with the same card are the same.

    Args:
        settings: of the folder of pairs, from its manifest.
    """
    records = [record for shard in shards for record in shard.records]
    metadata = DatasetCardData(
        pretty_name=TITLE,
        task_categories=["image-to-image"],
        tags=["riffusion", "audio", "spectrogram", "instruct-pix2pix", "riff-cnet"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": f"{SHARDS}*"}]}],
    )
    lines = [f"- {key}: {value}" for key, value in settings.items()]
    return sign_card(f"""---
{metadata.to_yaml()}
---

# {TITLE}

{len(records)} pairs of spectrograms of {len({record.song for record in records})} songs, made with riff-cnet for a model that \
edits spectrograms as an instruction says: `original_image` before the edit, `edit_prompt`, `edited_image` after it. They are \
Riffusion's pictures, with their parameters in EXIF tags; `input_max` and `edited_max` are the values that are painted black. \
`song`, `start_s` and `semitones` say which clip it is and by how much it was shifted; `kind` is add, remove or noop (nothing).

```
from datasets import load_dataset

pairs = load_dataset("USER/NAME or folder", split="train")
```

The pictures hold the sound of songs, whose licences apply.

## Settings

{chr(10).join(lines) or "Not known."}

Fingerprint of the pairs: {_fingerprint(folder, records)}
""")


def _fingerprint(folder: Path, records: Sequence[EditRecord]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for record in records:
        sizes = [_picture(folder, path).stat().st_size for path in _pictures(record)]
        digest.update(json.dumps([asdict(record), sizes]).encode())
    return digest.hexdigest()


def _pictures(record: EditRecord) -> tuple[str, str]:
    return record.input_file_path, record.edited_file_path


def _picture(folder: Path, path: str) -> Path:
    if not (folder / path).is_file():
        raise DataError(f"{folder / path}: no such picture, though the records name it; make the pairs again")
    return folder / path


def _read_picture(file: Path) -> bytes:
    try:
        with Image.open(file):
            return file.read_bytes()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{file}: cannot be read as a picture; make the pairs again") from error

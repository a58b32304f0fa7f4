"""Edit pairs as a data set for Hugging Face `datasets`: Parquet files with the images, and a data set card."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from math import ceil
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from riff.data.pack import ShardPlan, image_sizes
from riff.data.records import EDIT_PAIRS, EditRecord
from riff.errors import DataError, OptionError
from riff.files import CARD, atomic_folder, files_below, sign_card

SHARDS = "data/train-"  # prefix of the Parquet files' names
TITLE = "Edits of spectrograms"
LARGEST_SHARD = 400_000_000  # bytes of images


def sample_records(records: Sequence[EditRecord], count: int, seed: int) -> list[EditRecord]:
    """A random choice of `count` records, or all if there are fewer, in their order."""
    kept = random.Random(seed).sample(range(len(records)), min(count, len(records)))
    return [records[number] for number in sorted(kept)]


def plan_dataset(folder: Path, records: Sequence[EditRecord], largest: int = LARGEST_SHARD) -> ShardPlan:
    """Split records, in their order, over Parquet files of at most about `largest` bytes of images.

    Raises:
        DataError: an image is missing.
    """
    num_shards = max(1, ceil(num_bytes(folder, records) / largest))
    bounds = pairwise(round(number * len(records) / num_shards) for number in range(num_shards + 1))
    names = (f"{SHARDS}{number:05d}-of-{num_shards:05d}.parquet" for number in range(num_shards))
    return ShardPlan(folder, EDIT_PAIRS, {name: records[start:end] for name, (start, end) in zip(names, bounds, strict=True)})


def num_bytes(folder: Path, records: Sequence[EditRecord]) -> int:
    """Total size of the records' images."""
    return sum(sum(image_sizes(folder, EDIT_PAIRS, record)) for record in records)


def write_dataset(plan: ShardPlan, card: str, destination: Path, overwrite: bool = False) -> bool:
    """Write shards and card as a folder that `datasets.load_dataset` reads, completely or not at all.

    Returns:
        False if this data set is there already.

    Raises:
        OptionError: the folder holds another data set and not `overwrite`, or other files, which are never replaced.
        DataError: an image cannot be read, or the folder cannot be written.
    """
    if destination.exists():
        known = {destination / CARD, destination / "data", *destination.glob(f"{SHARDS}*.parquet")}
        if not destination.is_dir() or set(destination.rglob("*")) - known:
            raise OptionError(f"to_disk {destination}: holds other files than a data set; choose another folder")
        if (destination / CARD).is_file() and (destination / CARD).read_text(encoding="utf-8") == card:
            return False
        if any(destination.iterdir()) and not overwrite:
            raise OptionError(f"to_disk {destination}: holds another data set; choose another folder, or overwrite it")
    try:
        with atomic_folder(destination, files_below(destination)) as temporary:
            plan.write(temporary)
            (temporary / CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{destination}: cannot be written ({error.strerror or error}); choose a disk with room") from error
    return True


def dataset_card(plan: ShardPlan, settings: Mapping[str, Any]) -> str:
    """The README.md of a data set: its files, its columns, and the settings of its pairs.

    It ends with a fingerprint of the pairs: data sets with the same card are the same.

    Args:
        settings: from the manifest of the folder of pairs.
    """
    records = list(chain(*plan.shards.values()))
    fingerprint = hashlib.blake2b(plan.identities(records), digest_size=16).hexdigest()
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

{len(records)} pairs of spectrograms of {len({record.song for record in records})} songs, made with riff-cnet to train a model \
that edits spectrograms by instructions: `original_image` before the edit, `edit_prompt`, `edited_image` after it. They are \
Riffusion's spectrogram images, with their parameters in EXIF tags; `input_max` and `edited_max` are the mel values of black. \
`song`, `start_s` and `semitones` name the clip and its pitch shift; `kind` of edit is add, remove or noop (no change).

```
from datasets import load_dataset

pairs = load_dataset("USER/NAME or folder", split="train")
```

The images encode the sound of songs, whose licences apply.

## Settings

{chr(10).join(lines) or "Not known."}

Fingerprint of the pairs: {fingerprint}
""")

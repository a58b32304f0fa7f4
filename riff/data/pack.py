"""A folder of pairs into shards, each whole or not there, so that a run that broke off goes on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from riff.cli import FILES_KEY, progress_bar
from riff.data.datasets import SongClip
from riff.data.edit_records import EDIT_RECORDS_FILE
from riff.data.lines import read_record_lines
from riff.data.pairs_folder import MANIFEST, SETTINGS_KEY, settings_of
from riff.data.parquet_shards import ParquetWriter
from riff.data.places import NUM_SHARDS_KEY
from riff.data.records import pairs_file
from riff.data.shard_layouts import CONTROL_SHARDS, EDIT_SHARDS, ShardLayout
from riff.data.shards import ShardWriter
from riff.data.stores import FolderStore
from riff.data.tar_shards import TarWriter
from riff.errors import DataError, OptionError
from riff.files import atomic_path, make_folder, read_mapping, remove_leftovers
from riff.spectrogram.image import image_size

FORMATS = {"webdataset": ".tar", "parquet": ".parquet"}
FINGERPRINT_KEY = "fingerprint"  # of the manifest beside the shards
SHARD_NAME = re.compile(r"pairs-\d+\.(tar|parquet)")


@dataclass(frozen=True)
class Packing:
    """What is to be packed, and how.

    Attributes:
        shards: the records of each. suffix: of the shards' names. settings: that the pairs were made with.
    """

    folder: Path
    layout: ShardLayout
    shards: list[list[Any]]
    suffix: str
    settings: dict[str, Any]

    @property
    def num_pairs(self) -> int:
        return sum(map(len, self.shards))

    def manifest(self) -> dict[str, Any]:
        """What tells these shards from others, for the manifest beside them."""
        return {
            SETTINGS_KEY: self.settings,
            NUM_SHARDS_KEY: len(self.shards),
            "pairs": self.num_pairs,
            FINGERPRINT_KEY: self._fingerprint(),
            FILES_KEY: [self.shard_name(number) for number in range(len(self.shards))],
        }

    def shard_name(self, number: int) -> str:
        return f"pairs-{number:06d}{self.suffix}"

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(self.suffix.encode(), digest_size=16)
        for shard in self.shards:
            for record in shard:
                sizes = [_picture(self.folder, path).stat().st_size for path in self.layout.record_format.pictures(record).values()]
                digest.update(json.dumps([asdict(record), sizes]).encode())
            digest.update(b"\n")
        return digest.hexdigest()


def plan_packing(folder: Path, control_method: str, form: str, pairs_per_shard: int) -> Packing:
    """Share a folder's pairs out over shards, in their order.

    Args:
        control_method: of ControlNet pairs, where `prompt-METHOD.json` is meant. form: a key of `FORMATS`.

    Raises:
        DataError: no pairs there, or pairs of both kinds.
    """
    layouts: dict[str, ShardLayout] = {pairs_file(control_method): CONTROL_SHARDS, EDIT_RECORDS_FILE: EDIT_SHARDS}
    there = [name for name in layouts if (folder / name).exists()]
    if not there:
        raise DataError(f"--data_dir {folder}: holds no pairs, neither {' nor '.join(layouts)}; name the folder that they are in")
    if len(there) > 1:
        raise DataError(f"--data_dir {folder}: holds {' and '.join(there)}; keep each kind of pairs in a folder of its own")
    layout = layouts[there[0]]
    records = read_record_lines(folder / there[0], layout.record_type, layout.record_format)
    return Packing(folder, layout, share_out(records, pairs_per_shard), FORMATS[form], settings_of(folder))


def share_out(records: Sequence[SongClip], pairs_per_shard: int) -> list[list[SongClip]]:
    """The records of each shard, at most so many: a song's in one, unless they are more than that, and all in their order."""
    shards: list[list[SongClip]] = [[]]
    for _, of_song in groupby(records, key=lambda record: record.song):
        pairs = list(of_song)
        for first in range(0, len(pairs), pairs_per_shard):
            part = pairs[first : first + pairs_per_shard]
            if shards[-1] and len(shards[-1]) + len(part) > pairs_per_shard:
                shards.append([])
            shards[-1] += part
    return shards


def prepare_output(folder: Path, manifest: dict[str, Any], overwrite: bool) -> bool:
    """Make the folder of shards ready; whether an earlier run of the same packing began there.

    Raises:
        OptionError: it holds other shards, or something else that has a manifest.
    """
    make_folder(folder)
    remove_leftovers(folder)
    path = folder / MANIFEST
    earlier = read_mapping(path) if path.exists() else None
    if earlier is not None and FINGERPRINT_KEY not in earlier:
        raise OptionError(f"--output {folder}: holds pairs, or something else that is no packing; choose a folder of its own")
    same = earlier is not None and earlier[FINGERPRINT_KEY] == manifest[FINGERPRINT_KEY]
    shards = [path for suffix in FORMATS.values() for path in folder.glob(f"*{suffix}")]
    foreign = next((shard for shard in shards if not SHARD_NAME.fullmatch(shard.name)), None)
    if foreign is not None:
        raise OptionError(f"--output {folder}: holds {foreign.name}, which is no shard of a packing; choose a folder of its own")
    if (earlier is not None or shards) and not same and not overwrite:
        raise OptionError(f"--output {folder}: holds shards of other pairs or settings; choose another folder, or --overwrite")
    if overwrite:
        path.unlink(missing_ok=True)
        for shard in shards:
            shard.unlink()
    return same and not overwrite


def pack(packing: Packing, destination: Path) -> int:
    """Write the shards that are not there yet, and return how many those were.

    Raises:
        OptionError: a package is missing.
        DataError: a picture is missing or broken; the shards before it are there.
    """
    written = first = 0
    with progress_bar(total=packing.num_pairs, desc="packing", unit="pair") as progress:
        for number, records in enumerate(packing.shards):
            path = destination / packing.shard_name(number)
            if not path.exists():
                with shard_writer(path, packing.layout, first) as writer:
                    for record in records:
                        writer.add(record, _read_pictures(packing, record))
                        progress.update()
                written += 1
            first += len(records)
            progress.update(first - progress.n)
    return written


def _read_pictures(packing: Packing, record: Any) -> dict[str, bytes]:
    store, pictures = FolderStore(packing.folder), packing.layout.record_format.pictures(record)
    for picture in pictures.values():
        image_size(store.open(picture))  # a broken one is found now, not in training
    return {key: store.read(picture) for key, picture in pictures.items()}


@contextmanager
def shard_writer(path: Path, layout: ShardLayout, first: int = 0) -> Iterator[ShardWriter]:
    """A writer of one shard, in the format that its suffix says; the shard is there when the block ends well.

    Args:
        first: number of its first pair among all.
    """
    with atomic_path(path) as temporary:
        writer = TarWriter(temporary, layout, first) if path.suffix == ".tar" else ParquetWriter(temporary, layout)
        with writer:
            yield writer


def _picture(folder: Path, path: str) -> Path:
    if not (folder / path).is_file():
        raise DataError(f"{folder / path}: no such picture, though the records name it; make the pairs again")
    return folder / path

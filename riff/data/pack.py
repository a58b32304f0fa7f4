"""Packing a folder of pairs into shards, each complete or absent, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from riff.cli import FILES_KEY, progress_bar
from riff.data.datasets import SongClip
from riff.data.pair_types import MANIFEST, SETTINGS_KEY, PairType, read_pairs, settings_of
from riff.data.records import pair_type_of
from riff.data.shard_files import NUM_SHARDS_KEY
from riff.data.shards import RECORD
from riff.data.stores import FolderStore
from riff.errors import DataError, OptionError
from riff.files import atomic_path, read_mapping, remove_leftovers
from riff.spectrogram.image import image_size

FORMATS = {"webdataset": ".tar", "parquet": ".parquet"}
FINGERPRINT_KEY = "fingerprint"  # of the manifest beside the shards
SHARD_NAME = re.compile(r"pairs-\d+\.(tar|parquet)")
GROUP_ROWS = 10  # pairs in a row group, the unit that is read from a Parquet column to get one image
PLAIN: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}  # PNGs do not compress further
Pairs = Iterable[tuple[Any, Mapping[str, bytes]]]  # records, each with the bytes of its images by their keys


@dataclass(frozen=True)
class ShardPlan:
    """shards: the records of each by its path, whose suffix gives the format."""

    folder: Path
    pair_type: PairType
    shards: Mapping[str, Sequence[Any]]

    @property
    def num_pairs(self) -> int:
        return sum(map(len, self.shards.values()))

    def identities(self, records: Iterable[Any]) -> bytes:
        """Bytes that identify records and their images, for a fingerprint."""
        sizes = partial(image_sizes, self.folder, self.pair_type)
        return b"".join(json.dumps([asdict(record), sizes(record)]).encode() for record in records)

    def write(self, destination: Path) -> int:
        """Write the missing shards, and return their number.

        Raises:
            OptionError: a package is missing.
            DataError: an image is missing or broken; the shards before it are complete.
        """
        written = first = 0
        with progress_bar(total=self.num_pairs, desc="packing", unit="pair") as progress:
            for name, records in self.shards.items():
                if not (destination / name).exists():
                    write_shard(destination / name, self.pair_type, self._with_images(records, progress), first)
                    written += 1
                first += len(records)
                progress.update(first - progress.n)
        return written

    def _with_images(self, records: Iterable[Any], progress: Any) -> Pairs:
        store = FolderStore(self.folder)
        for record in records:
            paths = self.pair_type.image_paths(record)
            for path in paths.values():
                image_size(store.open(path))  # so that a broken one is found now, not in training
            yield record, {key: store.read(path) for key, path in paths.items()}
            progress.update()


def image_sizes(folder: Path, pair_type: PairType, record: Any) -> list[int]:
    """The file sizes of a record's images, in bytes.

    Raises:
        DataError: one is missing.
    """
    files = [folder / path for path in pair_type.image_paths(record).values()]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such image, but a record names it; make the pairs again")
    return [file.stat().st_size for file in files]


def plan_packing(folder: Path, control_method: str, form: str, pairs_per_shard: int) -> tuple[ShardPlan, dict[str, Any]]:
    """Distribute a folder's pairs over shards, in their order.

    Args:
        control_method: of ControlNet pairs, for `prompt-METHOD.json`. form: a key of `FORMATS`.

    Returns:
        The plan, and what identifies its shards, for the manifest beside them.

    Raises:
        DataError: no pairs there, or pairs of both types.
    """
    pair_type, suffix = pair_type_of(folder, control_method), FORMATS[form]
    shards = split_into_shards(read_pairs(folder, pair_type), pairs_per_shard)
    plan = ShardPlan(folder, pair_type, {f"pairs-{number:06d}{suffix}": records for number, records in enumerate(shards)})
    digest = hashlib.blake2b(suffix.encode(), digest_size=16)
    for records in shards:
        digest.update(plan.identities(records) + b"\n")
    manifest = {SETTINGS_KEY: settings_of(folder), NUM_SHARDS_KEY: len(shards), "pairs": plan.num_pairs}
    return plan, manifest | {FINGERPRINT_KEY: digest.hexdigest(), FILES_KEY: list(plan.shards)}


def split_into_shards(records: Sequence[SongClip], pairs_per_shard: int) -> list[list[SongClip]]:
    """The records of each shard, in their order; a song's are in one shard unless they are more than `pairs_per_shard`."""
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
    """Prepare a folder for shards; returns whether an earlier run of the same packing began there.

    Raises:
        OptionError: it holds other shards, or other files with a manifest.
    """
    remove_leftovers(folder)
    path = folder / MANIFEST
    earlier = read_mapping(path) if path.exists() else {}
    if path.exists() and FINGERPRINT_KEY not in earlier:
        raise OptionError(f"output {folder}: holds pairs, or another result that is not a packing; choose a separate folder")
    shards = [shard for suffix in FORMATS.values() for shard in folder.glob(f"*{suffix}")]
    for shard in shards:
        if not SHARD_NAME.fullmatch(shard.name):
            raise OptionError(f"output {folder}: holds {shard.name}, which is not a shard of a packing; choose a separate folder")
    same = earlier.get(FINGERPRINT_KEY) == manifest[FINGERPRINT_KEY]
    if (earlier or shards) and not same and not overwrite:
        raise OptionError(f"output {folder}: holds shards of other pairs or settings; choose another folder, or overwrite them")
    for file in (path, *shards) if overwrite else ():
        file.unlink(missing_ok=True)
    return same and not overwrite


def write_shard(path: Path, pair_type: PairType, pairs: Pairs, first: int = 0) -> None:
    """Write a shard, complete or not at all, in the format of its suffix; the same pairs give the same bytes.

    Args:
        first: number of its first pair in the data set.

    Raises:
        OptionError: `datasets` is not installed, which Parquet files need.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".tar":
            _write_tar(temporary, pair_type, pairs, first)
        else:
            _write_parquet(temporary, pair_type, pairs)


def _write_tar(path: Path, pair_type: PairType, pairs: Pairs, first: int) -> None:
    """KEY.source.png, KEY.target.png, KEY.json, ...; keys are numbers, and the headers hold no time or owner."""
    names = {key: image.folder for key, image in pair_type.images.items()}
    with tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (record, images) in enumerate(pairs, first):
            values = asdict(record)
            members = {f"{names[key]}{Path(values[key]).suffix.lower() or '.png'}": image for key, image in images.items()}
            members[RECORD] = json.dumps(values, ensure_ascii=False).encode()
            for name, content in members.items():
                member = tarfile.TarInfo(f"{number:08d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _write_parquet(path: Path, pair_type: PairType, pairs: Pairs) -> None:
    """One row per pair, with images and values as `datasets` features."""
    try:
        import pyarrow.parquet
        from datasets import Features, Image, Value
    except ImportError as error:
        raise OptionError("writing Parquet files needs one more package: pip install datasets") from error
    columns = {key: image.column for key, image in pair_type.images.items()}
    features: dict[str, Any] = {column: Image() for column in columns.values()}
    features |= {key: Value("string" if value_type is str else "float64") for key, value_type in pair_type.values.items()}
    schema, rows = Features(features).arrow_schema, iter(pairs)
    with pyarrow.parquet.ParquetWriter(path, schema, **PLAIN) as writer:
        while group := list(islice(rows, GROUP_ROWS)):
            table = [
                {key: getattr(record, key) for key in pair_type.values}
                | {columns[key]: {"bytes": image, "path": getattr(record, key)} for key, image in images.items()}
                for record, images in group
            ]
            writer.write_table(pyarrow.Table.from_pylist(table, schema))

"""Sources of pairs and their images: a folder of files, shards, or a data set of the hub."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from riff.data.pair_types import PairType, Record, read_pairs, settings_of
from riff.data.shard_files import SUFFIXES, download_shards, find_shards, is_hub_name, shard_folder
from riff.data.shards import LoadedShard, ParquetShard, Shard, TarShard
from riff.errors import DataError, OptionError, RiffError
from riff.network import fail_fast, unreachable

CACHE_FOLDER = ".cache"
DEFAULT_CACHE = Path.home() / ".cache" / "riff-cnet"


class PairStore(Protocol):
    """The images of pairs. Records hold their names; only the store interprets them.

    Attributes:
        folder: of the manifest. cache: folder for what is computed from the images.
    """

    folder: Path
    cache: Path

    def open(self, image: str) -> Path | BinaryIO:
        """The image for `load_image` and the like: a path, or a file whose `str` gives its location."""

    def read(self, image: str) -> bytes:
        """Its file's bytes.

        Raises:
            DataError: it cannot be read.
        """


class FolderStore:
    """A folder of files; an image's name is its path in the folder. manifest: folder of the manifest, if different."""

    def __init__(self, folder: Path, manifest: Path | None = None) -> None:
        self._images, self.folder, self.cache = folder, manifest or folder, folder / CACHE_FOLDER

    def open(self, image: str) -> Path:
        return self._images / image

    def read(self, image: str) -> bytes:
        path = self.open(image)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: this image of a pair is missing ({error.strerror}); make the pairs again") from error


class ShardStore:
    """Shards; an image's name is SHARD/ROW/KEY/NAME: the shard's path in the folder, the row of the
    pair, the image's key and its original file name.

    Images are not kept in memory. The store can be pickled, and read in any process.
    """

    def __init__(self, folder: Path, cache: Path, shards: Mapping[str, Shard]) -> None:
        self.folder, self.cache, self._shards = folder, cache, shards

    def open(self, image: str) -> BinaryIO:
        label, *rest = image.rsplit("/", 3)
        return _ImageFile(self.read(image), "/".join([str(self._shards[label].path), *rest]))

    def read(self, image: str) -> bytes:
        label, row, key, _ = image.rsplit("/", 3)
        return self._shards[label].read(int(row), key)

    def records(self) -> list[Any]:
        """The pairs of all shards, in order.

        Raises:
            DataError: a shard is empty, or holds a pair with a bad value, without a required image, or with a path
                that leaves the folder; names the shard.
        """
        records: list[Any] = []
        for label, shard in self._shards.items():
            before = len(records)
            for row, (name, item) in enumerate(shard.pairs()):
                try:
                    record = shard.pair_type.parse(item, self.folder)
                except RiffError as error:
                    raise DataError(f"{shard.path}: {name}: {error}") from error
                # The original file names are kept: samples are named after them.
                paths = shard.pair_type.image_paths(record)
                records.append(replace(record, **{key: f"{label}/{row}/{key}/{Path(path).name}" for key, path in paths.items()}))
            if len(records) == before:
                raise DataError(f"{shard.path}: holds no {shard.pair_type.name}")
        return records


class _ImageFile(io.BytesIO):
    """An image's bytes; its `str` is their location."""

    def __init__(self, content: bytes, location: str) -> None:
        super().__init__(content)
        self._location = location

    def __str__(self) -> str:
        return self._location


@dataclass(frozen=True)
class HubAccess:
    """token: of the hub (default: that of the login). cache: folder for downloads and latents (default: the user's)."""

    token: str | None = None
    cache: Path | None = None

    def folder(self, name: str) -> Path:
        """The cache of a data set."""
        return (self.cache or DEFAULT_CACHE) / name.replace("/", "--")


def open_pairs(location: Path, pair_type: PairType[Record], hub: HubAccess = HubAccess()) -> tuple[PairStore, list[Record]]:
    """The store and the pairs, in order, of a location.

    Args:
        location: folder that holds the type's `records_file`, or parts that several machines made; folder of shards; pattern of
            shards, such as `DIR/*.tar` or `DIR/pairs-{000..031}.tar`; or USER/NAME on the hub, whose shards are downloaded once.

    Raises:
        DataError: no pairs there; missing or broken shards, or shards of the other type; or no such data set.
    """
    parts = find_parts(location, pair_type.records_file)
    if parts:
        return FolderStore(location, parts[0]), [record for part in parts for record in _records_of_part(part, pair_type)]
    if not (location / pair_type.records_file).exists():
        if shards := find_shards(location):
            return _open_shards(shards, pair_type)
        if is_hub_name(location):
            folder = download_shards(str(location), pair_type.made_by, hub.token, hub.cache)
            if shards := find_shards(folder):
                return _open_shards(shards, pair_type, hub.folder(str(location)))
            raise DataError(f"{location}: the data set on the hub holds no {' and no '.join(SUFFIXES)} files; name another")
    return FolderStore(location), read_pairs(location, pair_type)


def find_parts(folder: Path, records_file: str) -> list[Path]:
    """The parts of a folder of pairs that several machines made; none if the folder itself holds pairs.

    Raises:
        DataError: one is missing, or has other settings than the first.
    """
    found = [match for path in sorted(folder.glob("shard-*")) if (match := re.fullmatch(r"shard-\d+-of-(\d+)", path.name))]
    if not found or (folder / records_file).exists():
        return []
    count = int(found[0][1])
    parts = [folder / shard_folder(index, count) for index in range(count)]
    for part in parts:
        if not (part / records_file).exists():
            raise DataError(f"{part}: no {records_file} here; make this shard too, or name the folder of one shard")
        if settings_of(part) != settings_of(parts[0]):
            raise DataError(f"{part}: made with other settings than {parts[0].name}; make all shards the same way")
    return parts


def _records_of_part(part: Path, pair_type: PairType[Record]) -> list[Record]:
    """The records of one such folder, with paths relative to its parent."""
    if not (part / pair_type.records_file).read_text(encoding="utf-8").strip():  # no song belongs to this shard
        return []
    return [
        replace(record, **{key: f"{part.name}/{path}" for key, path in pair_type.image_paths(record).items()})  # type: ignore[type-var]
        for record in read_pairs(part, pair_type)
    ]


def _open_shards(paths: Sequence[Path], pair_type: PairType[Record], cache: Path | None = None) -> tuple[ShardStore, list[Record]]:
    """cache: (default: beside the shards, or the user's if that is not writable)."""
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    formats = {".tar": TarShard, ".parquet": ParquetShard}
    shards = {path.relative_to(folder).as_posix(): formats[path.suffix](path, pair_type) for path in paths}
    store = ShardStore(folder, cache or _cache_of(folder), shards)
    return store, store.records()


def _cache_of(folder: Path) -> Path:
    own = folder / CACHE_FOLDER
    if os.access(own if own.exists() else folder, os.W_OK):
        return own
    return DEFAULT_CACHE / f"{folder.name}-{hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()}"


def open_dataset(
    name: str,
    pair_type: PairType[Record],
    columns: Mapping[str, str] | None = None,
    config: str | None = None,
    hub: HubAccess = HubAccess(),
) -> tuple[PairStore, list[Record]]:
    """The store and the training split of any data set that `datasets` reads, such as InstructPix2Pix's.

    Args:
        name: a hub id, or a folder: Parquet files, for example. config: its configuration.
        columns: of the images and of the prompt, by the record's keys (default: those of our Parquet files).

    Raises:
        OptionError: `datasets` is not installed, or a column is missing.
        DataError: no such data set, or one that cannot be read.
    """
    rows = _load_dataset(name, config, hub)
    columns = columns or {key: image.column for key, image in pair_type.images.items()} | {pair_type.prompt: pair_type.prompt}
    for column in columns.values():
        if column not in rows.column_names:
            raise OptionError(f"{name}: has no column {column}; name one of {', '.join(rows.column_names)} in its place")
    folder = hub.folder(name.strip("/"))
    store = ShardStore(folder, folder, {name: LoadedShard(Path(name), pair_type, rows, columns)})
    return store, store.records()


def _load_dataset(name: str, config: str | None, hub: HubAccess) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise OptionError(f"{name}: reading it needs one more package: pip install datasets") from error
    datasets.disable_progress_bars()
    fail_fast()
    if not Path(name).exists() and name.startswith((".", "/", "~")):
        raise DataError(f"{name}: no such folder")
    cache = hub.cache and str(hub.cache / "datasets")
    try:
        return datasets.load_dataset(name, config, split="train", cache_dir=cache, token=hub.token)
    except Exception as error:  # the library does not wrap the errors of its parts
        silent = unreachable(error)
        text = f"the hub does not answer: {silent}" if silent else " ".join(str(error).split())[:160] or type(error).__name__
        way_out = "" if Path(name).exists() else "; without a network, give a folder of edit pairs instead"
        raise DataError(f"{name}: cannot be read as a data set ({text}){way_out}") from error

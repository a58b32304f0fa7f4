"""What `--train_data_dir` may name: a folder of pairs, a pattern of shards, or a data set of shards on the hub."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError

from riff.data.lines import read_record_lines
from riff.data.pairs_folder import MANIFEST, settings_of
from riff.data.shard_layouts import Record, ShardLayout
from riff.data.songs import shard_folder
from riff.data.stores import FolderStore, PairStore, PartsStore, open_shards
from riff.data.unpack import DEFAULT_CACHE
from riff.errors import DataError
from riff.files import read_mapping

SHARD_SUFFIXES = (".tar", ".parquet")
NUM_SHARDS_KEY = "shards"  # of the manifest beside them
LARGEST_RANGE = 1_000_000


@dataclass(frozen=True)
class HubAccess:
    """token: of the hub (default: the one that is logged in). cache: folder for downloads and latents (default: the user's)."""

    token: str | None = None
    cache: Path | None = None


def open_pairs(
    place: Path, layout: ShardLayout[Record], records_file: str, hub: HubAccess = HubAccess()
) -> tuple[PairStore, list[Record]]:
    """The pairs of a place, in their order, and the store that reads their pictures.

    Args:
        place: folder that holds `records_file`, or those that `--shard_index` made; folder of shards; pattern of shards, such as
            `DIR/*.tar` or `DIR/pairs-{000..031}.tar`; or USER/NAME on the hub, whose shards are downloaded once.

    Raises:
        DataError: no pairs there, shards that are missing, broken or of other pairs, or no such data set.
    """
    if (place / records_file).exists():
        return FolderStore(place), read_record_lines(place / records_file, layout.record_type, layout.record_format)
    if parts := find_parts(place, records_file):
        return PartsStore(place, parts), [record for part in parts for record in _records_of_part(part, layout, records_file)]
    shards, cache = find_shards(place), None
    if not shards and _may_be_on_hub(place):
        shards = find_shards(_download(str(place), layout, hub))
        cache = (hub.cache or DEFAULT_CACHE) / str(place).replace("/", "--")
        if not shards:
            raise DataError(f"{place}: the data set on the hub holds no {' and no '.join(SHARD_SUFFIXES)} files; name another")
    if not shards:  # raises, and says how pairs are made
        return FolderStore(place), read_record_lines(place / records_file, layout.record_type, layout.record_format)
    store = open_shards(shards, layout, cache)
    return store, store.records(layout)


def find_parts(place: Path, records_file: str) -> list[Path]:
    """The folders of pairs that `--shard_index` made in a folder; none where it made none.

    Raises:
        DataError: one of them is missing, or has other settings than the first.
    """
    found = [match for path in sorted(place.glob("shard-*")) if (match := re.fullmatch(r"shard-\d+-of-(\d+)", path.name))]
    if not found:
        return []
    count = int(found[0][1])
    parts = [place / shard_folder(index, count) for index in range(count)]
    for part in parts:
        if not (part / records_file).exists():
            raise DataError(f"{part}: no {records_file} here; make this shard too, or name the folder of one shard")
    settings = [settings_of(part) for part in parts]
    for part, other in zip(parts, settings, strict=True):
        if other != settings[0]:
            raise DataError(f"{part}: made with other settings than {parts[0].name}; make all shards the same way")
    return parts


def _records_of_part(part: Path, layout: ShardLayout[Record], records_file: str) -> list[Record]:
    """The records of one folder, with the pictures' paths as in the folder around it."""
    if not (part / records_file).read_text(encoding="utf-8").strip():  # no song fell to this shard
        return []

    def moved(record: Any) -> Record:
        paths = {key: f"{part.name}/{path}" for key in layout.members if (path := getattr(record, key))}
        return replace(record, **paths)

    return [moved(record) for record in read_record_lines(part / records_file, layout.record_type, layout.record_format)]


def find_shards(place: Path) -> list[Path]:
    """The shards that a folder holds, or that a pattern matches; none where it is neither.

    Raises:
        DataError: a pattern that matches nothing, or other files; shards of both formats, or fewer than were packed, in a folder.
    """
    if place.is_dir():
        return _shards_below(place)
    text = str(place)
    if not re.search(r"[*?\[{]", text) and place.suffix not in SHARD_SUFFIXES:
        return []
    matched = [_matches(pattern, place) for pattern in expand_braces(text)]
    paths = sorted({Path(path) for path in chain.from_iterable(matched)})
    other = next((path for path in paths if path.suffix not in SHARD_SUFFIXES or not path.is_file()), None)
    if other is not None:
        raise DataError(f"--train_data_dir {place}: {other} is no {' or '.join(SHARD_SUFFIXES)} file; name shards alone")
    return paths


def expand_braces(pattern: str) -> list[str]:
    """The patterns that one with `{000..031}` (numbers as wide as the first) or `{train,more}` stands for.

    Raises:
        DataError: a range of too many numbers.
    """
    found = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if found is None:
        return [pattern]
    if found[3] is not None:
        words = found[3].split(",")
    else:
        first, last = int(found[1]), int(found[2])
        if not 0 <= last - first < LARGEST_RANGE:
            raise DataError(f"{pattern}: {found[0]} must rise, by less than {LARGEST_RANGE:,}")
        words = [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]
    return [expanded for word in words for expanded in expand_braces(pattern[: found.start()] + word + pattern[found.end() :])]


def _matches(pattern: str, place: Path) -> list[str]:
    paths = [pattern] if Path(pattern).exists() else glob.glob(pattern)
    if not paths:
        raise DataError(f"--train_data_dir {place}: there is no {pattern}; name a folder of pairs, or shards that are there")
    return paths


def _shards_below(folder: Path) -> list[Path]:
    paths = [path for path in folder.rglob("*") if path.suffix in SHARD_SUFFIXES]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if len({path.suffix for path in paths}) > 1:
        raise DataError(f"{folder}: holds tars and Parquet files; name one of them, as in '{folder}/*.tar'")
    manifest = folder / MANIFEST
    packed = read_mapping(manifest).get(NUM_SHARDS_KEY) if paths and manifest.exists() else None
    if isinstance(packed, int) and len(paths) < packed:
        raise DataError(f"{folder}: holds {len(paths)} of {packed} shards; pack or copy the others too, or name those in '...'")
    return paths


def _may_be_on_hub(place: Path) -> bool:
    """Whether a name is none on disk, and could be USER/NAME."""
    return not place.exists() and not place.parent.exists() and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(place)) is not None


def _download(name: str, layout: ShardLayout, hub: HubAccess) -> Path:
    wanted = [f"*{suffix}" for suffix in SHARD_SUFFIXES] + [f"*{MANIFEST}"]
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=wanted, token=hub.token, cache_dir=hub.cache))
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:120] or type(error).__name__
        made_by = f"{layout.record_format.made_by} {name}"
        raise DataError(
            f"--train_data_dir {name}: no such folder here (make one with {made_by}), and the hub did not give a data set of that "
            f"name ({type(error).__name__}: {text})"
        ) from error

"""Lists of shards: in a folder, by a pattern, or on the hub."""

from __future__ import annotations

import glob
import re
from itertools import chain
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError

from riff.data.pair_types import MANIFEST
from riff.errors import DataError
from riff.files import read_mapping
from riff.network import fail_fast, unreachable

SUFFIXES = (".tar", ".parquet")
NUM_SHARDS_KEY = "shards"  # of the manifest beside them
LARGEST_RANGE = 1_000_000


def find_shards(location: Path) -> list[Path]:
    """The shards in a folder, or those that a pattern matches, in numeric order; none where it is neither.

    Raises:
        DataError: a pattern that matches nothing, or other files; shards of both formats, or fewer than were packed, in a folder.
    """
    if location.is_dir():
        return sorted(_shards_below(location), key=_order)
    text = str(location)
    if not re.search(r"[*?\[{]", text) and location.suffix not in SUFFIXES:
        return []
    paths = {Path(path) for path in chain.from_iterable(_matches(pattern, location) for pattern in expand_braces(text))}
    for path in paths:
        if path.suffix not in SUFFIXES or not path.is_file():
            raise DataError(f"{location}: {path} is not a {' or '.join(SUFFIXES)} file; name only shards")
    return sorted(paths, key=_order)


def _order(path: Path) -> list[tuple[int, str]]:
    """A sort key with numbers as numbers: 9 comes before 10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(path))]


def expand_braces(pattern: str) -> list[str]:
    """Expand `{000..031}` (numbers as wide as the first) and `{train,more}` in a pattern.

    Raises:
        DataError: a descending range, or one of too many numbers.
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


def _matches(pattern: str, location: Path) -> list[str]:
    paths = [pattern] if Path(pattern).exists() else glob.glob(pattern)
    if not paths:
        raise DataError(f"{location}: no file matches {pattern}; name a folder of pairs, or existing shards")
    return paths


def _shards_below(folder: Path) -> list[Path]:
    paths = [path for path in folder.rglob("*") if path.suffix in SUFFIXES]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if len({path.suffix for path in paths}) > 1:
        raise DataError(f"{folder}: holds tars and Parquet files; name one of them, as in '{folder}/*.tar'")
    manifest = folder / MANIFEST
    packed = read_mapping(manifest).get(NUM_SHARDS_KEY) if paths and manifest.exists() else None
    if isinstance(packed, int) and len(paths) < packed:
        raise DataError(f"{folder}: holds {len(paths)} of {packed} shards; pack or copy the others too, or name those in '...'")
    return paths


def is_hub_name(location: Path) -> bool:
    """Whether a name is not on disk, and could be USER/NAME."""
    on_disk = location.exists() or location.parent.exists()
    return not on_disk and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(location)) is not None


def download_shards(name: str, made_by: str, token: str | None, cache: Path | None) -> Path:
    """Download the shards and the manifest of a data set on the hub, and return their folder; cached.

    Args:
        made_by: script that makes pairs, with the flag of its output folder, for the error.

    Raises:
        DataError: no such data set, or the hub cannot be reached.
    """
    wanted = [*(f"*{suffix}" for suffix in SUFFIXES), f"*{MANIFEST}"]
    fail_fast()
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=wanted, token=token, cache_dir=cache))
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        silent = unreachable(error)
        text = f"does not answer: {silent}" if silent else f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise DataError(
            f"{name}: no such folder here (make one with {made_by} {name}), and the hub gave no data set of that name ({text})"
        ) from error


def shard_folder(shard_index: int, num_shards: int) -> str:
    return f"shard-{shard_index:05d}-of-{num_shards:05d}"

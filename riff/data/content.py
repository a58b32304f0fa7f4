"""What a song's files hold, told quickly: is this still what it was?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from riff.errors import AudioError
from riff.files import readable

Content = dict[str, Any]  # as the journal keeps it


def content_of(files: Sequence[Path]) -> Content:
    """The files' names, sizes and times, and a hash of all that they hold.

    Raises:
        AudioError: one of them cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
        except OSError as error:
            raise _gone(file, error) from error
    return {"files": _stats(files), "hash": digest.hexdigest()}


def is_unchanged(files: Sequence[Path], earlier: Mapping[str, Any]) -> bool:
    """Whether the files hold what they held; those of the same names, sizes and times are taken to.

    Raises:
        AudioError: one of them cannot be read.
    """
    return _stats(files) == earlier.get("files") or content_of(files)["hash"] == earlier.get("hash")


def _stats(files: Sequence[Path]) -> list[list[Any]]:
    try:
        return [[readable(file.name), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]
    except OSError as error:
        raise _gone(Path(error.filename), error) from error


def _gone(file: Path, error: OSError) -> AudioError:
    return AudioError(f"{file}: cannot be read ({error.strerror}); put it back, or take the song out")

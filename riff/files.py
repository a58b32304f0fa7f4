"""Atomic files and folders (written beside, flushed, renamed), locks, and paths from untrusted metadata."""

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

LONGEST_NAME = 255  # bytes of a file name
CARD = "README.md"  # the description of a model or a data set
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that is renamed to `path` when the block succeeds.

    The file gets the usual permissions, also where a library wrote it for its owner alone, as safetensors does.

    Raises:
        OSError: the disk is full, whatever exception the block raised for that; it names `path`.
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
    """Yield a temporary folder whose files are moved into `path` when the block succeeds.

    Other files in `path` are kept. The new files get the usual permissions.

    Args:
        replaces: files in `path`, relative to it, that are removed: those that an earlier call wrote.

    Raises:
        OptionError: a file of the same name exists and is not in `replaces`; nothing is changed.
        OSError: the disk is full, whatever exception the block raised for that; it names `path`.
    """
    path = Path(path).resolve()
    make_folder(path.parent)
    for folder in (path.parent, path):
        remove_leftovers(folder, path.name)
    # Inside an existing folder, which may be a mount point.
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
    """Replace files of a folder by new ones; on an error, the folder is restored.

    The files at the top, without which no model loads, are removed first and added last.
    """

    def by_depth(files: Iterable[str]) -> list[str]:
        return sorted(files, key=lambda file: (file.count("/"), file))

    removed = by_depth({file for file in replaces if inside(folder, file).is_file()})
    added = by_depth(files_below(new))[::-1]
    if taken := [file for file in added if file not in removed and os.path.lexists(folder / file)]:
        raise OptionError(f"{folder}: holds {taken[-1]} by now, which is left alone; choose another folder")
    aside = folder / f".{folder.name}.old.{os.getpid()}"
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target, files in ((folder, aside, removed), (new, folder, added)):
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
    remove_emptied_folders(folder, removed)


def remove_emptied_folders(folder: Path, removed: Iterable[str]) -> None:
    """Remove the subfolders of a folder that are empty since files were removed; removed: relative to it."""
    for parent in sorted({parent for file in removed for parent in Path(file).parents if parent.parts}, reverse=True):
        with suppress(OSError):  # not empty
            (folder / parent).rmdir()


def files_below(folder: Path) -> list[str]:
    """All files of a folder and its subfolders, relative to it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def _full_disk_names(path: Path) -> Iterator[None]:
    """Turn any library's exception of a full disk into an OSError that names the path to be written."""
    try:
        yield
    except Exception as error:
        number = _full_disk(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _full_disk(error: BaseException | None) -> int | None:
    """The error number of a full disk, of this error or of one of its causes, else None."""
    while error is not None:
        rust = re.search(r"\(os error (\d+)\)", str(error))  # safetensors
        number = error.errno if isinstance(error, OSError) else int(rust[1]) if rust else None
        if number in OUT_OF_SPACE:
            return number
        error = error.__cause__ or error.__context__
    return None


def folder_of_process(path: Path) -> Path:
    """Create an empty temporary folder beside `path`; if this process dies, `remove_leftovers` removes it."""
    temporary = _beside(path, path.name, f".tmp.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return temporary


def _beside(path: Path, name: str, ending: str) -> Path:
    """A hidden path beside `path` of a name and an ending; a hash replaces the name where that would be too long."""
    hidden = f".{name}{ending}"
    if len(os.fsencode(hidden)) > LONGEST_NAME:
        hidden = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{ending}"
    return path.with_name(hidden)


def remove_leftovers(folder: str | Path, name: str = "") -> None:
    """Remove the temporary files and folders of killed processes that lie directly in a folder.

    Args:
        name: of the final file or folder ("": any).
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
        with suppress(OSError):  # on Windows filelock removes it after its release
            os.unlink(lock.lock_file)
        lock.release()


def _set_usual_mode(files: Iterable[Path]) -> None:
    """Give files the permissions that a new file gets by the process's umask and the folder."""
    mode = None
    for file in files:
        if mode is None:
            probe = file.with_name(f".mode.tmp.{os.getpid()}")  # reading the umask would change it for a moment
            with open(probe, "ab") as opened:
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            probe.unlink(missing_ok=True)
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


def readable(name: str) -> str:
    """A file name as text, with bytes that are not UTF-8 escaped, as in `caf\\xe9.wav`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write_new(path: Path, content: bytes) -> None:
    """Write a file and its parents into a folder that is itself temporary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def flush(files: Iterable[Path]) -> None:
    """Flush files to the disk, concurrently, which takes a third of the time."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_flush, files))


def _flush(file: Path) -> None:
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())


def write_bytes(path: str | Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode(errors="backslashreplace"))  # in JSON that is an escape


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a manifest (`.json`) or a configuration (YAML): one mapping.

    Raises:
        DataError: it cannot be read, or is no mapping.
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
    """A card with a last line by which `is_own_card` recognises it unless it is edited."""
    return f"{text.rstrip()}\n\n<!-- written by riff-cnet, which leaves a card alone that was edited ({_card_hash(text)}) -->\n"


def is_own_card(text: str) -> bool:
    """Whether `sign_card` made this text and it was not edited, apart from white space at its ends and the type of line ends."""
    signed = re.fullmatch(r"(.*)<!-- written by riff-cnet, [^\n]*\((\w+)\) -->\s*", text.replace("\r\n", "\n"), re.DOTALL)
    return signed is not None and _card_hash(signed[1]) == signed[2]


def _card_hash(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").strip().encode()).hexdigest()[:16]


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents.

    Raises:
        RiffError: it cannot be created or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RiffError(f"{path}: cannot create this folder ({error.strerror}); choose another place") from error
    if not os.access(path, os.W_OK):
        raise RiffError(f"{path}: this folder is not writable; choose another place")
    return path


def inside(folder: str | Path, relative: str) -> Path:
    """`folder / relative`, resolved, of a path from untrusted metadata.

    Raises:
        OptionError: the path leaves the folder (absolute, by `..` or by a link), or is invalid (a NUL, a loop of links).
    """
    root = Path(folder).resolve()
    try:
        path = (root / relative).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise OptionError(f"{relative!r}: not a path inside {folder} ({error})") from error
    if not path.is_relative_to(root):
        raise OptionError(f"{relative}: this path leaves its folder {folder}; use paths inside it")
    return path

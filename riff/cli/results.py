"""A command's result folder: all results or none, without replacing other files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from riff.errors import DataError, OptionError
from riff.files import (
    files_below,
    folder_of_process,
    inside,
    make_folder,
    only_writer,
    read_mapping,
    remove_emptied_folders,
    remove_leftovers,
    write_json,
)

FILES_KEY = "files"  # of a manifest: names of the files that the run wrote, without the manifest


@dataclass(frozen=True)
class ResultFolder:
    """The folder of a command's results.

    Attributes:
        flag: that sets the path, for messages.
        names: patterns of the results' file names; `*` matches across folders.
        inputs: files and folders that the command reads, which are never replaced. Hub ids may be among them.
        overwrite: replace an earlier result, with all its files, and other files of the results' names.
        manifest: name of the file that describes how the result was made, and lists its files.
        renewed: replace an earlier result, but no other file, without `overwrite`.
    """

    path: Path
    flag: str
    names: Sequence[str]
    inputs: Sequence[str | Path | None] = ()
    overwrite: bool = False
    manifest: str = "manifest.json"
    renewed: bool = False

    def check(self) -> None:
        """Refuse, before the work, a folder that the results cannot be written to.

        Raises:
            OptionError: it holds results, other files of their names, or, with `overwrite` too, an input of the command.
        """
        earlier = self._earlier_files()
        existing = {
            path.relative_to(self.path).as_posix()
            for pattern in (*self.names, self.manifest)
            for path in self.path.glob(pattern)
            if not path.name.startswith(".")
        }
        for source in self.inputs:
            if source is not None and self._would_replace(Path(source), existing, earlier):
                raise OptionError(f"{self.flag} {self.path}: this would replace its own input {source}; choose another folder")
        if self.overwrite:
            return
        if self.renewed and earlier:
            existing -= {self.manifest, *earlier}
        if existing:
            what = "results already" if self.manifest in existing else f"{min(existing)}, which this would replace"
            raise OptionError(f"{self.flag} {self.path}: holds {what}; use another folder, or --overwrite")

    @contextmanager
    def written(self) -> Iterator[Path]:
        """Yield an empty folder whose files become the results when the block ends well, the manifest last.

        If the block raises, or the process is killed, what was there before stays as it was. Other runs are kept out meanwhile.

        Raises:
            OptionError: as `check`, or another run is writing there.
        """
        is_new = not self.path.exists()
        make_folder(self.path)
        try:
            with only_writer(self.path):
                remove_leftovers(self.path)
                self.check()
                temporary = folder_of_process(self.path / "results")
                try:
                    yield temporary
                    self._move_from(temporary)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
        finally:
            if is_new:
                with suppress(OSError):  # it holds the results
                    self.path.rmdir()

    def _earlier_files(self) -> set[str]:
        """Files of an earlier run by its manifest, as far as they have the results' names."""
        try:
            listed = read_mapping(self.path / self.manifest).get(FILES_KEY)
        except DataError:
            return set()
        names = listed if isinstance(listed, list) else []
        return {name for name in names if isinstance(name, str) and self._is_result(name) and self._is_file(name)}

    def _is_file(self, name: str) -> bool:
        with suppress(OptionError):  # of a path outside the folder
            return inside(self.path, name).is_file()
        return False

    def _is_result(self, name: str) -> bool:
        return name == self.manifest or any(fnmatchcase(name, pattern) for pattern in self.names)

    def _would_replace(self, source: Path, existing: set[str], earlier: set[str]) -> bool:
        """Whether an input has the path of a result. existing: files of the results' names. earlier: those of an earlier run."""
        if not source.exists():
            return False
        root = self.path.resolve()
        for path in (source.resolve(), source.parent.resolve() / source.name):
            if not path.is_relative_to(root):
                continue
            name = path.relative_to(root).as_posix()
            if self._is_result(name) or (source.is_dir() and path != root and self._is_result(f"{name}/file")):
                return True
            replaced = existing - earlier if path == root else existing  # a folder of inputs may hold results of its own
            if source.is_dir() and any((root / file).is_relative_to(path) for file in replaced):
                return True
        return source.is_file() and any((root / file).is_file() and source.samefile(root / file) for file in existing)

    def _move_from(self, temporary: Path) -> None:
        earlier = self._earlier_files()
        new = files_below(temporary)
        new.remove(self.manifest)
        for name in new:
            if (self.path / name).exists() and name not in earlier and not self.overwrite:
                raise OptionError(
                    f"{self.flag} {self.path}: {name} was written there meanwhile; use another folder, or --overwrite"
                )
        write_json(temporary / self.manifest, read_mapping(temporary / self.manifest) | {FILES_KEY: new})
        # If the process is killed while they are moved, the next run with --overwrite knows all of them.
        write_json(self.path / self.manifest, {"unfinished": True, FILES_KEY: sorted({*earlier, *new})})
        for name in earlier:
            (self.path / name).unlink(missing_ok=True)
        for name in (*new, self.manifest):
            make_folder((self.path / name).parent)
            os.replace(temporary / name, self.path / name)
        remove_emptied_folders(self.path, earlier)


def check_new_files(files: Iterable[Path], inputs: Iterable[str | Path | None] = (), overwrite: bool = False) -> None:
    """Refuse, before the work, result files that would replace others, and in any case an input of the command.

    Raises:
        OptionError: a file exists and `overwrite` is False, or it is an input, or lies in an input folder.
    """
    sources = [Path(source).resolve() for source in inputs if source is not None]
    for file in filter(Path.exists, files):
        if any(file.resolve().is_relative_to(source) for source in sources):
            raise OptionError(f"{file}: this would replace the command's own input; choose another path for the result")
        if not overwrite:
            raise OptionError(f"{file}: is there already; choose another path for the result, or --overwrite")

"""The folder that a command writes its results into: all of them or none, and over nobody else's files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from riff.errors import DataError, OptionError
from riff.files import folder_of_process, inside, make_folder, only_writer, read_mapping, remove_leftovers, write_json

FILES_KEY = "files"  # of a manifest: the names of the files that the run wrote, besides the manifest


@dataclass(frozen=True)
class ResultFolder:
    """Where a command writes its results.

    Attributes:
        path: the folder. flag: the flag that names it, for messages.
        names: patterns of the names that the results have in it; `*` goes across folders.
        inputs: files and folders that the command reads, which are never replaced. Hub ids may be among them.
        overwrite: replace an earlier result, whose files all go, and other files of the results' names.
        manifest: the file that says how the result was made, and lists its files.
        renewed: an earlier result, but no other file, is replaced without `overwrite`.
    """

    path: Path
    flag: str
    names: Sequence[str]
    inputs: Sequence[str | Path | None] = ()
    overwrite: bool = False
    manifest: str = "manifest.json"
    renewed: bool = False

    def check(self) -> None:
        """Refuse, before the work, a folder that cannot take the results.

        Raises:
            OptionError: it holds results, other files of their names, or, whatever `overwrite` says, the command's own input.
        """
        earlier = self.earlier_files()
        there = {
            path.relative_to(self.path).as_posix()
            for pattern in (*self.names, self.manifest)
            for path in self.path.glob(pattern)
            if not path.name.startswith(".")
        }
        source = next((one for one in self.inputs if one is not None and self._would_replace(Path(one), there, earlier)), None)
        if source is not None:
            raise OptionError(f"{self.flag} {self.path}: this would replace its own input {source}; choose another folder")
        if self.overwrite:
            return
        if self.renewed and earlier:
            there -= {self.manifest, *earlier}
        if self.manifest in there:
            raise OptionError(f"{self.flag} {self.path}: holds results already; use another folder, or --overwrite")
        if there:
            first = min(there)
            raise OptionError(
                f"{self.flag} {self.path}: holds {first}, which this would replace; use another folder, or --overwrite"
            )

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
            with only_writer(self.path, self.flag):
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

    def earlier_files(self) -> set[str]:
        """What an earlier run wrote by its manifest, which is believed of files of the results' names alone."""
        try:
            listed = read_mapping(self.path / self.manifest).get(FILES_KEY)
        except DataError:
            return set()
        names = listed if isinstance(listed, list) else []
        return {name for name in names if isinstance(name, str) and self._is_result(name) and self._is_file(name)}

    def _is_file(self, name: str) -> bool:
        with suppress(OptionError):  # a manifest that was tampered with leads nowhere else
            return inside(self.path, name).is_file()
        return False

    def _is_result(self, name: str) -> bool:
        return name == self.manifest or any(fnmatchcase(name, pattern) for pattern in self.names)

    def _would_replace(self, source: Path, there: set[str], earlier: set[str]) -> bool:
        """Whether an input lies where results go. there: files of the results' names, earlier: those that an earlier run wrote."""
        if not source.exists():
            return False
        root = self.path.resolve()
        for place in (source.resolve(), source.parent.resolve() / source.name):
            if not place.is_relative_to(root):
                continue
            name = place.relative_to(root).as_posix()
            if self._is_result(name) or (source.is_dir() and place != root and self._is_result(f"{name}/file")):
                return True
            replaced = there - earlier if place == root else there  # a folder of inputs may hold results of its own
            if source.is_dir() and any((root / one).is_relative_to(place) for one in replaced):
                return True
        return source.is_file() and any((root / one).is_file() and source.samefile(root / one) for one in there)

    def _move_from(self, temporary: Path) -> None:
        earlier = self.earlier_files()
        new = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
        new.remove(self.manifest)
        for name in new:
            if (self.path / name).exists() and name not in earlier and not self.overwrite:
                raise OptionError(f"{self.flag} {self.path}: {name} has come there meanwhile; use another folder, or --overwrite")
        write_json(temporary / self.manifest, read_mapping(temporary / self.manifest) | {FILES_KEY: new})
        # Should the process be killed while they are moved, the next run with --overwrite knows all of them.
        write_json(self.path / self.manifest, {"unfinished": True, FILES_KEY: sorted({*earlier, *new})})
        for name in earlier:
            (self.path / name).unlink(missing_ok=True)
        for name in (*new, self.manifest):
            make_folder((self.path / name).parent)
            os.replace(temporary / name, self.path / name)
        emptied = {parent for name in earlier for parent in (self.path / name).parents if self.path in parent.parents}
        for folder in sorted(emptied, reverse=True):
            with suppress(OSError):  # it holds something
                folder.rmdir()


def check_new_files(files: Iterable[Path], inputs: Iterable[str | Path | None] = (), overwrite: bool = False) -> None:
    """Refuse, before the work, files that would replace others; the command's own input is never replaced.

    Raises:
        OptionError: one is there and `overwrite` is not said, or it is an input, or lies in an input folder.
    """
    sources = [Path(source).resolve() for source in inputs if source is not None]
    for file in files:
        if file.exists() and any(file.resolve().is_relative_to(source) for source in sources):
            raise OptionError(f"{file}: this would replace the command's own input; choose another place for the result")
        if file.exists() and not overwrite:
            raise OptionError(f"{file}: is there already; choose another place for the result, or --overwrite")

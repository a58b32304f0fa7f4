"""The folder that pairs are written to: prepared, refused, or cleared of some pairs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.data.lines import json_lines
from riff.data.pair_types import MANIFEST, PairType, settings_of
from riff.errors import ExistsError
from riff.files import make_folder, only_writer, remove_leftovers
from riff.pairs.journal import SONGS_FILE
from riff.pairs.staging import STAGING, is_of_clips


@dataclass(frozen=True)
class OutputFolder:
    """A folder that pairs of one type are written to."""

    path: Path
    pair_type: PairType

    @property
    def records_file(self) -> Path:
        return self.path / self.pair_type.records_file

    @contextmanager
    def prepared(self, settings: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
        """Create the folder, and lock it against other runs inside the block.

        Raises:
            ExistsError: it holds pairs of other settings, or pairs without a manifest.
            OptionError: another run is writing there.
        """
        make_folder(self.path)
        with only_writer(self.path):
            for name in ("", *self.pair_type.file_folders):
                remove_leftovers(self.path / name)
            if overwrite:
                self._remove_all_pairs()
            elif (self.path / MANIFEST).exists():
                self._require_same(settings, settings_of(self.path))
            elif self.records_file.exists():
                raise ExistsError(f"{self.path}: holds pairs of another origin (no {MANIFEST})")
            yield

    def _remove_all_pairs(self) -> None:
        """Remove what runs wrote: the files that the records name, and those that belong to them; nothing else."""
        lines = json_lines(self.records_file) if self.records_file.exists() else []
        self.remove_pairs(line.value for line in lines)
        shutil.rmtree(self.path / STAGING, ignore_errors=True)
        for name in (self.pair_type.records_file, SONGS_FILE, MANIFEST, *self.pair_type.shared):
            (self.path / name).unlink(missing_ok=True)
        for name in self.pair_type.file_folders:
            with suppress(OSError):  # it holds other files
                (self.path / name).rmdir()

    def _require_same(self, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        earlier = {"pitch_method": "warp", **earlier}  # older manifests do not name the only method of their time
        for key, value in settings.items():
            if earlier.get(key) != value:
                raise ExistsError(f"{self.path}: its pairs were made with {key} {earlier.get(key)}, not {value}")

    def own_files(self, record: Mapping[str, Any]) -> list[str]:
        """The paths of a record's images, but for those that pairs of other songs share."""
        paths = (value for value in record.values() if isinstance(value, str) and value not in self.pair_type.shared)
        return [path for path in paths if path.split("/")[0] in self.pair_type.file_folders]

    def remove_pairs(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Remove the images of these records, and the sounds of the same clips."""
        clips = {Path(file).stem for record in records for file in self.own_files(record)}
        for name in self.pair_type.file_folders if clips else ():
            for file in list((self.path / name).glob("*")):
                if is_of_clips(file, clips):
                    file.unlink(missing_ok=True)

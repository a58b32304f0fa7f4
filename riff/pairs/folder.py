"""A folder of pairs: made ready, refused, or rid of pairs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.data.pair_types import MANIFEST, settings_of
from riff.errors import OptionError
from riff.files import make_folder, only_writer, remove_leftovers
from riff.pairs.journal import SONGS_FILE
from riff.pairs.staging import STAGING, is_of_clips


@dataclass(frozen=True)
class PairsFolder:
    """A folder of pairs.

    Attributes:
        records_file: name of the file of records. image_folders: what lies beside it.
        flag: of the command line that names the folder, for messages.
        shared: pictures that belong to pairs of many songs.
    """

    path: Path
    records_file: str
    image_folders: Sequence[str]
    flag: str
    shared: Sequence[str] = ()

    @contextmanager
    def prepared(self, settings: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
        """Make the folder ready and keep other runs out of it inside the block.

        Raises:
            OptionError: it holds pairs of other settings, and names the first that differs; or another run is writing there.
        """
        make_folder(self.path)
        with only_writer(self.path, self.flag):
            for name in ("", *self.image_folders):
                remove_leftovers(self.path / name)
            self._check(settings, overwrite)
            yield

    def _check(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        manifest = self.path / MANIFEST
        if overwrite:
            for name in (STAGING, *self.image_folders):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in (self.records_file, SONGS_FILE, MANIFEST):
                (self.path / name).unlink(missing_ok=True)
        elif manifest.exists():
            self._require_same(settings, settings_of(self.path))
        elif (self.path / self.records_file).exists():
            raise OptionError(f"{self.path}: holds pairs of another origin (no {MANIFEST}); use another folder, or --overwrite")

    def _require_same(self, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        earlier = {"pitch_method": "warp", **earlier}  # which was the only one once
        for key, value in settings.items():
            if earlier.get(key) != value:
                raise OptionError(
                    f"--{key} {value}: the pairs in {self.path} were made with {earlier.get(key)}; "
                    f"use the same setting, another {self.flag}, or --overwrite"
                )

    def remove_pairs(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Remove what belongs to these records: the pictures, and the sounds of the same clips."""
        values = {value for record in records for value in record.values() if isinstance(value, str)} - set(self.shared)
        clips = {Path(value).stem for value in values if value.split("/")[0] in self.image_folders}
        if clips:
            for name in self.image_folders:
                for file in list((self.path / name).glob("*")):
                    if is_of_clips(file, clips):
                        file.unlink(missing_ok=True)

"""A folder of either type of pairs as an inspection reads it: bad lines of its records beside the good ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.data.lines import json_lines
from riff.data.pair_types import PairType, no_records, settings_of
from riff.data.records import pair_type_of
from riff.errors import DataError, RiffError


@dataclass(frozen=True)
class RecordLine:
    """A line of a file of records.

    Attributes:
        number: of the line, from 1. text: the line itself.
        record: None where it cannot be read; problem says why.
        keys: that the line holds with a value; the record fills in the others.
    """

    number: int
    text: str
    record: Any
    problem: str = ""
    keys: frozenset[str] = frozenset()


def read_record_lines(path: Path, pair_type: PairType) -> list[RecordLine]:
    """The lines of a file of records, readable or not.

    Raises:
        DataError: the file cannot be read at all, or is empty.
    """
    lines = []
    for number, text, item, problem in json_lines(path):
        record = None
        try:
            record = None if problem else pair_type.parse(item, path.parent)
            json.dumps(record and vars(record), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            record, problem = None, "holds bytes that are not UTF-8"
        except RiffError as error:
            problem = str(error)
        keys = frozenset(key for key, value in item.items() if value not in (None, ""))
        lines.append(RecordLine(number, text, record, problem, keys))
    if not lines:
        raise DataError(f"{path}: {no_records(pair_type)}")
    return lines


@dataclass(frozen=True)
class InspectedFolder:
    """settings: those of the manifest, empty without one."""

    path: Path
    pair_type: PairType
    lines: Sequence[RecordLine]
    settings: Mapping[str, Any]

    @property
    def readable(self) -> list[RecordLine]:
        return [line for line in self.lines if line.record is not None]

    def images(self, line: RecordLine) -> dict[str, str]:
        """The images of a readable line by their keys: paths in the folder."""
        return self.pair_type.image_paths(line.record)

    def prompt(self, line: RecordLine) -> str:
        return getattr(line.record, self.pair_type.prompt)


def read_folder(path: str | Path, control_method: str = "") -> InspectedFolder:
    """Read a folder of pairs whose lines may be bad.

    Args:
        control_method: of ControlNet pairs, for `prompt-METHOD.json`.

    Raises:
        DataError: as `pair_type_of` and `read_record_lines`.
    """
    path = Path(path)
    pair_type = pair_type_of(path, control_method)
    return InspectedFolder(path, pair_type, read_record_lines(path / pair_type.records_file, pair_type), settings_of(path))

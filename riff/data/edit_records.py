"""The records of edit pairs: one instruction each, with the pictures before and after."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from riff.data.records import read_json_objects
from riff.errors import DataError, RiffError
from riff.files import inside

EDIT_RECORDS_FILE = "metadata.jsonl"
EDIT_KINDS = ("add", "remove", "noop")
REQUIRED = ("input_file_path", "edited_file_path", "edit_prompt")


@dataclass(frozen=True)
class EditRecord:
    """One line of `metadata.jsonl`; the paths are relative to its folder.

    Attributes:
        input_file_path, edited_file_path: spectrograms before and after. edit_prompt: the instruction.
        song: whose clip it is. start_s: where it begins. semitones: its pitch shift. kind: add, remove or noop.
    """

    input_file_path: str
    edited_file_path: str
    edit_prompt: str
    song: str = ""
    start_s: float = 0.0
    semitones: float = 0.0
    kind: str = "add"


def read_edit_records(folder: str | Path) -> list[EditRecord]:
    """The edit pairs of a folder, with every path checked to lie inside it. Keys that are not known are left alone.

    Raises:
        DataError: no pairs, a broken line, a missing key, an unknown kind, a path that leaves the folder; names the line.
    """
    path = Path(folder) / EDIT_RECORDS_FILE
    if not path.exists():
        raise DataError(f"{path}: no edit pairs there; make them with preprocess_musdb.py")
    known = {field.name for field in fields(EditRecord)}
    records = []
    for number, item in read_json_objects(path):
        missing = [key for key in REQUIRED if not isinstance(item.get(key), str)]
        if missing:
            raise DataError(f'{path}: line {number} has no "{missing[0]}"')
        record = EditRecord(**{key: value for key, value in item.items() if key in known})
        if record.kind not in EDIT_KINDS:
            raise DataError(f"{path}: line {number}: kind {record.kind!r} is none of {', '.join(EDIT_KINDS)}")
        for relative in (record.input_file_path, record.edited_file_path):
            try:
                inside(folder, relative)
            except RiffError as error:
                raise DataError(f"{path}: line {number}: {error}") from error
        records.append(record)
    if not records:
        raise DataError(f"{path}: holds no edit pairs")
    return records

"""The records of edit pairs: pictures before and after, and the instruction between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from riff.data.lines import RecordFormat, read_record_lines
from riff.errors import DataError

EDIT_RECORDS_FILE = "metadata.jsonl"
EDIT_KINDS = ("add", "remove", "noop")


@dataclass(frozen=True)
class EditRecord:
    """One line of `metadata.jsonl`; the paths are relative to its folder.

    Attributes:
        input_file_path, edited_file_path: spectrograms before and after. edit_prompt: the instruction.
        song: whose clip it is. start_s: where it begins. semitones: its pitch shift.
        kind: what the edit does: add, remove, or noop (nothing).
        input_max, edited_max: the mel values that are painted black.

    Raises:
        DataError: an unknown kind.
    """

    input_file_path: str
    edited_file_path: str
    edit_prompt: str
    song: str = ""
    start_s: float = 0.0
    semitones: float = 0.0
    kind: str = "add"
    input_max: float = 0.0
    edited_max: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in EDIT_KINDS:
            raise DataError(f'"kind" must be one of {", ".join(EDIT_KINDS)}, not {self.kind!r}')


EDIT_FORMAT = RecordFormat(
    kind="edit pairs",
    made_by="preprocess_musdb.py --output_dir",
    required=("input_file_path", "edited_file_path", "edit_prompt"),
    images=("input_file_path", "edited_file_path"),
)


def read_edit_records(folder: str | Path) -> list[EditRecord]:
    """The edit pairs of a folder; paths are checked, and errors are raised, as in `read_record_lines`."""
    return read_record_lines(Path(folder) / EDIT_RECORDS_FILE, EditRecord, EDIT_FORMAT)

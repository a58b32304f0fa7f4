"""The records of edit pairs: pictures before and after, and the instruction between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from riff.data.pair_types import ImageField, PairType, read_pairs
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


EDIT_PAIRS = PairType(
    EditRecord,
    records_file=EDIT_RECORDS_FILE,
    name="edit pairs",
    made_by="preprocess_musdb.py --output_dir",
    trained_by="train_instruct_pix2pix.py",
    images={
        "input_file_path": ImageField("input_image", column="original_image", maximum="input_max"),
        "edited_file_path": ImageField("edited_image", column="edited_image", maximum="edited_max"),
    },
    prompt="edit_prompt",
    backing="input_file_path",
    result="edited_file_path",
    sounds="wav",
)


def read_edit_records(folder: str | Path) -> list[EditRecord]:
    """The edit pairs of a folder (see `read_pairs`)."""
    return read_pairs(folder, EDIT_PAIRS)

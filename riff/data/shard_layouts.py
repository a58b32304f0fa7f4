"""What both kinds of pairs are called inside shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Generic, TypeVar

from riff.data.edit_records import EDIT_FORMAT, EditRecord
from riff.data.lines import RecordFormat
from riff.data.records import PAIR_FORMAT, PairRecord

Record = TypeVar("Record")


@dataclass(frozen=True)
class ShardLayout(Generic[Record]):
    """Where shards of a kind of pairs hold the pictures and values of a record.

    Attributes:
        record_type, record_format: as `read_record_lines` takes them. trained_by: script that reads them.
        members: picture's key in the record -> what comes between key and suffix in the name of a tar's member.
        columns: the same key -> column of a Parquet file. All other keys are columns of the same name.
    """

    record_type: type[Record]
    record_format: RecordFormat
    trained_by: str
    members: Mapping[str, str]
    columns: Mapping[str, str]

    @property
    def required(self) -> list[str]:
        """The keys of pictures that every pair has."""
        return [key for key in self.members if key in self.record_format.required]

    @property
    def values(self) -> dict[str, type]:
        """The keys of what is no picture, and whether it is text or a number."""
        others = [field for field in fields(self.record_type) if field.name not in self.members]  # type: ignore[arg-type]
        return {field.name: str if field.default is MISSING else type(field.default) for field in others}


CONTROL_SHARDS = ShardLayout(
    PairRecord,
    PAIR_FORMAT,
    "cnet_riff_training.py",
    members={"source": "source", "target": "target", "accompaniment": "accompaniment"},
    columns={"source": "source", "target": "target", "accompaniment": "accompaniment"},
)
EDIT_SHARDS = ShardLayout(
    EditRecord,
    EDIT_FORMAT,
    "train_instruct_pix2pix.py",
    members={"input_file_path": "input_image", "edited_file_path": "edited_image"},
    columns={"input_file_path": "original_image", "edited_file_path": "edited_image"},
)
LAYOUTS: tuple[ShardLayout, ...] = (CONTROL_SHARDS, EDIT_SHARDS)


def layout_by(attribute: str, names: set[str]) -> ShardLayout | None:
    """The layout whose `members` or `columns` of required pictures are all among these names, None where none is."""
    return next((layout for layout in LAYOUTS if {getattr(layout, attribute)[key] for key in layout.required} <= names), None)

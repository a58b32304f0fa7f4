"""A folder of either type of pairs, with the lines of its records that are bad beside the good ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riff.data.pair_types import PairType, RecordLine, read_record_lines, settings_of
from riff.data.records import EDIT_PAIRS, control_pairs
from riff.errors import DataError


@dataclass(frozen=True)
class PairFolder:
    """What a folder of pairs says of itself; settings: those of its manifest, none where there is no manifest."""

    path: Path
    kind: PairType
    records_file: str
    lines: Sequence[RecordLine]
    settings: Mapping[str, Any]

    @property
    def readable(self) -> list[RecordLine]:
        return [line for line in self.lines if line.record is not None]

    def pictures(self, record: Any) -> dict[str, str]:
        """The record's pictures by their keys: paths in the folder."""
        return self.kind.image_paths(record)


def open_pair_folder(path: str | Path, control_method: str = "") -> PairFolder:
    """Read a folder of pairs whose lines may be bad.

    Args:
        control_method: of ControlNet pairs, where `prompt-METHOD.json` is meant.

    Raises:
        DataError: as `pair_type_of` and `read_record_lines`.
    """
    path = Path(path)
    pair_type = pair_type_of(path, control_method)
    lines = read_record_lines(path / pair_type.records_file, pair_type)
    return PairFolder(path, pair_type, pair_type.records_file, lines, settings_of(path))


def pair_type_of(folder: Path, control_method: str = "") -> PairType:
    """The type of the pairs in a folder.

    Raises:
        DataError: no such folder, or none or both of the types there.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    types: tuple[PairType, ...] = (control_pairs(control_method), EDIT_PAIRS)
    files = [pair_type.records_file for pair_type in types]
    there = [pair_type for pair_type in types if (folder / pair_type.records_file).exists()]
    if not there:
        raise DataError(
            f"{folder}: holds no pairs ({' or '.join(files)}); make them with make_cnet_dataset.py or preprocess_musdb.py"
        )
    if len(there) > 1:
        raise DataError(f"{folder}: holds {' and '.join(files)}; keep ControlNet pairs and edit pairs in folders of their own")
    return there[0]

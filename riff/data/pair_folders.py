"""A folder of either kind of pairs, read line by line, so that what is wrong with one line hides nothing of the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from riff.data.edit_records import EDIT_FORMAT, EDIT_RECORDS_FILE, EditRecord
from riff.data.lines import RecordFormat, record_of
from riff.data.pairs_folder import settings_of
from riff.data.records import PAIR_FORMAT, PairRecord, pairs_file
from riff.errors import DataError, RiffError

LARGEST_NUMBER = 1e9  # that a record may hold: 30 years in seconds, or a maximum of 16-bit samples many times over


@dataclass(frozen=True)
class PairKind:
    """What the records of a kind of pairs call things.

    Attributes:
        record_type, record_format: of `read_record_lines`.
        backing, result: keys of the spectrograms without and with what is to be learnt. edges: key of the edge map, or "".
        prompt: key of the text. maxima: keys of the maxima of the spectrograms, by the pictures' keys.
        image_folders: that hold pictures even where no record names one. sounds: folder of the clips' sounds, or "".
    """

    record_type: type[Any]
    record_format: RecordFormat
    backing: str
    result: str
    edges: str
    prompt: str
    maxima: Mapping[str, str]
    image_folders: Sequence[str]
    sounds: str = ""


CONTROL_PAIRS = PairKind(
    record_type=PairRecord,
    record_format=PAIR_FORMAT,
    backing="accompaniment",
    result="target",
    edges="source",
    prompt="prompt",
    maxima={"accompaniment": "accompaniment_max", "target": "target_max"},
    image_folders=("source", "target", "accompaniment"),
)
EDIT_PAIRS = PairKind(
    record_type=EditRecord,
    record_format=EDIT_FORMAT,
    backing="input_file_path",
    result="edited_file_path",
    edges="",
    prompt="edit_prompt",
    maxima={"input_file_path": "input_max", "edited_file_path": "edited_max"},
    image_folders=("input_image", "edited_image"),
    sounds="wav",
)


@dataclass(frozen=True)
class RecordLine:
    """A line of a file of records.

    Attributes:
        number: its place in the file, from 1. text: the line itself.
        record: None where it cannot be read; problem says why then.
        known: keys that it holds, since a record fills in the others.
    """

    number: int
    text: str
    record: Any
    problem: str = ""
    known: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PairFolder:
    """What a folder of pairs says of itself; settings: those of its manifest, none where there is no manifest."""

    path: Path
    kind: PairKind
    records_file: str
    lines: Sequence[RecordLine]
    settings: Mapping[str, Any]

    @property
    def readable(self) -> list[RecordLine]:
        return [line for line in self.lines if line.record is not None]

    def pictures(self, record: Any) -> dict[str, str]:
        """The record's pictures by their keys: paths in the folder."""
        return self.kind.record_format.pictures(record)


def open_pair_folder(path: str | Path, control_method: str = "") -> PairFolder:
    """Read a folder of pairs whose lines may be bad.

    Args:
        control_method: of ControlNet pairs, where `prompt-METHOD.json` is meant.

    Raises:
        DataError: no such folder, no records in it, records of both kinds, or records that are no text.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    names = {pairs_file(control_method): CONTROL_PAIRS, EDIT_RECORDS_FILE: EDIT_PAIRS}
    there = [name for name in names if (path / name).exists()]
    if not there:
        raise DataError(
            f"{path}: holds no pairs ({' or '.join(names)}); make them with make_cnet_dataset.py or preprocess_musdb.py"
        )
    if len(there) > 1:
        raise DataError(f"{path}: holds {' and '.join(there)}; keep ControlNet pairs and edit pairs in folders of their own")
    (name,) = there
    settings = settings_of(path)
    return PairFolder(path, names[name], name, read_lines(path / name, names[name]), settings)


def read_lines(path: Path, kind: PairKind) -> list[RecordLine]:
    """The lines of a file of records, readable or not.

    Raises:
        DataError: the file cannot be read at all, or holds nothing.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")  # bytes that are no text are kept as they are
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if text.lstrip().startswith("["):
        try:
            texts = [json.dumps(item, ensure_ascii=False) for item in json.loads(text)]
        except ValueError as error:
            raise DataError(f"{path}: is no JSON list ({error}); write one object a line") from error
    else:
        texts = text.split("\n")  # not splitlines(): it also breaks at separators that JSON allows inside a text
    lines = [_read_line(number, line, path.parent, kind) for number, line in enumerate(texts, start=1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: holds no {kind.record_format.kind}; every clip was dropped, or none was made")
    return lines


def _read_line(number: int, text: str, folder: Path, kind: PairKind) -> RecordLine:
    try:
        item = json.loads(text)
        if not isinstance(item, dict):
            raise DataError("is no JSON object")
        record = record_of(item, folder, kind.record_type, kind.record_format)
        for field in fields(kind.record_type):
            value = getattr(record, field.name)
            if isinstance(value, (int, float)) and not abs(value) <= LARGEST_NUMBER:
                raise DataError(f'"{field.name}" is out of all bounds')
            if isinstance(value, str):
                value.encode()
        text.encode()
    except UnicodeEncodeError:
        return RecordLine(number, text, None, "holds bytes that are no text in UTF-8")
    except json.JSONDecodeError as error:
        return RecordLine(number, text, None, f"is no JSON ({error.msg})")
    except RiffError as error:
        return RecordLine(number, text, None, str(error))
    return RecordLine(number, text, record, known=frozenset(key for key, value in item.items() if value not in (None, "")))

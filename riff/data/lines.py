"""Files of one JSON object a line, read with every value checked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from riff.errors import DataError, RiffError
from riff.files import inside

Record = TypeVar("Record")


def read_json_objects(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """JSON objects with their line numbers, from a file of one object a line or from one JSON list.

    Raises:
        DataError: no such file, or a line that is no JSON object; names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    if text.lstrip().startswith("["):
        items = list(enumerate(_parse(path, 1, text), start=1))
    else:
        # Not splitlines(): it also breaks at separators that JSON allows inside a text.
        items = [(number, _parse(path, number, line)) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for number, item in items:
        if not isinstance(item, dict):
            raise DataError(f"{path}: entry {number} is no JSON object; write one {{...}} a line")
    return items


def _parse(path: str | Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        raise DataError(f"{path}: line {line} is no JSON ({error.msg}); write one object a line") from error


@dataclass(frozen=True)
class RecordFormat:
    """What a file of records must hold.

    Attributes:
        kind: of pairs, and made_by: the script with the flag of its folder, for messages.
        required: keys that a line cannot do without; their values are text.
        images: keys of paths to pictures, relative to the folder of the file; the first names the song where `song` does not.
    """

    kind: str
    made_by: str
    required: Sequence[str]
    images: Sequence[str]

    def pictures(self, record: Any) -> dict[str, str]:
        """The paths of a record's pictures by their keys, of those that it has."""
        return {key: getattr(record, key) for key in self.images if getattr(record, key)}


def read_record_lines(path: Path, record_type: type[Record], record_format: RecordFormat) -> list[Record]:
    """The records of a file, a dataclass a line, with every path checked to lie inside the file's folder.

    Files of the predecessors may name their images relative to the working folder (`train-data/source/x.png`) and may say
    no song; both are mended. Keys that the dataclass does not have are left alone.

    Raises:
        DataError: no such file, no records in it, or a line that is broken, lacks a key, or holds a value of another kind or
            a path that leaves the folder; names the line.
    """
    if not path.exists():
        raise DataError(f"{path}: no {record_format.kind} there; make them with {record_format.made_by} {path.parent}")
    records = []
    for number, item in read_json_objects(path):
        try:
            records.append(record_of(item, path.parent, record_type, record_format))
        except RiffError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
    if not records:
        raise DataError(f"{path}: holds no {record_format.kind}; every clip was dropped, or none was made")
    return records


def record_of(item: dict[str, Any], folder: Path, record_type: type[Record], record_format: RecordFormat) -> Record:
    """A line's object as a record, with every path checked to lie inside the folder, as in `read_record_lines`.

    Raises:
        DataError: it lacks a key, or holds a value of another kind or a path that leaves the folder.
    """
    missing = [key for key in record_format.required if not (isinstance(item.get(key), str) and item[key])]
    if missing:
        raise DataError(f'has no "{missing[0]}"')
    values = _checked_values(item, record_type)
    for key in record_format.images:
        if values.get(key):
            values[key] = _relative(folder, values[key])
    values["song"] = values.get("song") or _song_from_name(values[record_format.images[0]])
    return record_type(**values)


def _checked_values(item: dict[str, Any], record_type: type) -> dict[str, Any]:
    """The values of a dataclass's fields, each text or a number as the field's default is."""
    values = {}
    for field in fields(record_type):
        value = item.get(field.name)
        if value is None:
            continue
        number = field.default is not MISSING and not isinstance(field.default, str)
        if not isinstance(value, (int, float) if number else str) or isinstance(value, bool):
            raise DataError(f'"{field.name}" must be {"a number" if number else "text"}, not {value!r}')
        values[field.name] = value
    return values


def _relative(folder: Path, path: str) -> str:
    """A path in a record as one relative to `folder`."""
    try:
        inside(folder, path)
    except RiffError:
        raise DataError(f"the path {path} leaves the folder; use paths inside it") from None
    if not (folder / path).exists():
        old = Path(path)
        if old.parts[0] == folder.resolve().name and (folder / Path(*old.parts[1:])).exists():
            return str(Path(*old.parts[1:]))
    return path


def _song_from_name(image: str) -> str:
    """The predecessors' files say no song, but name their clips SONG_NUMBER, SONG-NUMBER, or s12_f3_e0 for song 12."""
    name = Path(image).stem
    numbered = re.fullmatch(r"(s\d+)_f\d+_e\d+", name)
    return numbered[1] if numbered else name.rstrip("0123456789+-_.") or name

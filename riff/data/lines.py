"""Files of one JSON object per line (JSON Lines)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from riff.errors import DataError


class JsonLine(NamedTuple):
    """A line of a JSON Lines file.

    Attributes:
        number: from 1. text: the line itself. value: its object, empty for a bad line. problem: why the line is bad, or "".
    """

    number: int
    text: str
    value: dict[str, Any]
    problem: str = ""


def json_lines(path: str | Path) -> list[JsonLine]:
    """The lines of a file of one object per line, or the entries of one JSON list; blank lines are left out.

    Raises:
        DataError: it cannot be read at all, or begins as a JSON list and is not valid.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", errors="surrogateescape")  # bad bytes affect their line alone
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if text.lstrip().startswith("["):
        try:
            texts = [json.dumps(item, ensure_ascii=False) for item in json.loads(text)]
        except ValueError as error:
            raise DataError(f"{path}: is no JSON list ({error}); write one object a line") from error
    else:
        texts = text.split("\n")  # not splitlines(): it also breaks at separators that JSON allows inside a text
    return [_parse(number, line) for number, line in enumerate(texts, start=1) if line.strip()]


def _parse(number: int, text: str) -> JsonLine:
    try:
        text.encode()
        value = json.loads(text)
    except UnicodeEncodeError:
        return JsonLine(number, text, {}, "holds bytes that are not UTF-8")
    except ValueError as error:
        return JsonLine(number, text, {}, f"is no JSON ({getattr(error, 'msg', error)})")
    return JsonLine(number, text, value) if isinstance(value, dict) else JsonLine(number, text, {}, "is no JSON object")


def read_json_objects(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers.

    Raises:
        DataError: no such file, or a line that is not a JSON object; names the line.
    """
    lines = json_lines(path)
    for line in lines:
        if line.problem:
            raise DataError(f"{path}: line {line.number} {line.problem}; write one {{...}} a line")
    return [(line.number, line.value) for line in lines]

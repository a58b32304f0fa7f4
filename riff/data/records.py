"""What lies beside the images: the prompt file that comes in, and the records of pairs that go out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from riff.errors import DataError, RiffError
from riff.files import inside, write_text

DEFAULT_PROMPT = "Generate a vocal melody"


def pairs_file(control_method: str = "") -> str:
    """The records' file name: `prompt.json`, or `prompt-METHOD.json` for a named way of control."""
    return f"prompt-{control_method}.json" if control_method else "prompt.json"


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
        items = [(number, _parse(path, number, line)) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
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


def read_prompts(path: str | Path) -> dict[str, str]:
    """file name -> prompt, from lines such as `{"file": "song.wav", "prompt": "Generate a sad male vocal pop melody"}`.

    Raises:
        DataError: a broken line, or one without `file` and `prompt`.
    """
    prompts: dict[str, str] = {}
    for number, item in read_json_objects(path):
        if not isinstance(item.get("file"), str) or not isinstance(item.get("prompt"), str):
            raise DataError(f'{path}: line {number} needs "file" and "prompt", both text')
        prompts[item["file"]] = item["prompt"]
    return prompts


def prompt_of(song: str, prompts: dict[str, str]) -> str | None:
    """The prompt of a song by its file name, or by its name without the suffix."""
    if song in prompts:
        return prompts[song]
    by_stem = {Path(name).stem: prompt for name, prompt in prompts.items()}
    return by_stem.get(song, by_stem.get(Path(song).stem))


@dataclass(frozen=True)
class PairRecord:
    """One line of `prompt.json`; the paths are relative to its folder.

    Attributes:
        source: edge map of the accompaniment. target: spectrogram of the mix. prompt: text.
        accompaniment: its spectrogram. song: whose clip it is. start_s: where it begins. semitones: its pitch shift.
        target_max, accompaniment_max: the mel values that are painted black.
    """

    source: str
    target: str
    prompt: str
    accompaniment: str = ""
    song: str = ""
    start_s: float = 0.0
    semitones: float = 0.0
    target_max: float = 0.0
    accompaniment_max: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def read_records(folder: str | Path, control_method: str = "") -> list[PairRecord]:
    """The pairs of a folder, with every path checked to lie inside it.

    Files of the predecessor name their images relative to the working folder (`train-data/source/x.png`); those are
    read as well. Keys that are not known are left alone.

    Raises:
        DataError: no pairs, a broken line, a missing key.
    """
    folder = Path(folder)
    path = folder / pairs_file(control_method)
    if not path.exists():
        raise DataError(f"{path}: no pairs there; make them with make_cnet_dataset.py --train_data_dir {folder}")
    known = {field.name for field in fields(PairRecord)}
    records = []
    for number, item in read_json_objects(path):
        missing = [key for key in ("source", "target", "prompt") if not isinstance(item.get(key), str)]
        if missing:
            raise DataError(f'{path}: line {number} has no "{missing[0]}"')
        values = {key: value for key, value in item.items() if key in known}
        for key in ("source", "target", "accompaniment"):
            if values.get(key):
                values[key] = _relative(folder, values[key])
        if not values.get("song"):
            values["song"] = _song_from_name(values["source"])
        records.append(PairRecord(**values))
    if not records:
        raise DataError(f"{path}: holds no pairs; every clip was dropped, or none was made")
    return records


def _relative(folder: Path, path: str) -> str:
    """A path in a record as one relative to `folder`."""
    try:
        inside(folder, path)
    except RiffError:
        raise DataError(f"{folder}: the path {path} in its records leaves the folder; use paths inside it") from None
    if not (folder / path).exists():
        old = Path(path)
        if old.parts[0] == folder.resolve().name and (folder / Path(*old.parts[1:])).exists():
            return str(Path(*old.parts[1:]))
    return path


def _song_from_name(source: str) -> str:
    """The predecessor's files say no song, but name their clips SONG_NUMBER or SONG-NUMBER."""
    return Path(source).stem.rstrip("0123456789+-_.") or Path(source).stem


class SongLedger:
    """Which songs are done, and their records, so that a run that broke off can go on and repeats nothing.

    A song's records are appended to `prompt.json` first and its line to `songs.jsonl` second; records of a song that
    has no such line are from a run that broke off, and are dropped on opening.
    """

    def __init__(self, folder: Path, control_method: str = "") -> None:
        self._pairs, self._songs = folder / pairs_file(control_method), folder / "songs.jsonl"
        self.done: dict[str, dict[str, Any]] = {line["song"]: line for line in _whole_lines(self._songs)}
        kept = [line for line in _whole_lines(self._pairs) if line.get("song") in self.done]
        self.num_pairs = len(kept)
        write_text(self._pairs, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        write_text(self._songs, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.done.values()))

    def add(self, song: str, records: Iterable[PairRecord], **facts: Any) -> None:
        lines = [record.to_json() for record in records]
        _append(self._pairs, lines)
        self.done[song] = {"song": song, "pairs": len(lines), **facts}
        _append(self._songs, [json.dumps(self.done[song], ensure_ascii=False)])
        self.num_pairs += len(lines)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON objects of a file that may end in the middle of a line."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _append(path: Path, lines: list[str]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())

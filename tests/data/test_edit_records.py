"""The records of edit pairs, as they come from this project, from its predecessor, and from anyone else."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.data.records import EDIT_KINDS, EditRecord, read_edit_records
from riff.errors import DataError
from riff.pairs.journal import SongJournal

LINE = {"input_file_path": "input_image/a.png", "edited_file_path": "edited_image/a.png", "edit_prompt": "add a melody"}


def write_lines(folder: Path, *lines: dict[str, Any] | str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "metadata.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def test_known_keys_are_read_and_others_left_alone(tmp_path: Path) -> None:
    full = {**LINE, "song": "A - B", "start_s": 5.11, "semitones": -2, "kind": "remove", "input_max": 3, "edited_max": 2.5}
    folder = write_lines(tmp_path, {**full, "bpm": 120, "split": None}, LINE)
    first, second = read_edit_records(folder)
    assert asdict(first) == full
    assert (second.song, second.kind, second.start_s) == ("a", "add", 0.0)


def test_records_of_the_predecessor_are_read(tmp_path: Path) -> None:
    """Some name their images relative to the folder, some relative to the working folder, and none says the song."""
    folder = tmp_path / "train"
    (folder / "input_image").mkdir(parents=True)
    (folder / "input_image" / "s12_f0_e3.jpg").touch()
    names = {"input_file_path": "train/input_image/s12_f0_e3.jpg", "edited_file_path": "edited_image/s12_f0_e3.jpg"}
    (record,) = read_edit_records(write_lines(folder, {**LINE, **names}))
    assert (record.input_file_path, record.edited_file_path) == ("input_image/s12_f0_e3.jpg", "edited_image/s12_f0_e3.jpg")
    assert record.song == "s12"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({**LINE, "edited_file_path": "../edited.png"}, "line 2: the path ../edited.png leaves the folder"),
        ({**LINE, "input_file_path": "/etc/passwd"}, "line 2: the path /etc/passwd leaves the folder"),
        ({**LINE, "edit_prompt": None}, 'line 2: has no "edit_prompt"'),
        ({**LINE, "input_file_path": ""}, 'line 2: has no "input_file_path"'),
        ({**LINE, "kind": "swap"}, 'line 2: "kind" must be one of add, remove, noop'),
        ({**LINE, "start_s": "5.11"}, 'line 2: "start_s" must be a number'),
        ({**LINE, "song": 7}, 'line 2: "song" must be text'),
        ({**LINE, "start_s": float("nan")}, 'line 2: "start_s" is out of range'),
        ("{", "line 2: is no JSON"),
        ("[1]", "line 2: is no JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: dict[str, Any] | str, words: str) -> None:
    with pytest.raises(DataError) as raised:
        read_edit_records(write_lines(tmp_path, LINE, line))
    assert words in str(raised.value)
    assert "metadata.jsonl" in str(raised.value)


def test_a_folder_without_edit_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"preprocess_musdb\.py --output"):
        read_edit_records(tmp_path)
    with pytest.raises(DataError, match="holds no edit pairs"):
        read_edit_records(write_lines(tmp_path, ""))


TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() or "\u2028" in text)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(EDIT_KINDS), st.floats(0, 500), st.integers(-3, 3)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_what_the_journal_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    folder = tmp_path_factory.mktemp("edits")
    records = [EditRecord("i.png", "e.png", text, "song\u2028", start, pitch, kind) for text, kind, start, pitch in rows]
    journal = SongJournal(folder / "metadata.jsonl")
    journal.add("song\u2028", [asdict(record) for record in records], prompt="p")
    with open(folder / "metadata.jsonl", "ab") as file:  # a run that was killed inside a letter
        file.write('{"input_file_path": "é'.encode()[:-1])
    again = SongJournal(folder / "metadata.jsonl")
    assert (again.num_pairs, again.unfinished()) == (len(records), [])
    again.remove_unfinished()
    assert read_edit_records(folder) == records

"""What is moved aside is nowhere lost, whenever the run is killed, and what stays is still a folder of pairs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riff.data.records import CONTROL_PAIRS, read_records
from riff.inspection.findings import PROBLEMS, Finding, Item, group_items
from riff.inspection.folder import read_folder, read_record_lines
from riff.inspection.set_aside import orphans, plan_set_aside, set_aside
from riff.pairs.edit_pairs import SILENT_IMAGE
from riff.pairs.journal import SongJournal

BROKEN_LINES = (1, 4)


def flaws() -> list[Finding]:
    return group_items([("unreadable", Item("an image", "is truncated", (number,))) for number in BROKEN_LINES])


def fix(folder: Path, groups: tuple[str, ...] = ("broken",)) -> None:
    """The flaws are found again as long as their records are there, as an inspection would."""
    opened = read_folder(folder)
    first = {line.text: line.number for line in read_folder(folder.parent / "before").lines}
    there = [line.number for line in opened.lines if first[line.text] in BROKEN_LINES]
    found = [("unreadable", Item("an image", "is truncated", (number,))) for number in there]
    found += [("orphan", Item(file, "")) for file in orphans(opened)]
    set_aside(opened, plan_set_aside(opened, group_items(found), groups))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def copy(pairs: Path, tmp_path: Path) -> Path:
    shutil.copytree(pairs, tmp_path / "before")
    return Path(shutil.copytree(pairs, tmp_path / "train-data"))


class Killed(BaseException):
    pass


def test_a_killed_run_loses_nothing_and_the_next_one_finishes(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before each of its renames in turn; the end is the same but for the reasons of files that were left over."""
    before = files(copy)
    records = before["prompt.json"].decode().splitlines()
    whole = Path(shutil.copytree(copy, copy.parent / "whole"))
    fix(whole)
    replace, left = os.replace, 0

    def dying(source: str, goal: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        replace(source, goal)

    kills = 0
    while True:
        folder = Path(shutil.copytree(copy, copy.parent / f"killed-{kills}"))
        with monkeypatch.context() as patch:
            left = kills
            patch.setattr(os, "replace", dying)
            try:
                fix(folder)
                break
            except Killed:
                pass
        after = files(folder)
        for name, content in before.items():
            if name.endswith(".png"):
                assert content in (after.get(name), after.get(f"broken/{name}")), name
        lines_there = after["prompt.json"].decode().splitlines() + after.get("broken/reasons.jsonl", b"").decode().splitlines()
        noted = {json.loads(line).get("record", line) for line in lines_there}
        assert set(records) <= noted
        fix(folder)
        fix(folder)
        finished = files(folder)
        assert finished.keys() == files(whole).keys()
        for name in ("prompt.json", "songs.jsonl"):
            assert finished[name] == files(whole)[name]
        kills += 1
    assert kills == 2 + 3 * len(BROKEN_LINES) + 1  # reasons, records, three images each, journal


def test_the_ledger_counts_what_is_left(copy: Path) -> None:
    fix(copy)
    kept = read_records(copy)
    for line in map(json.loads, (copy / "songs.jsonl").read_text().splitlines()):
        left = sum(record.song == line["song"] for record in kept)
        assert (line["pairs"], line["pairs"] + line.get("set_aside", 0)) == (left, 2)
    journal = SongJournal(copy / "prompt.json")
    assert (journal.num_pairs, len(journal.done)) == (len(kept), 4)
    assert read_records(copy) == kept


def test_a_file_that_another_record_needs_stays(copy: Path) -> None:
    """Two records of one image with different words, and records of another control method beside them."""
    first, *others = (copy / "prompt.json").read_text().splitlines()
    twin = json.dumps({**json.loads(first), "prompt": "Sing it again"})
    (copy / "prompt.json").write_text("\n".join([first, *others, twin]) + "\n")
    (copy / "prompt-other.json").write_text(others[2] + "\n")
    opened = read_folder(copy)
    plan = plan_set_aside(opened, flaws(), ["broken"])
    assert set(plan.lines) == {1, 4}
    assert plan.files == {}
    set_aside(opened, plan)
    assert (copy / json.loads(first)["target"]).exists()
    assert orphans(read_folder(copy)) == []


def test_a_file_of_the_same_name_that_was_moved_before_is_kept(copy: Path) -> None:
    target = read_records(copy)[0].target
    (copy / "broken" / "target").mkdir(parents=True)
    (copy / "broken" / target).write_text("an earlier one")
    content = (copy / target).read_bytes()
    fix(copy)
    assert (copy / "broken" / target).read_text() == "an earlier one"
    assert (copy / "broken" / target).with_stem(f"{Path(target).stem}~2").read_bytes() == content


def test_sounds_are_moved_with_their_images(pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "edits"
    record, other = read_records(pairs)[:2]
    for name in ("input_image", "edited_image", "wav"):
        (folder / name).mkdir(parents=True)
    lines = []
    for one in (record, other):
        name = Path(one.target).name
        shutil.copy(pairs / one.accompaniment, folder / "input_image" / name)
        shutil.copy(pairs / one.target, folder / "edited_image" / name)
        for part in ("input", "edited"):
            (folder / "wav" / f"{Path(name).stem}_{part}.wav").touch()
        lines.append({"input_file_path": f"input_image/{name}", "edited_file_path": f"edited_image/{name}", "edit_prompt": "add"})
    (folder / "wav" / "nobody_input.wav").touch()
    (folder / SILENT_IMAGE).touch()  # for pairs that change nothing, even where none was sampled
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened = read_folder(folder)
    assert orphans(opened) == ["wav/nobody_input.wav"]
    set_aside(opened, plan_set_aside(opened, group_items([("unreadable", Item("x", "", (1,)))]), ["broken"]))
    stem = Path(record.target).stem
    moved = {path.relative_to(folder / "broken").as_posix() for path in (folder / "broken").rglob("*.*")}
    assert moved == {
        "reasons.jsonl",
        f"input_image/{stem}.png",
        f"edited_image/{stem}.png",
        f"wav/{stem}_input.wav",
        f"wav/{stem}_edited.wav",
    }


@pytest.mark.parametrize("groups", [("broken",), ("duplicates",), ("silent",), ("broken", "silent")])
def test_only_what_was_asked_for_is_moved(copy: Path, groups: tuple[str, ...]) -> None:
    problems = [problem for problem, problem_type in PROBLEMS.items() if problem_type.fix][:8]
    found = group_items([(problem, Item("x", "", (number,))) for number, problem in enumerate(problems, start=1)])
    plan = plan_set_aside(read_folder(copy), found, groups)
    assert plan.lines.keys() == {number for number, problem in enumerate(problems, start=1) if PROBLEMS[problem].fix in groups}


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2))
ITEMS = st.dictionaries(st.sampled_from(["source", "target", "prompt", "song", "start_s", "semitones", "target_max"]), VALUES)
TEXTS = st.one_of(st.binary(max_size=40), ITEMS.map(lambda item: json.dumps(item).encode()))


@given(st.lists(TEXTS, min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_any_line_is_read_or_named_and_none_is_lost(tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]) -> None:
    """Whatever the lines hold; those that can be read have numbers and text that can be written down."""
    good = b'{"source": "source/a.png", "target": "target/a.png", "prompt": "sing"}'
    path = tmp_path_factory.getbasetemp() / "lines" / "prompt.json"
    path.parent.mkdir(exist_ok=True)
    written = [good, *(text.replace(b"\n", b" ") for text in texts)]
    path.write_bytes(b"\n".join(written))
    lines = read_record_lines(path, CONTROL_PAIRS)
    assert lines[0].record.target == "target/a.png"
    kept = [line.text.encode("utf-8", "surrogateescape") for line in lines]
    assert kept == [text for text in written if text.decode("utf-8", "surrogateescape").strip()]
    for line in lines:
        assert (line.record is None) == bool(line.problem)
        if line.record is not None:
            json.dumps(vars(line.record), allow_nan=False, ensure_ascii=False).encode()

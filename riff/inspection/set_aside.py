"""Moving what is broken aside, into `broken/`, with a line saying why. Nothing is deleted."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from riff.data.pair_folders import PairFolder
from riff.data.pair_types import read_record_lines
from riff.data.records import EDIT_RECORDS_FILE, pairs_file
from riff.errors import DataError
from riff.files import make_folder, only_writer, write_text
from riff.inspection.findings import KINDS, Finding
from riff.pairs.edit_pairs import SILENT_IMAGE
from riff.pairs.journal import SONGS_FILE

BROKEN, REASONS = "broken", "reasons.jsonl"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SOUNDS = ("_input.wav", "_edited.wav")  # what `preprocess_musdb.py --save_wav` adds to a clip's name


@dataclass(frozen=True)
class SetAsidePlan:
    """Which records go, by the numbers of their lines, with the reasons; and which files, each with the reason."""

    lines: dict[int, str]
    files: dict[str, str]


def orphans(folder: PairFolder) -> list[str]:
    """Pictures and sounds beside those of the records that no file of records of the folder names, as paths in it."""
    named, clips = _named(folder, keep=None)
    places = {*folder.kind.image_folders, *(PurePosixPath(file).parent.as_posix() for file in named)} - {".", BROKEN}
    found = [file for place in sorted(places) for file in _files(folder.path, place, PICTURES) if file not in named]
    if folder.kind.sounds:
        found += [file for file in _files(folder.path, folder.kind.sounds, SOUNDS) if _clip_of_sound(file) not in clips]
    return [file for file in found if file != SILENT_IMAGE]


def plan_set_aside(folder: PairFolder, found: Sequence[Finding], groups: Sequence[str]) -> SetAsidePlan:
    """What goes, of the findings of these groups. A file that a record which stays needs too, stays."""
    lines: dict[int, list[str]] = {}
    files: dict[str, str] = {}
    for finding in found:
        if KINDS[finding.kind].fix not in groups:
            continue
        for item in finding.items:
            reason = f"{KINDS[finding.kind].says}: {item.name}" + (f" ({item.reason})" if item.reason else "")
            for number in item.lines:
                lines.setdefault(number, []).append(reason)
            if finding.kind == "orphan":
                files[item.name] = reason
    needed, needed_clips = _named(folder, keep={line.number for line in folder.lines} - set(lines))
    reasons = {number: "; ".join(said) for number, said in lines.items()}
    for line in folder.lines:
        if line.number in lines and line.record is not None:
            pictures = folder.pictures(line.record).values()
            sounds = [file for file in _sounds_of(folder, line.record) if _clip_of_sound(file) not in needed_clips]
            for file in [*(file for file in pictures if _plain(file) not in needed), *sounds]:
                if (folder.path / file).is_file():
                    files[_plain(file)] = reasons[line.number]
    return SetAsidePlan(reasons, files)


def set_aside(folder: PairFolder, plan: SetAsidePlan) -> None:
    """Move the plan's records and files into `broken/`, and mend the ledger of songs beside the records.

    First the reasons are written, with the records themselves, then the records that stay, then the files are moved. So a run
    that is killed leaves every record and every file in one place at least, and the next one finishes. A song stays in the
    ledger as done, with the pairs that are left: making the pairs again leaves it as it is, since its other clips are good
    and what was taken out on purpose should not come back.

    Raises:
        DataError: a file cannot be moved.
        OptionError: pairs are being made there.
    """
    with only_writer(folder.path, "DIR"):
        _set_aside(folder, plan)


def _set_aside(folder: PairFolder, plan: SetAsidePlan) -> None:
    going = [line for line in folder.lines if line.number in plan.lines]
    notes = [{"reason": plan.lines[line.number], "records_file": folder.records_file, "record": line.text} for line in going]
    notes += [{"reason": reason, "file": file} for file, reason in plan.files.items()]
    if notes:
        _note(
            folder.path / BROKEN / REASONS, [json.dumps(note) for note in notes]
        )  # ASCII: a record may hold bytes that are no text
    if going:
        kept = [line.text for line in folder.lines if line.number not in plan.lines]
        write_text(folder.path / folder.records_file, "".join(text + "\n" for text in kept))
    for file in plan.files:
        _move(folder.path, file)
    _mend_ledger(folder, plan)


def _note(path: Path, lines: Sequence[str]) -> None:
    """Append the lines that are not there yet."""
    make_folder(path.parent)
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    known = set(there.split("\n"))
    whole = there if there.endswith("\n") or not there else there + "\n"  # a killed run may have left half a line
    write_text(path, whole + "".join(line + "\n" for line in lines if line not in known))


def _move(folder: Path, file: str) -> None:
    """Move a file to the same place below `broken/`; one that is there already is not replaced."""
    goal = folder / BROKEN / file
    make_folder(goal.parent)
    number = 1
    while goal.exists():
        number += 1
        goal = (folder / BROKEN / file).with_stem(f"{Path(file).stem}~{number}")
    try:
        os.replace(folder / file, goal)
    except OSError as error:
        raise DataError(
            f"{folder / file}: cannot be moved to {goal.parent} ({error.strerror}); run the same command again"
        ) from error


def _mend_ledger(folder: PairFolder, plan: SetAsidePlan) -> None:
    """Write in the ledger of songs how many pairs each has left, and how many were set aside."""
    path = folder.path / SONGS_FILE
    if not path.exists():
        return
    left = Counter(line.record.song for line in folder.readable if line.number not in plan.lines)
    text = path.read_text(encoding="utf-8")
    mended = "".join(_mended(line, left) + "\n" for line in text.split("\n") if line.strip())
    if mended != text:
        write_text(path, mended)


def _mended(text: str, left: Counter[str]) -> str:
    try:
        line: dict[str, Any] = json.loads(text)
        song, pairs = line["song"], line["pairs"]
    except (ValueError, KeyError, TypeError):
        return text
    gone = pairs - left[song]
    if gone <= 0:
        return text
    return json.dumps({**line, "pairs": left[song], "set_aside": line.get("set_aside", 0) + gone}, ensure_ascii=False)


def _named(folder: PairFolder, keep: set[int] | None) -> tuple[set[str], set[str]]:
    """The files that records name, and the names of their clips: of the lines to keep, or all, and of other files of records."""
    records = [(folder, line.record) for line in folder.readable if keep is None or line.number in keep]
    for path in sorted({*folder.path.glob(pairs_file("*")), *folder.path.glob(pairs_file()), folder.path / EDIT_RECORDS_FILE}):
        if path.name != folder.records_file and path.exists():
            other = PairFolder(folder.path, folder.kind, path.name, read_record_lines(path, folder.kind), {})
            records += [(other, line.record) for line in other.readable]
    files = {_plain(file) for where, record in records for file in where.pictures(record).values()}
    return files, {Path(file).stem for file in files}


def _plain(file: str) -> str:
    """A path without `./` and the like, as listing a folder gives it."""
    return os.path.normpath(file)


def _files(folder: Path, place: str, endings: Sequence[str]) -> Iterator[str]:
    if (folder / place).is_dir():
        for path in sorted((folder / place).iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(tuple(endings)):
                yield f"{place}/{path.name}"


def _clip_of_sound(file: str) -> str:
    return Path(file).stem.rpartition("_")[0]


def _sounds_of(folder: PairFolder, record: Any) -> list[str]:
    if not folder.kind.sounds:
        return []
    clips = sorted({Path(file).stem for file in folder.pictures(record).values()})
    return [f"{folder.kind.sounds}/{clip}{ending}" for clip in clips for ending in SOUNDS]

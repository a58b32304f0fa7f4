"""Moving what is broken aside, into `broken/`, with a line that gives the reason. Nothing is deleted."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from riff.data.records import EDIT_RECORDS_FILE, pairs_file
from riff.errors import DataError
from riff.files import make_folder, only_writer, write_text
from riff.inspection.findings import Finding
from riff.inspection.folder import InspectedFolder, read_record_lines
from riff.pairs.journal import SONGS_FILE

BROKEN, REASONS = "broken", "reasons.jsonl"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SOUND_ENDINGS = ("_input.wav", "_edited.wav")  # that `preprocess_musdb.py --save_wav` adds to a clip's name


@dataclass(frozen=True)
class SetAsidePlan:
    """lines: the numbers of the records to move, with the reasons. files: the files to move, with the reason for each."""

    lines: dict[int, str]
    files: dict[str, str]


def orphans(folder: InspectedFolder) -> list[str]:
    """Images and sounds beside those of the records that no file of records of the folder names, as paths in it."""
    used = _used_files(folder)
    places = {*folder.pair_type.image_folders, *(PurePosixPath(file).parent.as_posix() for file in used)} - {".", BROKEN}
    images = [file for place in sorted(places) for file in _list_files(folder.path, place, IMAGE_SUFFIXES) if file not in used]
    sounds = folder.pair_type.sounds
    clips = _clips_of(used)
    unused = (
        [file for file in _list_files(folder.path, sounds, SOUND_ENDINGS) if _clip_of_sound(file) not in clips] if sounds else []
    )
    return [file for file in images + unused if file not in folder.pair_type.shared]


def plan_set_aside(folder: InspectedFolder, found: Sequence[Finding], groups: Sequence[str]) -> SetAsidePlan:
    """What the findings of these groups concern. A file that a remaining record needs stays."""
    lines: dict[int, list[str]] = {}
    files: dict[str, str] = {}
    for finding in found:
        if finding.fix not in groups:
            continue
        for item in finding.items:
            reason = f"{finding.label}: {item}"
            for number in item.lines:
                lines.setdefault(number, []).append(reason)
            if finding.problem == "orphan":
                files[item.name] = reason
    used = _used_files(folder, leaving=lines)
    clips = _clips_of(used)
    reasons = {number: "; ".join(texts) for number, texts in lines.items()}
    for line in folder.readable:
        if line.number in lines:
            images = [os.path.normpath(file) for file in folder.images(line).values()]
            sounds = [
                f"{folder.pair_type.sounds}/{clip}{end}" for clip in sorted(_clips_of(images) - clips) for end in SOUND_ENDINGS
            ]
            for file in [*(file for file in images if file not in used), *(sounds if folder.pair_type.sounds else ())]:
                if (folder.path / file).is_file():
                    files[file] = reasons[line.number]
    return SetAsidePlan(reasons, files)


def set_aside(folder: InspectedFolder, plan: SetAsidePlan) -> None:
    """Move the plan's records and files into `broken/`, and update the journal of songs.

    The reasons are written first, with the records themselves, then the remaining records, then the files are moved. So a run
    that is killed leaves every record and every file in at least one place, and the next one finishes. A song stays done in
    the journal, with the pairs that are left: making pairs again leaves it as it is, since its other clips are good, and what
    was set aside should not come back.

    Raises:
        DataError: a file cannot be moved.
        OptionError: pairs are being made there.
    """
    with only_writer(folder.path):
        moved = [line for line in folder.lines if line.number in plan.lines]
        records_file = folder.pair_type.records_file
        notes = [{"reason": plan.lines[line.number], "records_file": records_file, "record": line.text} for line in moved]
        notes += [{"reason": reason, "file": file} for file, reason in plan.files.items()]
        if notes:  # in ASCII: a record may hold bytes that are not UTF-8
            _append_new(folder.path / BROKEN / REASONS, [json.dumps(note) for note in notes])
        if moved:
            remaining = [line.text for line in folder.lines if line.number not in plan.lines]
            write_text(folder.path / records_file, "".join(text + "\n" for text in remaining))
        for file in plan.files:
            _move(folder.path, file)
        _update_journal(folder, plan)


def _append_new(path: Path, lines: Sequence[str]) -> None:
    """Append the lines that a file does not hold yet."""
    make_folder(path.parent)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    present = set(text.split("\n"))
    complete = text if text.endswith("\n") or not text else text + "\n"  # a killed run may have left half a line
    write_text(path, complete + "".join(line + "\n" for line in lines if line not in present))


def _move(folder: Path, file: str) -> None:
    """Move a file to the same place below `broken/`, under another name where that is taken."""
    target = folder / BROKEN / file
    make_folder(target.parent)
    number = 1
    while target.exists():
        number += 1
        target = (folder / BROKEN / file).with_stem(f"{Path(file).stem}~{number}")
    try:
        os.replace(folder / file, target)
    except OSError as error:
        reason = f"cannot be moved to {target.parent} ({error.strerror}); run the same command again"
        raise DataError(f"{folder / file}: {reason}") from error


def _update_journal(folder: InspectedFolder, plan: SetAsidePlan) -> None:
    """Write in the journal how many pairs each song has left, and how many were set aside."""
    path = folder.path / SONGS_FILE
    if not path.exists():
        return
    pairs_left = Counter(line.record.song for line in folder.readable if line.number not in plan.lines)
    text = path.read_text(encoding="utf-8")
    updated = "".join(_updated(line, pairs_left) + "\n" for line in text.split("\n") if line.strip())
    if updated != text:
        write_text(path, updated)


def _updated(text: str, pairs_left: Counter[str]) -> str:
    try:
        line: dict[str, Any] = json.loads(text)
        song, pairs = line["song"], line["pairs"]
    except (ValueError, KeyError, TypeError):
        return text
    removed = pairs - pairs_left[song]
    if removed <= 0:
        return text
    return json.dumps({**line, "pairs": pairs_left[song], "set_aside": line.get("set_aside", 0) + removed}, ensure_ascii=False)


def _used_files(folder: InspectedFolder, leaving: Collection[int] = ()) -> set[str]:
    """The normalised paths that the folder's records name, without those of lines that leave, and other files of records."""
    lines = [line for line in folder.readable if line.number not in leaving]
    for path in sorted({*folder.path.glob(pairs_file("*")), *folder.path.glob(pairs_file()), folder.path / EDIT_RECORDS_FILE}):
        if path.name != folder.pair_type.records_file and path.exists():
            lines += [line for line in read_record_lines(path, folder.pair_type) if line.record is not None]
    return {os.path.normpath(file) for line in lines for file in folder.images(line).values()}


def _clips_of(images: Collection[str]) -> set[str]:
    return {Path(image).stem for image in images}


def _clip_of_sound(file: str) -> str:
    return Path(file).stem.rpartition("_")[0]


def _list_files(folder: Path, place: str, endings: Sequence[str]) -> Iterator[str]:
    if (folder / place).is_dir():
        for path in sorted((folder / place).iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(tuple(endings)):
                yield f"{place}/{path.name}"

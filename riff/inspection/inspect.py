"""What is to be known of a folder of pairs before anything is trained on it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from riff.cli import progress_bar
from riff.data.pair_folders import PairFolder, open_pair_folder
from riff.data.pair_types import RecordLine
from riff.inspection.duplicates import Heard, repeats
from riff.inspection.findings import Finding, Item, findings
from riff.inspection.images import Flaw, PairLook, PairTask, look_at_pair
from riff.inspection.prompt_stats import prompt_facts, prompt_items
from riff.inspection.set_aside import orphans

MIN_VOCAL_DB = -25.0
MOST_BLACK = 0.01  # of the pixels: a picture's own maximum is one pixel, or a few
FEWEST_EDGES, MOST_EDGES = 0.001, 0.5  # of the pixels
CHUNK = 8  # pairs that go to a process at once


@dataclass(frozen=True)
class InspectionOptions:
    """How to look; the names are those of the flags.

    Attributes:
        control_method: of the records' file. target: what edited pictures show, a stem's name or mix (None: as the manifest says).
        min_vocal_db: vocal over backing, below which a clip has hardly any. num_workers: processes that read pictures.
    """

    control_method: str = ""
    target: str | None = None
    min_vocal_db: float = MIN_VOCAL_DB
    num_workers: int = 1


@dataclass(frozen=True)
class Inspection:
    """A folder of pairs that was looked at.

    Attributes:
        looks: by the number of the record's line. heard: an unshifted clip at each place of each song.
        facts: figures by section, in the order in which they are told; None is not known.
        findings: what is wrong with the folder by itself.
    """

    folder: PairFolder
    looks: dict[int, PairLook]
    heard: dict[str, list[Heard]]
    facts: dict[str, dict[str, Any]]
    findings: list[Finding]


def inspect_pairs(path: str | Path, options: InspectionOptions) -> Inspection:
    """Read everything in a folder of pairs and measure it.

    Raises:
        DataError: it is no folder of pairs at all; whatever else is wrong is among the findings.
    """
    folder = open_pair_folder(path, options.control_method)
    tasks = _tasks(folder, options)
    looks = {look.number: look for look in _look(tasks, options.num_workers, f"pairs of {folder.path.name}")}
    heard = _heard(folder, looks)
    unused = orphans(folder)
    items = [*_line_items(folder), *_look_items(folder, looks, options), *prompt_items(folder)]
    items += [("orphan", Item(file, "")) for file in unused]
    facts = {
        "pairs": _pair_facts(folder, looks, unused),
        "hours": _hours(folder, looks),
        "prompts": prompt_facts(folder),
        "sound": _sound_facts(folder, looks),
        "repeats": {"clips like an earlier one of their song (loops)": sum(len(repeats(clips)) for clips in heard.values())},
    }
    return Inspection(folder, looks, heard, facts, findings(items))


def _tasks(folder: PairFolder, options: InspectionOptions) -> list[PairTask]:
    kind, settings = folder.kind, folder.settings
    thresholds = (settings.get("canny_low"), settings.get("canny_high"))
    known = all(isinstance(value, int) for value in thresholds) and thresholds[0] <= thresholds[1]  # type: ignore[operator]
    target = "mix" if kind.edges else options.target or settings.get("target")
    alone = None if target is None else target != "mix"
    places: set[tuple[str, float]] = set()
    tasks = []
    for line in folder.readable:
        record, edit = line.record, getattr(line.record, "kind", "add")
        backing, result = (kind.backing, kind.result) if edit != "remove" else (kind.result, kind.backing)
        place = _place(line)
        heard = record.semitones == 0 and edit != "noop" and place not in places
        if heard:
            places.add(place)
        tasks.append(
            PairTask(
                number=line.number,
                folder=folder.path,
                pictures=folder.pictures(record),
                maxima={key: getattr(record, name) for key, name in kind.maxima.items() if name in line.known},
                backing=backing,
                result=result,
                edges=kind.edges,
                thresholds=thresholds if known else None,  # type: ignore[arg-type]
                alone=None if edit == "noop" else alone,
                heard=heard,
                silent=edit == "noop",
            )
        )
    return tasks


def _place(line: RecordLine) -> tuple[str, Any]:
    """Song and start of a clip; a record that does not say its start is a clip of its own."""
    return line.record.song, line.record.start_s if "start_s" in line.known else f"line {line.number}"


def _look(tasks: Sequence[PairTask], num_workers: int, description: str) -> list[PairLook]:
    with progress_bar(total=len(tasks), desc=description, unit="pair") as progress:
        looks = []
        if num_workers <= 1 or len(tasks) <= CHUNK:
            for task in tasks:
                looks.append(look_at_pair(task))
                progress.update()
            return looks
        from riff.pairs.engines import worker_context

        with ProcessPoolExecutor(num_workers, worker_context([look_at_pair.__module__]), initializer=_one_thread) as pool:
            for look in pool.map(look_at_pair, tasks, chunksize=CHUNK):
                looks.append(look)
                progress.update()
        return looks


def _one_thread() -> None:
    """A process of several keeps to one core."""
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _heard(folder: PairFolder, looks: dict[int, PairLook]) -> dict[str, list[Heard]]:
    """The clips of each song; those whose start is not known lie one after another, in the records' order."""
    songs: dict[str, list[Heard]] = {}
    for line in folder.readable:
        look = looks[line.number]
        if look.bands is None:
            continue
        clips = songs.setdefault(line.record.song, [])
        start = line.record.start_s if "start_s" in line.known else len(clips) * (look.seconds or 0.0)
        clips.append(Heard(line.number, start, look.bands))
    return songs


def _line_items(folder: PairFolder) -> Iterator[tuple[str, Item]]:
    """What is wrong with the lines themselves."""
    seen: dict[tuple[str, ...], int] = {}
    for line in folder.lines:
        if line.record is None:
            yield "line", Item(f"{folder.records_file} line {line.number}", line.problem, (line.number,))
            continue
        key = (*folder.pictures(line.record).values(), getattr(line.record, folder.kind.prompt))
        if seen.setdefault(key, line.number) != line.number:
            yield "repeated", Item(f"{folder.records_file} line {line.number}", f"as line {seen[key]}", (line.number,))


def _look_items(folder: PairFolder, looks: dict[int, PairLook], options: InspectionOptions) -> Iterator[tuple[str, Item]]:
    """What is wrong with the pictures."""
    usual = _usual_size(looks)
    for line in folder.readable:
        look, number = looks[line.number], (line.number,)
        pictures = folder.pictures(line.record)
        for flaw in [*look.flaws, *_size_flaws(pictures, look, usual)]:
            yield flaw.kind, Item(flaw.file, flaw.reason, number, flaw.bad)
        result = pictures[folder.kind.result]
        if look.silent:
            yield "silent", Item(result, "", number)
        elif look.vocal_db is not None and look.vocal_db < options.min_vocal_db:
            level = f"{look.vocal_db:.0f} dB" if math.isfinite(look.vocal_db) else "none at all"
            yield "weak", Item(result, level, number, -look.vocal_db)
        if look.black_share is not None and look.black_share > MOST_BLACK:
            yield "black", Item(result, f"{look.black_share:.0%} of its pixels", number, look.black_share)
        if look.edge_share is not None and look.edge_share < FEWEST_EDGES:
            yield "no_edges", Item(pictures[folder.kind.edges], "", number)
        if look.edge_share is not None and look.edge_share > MOST_EDGES:
            yield "full_edges", Item(pictures[folder.kind.edges], f"{look.edge_share:.0%}", number, look.edge_share)
        for file in look.without_maximum:
            yield "no_maximum", Item(file, "", number)


def _usual_size(looks: dict[int, PairLook]) -> tuple[int, int] | None:
    sizes = Counter(size for look in looks.values() for size in look.sizes.values())
    return sizes.most_common(1)[0][0] if sizes else None


def _size_flaws(pictures: dict[str, str], look: PairLook, usual: tuple[int, int] | None) -> Iterator[Flaw]:
    for key, size in look.sizes.items():
        if size != usual and usual is not None:
            yield Flaw("size", pictures[key], f"{size[1]}x{size[0]} pixels, not {usual[1]}x{usual[0]}")


def _pair_facts(folder: PairFolder, looks: dict[int, PairLook], unused: Sequence[str]) -> dict[str, Any]:
    lines, usual = folder.readable, _usual_size(looks)
    facts = {
        "kind": "ControlNet pairs" if folder.kind.edges else "edit pairs",
        "records": len(folder.lines),
        "songs": len({line.record.song for line in lines}),
        "songs are": "named in the records" if _all_know(lines, "song") else "guessed from the names of the files",
        "clips": len({_place(line) for line in lines}) if _all_know(lines, "start_s") else None,
        "pitches, semitones": sorted({line.record.semitones for line in lines}) if _all_know(lines, "semitones") else None,
        "pictures": len({file for line in lines for file in folder.pictures(line.record).values()}),
        "pixels": f"{usual[1]}x{usual[0]}" if usual else None,
        "files that no record names": len(unused),
    }
    if folder.kind.edges:
        return facts | {"edge maps compared with their backing": sum(look.edges_checked for look in looks.values()) or None}
    edits = Counter(line.record.kind for line in lines)
    return facts | {"kinds of edits": dict(sorted(edits.items())) if _all_know(lines, "kind") else None}


def _all_know(lines: Sequence[RecordLine], key: str) -> bool:
    return bool(lines) and all(key in line.known for line in lines)


def _hours(folder: PairFolder, looks: dict[int, PairLook]) -> dict[str, float | None]:
    """Of sound, each clip once, however many edits there are of it."""
    seconds: dict[tuple[Any, ...], float] = {}
    for line in folder.readable:
        seconds[(*_place(line), line.record.semitones)] = looks[line.number].seconds or 0.0
    everything = sum(seconds.values()) / 3600
    plain = sum(value for (*_, semitones), value in seconds.items() if semitones == 0) / 3600
    known = _all_know(folder.readable, "semitones")
    return {"unshifted": round(plain, 3) if known else None, "with every pitch": round(everything, 3)}


def _sound_facts(folder: PairFolder, looks: dict[int, PairLook]) -> dict[str, Any]:
    stem = folder.settings.get("gen_stem", "vocals")
    figures = {
        f"{stem} over backing, dB": [look.vocal_db for look in looks.values()],
        "loudness, dB of a full-scale sine": [look.level_db for look in looks.values()],
        "edges, share of pixels": [look.edge_share for look in looks.values()],
        "black, share of pixels": [look.black_share for look in looks.values()],
    }
    return {name: spread([value for value in values if value is not None]) for name, values in figures.items()}


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """5 %, median and 95 % of finite values, and how many they are; None of none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, middle, high = (float(value) for value in np.percentile(finite, [5, 50, 95]))
    return {"5 %": round(low, 4), "median": round(middle, 4), "95 %": round(high, 4), "of": len(finite)}

"""Measurements of a folder of pairs, and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from riff.cli import progress_bar
from riff.inspection.duplicates import Clip, repeats
from riff.inspection.findings import Finding, Item, group_items
from riff.inspection.folder import InspectedFolder, RecordLine, read_folder
from riff.inspection.images import Flaw, PairInspection, PairTask, inspect_pair
from riff.inspection.prompt_stats import prompt_facts, prompt_items
from riff.inspection.set_aside import orphans
from riff.pairs.engines import worker_context

MIN_VOCAL_DB = -25.0
MAX_BLACK = 0.01  # of the pixels: an image's maximum is one pixel, or a few
MIN_EDGES, MAX_EDGES = 0.001, 0.5  # of the pixels
CHUNK = 8  # pairs sent to a process at once
MAX_COUNTS = 5  # of many named counts, printed on a line


@dataclass(frozen=True)
class InspectionOptions:
    """Options of an inspection, named as the flags.

    Attributes:
        control_method: of the records' file. target: what edited images show, a stem's name or mix (None: as in the manifest).
        min_vocal_db: vocal over backing, below which a clip has hardly any. num_workers: processes that read images.
    """

    control_method: str = ""
    target: str | None = None
    min_vocal_db: float = MIN_VOCAL_DB
    num_workers: int = 1


@dataclass(frozen=True)
class Inspection:
    """A folder of pairs and what was found in it.

    Attributes:
        pairs: by the number of the record's line. clips: of each song, the unshifted ones, one per start.
        facts: figures by section, in the order in which they are printed; None is unknown.
        findings: what is wrong.
    """

    folder: InspectedFolder
    pairs: dict[int, PairInspection]
    clips: dict[str, list[Clip]]
    facts: dict[str, dict[str, Any]]
    findings: list[Finding]

    @property
    def verdict(self) -> str:
        """Whether the pairs are fit to train on, in one line."""
        errors, path = [finding for finding in self.findings if finding.error], self.folder.path
        if errors:
            return f"{path} is not fit to train on: {'; '.join(f'{error.label}: {len(error.items):,}' for error in errors)}"
        warnings = len(self.findings)
        warned = f"; {warnings} kind{'s' * (warnings > 1)} of warnings" if warnings else ""
        pairs, songs = (self.facts["pairs"][key] for key in ("records", "songs"))
        return f"{path} is fit to train on: {pairs:,} pairs, {songs:,} song{'s' * (songs != 1)}{warned}"

    def table(self) -> str:
        """Every figure, and the warnings, as lines for a terminal."""
        lines = []
        for section, facts in self.facts.items():
            width = max(map(len, facts))
            lines += [section, *(f"  {name:{width}}  {text_of(value)}" for name, value in facts.items())]
        lines += [f"warning: {finding}" for finding in self.findings if not finding.error]
        return "\n".join(line.rstrip() for line in lines)


def inspect_pairs(path: str | Path, options: InspectionOptions) -> Inspection:
    """Read everything in a folder of pairs and measure it.

    Raises:
        DataError: it is not a folder of pairs; anything else that is wrong is among the findings.
    """
    folder = read_folder(path, options.control_method)
    tasks = _tasks(folder, options)
    pairs = {pair.number: pair for pair in _inspect_all(tasks, options.num_workers, f"pairs of {folder.path.name}")}
    clips = _clips(folder, pairs)
    unused = orphans(folder)
    items = [*_line_items(folder), *_pair_items(folder, pairs, options), *prompt_items(folder)]
    items += [("orphan", Item(file, "")) for file in unused]
    facts = {
        "pairs": _pair_facts(folder, pairs, unused),
        "hours": _hours(folder, pairs),
        "prompts": prompt_facts(folder),
        "sound": _sound_facts(folder, pairs),
        "repeats": {"clips like an earlier one of their song (loops)": sum(len(repeats(song)) for song in clips.values())},
    }
    return Inspection(folder, pairs, clips, facts, group_items(items))


def _tasks(folder: InspectedFolder, options: InspectionOptions) -> list[PairTask]:
    pair_type, settings = folder.pair_type, folder.settings
    thresholds = (settings.get("canny_low"), settings.get("canny_high"))
    known = all(isinstance(value, int) for value in thresholds) and thresholds[0] <= thresholds[1]  # type: ignore[operator]
    target = "mix" if pair_type.edges else options.target or settings.get("target")
    alone = None if target is None else target != "mix"
    fingerprinted: set[tuple[str, Any]] = set()
    tasks = []
    for line in folder.readable:
        record, edit = line.record, getattr(line.record, "kind", "add")
        backing, result = (pair_type.backing, pair_type.result) if edit != "remove" else (pair_type.result, pair_type.backing)
        clip = _clip_key(line)
        is_first = record.semitones == 0 and edit != "noop" and clip not in fingerprinted
        if is_first:
            fingerprinted.add(clip)
        tasks.append(
            PairTask(
                number=line.number,
                folder=folder.path,
                images=folder.images(line),
                maxima={key: getattr(record, name) for key, name in pair_type.maxima.items() if name in line.keys},
                backing=backing,
                result=result,
                edges=pair_type.edges,
                thresholds=thresholds if known else None,  # type: ignore[arg-type]
                alone=None if edit == "noop" else alone,
                fingerprinted=is_first,
                silent=edit == "noop",
            )
        )
    return tasks


def _clip_key(line: RecordLine) -> tuple[str, Any]:
    """Song and start of a clip; a record without a start is a clip of its own."""
    return line.record.song, line.record.start_s if "start_s" in line.keys else f"line {line.number}"


def _inspect_all(tasks: Sequence[PairTask], num_workers: int, description: str) -> Iterator[PairInspection]:
    with progress_bar(total=len(tasks), desc=description, unit="pair") as progress, ExitStack() as stack:
        results: Iterable[PairInspection] = map(inspect_pair, tasks)
        if num_workers > 1 and len(tasks) > CHUNK:
            context = worker_context([inspect_pair.__module__])
            pool = stack.enter_context(ProcessPoolExecutor(num_workers, context, initializer=_use_one_thread))
            results = pool.map(inspect_pair, tasks, chunksize=CHUNK)
        for pair in results:
            yield pair
            progress.update()


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _clips(folder: InspectedFolder, pairs: dict[int, PairInspection]) -> dict[str, list[Clip]]:
    """The fingerprinted clips of each song; without known starts they follow each other in the records' order."""
    songs: dict[str, list[Clip]] = {}
    for line in folder.readable:
        pair = pairs[line.number]
        if pair.bands is None:
            continue
        clips = songs.setdefault(line.record.song, [])
        start = line.record.start_s if "start_s" in line.keys else len(clips) * (pair.seconds or 0.0)
        clips.append(Clip(line.number, start, pair.bands))
    return songs


def _line_items(folder: InspectedFolder) -> Iterator[tuple[str, Item]]:
    """What is wrong with the lines themselves."""
    seen: dict[tuple[str, ...], int] = {}
    for line in folder.lines:
        if line.record is None:
            yield "line", Item(f"{folder.pair_type.records_file} line {line.number}", line.problem, (line.number,))
            continue
        key = (*folder.images(line).values(), folder.prompt(line))
        if seen.setdefault(key, line.number) != line.number:
            yield (
                "repeated",
                Item(f"{folder.pair_type.records_file} line {line.number}", f"equals line {seen[key]}", (line.number,)),
            )


def _pair_items(
    folder: InspectedFolder, pairs: dict[int, PairInspection], options: InspectionOptions
) -> Iterator[tuple[str, Item]]:
    """What is wrong with the images."""
    usual = _usual_size(pairs)
    for line in folder.readable:
        pair, number = pairs[line.number], (line.number,)
        images = folder.images(line)
        for flaw in [*pair.flaws, *_size_flaws(images, pair, usual)]:
            yield flaw.problem, Item(flaw.file, flaw.reason, number, flaw.severity)
        result = images[folder.pair_type.result]
        if pair.silent:
            yield "silent", Item(result, "", number)
        elif pair.vocal_db is not None and pair.vocal_db < options.min_vocal_db:
            level = f"{pair.vocal_db:.0f} dB" if math.isfinite(pair.vocal_db) else "no vocal"
            yield "weak", Item(result, level, number, -pair.vocal_db)
        if pair.black_share is not None and pair.black_share > MAX_BLACK:
            yield "black", Item(result, f"{pair.black_share:.0%} of its pixels", number, pair.black_share)
        if pair.edge_share is not None and pair.edge_share < MIN_EDGES:
            yield "no_edges", Item(images[folder.pair_type.edges], "", number)
        if pair.edge_share is not None and pair.edge_share > MAX_EDGES:
            yield "full_edges", Item(images[folder.pair_type.edges], f"{pair.edge_share:.0%}", number, pair.edge_share)
        for file in pair.without_maximum:
            yield "no_maximum", Item(file, "", number)


def _usual_size(pairs: dict[int, PairInspection]) -> tuple[int, int] | None:
    sizes = Counter(size for pair in pairs.values() for size in pair.sizes.values())
    return sizes.most_common(1)[0][0] if sizes else None


def _size_flaws(images: dict[str, str], pair: PairInspection, usual: tuple[int, int] | None) -> Iterator[Flaw]:
    for key, size in pair.sizes.items():
        if size != usual and usual is not None:
            yield Flaw("size", images[key], f"{size[1]}x{size[0]} pixels, not {usual[1]}x{usual[0]}")


def _pair_facts(folder: InspectedFolder, pairs: dict[int, PairInspection], unused: Sequence[str]) -> dict[str, Any]:
    lines, usual = folder.readable, _usual_size(pairs)
    facts = {
        "kind": "ControlNet pairs" if folder.pair_type.edges else "edit pairs",
        "records": len(folder.lines),
        "songs": len({line.record.song for line in lines}),
        "songs are": "named in the records" if _all_have(lines, "song") else "guessed from the names of the files",
        "clips": len({_clip_key(line) for line in lines}) if _all_have(lines, "start_s") else None,
        "pitches, semitones": sorted({line.record.semitones for line in lines}) if _all_have(lines, "semitones") else None,
        "images": len({file for line in lines for file in folder.images(line).values()}),
        "pixels": f"{usual[1]}x{usual[0]}" if usual else None,
        "files that no record names": len(unused),
    }
    if folder.pair_type.edges:
        return facts | {"edge maps compared with their backing": sum(pair.edges_checked for pair in pairs.values()) or None}
    edits = Counter(line.record.kind for line in lines)
    return facts | {"kinds of edits": dict(sorted(edits.items())) if _all_have(lines, "kind") else None}


def _all_have(lines: Sequence[RecordLine], key: str) -> bool:
    return bool(lines) and all(key in line.keys for line in lines)


def _hours(folder: InspectedFolder, pairs: dict[int, PairInspection]) -> dict[str, float | None]:
    """Of sound; each clip counts once, whatever the number of its edits."""
    seconds: dict[tuple[Any, ...], float] = {}
    for line in folder.readable:
        seconds[(*_clip_key(line), line.record.semitones)] = pairs[line.number].seconds or 0.0
    everything = sum(seconds.values()) / 3600
    plain = sum(value for (*_, semitones), value in seconds.items() if semitones == 0) / 3600
    known = _all_have(folder.readable, "semitones")
    return {"unshifted": round(plain, 3) if known else None, "with every pitch": round(everything, 3)}


def _sound_facts(folder: InspectedFolder, pairs: dict[int, PairInspection]) -> dict[str, Any]:
    stem = folder.settings.get("gen_stem", "vocals")
    figures = {
        f"{stem} over backing, dB": [pair.vocal_db for pair in pairs.values()],
        "loudness, dB of a full-scale sine": [pair.level_db for pair in pairs.values()],
        "edges, share of pixels": [pair.edge_share for pair in pairs.values()],
        "black, share of pixels": [pair.black_share for pair in pairs.values()],
    }
    return {name: spread([value for value in values if value is not None]) for name, values in figures.items()}


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """5 %, median and 95 % of finite values, and how many they are; None of none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, middle, high = (float(value) for value in np.percentile(finite, [5, 50, 95]))
    return {"5 %": round(low, 4), "median": round(middle, 4), "95 %": round(high, 4), "of": len(finite)}


def text_of(value: Any) -> str:
    """A figure of `Inspection.facts` as text."""
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        if "median" in value:
            digits = 1 if max(abs(value["5 %"]), abs(value["95 %"])) > 1 else 3
            low, median, high = (f"{value[name]:.{digits}f}" for name in ("5 %", "median", "95 %"))
            return f"{median} (5 %: {low}, 95 %: {high}, of {value['of']:,})"
        named = [f"{name} ({text_of(count)})" for name, count in list(value.items())[:MAX_COUNTS]]
        return ", ".join(named) + (" …" if len(value) > MAX_COUNTS else "")
    if isinstance(value, list):
        return ", ".join(f"{item:+g}" if item else "0" for item in value)
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

"""The page that shows a folder of pairs: figures, histograms, a contact sheet, and clips to hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from riff.cli import write_manifest
from riff.data.pair_folders import RecordLine
from riff.inspection.findings import KINDS, Finding
from riff.inspection.images import read_picture
from riff.inspection.inspect import Inspection
from riff.inspection.text import fact_rows, verdict
from riff.report.page import Cell
from riff.report.report import Report, Take
from riff.spectrogram.edges import save_edges
from riff.spectrogram.image import SpectrogramImage, load_image
from riff.spectrogram.sheet import contact_sheet

SHEET_PICTURES, SHEET_COLUMNS, THUMBNAIL = 48, 12, 160  # pixels; wide, so that the sheet fills a row of the page
BINS = 30
WORST = 2  # of each kind of finding, at most
NAMES_LISTED = 8
LOUDNESS_NOTE = (
    "From the spectrograms and their maxima: 0 dB is a sine at full scale. Vocal over backing is the energy of the mix beyond that "
    "of its backing, or the vocal's own where the image shows the vocal alone; accurate to 0.2 dB near 0 dB, a few dB at −20."
)


def write_inspection(folder: Path, inspection: Inspection, num_shown: int, arguments: dict[str, Any]) -> Path:
    """Write `report.json`, `index.html`, `sheet.png` and the sounds of some clips under `folder`; returns the page.

    Args:
        num_shown: clips to hear, chosen evenly; the worst of each kind come on top of them, unless it is 0.
        arguments: of the command.
    """
    found = [finding.to_json() for finding in inspection.findings]
    write_manifest(folder / "report.json", arguments, verdict=verdict(inspection), facts=inspection.facts, findings=found)
    report = Report(f"{inspection.folder.path.resolve().name}, inspected", verdict(inspection))
    _add_findings(report, inspection.findings)
    good = [line for line in _unshifted(inspection) if _result(inspection, line) is not None]
    _add_sheet(report, inspection, evenly(good, SHEET_PICTURES), folder / "sheet.png")
    report.section("Figures")
    rows: list[list[Cell]] = []
    for section, facts in inspection.facts.items():
        rows += [["" if index else section, *row] for index, row in enumerate(fact_rows(facts))]
    report.table(["", "what", "figure"], rows)
    for what in ("commonest", "words that not all have"):
        counts = inspection.facts["prompts"][what]
        if counts:
            report.table([f"prompts: {what}", "pairs"], [[text, count] for text, count in counts.items()])
    _add_histograms(report, inspection)
    if num_shown:
        report.section("Clips to hear, chosen evenly")
    for line in evenly(good, num_shown):
        report.takes(list(_takes(inspection, line, folder / "clips")))
    _add_worst(report, inspection, min(num_shown, WORST), folder / "clips")
    return report.write(folder / "index.html")


def evenly(lines: Sequence[RecordLine], count: int) -> list[RecordLine]:
    """At most so many of the lines, at even distances."""
    if len(lines) <= count:
        return list(lines)
    return [lines[place] for place in np.linspace(0, len(lines) - 1, count).round().astype(int)] if count else []


def outline(values: Sequence[float], bins: int = BINS) -> list[tuple[float, float]]:
    """A histogram's outline as the points of a line."""
    counts, edges = np.histogram(values, bins=min(bins, max(1, len(set(values)))))
    heights = np.repeat(counts, 2)
    return [
        (float(edges[0]), 0.0),
        *zip(np.repeat(edges, 2)[1:-1].tolist(), heights.tolist(), strict=True),
        (float(edges[-1]), 0.0),
    ]


def _add_findings(report: Report, found: Sequence[Finding]) -> None:
    report.section("Problems")
    if not found:
        report.text("None were found.")
        return
    rows = []
    for finding in found:
        names = [f"{item.name} ({item.reason})" if item.reason else item.name for item in finding.items[:NAMES_LISTED]]
        more = len(finding.items) - len(names)
        listed = "; ".join(names) + (f"; {more:,} more in report.json" if more else "")
        rows.append(["error" if finding.error else "warning", KINDS[finding.kind].says, f"{len(finding.items):,}", listed])
    report.table(["", "what", "how many", "which, the worst first"], rows)


def _add_histograms(report: Report, inspection: Inspection) -> None:
    looks = inspection.looks.values()
    report.section("Histograms")
    figures: dict[str, tuple[list[float], str]] = {
        "vocal over backing, dB": ([look.vocal_db for look in looks if look.vocal_db is not None], LOUDNESS_NOTE),
        "loudness, dB of a full-scale sine": ([look.level_db for look in looks if look.level_db is not None], ""),
        "edges, share of pixels": ([look.edge_share for look in looks if look.edge_share is not None], ""),
    }
    for name, (values, note) in figures.items():
        finite = [value for value in values if np.isfinite(value)]
        nothing = len(values) - len(finite)
        silent = f"{nothing:,} of {len(values):,} show no vocal at all, and are not drawn." if nothing else ""
        if finite:
            report.chart({"pairs": outline(finite)}, name, "pairs", note=f"{note} {silent}".strip())
    songs = Counter(line.record.song for line in inspection.folder.readable)
    prompts = Counter(getattr(line.record, inspection.folder.kind.prompt) for line in inspection.folder.readable)
    for things, counts in (("songs", songs), ("prompts", prompts)):
        if len(counts) > 1:
            ranked = [(rank, count) for rank, count in enumerate(sorted(counts.values(), reverse=True), start=1)]
            report.chart({things: ranked}, f"{things}, from the one with the most pairs on", "pairs")


def _unshifted(inspection: Inspection) -> list[RecordLine]:
    """A line for each clip without pitch shift, by song and time."""
    lines = {line.number: line for line in inspection.folder.readable}
    return [lines[clip.number] for song in sorted(inspection.heard) for clip in inspection.heard[song]]


def _result(inspection: Inspection, line: RecordLine) -> str | None:
    """The file with the target image, where it can be read."""
    key = inspection.folder.kind.result
    return inspection.folder.pictures(line.record)[key] if key in inspection.looks[line.number].sizes else None


def _add_sheet(report: Report, inspection: Inspection, lines: Sequence[RecordLine], path: Path) -> None:
    if not lines:
        return
    pictures, captions = [], []
    for line in lines:
        pixels = read_picture(inspection.folder.path / str(_result(inspection, line))).pixels
        pictures.append(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA))
        captions.append(line.record.song)
    contact_sheet(pictures, captions, path, SHEET_COLUMNS)
    report.section(f"Contact sheet: {len(lines)} clips, chosen evenly")
    report.takes([Take("training targets", path)])


def _takes(inspection: Inspection, line: RecordLine, folder: Path) -> Iterator[Take]:
    """The images of a pair that can be read, the spectrograms with their sound, written under `folder`."""
    from riff.sampling.clip import save_take  # imports diffusers, which a page without sounds does not need

    kind, look = inspection.folder.kind, inspection.looks[line.number]
    prompt = getattr(line.record, kind.prompt)
    pictures = inspection.folder.pictures(line.record)
    for key in [key for key in (kind.edges, kind.backing, kind.result) if key in look.sizes]:
        place = folder / f"{line.number:06d}-{key.removesuffix('_file_path')}"
        caption = f"{Path(pictures[key]).stem}, {key.removesuffix('_file_path')}"
        image = _spectrogram(inspection, line, key)
        if key == kind.edges or image is None:
            save_edges(place.with_suffix(".png"), read_picture(inspection.folder.path / pictures[key]).pixels)
            yield Take(caption, place.with_suffix(".png"))
            continue
        if key == kind.result:
            level = "" if look.vocal_db is None else f", vocal over backing {look.vocal_db:.1f} dB"
            caption += f": {prompt}{level}"
        save_take(place.parent, place.name, image)
        yield Take(caption, place.with_suffix(".png"), place.with_suffix(".wav"))


def _spectrogram(inspection: Inspection, line: RecordLine, key: str) -> SpectrogramImage | None:
    """A spectrogram of a pair that can be turned into sound, None for one that cannot."""
    kind = inspection.folder.kind
    if key not in kind.maxima:
        return None
    image = load_image(inspection.folder.path / inspection.folder.pictures(line.record)[key])
    return image if image.pixels.shape[0] == image.params.n_mels else None


def _add_worst(report: Report, inspection: Inspection, most: int, folder: Path) -> None:
    """A section for each kind of problem whose pairs can be shown."""
    lines = {line.number: line for line in inspection.folder.readable}
    for finding in inspection.findings:
        items = [item for item in finding.items if any(number in lines for number in item.lines)]
        shown = [(item, lines[number]) for item in items[:most] for number in item.lines[:1] if number in lines]
        takes = [(item, list(_takes(inspection, line, folder))) for item, line in shown]
        if any(found for _, found in takes):
            report.section(KINDS[finding.kind].says.capitalize())
        for item, found in takes:
            if found:
                report.text(f"{item.name}{f': {item.reason}' if item.reason else ''}")
                report.takes(found)

"""The page that shows a folder of pairs: figures, histograms, a contact sheet, and clips to hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from riff.cli import write_manifest
from riff.inspection.findings import Finding
from riff.inspection.folder import RecordLine
from riff.inspection.images import read_image
from riff.inspection.inspect import Inspection, text_of
from riff.report.page import Cell
from riff.report.report import Report, Take
from riff.spectrogram.edges import save_edges
from riff.spectrogram.image import SpectrogramImage, load_image
from riff.spectrogram.sheet import contact_sheet

SHEET_IMAGES, SHEET_COLUMNS, THUMBNAIL = 48, 12, 160  # pixels; wide, so that the sheet fills a row of the page
BINS = 30
MAX_WORST = 2  # of each finding
MAX_NAMES = 8
LOUDNESS_NOTE = (
    "From the spectrograms and their maxima: 0 dB is a sine at full scale. Vocal over backing is the energy of the mix beyond that "
    "of its backing, or the vocal's own where the image shows the vocal alone; accurate to 0.2 dB near 0 dB, a few dB at −20."
)


def write_inspection(folder: Path, inspection: Inspection, num_shown: int, arguments: dict[str, Any]) -> Path:
    """Write `report.json`, `index.html`, `sheet.png` and the sounds of some clips under `folder`; returns the page.

    Args:
        num_shown: clips with sound, evenly spaced; the worst of each finding are added, unless it is 0.
        arguments: of the command, for report.json.
    """
    found = [finding.to_json() for finding in inspection.findings]
    write_manifest(folder / "report.json", arguments, verdict=inspection.verdict, facts=inspection.facts, findings=found)
    report = Report(f"{inspection.folder.path.resolve().name}, inspected", inspection.verdict)
    _add_findings(report, inspection.findings)
    good = [line for line in _unshifted(inspection) if _result(inspection, line) is not None]
    _add_sheet(report, inspection, evenly(good, SHEET_IMAGES), folder / "sheet.png")
    report.section("Figures")
    rows: list[list[Cell]] = []
    for section, facts in inspection.facts.items():
        rows += [["" if index else section, name, text_of(value)] for index, (name, value) in enumerate(facts.items())]
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
    _add_worst(report, inspection, min(num_shown, MAX_WORST), folder / "clips")
    return report.write(folder / "index.html")


def evenly(lines: Sequence[RecordLine], count: int) -> list[RecordLine]:
    """At most `count` of the lines, evenly spaced."""
    if len(lines) <= count:
        return list(lines)
    return [lines[index] for index in np.linspace(0, len(lines) - 1, count).round().astype(int)] if count else []


def outline(values: Sequence[float], bins: int = BINS) -> list[tuple[float, float]]:
    """A histogram as the points of a line."""
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
        remaining = len(finding.items) - MAX_NAMES
        names = "; ".join(map(str, finding.items[:MAX_NAMES])) + (f"; {remaining:,} more in report.json" if remaining > 0 else "")
        rows.append(["error" if finding.error else "warning", finding.label, f"{len(finding.items):,}", names])
    report.table(["", "what", "how many", "which, the worst first"], rows)


def _add_histograms(report: Report, inspection: Inspection) -> None:
    pairs = inspection.pairs.values()
    report.section("Histograms")
    figures: dict[str, tuple[list[float], str]] = {
        "vocal over backing, dB": ([pair.vocal_db for pair in pairs if pair.vocal_db is not None], LOUDNESS_NOTE),
        "loudness, dB of a full-scale sine": ([pair.level_db for pair in pairs if pair.level_db is not None], ""),
        "edges, share of pixels": ([pair.edge_share for pair in pairs if pair.edge_share is not None], ""),
    }
    for name, (values, note) in figures.items():
        finite = [value for value in values if np.isfinite(value)]
        infinite = len(values) - len(finite)
        silent = f"{infinite:,} of {len(values):,} show no vocal at all, and are not plotted." if infinite else ""
        if finite:
            report.chart({"pairs": outline(finite)}, name, "pairs", note=f"{note} {silent}".strip())
    songs = Counter(line.record.song for line in inspection.folder.readable)
    prompts = Counter(inspection.folder.prompt(line) for line in inspection.folder.readable)
    for things, counts in (("songs", songs), ("prompts", prompts)):
        if len(counts) > 1:
            ranked = [(rank, count) for rank, count in enumerate(sorted(counts.values(), reverse=True), start=1)]
            report.chart({things: ranked}, f"{things}, from the one with the most pairs on", "pairs")


def _unshifted(inspection: Inspection) -> list[RecordLine]:
    """A line for each clip without pitch shift, by song and time."""
    lines = {line.number: line for line in inspection.folder.readable}
    return [lines[clip.number] for song in sorted(inspection.clips) for clip in inspection.clips[song]]


def _result(inspection: Inspection, line: RecordLine) -> str | None:
    """The file of the result, where it can be read."""
    key = inspection.folder.pair_type.result
    return inspection.folder.images(line)[key] if key in inspection.pairs[line.number].sizes else None


def _add_sheet(report: Report, inspection: Inspection, lines: Sequence[RecordLine], path: Path) -> None:
    if not lines:
        return
    images, captions = [], []
    for line in lines:
        pixels = read_image(inspection.folder.path / str(_result(inspection, line))).pixels
        images.append(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA))
        captions.append(line.record.song)
    contact_sheet(images, captions, path, SHEET_COLUMNS)
    report.section(f"Contact sheet: {len(lines)} clips, chosen evenly")
    report.takes([Take("training targets", path)])


def _takes(inspection: Inspection, line: RecordLine, folder: Path) -> Iterator[Take]:
    """The images of a pair that can be read, the spectrograms with their sound, written under `folder`."""
    from riff.sampling.clip import save_take  # imports diffusers, which a page without sounds does not need

    pair_type, pair = inspection.folder.pair_type, inspection.pairs[line.number]
    images = inspection.folder.images(line)
    for key in [key for key in (pair_type.edges, pair_type.backing, pair_type.result) if key in pair.sizes]:
        stem = folder / f"{line.number:06d}-{key.removesuffix('_file_path')}"
        caption = f"{Path(images[key]).stem}, {key.removesuffix('_file_path')}"
        image = _spectrogram(inspection, line, key)
        if key == pair_type.edges or image is None:
            save_edges(stem.with_suffix(".png"), read_image(inspection.folder.path / images[key]).pixels)
            yield Take(caption, stem.with_suffix(".png"))
            continue
        if key == pair_type.result:
            level = "" if pair.vocal_db is None else f", vocal over backing {pair.vocal_db:.1f} dB"
            caption += f": {inspection.folder.prompt(line)}{level}"
        save_take(stem.parent, stem.name, image)
        yield Take(caption, stem.with_suffix(".png"), stem.with_suffix(".wav"))


def _spectrogram(inspection: Inspection, line: RecordLine, key: str) -> SpectrogramImage | None:
    """A spectrogram of a pair, None for one that cannot be inverted to sound."""
    if key not in inspection.folder.pair_type.maxima:
        return None
    image = load_image(inspection.folder.path / inspection.folder.images(line)[key])
    return image if image.pixels.shape[0] == image.params.n_mels else None


def _add_worst(report: Report, inspection: Inspection, count: int, folder: Path) -> None:
    """A section for each finding whose pairs can be shown."""
    lines = {line.number: line for line in inspection.folder.readable}
    for finding in inspection.findings:
        items = [item for item in finding.items if any(number in lines for number in item.lines)]
        shown = [(item, lines[number]) for item in items[:count] for number in item.lines[:1] if number in lines]
        takes_of_items = [(item, list(_takes(inspection, line, folder))) for item, line in shown]
        if any(takes for _, takes in takes_of_items):
            report.section(finding.label.capitalize())
        for item, takes in takes_of_items:
            if takes:
                report.text(f"{item.name}{f': {item.reason}' if item.reason else ''}")
                report.takes(takes)

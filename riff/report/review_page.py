"""The page on which labelled songs are heard and their prompts corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from riff.errors import OptionError
from riff.report.page import write_page
from riff.tagging.label import SURE, TEMPLATES, WORDS

MARK = '<form class="review"'


def check_page(path: Path) -> None:
    """Refuse to replace a file that is no such page.

    Raises:
        OptionError: there is another file.
    """
    if path.is_dir() or (path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")):
        raise OptionError(f"{path}: is there already, and no page of labels; choose another name")


def write_review(path: Path, file_name: str, lines: Sequence[Mapping[str, Any]], audio: Mapping[str, Path], template: str) -> Path:
    """Write the page; it saves a corrected prompt file by the browser's download.

    Args:
        file_name: of the prompt file that it saves. lines: of the prompt file. audio: of the songs to be shown, by name.
        template: one of `riff.tagging.label.TEMPLATES`.
    """
    key, verb = TEMPLATES[template]
    songs = [
        {"number": number, "name": line["file"], "prompt": line[key], "audio": audio[line["file"]], "words": _words(line)}
        for number, line in enumerate(lines)
        if line["file"] in audio
    ]
    return write_page(
        path, "review.html", title="Songs and their prompts", intro="", songs=songs, lines=lines, key=key, verb=verb,
        file_name=file_name, choices=WORDS, sure=SURE,
    )  # fmt: skip


def _words(line: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By the names in `WORDS`: the word, and its confidence; empty where the line was written by hand."""
    found = {}
    for kind in WORDS:
        try:
            word, confidence = line["words"][kind]["word"], float(line["words"][kind]["confidence"])
        except (KeyError, TypeError, ValueError):
            word, confidence = "", 0.0
        found[kind] = {"word": word, "confidence": confidence}
    return found

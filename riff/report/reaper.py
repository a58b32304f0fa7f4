"""REAPER projects: files as tracks that all begin at 0:00."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from riff.files import atomic_path

# Types of sources by the suffix; FFmpeg reads the others.
SOURCES = {".wav": "WAVE", ".mp3": "MP3", ".flac": "FLAC", ".ogg": "VORBIS", ".opus": "VORBIS", ".mid": "MIDI"}


def write_project(path: Path, tracks: Mapping[str, Path], midi: Sequence[str], seconds: float, sample_rate: int) -> None:
    """Write a REAPER project (.rpp, a text file) with one track a file; the first, the song itself, and MIDI are muted.

    Args:
        tracks: audio files by the track's name; relative paths are relative to the project. midi: MIDI files beside it.
        seconds: length of the audio.
    """
    lines = ["<REAPER_PROJECT 0.1", f"  SAMPLERATE {sample_rate} 0 0"]
    files = {**tracks, **{name: Path(name) for name in midi}}
    for number, (name, file) in enumerate(files.items()):
        source = SOURCES.get(file.suffix.lower(), "VIDEO")
        muted = number == 0 or source == "MIDI"
        lines += [
            *("  <TRACK", f"    NAME {_quoted(name)}", f"    MUTESOLO {int(muted)} 0 0"),
            *("    <ITEM", "      POSITION 0", f"      LENGTH {seconds:.6f}", "      LOOP 0", f"      NAME {_quoted(name)}"),
            *(f"      <SOURCE {source}", f"        FILE {_quoted(str(file))}", "      >", "    >", "  >"),
        ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*lines, ">", ""]), encoding="utf-8")


def _quoted(text: str) -> str:
    """A token of the format: in quotes of a kind that the text does not hold."""
    mark = next((mark for mark in "\"'`" if mark not in text), None)
    return f"{mark}{text}{mark}" if mark else "`" + text.replace("`", "'") + "`"

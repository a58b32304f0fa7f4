"""Which songs a folder holds, and what they are called in prompt files and in the names of pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from riff.audio.io import AUDIO_SUFFIXES, is_audio, plain_name
from riff.errors import AudioError


@dataclass(frozen=True)
class SongFile:
    """name: as prompts and stems know it. path: of the mixture."""

    name: str
    path: Path

    @property
    def plain_name(self) -> str:
        """The name without the file's suffix, as folders of stems know it."""
        return plain_name(self.name)


def list_songs(folder: str | Path) -> list[SongFile]:
    """Audio files of a folder (`SONG.stem.mp4` among them), and its folders in MUSDB's layout (`SONG/mixture.wav`), by name.

    Raises:
        AudioError: no such folder, or no song in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AudioError(f"--audio_dir {folder}: no such folder")
    files = [SongFile(path.name, path) for path in folder.iterdir() if is_audio(path)]
    files += [SongFile(path.parent.name, path) for path in folder.glob("*/mixture.*") if is_audio(path)]
    if not files:
        suffixes = ", ".join(sorted(AUDIO_SUFFIXES))
        raise AudioError(f"--audio_dir {folder}: holds no songs; put audio files there ({suffixes})")
    return sorted(files, key=lambda song: song.name)


def unique_slugs(songs: Sequence[SongFile]) -> dict[str, str]:
    """song name -> a file name without odd characters or suffix, different for every song."""
    slugs: dict[str, str] = {}
    for song in songs:
        plain = re.sub(r"[^\w.-]+", "_", song.plain_name).strip("._") or "song"
        slug, count = plain, 1
        while slug in slugs.values():
            count += 1
            slug = f"{plain}~{count}"
        slugs[song.name] = slug
    return slugs


def names_without_song(names: Iterable[str], songs: Sequence[SongFile]) -> list[str]:
    """The names, of a prompt file, that no song bears."""
    known = {song.plain_name for song in songs}
    return sorted(name for name in names if name not in known and plain_name(name) not in known)

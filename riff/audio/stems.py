"""The parts of a song, and songs that come with theirs: MUSDB's folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.io import Audio, read_audio
from riff.errors import AudioError
from riff.files import inside

VOCALS, ACCOMPANIMENT = "vocals", "accompaniment"
BACKING_STEMS = ("drums", "bass", "other")
STEM_SUFFIXES = (".wav", ".flac", ".ogg")


@dataclass(frozen=True)
class Stems:
    """A song's parts by name, `vocals` among them, beside either `accompaniment` or what it consists of.

    Each is float32, shape (channels, samples), all of one shape.
    """

    parts: Mapping[str, np.ndarray]

    @property
    def vocals(self) -> np.ndarray:
        return self.parts[VOCALS]

    @property
    def accompaniment(self) -> np.ndarray:
        """The accompaniment, or the float32 sum of all parts but the vocals."""
        backing = [part for name, part in self.parts.items() if name != VOCALS]
        return backing[0] if len(backing) == 1 else np.stack(backing).sum(axis=0)


def read_stems(place: Path) -> tuple[Stems, int]:
    """Read a song's stems and their sample rate from its folder: `vocals.wav` beside drums, bass and other, or accompaniment.

    FLAC and OGG are read too.

    Raises:
        AudioError: a stem is missing or cannot be read, or the stems do not fit each other.
    """
    names = (ACCOMPANIMENT,) if _find_stem(place, ACCOMPANIMENT) else BACKING_STEMS
    paths = {name: _require_stem(place, name) for name in (VOCALS, *names)}
    parts = {name: read_audio(path) for name, path in paths.items()}
    vocals = parts[VOCALS]
    for name, part in parts.items():
        if _format(part) != _format(vocals):
            raise AudioError(
                f"{paths[name]}: {_format(part)} beside {_format(vocals)} of {paths[VOCALS].name}; "
                "export the stems from one session"
            )
    return Stems({name: part.waveform for name, part in parts.items()}), vocals.sample_rate


def stems_beside(song: Path) -> Path | None:
    """Where the stems of a mixture lie, for MUSDB's `SONG/mixture.wav` with `SONG/vocals.wav` beside it, else None."""
    return song.parent if song.stem == "mixture" and _find_stem(song.parent, VOCALS) else None


class StemsFolder:
    """Songs that come with stems, in MUSDB's layout: FOLDER/SONG/{vocals,drums,bass,other}.wav (see `read_stems`)."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise AudioError(f"{folder}: no such folder; give a folder of SONG/{{vocals,drums,bass,other}}.wav")

    def load(self, song_name: str) -> tuple[Stems, int]:
        """Read a song's stems and their sample rate.

        Raises:
            AudioError: there is nothing of this song, or `read_stems` does not take it.
        """
        song = inside(self.folder, song_name)
        if not song.is_dir():
            raise AudioError(f"{self.folder / song_name}: no stems of this song; make this folder or take the song out")
        return read_stems(song)


def _find_stem(song: Path, name: str) -> Path | None:
    return next((path for suffix in STEM_SUFFIXES if (path := song / f"{name}{suffix}").is_file()), None)


def _require_stem(song: Path, name: str) -> Path:
    path = _find_stem(song, name)
    if path is None:
        raise AudioError(f"{song}: {name}.wav is missing (.flac and .ogg are read too); add it or take the song out")
    return path


def _format(audio: Audio) -> str:
    channels, samples = audio.waveform.shape
    return f"{channels} channels of {samples} samples at {audio.sample_rate} Hz"

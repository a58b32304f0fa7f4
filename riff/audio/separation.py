"""Vocals apart from accompaniment: the interface every separator fits, and songs that come with their stems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from riff.audio.io import Audio, read_audio
from riff.errors import AudioError, OptionError
from riff.files import inside

BACKING_STEMS = ("drums", "bass", "other")
STEM_SUFFIXES = (".wav", ".flac", ".ogg")


@dataclass(frozen=True)
class Stems:
    """The two parts of a song: float32, both of shape (channels, samples); their sum is the song."""

    vocals: np.ndarray
    accompaniment: np.ndarray


class Separator(Protocol):
    """What takes a song apart."""

    name: str

    def separate(self, waveform: np.ndarray, sample_rate: int) -> Stems:
        """Split a song of any length, rate and number of channels.

        Args:
            waveform: float32, shape (channels, samples), finite.
            sample_rate: Hz.

        Returns:
            Stems of the same shape and rate that sum to `waveform`.
        """
        ...


def create_separator(name: str, device: str = "cpu") -> Separator:
    """Make a separator by its name; one is enough for any number of songs.

    Raises:
        OptionError: there is none of this name; lists the names.
    """
    if name not in _FACTORIES:
        raise OptionError(f"--separator {name}: no such separator; choose from {', '.join(_FACTORIES)}")
    return _FACTORIES[name](device)


def _repet(device: str) -> Separator:
    from riff.audio.repet import RepetSeparator

    return RepetSeparator()


_FACTORIES: dict[str, Callable[[str], Separator]] = {"repet": _repet}  # a factory imports what it needs, when it is needed


class StemsFolder:
    """Songs that come with stems, in MUSDB's layout: FOLDER/SONG/{vocals,drums,bass,other}.wav (or .flac, .ogg).

    One `accompaniment` file may stand in for drums, bass and other.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise AudioError(f"{folder}: no such folder; give a folder of SONG/{{vocals,drums,bass,other}}.wav")

    def load(self, song_name: str) -> tuple[Stems, int]:
        """Read a song's stems and their sample rate; the accompaniment is the float32 sum of all but the vocals.

        Raises:
            AudioError: the song's folder or a stem is missing or cannot be read, or the stems do not fit each other.
        """
        song = inside(self.folder, song_name)
        if not song.is_dir():
            raise AudioError(f"{self.folder / song_name}: no stems of this song; make this folder or take the song out")
        names = ("accompaniment",) if _find_stem(song, "accompaniment") else BACKING_STEMS
        paths = [_require_stem(song, name) for name in ("vocals", *names)]
        vocals, *backing = (read_audio(path) for path in paths)
        for path, stem in zip(paths[1:], backing, strict=True):
            if _format(stem) != _format(vocals):
                raise AudioError(
                    f"{path}: {_format(stem)} beside {_format(vocals)} of {paths[0].name}; export the stems from one session"
                )
        accompaniment = np.stack([stem.waveform for stem in backing]).sum(axis=0)
        return Stems(vocals.waveform, accompaniment), vocals.sample_rate


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

"""Stems of a song, and songs that come with stems in MUSDB18's folders and files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.io import STEM_FILE_SUFFIX, Audio, is_audio, is_stem_file, read_audio, read_audio_streams
from riff.errors import AudioError
from riff.files import inside

VOCALS, ACCOMPANIMENT = "vocals", "accompaniment"
BACKING_STEMS = ("drums", "bass", "other")
STEM_NAMES = (VOCALS, *BACKING_STEMS)
STEM_SUFFIXES = (".wav", ".flac", ".ogg")
STREAMS = ("mixture", *BACKING_STEMS, VOCALS)  # of a .stem.mp4, in MUSDB18's order
AAC_FRAME = 1024  # samples


@dataclass(frozen=True)
class Stems:
    """A song's stems by name: `vocals`, and either `accompaniment` or the stems that it consists of.

    Each is float32, shape (channels, samples), all of one shape.
    """

    parts: Mapping[str, np.ndarray]

    @property
    def vocals(self) -> np.ndarray:
        return self.parts[VOCALS]

    @property
    def accompaniment(self) -> np.ndarray:
        """The accompaniment, or the float32 sum of all stems but the vocals."""
        return self.without(VOCALS)

    def without(self, name: str) -> np.ndarray:
        """The float32 sum of all stems but one, not clipped to [-1, 1]."""
        summands = [part for part_name, part in self.parts.items() if part_name != name]
        return summands[0] if len(summands) == 1 else np.stack(summands).sum(axis=0)


def read_stems(path: Path, needed: str = VOCALS) -> tuple[Stems, int]:
    """Read a song's stems and their sample rate.

    Args:
        path: the song's folder, with `vocals.wav` beside drums, bass and other, or beside accompaniment (FLAC and OGG are
            read too); or its `.stem.mp4`.
        needed: a stem that the result has; for one of the accompaniment's, a file of the accompaniment is not read.

    Raises:
        AudioError: a stem is missing or cannot be read, or the stems differ in sample rate, length or channels.
    """
    if path.is_file():
        return _read_stem_file(path)
    names = (ACCOMPANIMENT,) if needed == VOCALS and _find_stem(path, ACCOMPANIMENT) else BACKING_STEMS
    paths = {name: _require_stem(path, name) for name in (VOCALS, *names)}
    parts = {name: read_audio(path) for name, path in paths.items()}
    vocals = parts[VOCALS]
    for name, part in parts.items():
        if _format(part) != _format(vocals):
            raise AudioError(
                f"{paths[name]}: {_format(part)} beside {_format(vocals)} of {paths[VOCALS].name}; "
                "export the stems from one session"
            )
    return Stems({name: part.waveform for name, part in parts.items()}), vocals.sample_rate


def _read_stem_file(path: Path) -> tuple[Stems, int]:
    """Read the streams of a `.stem.mp4`: stereo AAC, aligned by the encoder, which may pad the last frame of each differently."""
    streams = read_audio_streams(path)
    if len(streams) != len(STREAMS):
        raise AudioError(f"{path}: holds {len(streams)} audio streams, not {len(STREAMS)} ({', '.join(STREAMS)}); get it again")
    lengths = [audio.waveform.shape[1] for audio in streams]
    same_format = len({(audio.sample_rate, len(audio.waveform)) for audio in streams}) == 1
    if not same_format or max(lengths) - min(lengths) >= AAC_FRAME:
        formats = "; ".join(f"{name} {_format(audio)}" for name, audio in zip(STREAMS, streams, strict=True))
        raise AudioError(f"{path}: its streams differ in length or format ({formats}); get it again")
    parts = {name: audio.waveform[:, : min(lengths)] for name, audio in zip(STREAMS, streams, strict=True)}
    return Stems({name: parts[name] for name in STEM_NAMES}), streams[0].sample_rate


def stems_beside(song: Path) -> Path | None:
    """The path of a mixture's stems, for `read_stems`, else None.

    That is the folder of MUSDB18-HQ's `SONG/mixture.wav` with `SONG/vocals.wav` beside it, and `SONG.stem.mp4` itself.
    """
    if is_stem_file(song):
        return song
    return song.parent if song.stem == "mixture" and _find_stem(song.parent, VOCALS) else None


def stem_files(path: Path) -> list[Path]:
    """The files of a path that `read_stems` takes, by name."""
    return [path] if path.is_file() else sorted(file for file in path.iterdir() if is_audio(file))


def holds_stems(folder: Path) -> bool:
    """Whether this is a song's folder in MUSDB18-HQ's layout, complete or not."""
    return any(_find_stem(folder, name) for name in ("mixture", ACCOMPANIMENT, *STEM_NAMES))


class StemsFolder:
    """Songs with stems in MUSDB18's layouts: FOLDER/SONG/{vocals,drums,bass,other}.wav or FOLDER/SONG.stem.mp4."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise AudioError(f"{folder}: no such folder; give a folder of SONG/{{vocals,drums,bass,other}}.wav")

    def find(self, song_name: str) -> Path:
        """The path of a song's stems, for `read_stems`.

        Raises:
            AudioError: there are none.
        """
        folder, file = inside(self.folder, song_name), inside(self.folder, song_name + STEM_FILE_SUFFIX)
        if folder.is_dir():
            return folder
        if not os.path.isfile(file):  # Path.is_file() raises where the suffix makes the name too long
            raise AudioError(f"{self.folder / song_name}: no stems of this song; make this folder or take the song out")
        return file


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

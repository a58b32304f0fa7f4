"""A visitor's song: how long it is, what it looks like, and a part of it taken apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.io import declared_duration, is_stem_file, plain_name, read_audio, write_audio
from riff.errors import AudioError, OptionError
from riff.sampling.song_sound import backing_image
from riff.separation.separator import SeparationOptions, SongOpener, open_songs
from riff.separation.song import Song, open_song
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

SHORTEST_S = CLIP_SAMPLES / STANDARD.sample_rate  # one clip, 5.11 s: a model sees nothing shorter
CONTEXT_S = 6.0  # on either side of a part: what repeats is told from what sings by its surroundings
COLUMNS = 900  # of the waveform that is shown


@dataclass(frozen=True)
class Limits:
    """max_minutes: of a song. max_seconds: of a part that is sung anew at once."""

    max_minutes: float = 15.0
    max_seconds: float = 30.0


@dataclass(frozen=True)
class Upload:
    """A song as it came.

    Attributes:
        name: to show, without suffix. peaks: the loudest sample of each column of a waveform, 0 to 100.
    """

    path: Path
    name: str
    duration_s: float
    sample_rate: int
    channels: int
    peaks: list[int]


@dataclass(frozen=True)
class Part:
    """A part of a song, taken apart.

    Attributes:
        start_s, end_s: where it lies in the song it was cut from. song: the part alone. backing: its accompaniment's picture.
        separator: that took it apart, or `stems`.
    """

    start_s: float
    end_s: float
    song: Song
    backing: SpectrogramImage
    separator: str


def receive(path: Path, limits: Limits) -> Upload:
    """Look at a song that somebody gave.

    Raises:
        AudioError: not a song that can be read, or too long a one. It is not decoded if it says so itself.
    """
    said_s = declared_duration(path)
    if said_s is not None:
        _check_length(path, said_s, limits)
    audio = read_audio(path)
    _check_length(path, audio.duration_s, limits)
    loudest = np.abs(audio.waveform).max(axis=0)
    columns = np.array_split(loudest, min(COLUMNS, len(loudest)))
    peaks = np.array([column.max() for column in columns]) / max(1e-6, float(loudest.max()))
    rounded = np.round(100 * peaks).astype(int).tolist()
    return Upload(path, plain_name(path.name), audio.duration_s, audio.sample_rate, len(audio.waveform), rounded)


def _check_length(path: Path, seconds: float, limits: Limits) -> None:
    if seconds > 60 * limits.max_minutes:
        raise AudioError(f"{path}: lasts {seconds / 60:.1f} minutes, and {limits.max_minutes:g} are taken here; cut it shorter")


def fit_part(start_s: float | None, end_s: float | None, duration_s: float, limits: Limits) -> tuple[float, float]:
    """The part that is meant, a clip long at least, or the whole song where that is shorter.

    Raises:
        OptionError: times that make no part of this song, or too long a one.
    """
    if start_s is None or end_s is None or not math.isfinite(start_s) or not math.isfinite(end_s):
        raise OptionError("give the seconds at which the part begins and ends")
    if not 0 <= start_s < duration_s:
        raise OptionError(f"the part begins at {start_s:g} s and the song lasts {duration_s:.2f} s; begin inside it")
    end_s = min(end_s, duration_s)
    if end_s <= start_s:
        raise OptionError(f"the part ends at {end_s:g} s, before it begins; give the earlier time first")
    if end_s - start_s > limits.max_seconds + 0.01:
        too_long = f"the part lasts {end_s - start_s:.1f} s, and {limits.max_seconds:g} are sung anew at once"
        raise OptionError(f"{too_long}; make it shorter")
    end_s = min(duration_s, max(end_s, start_s + SHORTEST_S))
    return max(0.0, min(start_s, end_s - SHORTEST_S)), end_s


class Separation:
    """Takes parts apart, by the song's own stems where it has them; what separates is loaded once, when it is first needed.

    Args:
        say: is told what `auto` had to do without.
    """

    def __init__(self, options: SeparationOptions, say: Callable[[str], object]) -> None:
        self._options, self._say = options, say
        self._opener: SongOpener | None = None

    def open_part(self, upload: Upload, start_s: float, end_s: float, folder: Path, device: str = "cpu") -> Part:
        """Cut a part out of a song, with its surroundings, and take it apart; both are left out again afterwards.

        Args:
            folder: for the cut, which is removed.

        Raises:
            AudioError: the song cannot be read any more, or not be separated in the way that was chosen.
        """
        if is_stem_file(upload.path) and self._options.separator in ("auto", "stems"):
            opener, before_s = SongOpener(None), 0.0
            song = open_song(upload.path, opener)
        else:
            before_s = max(0.0, start_s - CONTEXT_S)
            cut = folder / "cut.wav"
            try:
                audio = read_audio(upload.path)
                first, last = (round(time * audio.sample_rate) for time in (before_s, end_s + CONTEXT_S))
                write_audio(cut, audio.waveform[:, first:last], audio.sample_rate, subtype="FLOAT")
                del audio
                opener = self._opener = self._opener or open_songs(self._options, [cut], self._say)
                song = open_song(cut, opener)
            finally:
                cut.unlink(missing_ok=True)
        rate = song.sample_rate
        first, last = round((start_s - before_s) * rate), round((end_s - before_s) * rate)
        part = song.cut(first, last)
        if part.waveform.shape[1] == 0:
            raise AudioError(f"{upload.path}: holds nothing at {start_s:.2f} s; choose another part")
        return Part(start_s, end_s, part, backing_image(part, device), opener.name)

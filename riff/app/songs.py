"""A visitor's song: its length and waveform, and parts of it separated into vocal and accompaniment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np

from riff.audio.io import Audio, declared_duration, is_stem_file, plain_name, read_audio, to_channels, write_audio
from riff.errors import AudioError, OptionError
from riff.sampling.compose import Harmony, beats_of, harmony_of
from riff.sampling.mixback import full_scale_gain
from riff.sampling.rendering import backing_image
from riff.separation.separator import SeparationOptions, SongOpener, open_songs
from riff.separation.song import Song, open_song
from riff.spectrogram.image import SpectrogramImage
from riff.spectrogram.params import CLIP_SAMPLES, STANDARD

SHORTEST_S = CLIP_SAMPLES / STANDARD.sample_rate  # one clip, 5.11 s: the shortest input of a model
CONTEXT_S = 6.0  # on either side of a part, for separators that compare it with its surroundings
SHORTEST_SONG_S = 1.0
COLUMNS = 900  # of the displayed waveform
FIRST_PART_S = 10.2  # two clips
VOICE_HZ = (300, 3_500)  # where a voice is louder than bass, drums and cymbals
PLAYED = {".aac", ".flac", ".m4a", ".mp3", ".mp4", ".ogg", ".opus", ".webm"}  # by every browser, and smaller than WAV


@dataclass(frozen=True)
class Limits:
    """max_minutes: length of a song. max_seconds: length of a part for which vocals are generated."""

    max_minutes: float = 15.0
    max_seconds: float = 30.0


@dataclass(frozen=True)
class Upload:
    """An uploaded song.

    Attributes:
        name: display name, without suffix. preview: what a browser plays, where that is not the file itself.
        peaks: largest magnitude in each column of the waveform, 0 to 100. first_part: that is proposed.
    """

    path: Path
    name: str
    duration_s: float
    sample_rate: int
    channels: int
    peaks: list[int]
    first_part: Region
    preview: Path | None = None

    @cached_property
    def beats(self) -> list[float] | None:
        """Times in seconds at which a part can begin or end in time: the beats, and the song's own ends; None without beats.

        Raises:
            AudioError: the song cannot be read any more.
        """
        audio = read_audio(self.path)
        beats = beats_of(audio.waveform, audio.sample_rate)
        beats = beats[(beats > 0) & (beats < self.duration_s)].round(2)  # as the page's times are
        return [0.0, *beats.tolist(), self.duration_s] if len(beats) else None


class Region(NamedTuple):
    """A part of a song by its limits in seconds."""

    start_s: float
    end_s: float

    @property
    def name(self) -> str:
        """The limits in milliseconds, for file names."""
        return f"{round(self.start_s * 1000)}-{round(self.end_s * 1000)}"


@dataclass(frozen=True)
class Part:
    """A separated part of a song.

    Attributes:
        song: the part alone, with its stems. backing: spectrogram image of its accompaniment.
        separator: that was used, or `stems` for stems of the song's own.
    """

    region: Region
    song: Song
    backing: SpectrogramImage
    separator: str

    @cached_property
    def harmony(self) -> Harmony:
        return harmony_of(self.song.accompaniment, self.song.sample_rate)


def receive(path: Path, limits: Limits) -> Upload:
    """Read an uploaded song.

    Raises:
        AudioError: not a readable song, too short, or too long; a file that declares its length is not decoded to find out.
    """
    declared_s = declared_duration(path)
    if declared_s is not None:
        _check_length(path, declared_s, limits)
    audio = read_audio(path)
    _check_length(path, audio.duration_s, limits)
    if audio.duration_s < SHORTEST_SONG_S:
        raise AudioError(f"{path}: lasts {audio.duration_s:.2f} s; give a song of {SHORTEST_SONG_S:g} s or more")
    length_s = min(FIRST_PART_S, limits.max_seconds, audio.duration_s)
    start_s = loudest_voice(audio, length_s)
    facts = plain_name(path.name), audio.duration_s, audio.sample_rate, len(audio.waveform), peaks_of(audio.waveform, COLUMNS)
    return Upload(path, *facts, Region(start_s, start_s + length_s), _write_preview(path, audio))


def peaks_of(waveform: np.ndarray, columns: int, full: float | None = None) -> list[int]:
    """The largest magnitude in each column of a displayed waveform, in percent.

    Args:
        waveform: float32, shape (channels, samples). full: magnitude that is 100 (default: the largest).
    """
    magnitude = np.abs(waveform).max(axis=0)
    peaks = np.array([column.max() for column in np.array_split(magnitude, min(columns, len(magnitude)))])
    return np.round(100 * peaks / max(1e-6, full or float(peaks.max()))).astype(int).tolist()


def loudest_voice(audio: Audio, length_s: float) -> float:
    """Where the part of this length begins in which singing is most probable: where the stereo centre is loudest in `VOICE_HZ`."""
    rate, hop = audio.sample_rate, audio.sample_rate // 10
    left, right = to_channels(audio.waveform, 2)
    middle, side = (np.abs(librosa.stft(part / 2, n_fft=2048, hop_length=hop)) for part in (left + right, left - right))
    low, high = (round(frequency * 2048 / rate) for frequency in VOICE_HZ)
    level = np.maximum(middle - side, 0)[low:high].sum(axis=0)
    loudest = int(np.convolve(level, np.ones(round(length_s * rate / hop)), "valid").argmax())
    return max(0.0, min(audio.duration_s - length_s, loudest * hop / rate))


def _write_preview(path: Path, audio: Audio) -> Path | None:
    """A FLAC of 16 bits beside a song that not every browser plays, or that is far larger."""
    if path.suffix.lower() in PLAYED:
        return None
    preview = path.with_name(f"{path.name}.flac")
    write_audio(preview, audio.waveform * full_scale_gain(audio.waveform), audio.sample_rate, "PCM_16")
    return preview


def _check_length(path: Path, seconds: float, limits: Limits) -> None:
    if seconds > 60 * limits.max_minutes:
        raise AudioError(f"{path}: lasts {seconds / 60:.1f} minutes, and the limit is {limits.max_minutes:g}; cut it shorter")


def fit_part(start_s: float | None, end_s: float | None, duration_s: float, limits: Limits) -> Region:
    """The requested part, extended to the length of a clip, or to the whole song where that is shorter.

    Raises:
        OptionError: times that are no part of this song, or too long a part.
    """
    if start_s is None or end_s is None or not math.isfinite(start_s) or not math.isfinite(end_s):
        raise OptionError("give the times at which the part begins and ends, as 0:32")
    if not 0 <= start_s < duration_s:
        raise OptionError(f"the part begins at {start_s:g} s and the song lasts {duration_s:.2f} s; begin inside it")
    end_s = min(end_s, duration_s)
    if end_s <= start_s:
        raise OptionError(f"the part ends at {end_s:g} s, before it begins; give the earlier time first")
    if end_s - start_s > limits.max_seconds + 0.01:
        raise OptionError(f"the part lasts {end_s - start_s:.1f} s, and the limit is {limits.max_seconds:g}; make it shorter")
    end_s = min(duration_s, max(end_s, start_s + SHORTEST_S))
    return Region(max(0.0, min(start_s, end_s - SHORTEST_S)), end_s)


def windows_of(region: Region) -> int:
    """About how many windows, which overlap by half, the models see of a part."""
    return max(1, math.ceil(2 * (region.end_s - region.start_s) / SHORTEST_S) - 1)


class Separation:
    """Separates parts, by the song's own stems where it has them. The separator is loaded once, when first needed.

    Args:
        warn: called where `auto` falls back to another separator.
    """

    def __init__(self, options: SeparationOptions, warn: Callable[[str], object]) -> None:
        self._options, self._warn = options, warn
        self._opener: SongOpener | None = None

    def open_part(self, upload: Upload, region: Region, folder: Path, device: str = "cpu") -> Part:
        """Cut a part with its surroundings out of a song, separate it, and remove the surroundings.

        Args:
            folder: for the temporary cut.

        Raises:
            AudioError: the song cannot be read any more, or not be separated by the chosen separator.
        """
        if is_stem_file(upload.path) and self._options.separator in ("auto", "stems"):
            opener, cut_start_s = SongOpener(None), 0.0
            song = open_song(upload.path, opener)
        else:
            cut_start_s = max(0.0, region.start_s - CONTEXT_S)
            cut = folder / "cut.wav"
            try:
                audio = read_audio(upload.path)
                first, last = (round(time * audio.sample_rate) for time in (cut_start_s, region.end_s + CONTEXT_S))
                write_audio(cut, audio.waveform[:, first:last], audio.sample_rate, subtype="FLOAT")
                del audio  # separation needs the memory
                opener = self._opener = self._opener or open_songs(self._options, [cut], self._warn)
                song = open_song(cut, opener)
            finally:
                cut.unlink(missing_ok=True)
        part = song.cut(*(round((time - cut_start_s) * song.sample_rate) for time in region))
        if part.waveform.shape[1] == 0:
            raise AudioError(f"{upload.path}: holds nothing at {region.start_s:.2f} s; choose another part")
        return Part(region, part, backing_image(part, device), opener.name)

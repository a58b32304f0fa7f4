"""A song with its vocals and its accompaniment, aligned to the sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from riff.audio.io import read_audio, to_channels
from riff.errors import AudioError, AudioWarning
from riff.separation.separator import SongOpener
from riff.separation.stems import AAC_FRAME

BLOCK = 2**20  # samples
MIN_EXCERPT_S = 0.001  # at least one sample at any rate
MAX_RESIDUE_DB = -20.0  # of a mixture over the sum of its stems; lossy coding stays below
# Of a mixture with the sum of its stems. Mastered mixtures, which commercial stem files have: 0.94 to 0.99, at least 0.6 with
# multiband compression and delays. Another song: up to 0.02; the same song 50 samples late: up to 0.2.
MIN_CORRELATION = 0.5


@dataclass(frozen=True)
class Song:
    """All float32, shape (channels, samples), at one rate.

    Attributes:
        accompaniment: the sum of the given stems to the bit, or scaled to a mastered song's level; where the song was separated,
            the song minus its vocals, which keeps what a separator drops, such as high frequencies.
        residue_db: energy of waveform - vocals - accompaniment over the waveform's; -inf where they sum exactly.
    """

    waveform: np.ndarray
    vocals: np.ndarray
    accompaniment: np.ndarray
    sample_rate: int
    residue_db: float

    @property
    def duration_s(self) -> float:
        return self.waveform.shape[1] / self.sample_rate

    def cut(self, first: int, last: int) -> Song:
        """A copy of the samples `first` to `last`, the latter excluded."""
        parts = (np.ascontiguousarray(part[:, first:last]) for part in (self.waveform, self.vocals, self.accompaniment))
        waveform, vocals, accompaniment = parts
        return Song(waveform, vocals, accompaniment, self.sample_rate, self.residue_db)


def song_of(vocals: np.ndarray, accompaniment: np.ndarray, sample_rate: int = 44_100) -> Song:
    """The song of its parts, float32, shape (channels, samples) each."""
    return Song(vocals + accompaniment, vocals, accompaniment, sample_rate, -np.inf)


def open_song(path: Path, opener: SongOpener, check: Callable[[float], object] | None = None) -> Song:
    """Read a song and separate it.

    A mono song with stereo stems becomes stereo. Given stems that do not sum to the song, but correlate with it, are those of a
    song that was mastered; they are scaled to its level.

    Args:
        check: as in `SongOpener.open`.

    Warns:
        AudioWarning: a song that was mastered, or is damaged.

    Raises:
        AudioError: a song or stems that cannot be read, or stems that are not this song's.
    """
    stems, rate = opener.open(path, check=check)
    audio = read_audio(path)
    waveform = to_channels(audio.waveform, len(stems.vocals))
    have, want = waveform.shape[1], stems.vocals.shape[1]
    if audio.sample_rate != rate:
        raise AudioError(f"{path}: has {audio.sample_rate} Hz and its stems {rate} Hz; export both from one session")
    if abs(have - want) >= AAC_FRAME:  # encoders pad the last frame of each stream differently
        raise AudioError(f"{path}: has {have} samples and its stems {want}; export both from one session")
    samples = min(have, want)
    waveform, vocals = waveform[:, :samples], stems.vocals[:, :samples]
    accompaniment = stems.accompaniment[:, :samples] if opener.name == "stems" else None
    del stems  # an hour of stereo is 1.3 GB
    if accompaniment is None:
        accompaniment = waveform - vocals
    residue_db = _residue_db(waveform, vocals, accompaniment)
    if opener.name == "stems" and residue_db > MAX_RESIDUE_DB:
        correlation, gain = _compare(waveform, vocals, accompaniment)
        differs = f"{path}: its stems do not sum to it (the difference is at {residue_db:.0f} dB of the song, correlation"
        if correlation < MIN_CORRELATION:
            raise AudioError(f"{differs} {correlation:.2f}); give the aligned stems of this very mix, or separate it")
        mastered = f"as in a song that was mastered; its stems are scaled by {20 * np.log10(gain):+.1f} dB to its level"
        warnings.warn(f"{differs} {correlation:.2f}), {mastered}", AudioWarning, stacklevel=2)
        vocals, accompaniment = vocals * np.float32(gain), accompaniment * np.float32(gain)
        residue_db = _residue_db(waveform, vocals, accompaniment)
    return Song(waveform, vocals, accompaniment, rate, residue_db)


def open_excerpt(path: Path, opener: SongOpener, start_s: float, length_s: float) -> Song:
    """A part of a song, which is refused before the song is separated (`open_song`, `excerpt`)."""
    return excerpt(open_song(path, opener, partial(_check_excerpt, start_s, length_s)), start_s, length_s)


def excerpt(song: Song, start_s: float, length_s: float) -> Song:
    """A part of a song, shorter where the song ends within it.

    Raises:
        AudioError: the song ends before `start_s`, or the part has no samples.
    """
    _check_excerpt(start_s, length_s, song.duration_s)
    first = round(start_s * song.sample_rate)
    part = song.cut(first, first + round(length_s * song.sample_rate))
    return replace(part, residue_db=_residue_db(part.waveform, part.vocals, part.accompaniment))


def _check_excerpt(start_s: float, length_s: float, duration_s: float) -> None:
    if not 0 <= start_s <= duration_s - MIN_EXCERPT_S or length_s < MIN_EXCERPT_S:
        raise AudioError(f"a part of {length_s:g} s from {start_s:g} s: the song lasts {duration_s:.2f} s; begin inside it")


def _compare(waveform: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> tuple[float, float]:
    """The correlation of a song with the sum of its parts, and the factor that brings the sum closest to it."""
    song_power = sum_power = cross_power = 0.0
    for start in range(0, waveform.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        song = waveform[:, block].astype(np.float64)
        total = vocals[:, block].astype(np.float64) + accompaniment[:, block]
        song_power += float(np.square(song).sum())
        sum_power += float(np.square(total).sum())
        cross_power += float((song * total).sum())
    if not song_power or not sum_power:
        return 0.0, 0.0
    return cross_power / float(np.sqrt(song_power * sum_power)), cross_power / sum_power


def _residue_db(waveform: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> float:
    residue_energy = energy = 0.0
    for start in range(0, waveform.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        residue = waveform[:, block] - vocals[:, block] - accompaniment[:, block]
        residue_energy += float(np.square(residue).sum(dtype=np.float64))
        energy += float(np.square(waveform[:, block]).sum(dtype=np.float64))
    if residue_energy == 0:
        return -np.inf
    return 10 * float(np.log10(residue_energy / energy)) if energy else np.inf

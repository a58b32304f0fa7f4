"""A song that gets a new vocal: itself, its vocals and its accompaniment, aligned to the sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from riff.audio.io import read_audio, to_channels
from riff.errors import AudioError, AudioWarning
from riff.separation.separator import SongOpener
from riff.separation.stems import AAC_FRAME

BLOCK = 2**20  # samples
MOST_RESIDUE_DB = -20.0  # of a mixture over its stems' sum: lossy coding stays below
# Of a mixture with its stems' sum. Mixtures that were mastered, which stem files of shops are: 0.94 to 0.99, and 0.6 at the
# least, where each band was compressed and delayed on its own. Another song: up to 0.02; 50 samples late: up to 0.2.
LEAST_CORRELATION = 0.5


@dataclass(frozen=True)
class Song:
    """All float32, shape (channels, samples), at one rate.

    Attributes:
        accompaniment: the sum of the given stems to the bit, or scaled to a mastered song's level; where the song was separated,
            the song less its vocals, which keeps all that a separator drops, such as what lies above its band.
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
        """The samples from `first` to before `last`, in memory of their own."""
        whole = (self.waveform, self.vocals, self.accompaniment)
        waveform, vocals, accompaniment = (np.ascontiguousarray(one[:, first:last]) for one in whole)
        return replace(self, waveform=waveform, vocals=vocals, accompaniment=accompaniment)


def open_song(path: Path, opener: SongOpener, check: Callable[[float], object] | None = None) -> Song:
    """Read a song and separate it.

    A mono song with stereo stems is taken in the stems' form. Given stems that do not sum to the song, but correlate with it, are
    those of a song that was mastered; they are scaled to its level.

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
    _check_same_form(path, waveform.shape[1], audio.sample_rate, stems.vocals.shape[1], rate)
    samples = min(waveform.shape[1], stems.vocals.shape[1])
    waveform, vocals = waveform[:, :samples], stems.vocals[:, :samples]
    accompaniment = stems.accompaniment[:, :samples] if opener.name == "stems" else None
    del stems  # an hour of stereo is 1.3 GB, and what a separator calls the accompaniment is not used
    if accompaniment is None:
        accompaniment = waveform - vocals
    residue_db = _residue_db(waveform, vocals, accompaniment)
    if opener.name == "stems" and residue_db > MOST_RESIDUE_DB:
        correlation, gain = _compare(waveform, vocals, accompaniment)
        differs = f"{path}: its stems do not sum to it (what is left over is at {residue_db:.0f} dB of the song, correlation"
        if correlation < LEAST_CORRELATION:
            raise AudioError(
                f"{differs} {correlation:.2f}); give the stems of this very mix, in time with it, or separate it with --separator"
            )
        mastered = f"as where a song was mastered; going on with the stems, scaled by {20 * np.log10(gain):+.1f} dB to its level"
        warnings.warn(f"{differs} {correlation:.2f}), {mastered}", AudioWarning, stacklevel=2)
        vocals, accompaniment = vocals * np.float32(gain), accompaniment * np.float32(gain)
        residue_db = _residue_db(waveform, vocals, accompaniment)
    return Song(waveform, vocals, accompaniment, rate, residue_db)


def excerpt(song: Song, start_s: float, length_s: float) -> Song:
    """A part of a song, which may be cut short by its end.

    Raises:
        AudioError: the song ends before `start_s`, or nothing is left of it.
    """
    first = round(start_s * song.sample_rate)
    last = first + round(length_s * song.sample_rate)
    if not 0 <= first < song.waveform.shape[1] or last <= first:
        raise AudioError(f"a part of {length_s:g} s from {start_s:g} s: the song lasts {song.duration_s:.2f} s; begin inside it")
    part = song.cut(first, last)
    return replace(part, residue_db=_residue_db(part.waveform, part.vocals, part.accompaniment))


def _check_same_form(path: Path, samples: int, rate: int, stem_samples: int, stem_rate: int) -> None:
    if rate != stem_rate:
        raise AudioError(f"{path}: has {rate} Hz and its stems {stem_rate} Hz; export both from one session")
    # Encoders fill up their last frame, each stream on its own.
    if abs(samples - stem_samples) >= AAC_FRAME:
        raise AudioError(f"{path}: has {samples} samples and its stems {stem_samples}; export both from one session")


def _compare(waveform: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> tuple[float, float]:
    """The correlation of a song with the sum of its parts, and the factor that brings the sum closest to it."""
    song_power = sum_power = both = 0.0
    for start in range(0, waveform.shape[1], BLOCK):
        song, voice, band = (part[:, start : start + BLOCK].astype(np.float64) for part in (waveform, vocals, accompaniment))
        total = voice + band
        song_power += float(np.square(song).sum())
        sum_power += float(np.square(total).sum())
        both += float((song * total).sum())
    if not song_power or not sum_power:
        return 0.0, 0.0
    return both / float(np.sqrt(song_power * sum_power)), both / sum_power


def _residue_db(waveform: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> float:
    left_over = whole = 0.0
    for start in range(0, waveform.shape[1], BLOCK):
        song, voice, band = (part[:, start : start + BLOCK] for part in (waveform, vocals, accompaniment))
        left_over += float(np.square(song - voice - band).sum(dtype=np.float64))
        whole += float(np.square(song).sum(dtype=np.float64))
    if left_over == 0:
        return -np.inf
    return 10 * float(np.log10(left_over / whole)) if whole else np.inf

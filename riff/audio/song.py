"""A song to be sung anew: itself, its vocals and its accompaniment, aligned to the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from riff.audio.io import read_audio, to_channels
from riff.audio.separation import SongOpener
from riff.audio.stems import AAC_FRAME
from riff.errors import AudioError

BLOCK = 2**20  # samples
MOST_RESIDUE_DB = -20.0  # of a mixture over its stems' sum: mastering and lossy coding stay below, another song does not


@dataclass(frozen=True)
class Song:
    """All float32, shape (channels, samples), at one rate.

    Attributes:
        accompaniment: the sum of the given stems to the bit; where the song was separated, the song less its vocals, which keeps
            all that a separator drops, such as what lies above its band.
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


def open_song(path: Path, opener: SongOpener) -> Song:
    """Read a song and take it apart.

    A mono song with stereo stems is taken in the stems' form.

    Raises:
        AudioError: a song or stems that cannot be read, or stems that are not this song's.
    """
    stems, rate = opener.open(path)
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
        raise AudioError(
            f"{path}: its stems do not sum to it (what is left over is at {residue_db:.0f} dB of the song); give the stems of "
            "this very mix, or separate it with --separator"
        )
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


def _residue_db(waveform: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> float:
    left_over = whole = 0.0
    for start in range(0, waveform.shape[1], BLOCK):
        song, voice, band = (part[:, start : start + BLOCK] for part in (waveform, vocals, accompaniment))
        left_over += float(np.square(song - voice - band).sum(dtype=np.float64))
        whole += float(np.square(song).sum(dtype=np.float64))
    if left_over == 0:
        return -np.inf
    return 10 * float(np.log10(left_over / whole)) if whole else np.inf

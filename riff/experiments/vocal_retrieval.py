"""Whose vocal to lay over a song in place of its own: anybody's, or the one that fits best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import librosa
import numpy as np

from riff.audio.io import to_channels
from riff.errors import DataError
from riff.experiments.control import TrueClip
from riff.metrics.images import correlation
from riff.metrics.sounds import CHROMA_FFT
from riff.spectrogram.params import STANDARD

SAME_TEMPO = np.log2(1.08)  # octaves: within 8 %


class Profile(NamedTuple):
    """What must agree for a vocal to fit: chroma, float64, shape (12,), energies; tempo in beats a minute, 0 if there is none."""

    chroma: np.ndarray
    tempo: float


def profile(accompaniment: np.ndarray) -> Profile:
    """Key and tempo of an accompaniment, float32, shape (channels, samples) at 44.1 kHz, without naming the key.

    Chroma is librosa's, summed over time; the tempo is that of `librosa.beat.beat_track`.
    """
    mono, rate = to_channels(accompaniment, 1)[0], STANDARD.sample_rate
    padded = librosa.util.fix_length(mono, size=max(len(mono), CHROMA_FFT))
    chroma = librosa.feature.chroma_stft(y=padded, sr=rate, norm=None, n_fft=CHROMA_FFT, tuning=0.0).sum(axis=1)
    return Profile(chroma.astype(np.float64), float(np.squeeze(librosa.beat.beat_track(y=mono, sr=rate)[0])))


def retrieve_partners(clips: Sequence[TrueClip]) -> list[int]:
    """For every clip, which other clip's vocal fits best as it is, judged by the two accompaniments.

    Of the clips with the same tempo, or of all others where there is none, the one whose chroma correlates most, and of equals the
    first by name. Tempos are the same within 8 %, and so are halves and doubles, which beat trackers confuse. Nothing is
    transposed, stretched or moved.

    Raises:
        DataError: fewer than two clips.
    """
    _check_others(clips)
    profiles = [profile(clip.accompaniment) for clip in clips]
    partners = []
    for index, own in enumerate(profiles):
        others = [other for other in range(len(clips)) if other != index]
        fitting = [other for other in others if same_tempo(own.tempo, profiles[other].tempo)]
        likeness = {other: correlation(own.chroma, profiles[other].chroma) for other in fitting or others}
        partners.append(min(likeness, key=lambda other: (-likeness[other], clips[other].name)))
    return partners


def random_partners(clips: Sequence[TrueClip], seed: int = 0) -> list[int]:
    """For every clip another clip at random, each one once: a round in which each takes the vocal of the next.

    Raises:
        DataError: fewer than two clips.
    """
    _check_others(clips)
    order = np.random.default_rng(seed).permutation(len(clips))
    partners = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    return [partners[index] for index in range(len(clips))]


def same_tempo(ours: float, theirs: float) -> bool:
    """Whether two tempos, or half or double of one, are within 8 %; a song without a tempo is like another without one."""
    if ours <= 0 or theirs <= 0:
        return ours <= 0 and theirs <= 0
    octaves = np.log2(ours / theirs)
    return bool(abs(octaves - np.clip(np.round(octaves), -1, 1)) <= SAME_TEMPO)


def vocal_of(clip: TrueClip, channels: int, samples: int) -> np.ndarray:
    """The clip's true vocal in another clip's form: float32, shape (channels, samples), cut or followed by silence."""
    vocal = to_channels(clip.mix - clip.accompaniment, channels)[:, :samples]
    return np.pad(vocal, ((0, 0), (0, samples - vocal.shape[1])))


def _check_others(clips: Sequence[TrueClip]) -> None:
    if len(clips) < 2:
        raise DataError("another song's vocal is taken from the set, and this one has a single song; give two or more")

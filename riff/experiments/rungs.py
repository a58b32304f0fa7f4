"""The rungs of the ladder: mixes of one accompaniment with vocals from none to the true one.

silence          the accompaniment alone
random vocal     another song's true vocal, unchanged
retrieved vocal  the other song's vocal that fits best in key and tempo (`retrieve_partners`)
model            the vocal of a model, or of another system
true vocal       the true mix
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import librosa
import numpy as np

from riff.audio.io import to_channels
from riff.errors import DataError
from riff.experiments.clips import ReferenceClip
from riff.metrics.images import correlation
from riff.metrics.sounds import CHROMA_FFT
from riff.spectrogram.params import STANDARD

SILENCE, RANDOM, RETRIEVED, MODEL, TRUE = RUNGS = ("silence", "random vocal", "retrieved vocal", "model", "true vocal")
SAME_TEMPO = np.log2(1.08)  # octaves: within 8 %


def rung_mixes(
    clips: Sequence[ReferenceClip], model_mixes: Mapping[str, np.ndarray] | None = None, seed: int = 0
) -> Iterator[tuple[ReferenceClip, dict[str, np.ndarray]]]:
    """Every clip with its mix by rung, in the order of `RUNGS`, float32, shape (channels, samples) at 44.1 kHz.

    Args:
        model_mixes: by the clip's name; None leaves that rung out.
        seed: of the random vocals.

    Raises:
        DataError: fewer than two clips, or a model's mix that is missing or of another length than its clip.
    """
    if model_mixes is not None:
        _check_mixes(clips, model_mixes)
    for clip, random, retrieved in zip(clips, random_partners(clips, seed), retrieve_partners(clips), strict=True):
        channels, samples = clip.accompaniment.shape
        mixes = {
            SILENCE: clip.accompaniment,
            RANDOM: clip.accompaniment + vocal_of(clips[random], channels, samples),
            RETRIEVED: clip.accompaniment + vocal_of(clips[retrieved], channels, samples),
        }
        if model_mixes is not None:
            mixes[MODEL] = model_mixes[clip.name]
        yield clip, mixes | {TRUE: clip.mix}


def _check_mixes(clips: Sequence[ReferenceClip], mixes: Mapping[str, np.ndarray]) -> None:
    for clip in clips:
        if clip.name not in mixes:
            raise DataError(f"{clip.name}: the model made no mix of this clip; make one of every clip")
        length, expected = mixes[clip.name].shape[1], clip.accompaniment.shape[1]
        if length != expected:
            raise DataError(f"{clip.name}: the model's mix has {length} samples, its clip {expected}; cut it to the clip")


class Profile(NamedTuple):
    """The criteria of retrieval: chroma, float64, shape (12,), energies; tempo in beats a minute, 0 for none."""

    chroma: np.ndarray
    tempo: float


def profile(accompaniment: np.ndarray) -> Profile:
    """Chroma and tempo of an accompaniment, float32, shape (channels, samples) at 44.1 kHz.

    Chroma is librosa's, summed over time; the tempo is that of `librosa.beat.beat_track`.
    """
    mono, rate = to_channels(accompaniment, 1)[0], STANDARD.sample_rate
    padded = librosa.util.fix_length(mono, size=max(len(mono), CHROMA_FFT))
    chroma = librosa.feature.chroma_stft(y=padded, sr=rate, norm=None, n_fft=CHROMA_FFT, tuning=0.0).sum(axis=1)
    return Profile(chroma.astype(np.float64), float(np.squeeze(librosa.beat.beat_track(y=mono, sr=rate)[0])))


def retrieve_partners(clips: Sequence[ReferenceClip]) -> list[int]:
    """For every clip, the index of the other clip whose vocal fits best, judged by the two accompaniments.

    Of the clips with the same tempo, or of all others where there is none, the one with the highest correlation of chroma; of
    equals the first by name. Tempos are the same within 8 %, and so are halves and doubles, which beat trackers confuse. The
    vocal is not transposed, stretched or moved.

    Raises:
        DataError: fewer than two clips.
    """
    _check_count(clips)
    profiles = [profile(clip.accompaniment) for clip in clips]
    partners = []
    for index, own in enumerate(profiles):
        others = [other for other in range(len(clips)) if other != index]
        same = [other for other in others if same_tempo(own.tempo, profiles[other].tempo)]
        similarity = {other: correlation(own.chroma, profiles[other].chroma) for other in same or others}
        partners.append(min(similarity, key=lambda other: (-similarity[other], clips[other].name)))
    return partners


def random_partners(clips: Sequence[ReferenceClip], seed: int = 0) -> list[int]:
    """For every clip, the index of another clip at random; each clip is chosen once (a cyclic permutation).

    Raises:
        DataError: fewer than two clips.
    """
    _check_count(clips)
    order = np.random.default_rng(seed).permutation(len(clips))
    partners = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    return [partners[index] for index in range(len(clips))]


def same_tempo(first: float, second: float) -> bool:
    """Whether two tempos, or half or double of one, agree within 8 %; no tempo (0) agrees with no tempo."""
    if first <= 0 or second <= 0:
        return first <= 0 and second <= 0
    octaves = np.log2(first / second)
    return bool(abs(octaves - np.clip(np.round(octaves), -1, 1)) <= SAME_TEMPO)


def vocal_of(clip: ReferenceClip, channels: int, samples: int) -> np.ndarray:
    """The clip's true vocal as float32, shape (channels, samples), cut or padded with silence."""
    vocal = to_channels(clip.vocal, channels)[:, :samples]
    return np.pad(vocal, ((0, 0), (0, samples - vocal.shape[1])))


def _check_count(clips: Sequence[ReferenceClip]) -> None:
    if len(clips) < 2:
        raise DataError("the ladder needs another song's vocal, and there is a single song; give two or more")

"""The same recording under two names: what a split of songs cannot see.

A clip is heard as words: the signs of how 25 bands, taken in pairs, change over 160 ms (after Haitsma and Kalker, "A highly
robust audio fingerprinting system", ISMIR 2002). Words that two songs have in common vote for the time by which one lies behind the
other, and what most of them say is then checked by the correlation of the changes themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from riff.spectrogram.image import SILENCE

BANDS, FRAMES_A_SECOND, FRAME_STEPS = 25, 50, 2  # a frame is two steps of 10 ms
LAG, SMOOTHING = 8, 5  # frames
NEIGHBOURS = 6  # songs that a word is compared with: a copy has many words, and a sound that all songs share says nothing
FEWEST_VOTES = 4
SAME = (
    0.9  # correlation of a clip with its copy: 0.93 and more after a change of format, at most 0.92 of two songs of one synthesiser
)
SAME_SONG_SHARE = 0.5  # of the clips of the shorter song, or fewer: a loop or a sample that both use


def band_image(pixels: np.ndarray) -> np.ndarray:
    """A spectrogram picture, uint8 (n_mels, frames), as ink in few bands: uint8, shape (25, frames // 2), low bands first."""
    size = (pixels.shape[1] // FRAME_STEPS, BANDS)
    return cv2.resize((SILENCE - pixels)[::-1], size, interpolation=cv2.INTER_AREA)


class Heard(NamedTuple):
    """A clip of a song: its number among the records, where it begins, and its `band_image`."""

    number: int
    start_s: float
    bands: np.ndarray


@dataclass(frozen=True)
class Shared:
    """What two songs have in common.

    Attributes:
        first, second: the songs. clips: numbers of the first one's clips that the second one holds too. copies: of the second's.
        share: of the shorter song's clips, in (0, 1]. offset_s: by how much the second one lies behind.
    """

    first: str
    second: str
    clips: tuple[int, ...]
    copies: tuple[int, ...]
    share: float
    offset_s: float

    @property
    def same_recording(self) -> bool:
        return self.share > SAME_SONG_SHARE


def changes(bands: np.ndarray) -> np.ndarray:
    """How the difference of neighbouring bands changes over 160 ms: float32, shape (24, frames - 8); zeros in silence."""
    smooth = cv2.blur(bands.astype(np.float32), (SMOOTHING, 1))
    differences = np.diff(smooth, axis=0)
    return differences[:, LAG:] - differences[:, :-LAG]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two arrays of `changes` of one shape, in [-1, 1]; 0 where one of them is all zero."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.vdot(one, other)) / lengths if lengths else 0.0


def repeats(clips: Sequence[Heard]) -> list[int]:
    """Numbers of the clips of one song that are nearly the same picture as an earlier one: a loop that fits the clips."""
    if not clips:
        return []
    width = min(clip.bands.shape[1] for clip in clips)
    vectors = np.stack([changes(clip.bands[:, :width]).ravel() for clip in clips])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    like = np.tril(vectors @ vectors.T, -1).max(axis=1)
    return [clip.number for clip, value in zip(clips, like, strict=True) if value >= SAME]


def shared_recordings(songs: Mapping[str, Sequence[Heard]]) -> list[Shared]:
    """What any two songs have in common, at whatever time it begins in each; the most alike first.

    Clips should be unshifted, since another pitch is another sound here.
    """
    names = sorted(songs)
    timelines = [_Timeline(songs[name]) for name in names]
    found = []
    for first, second, offset in _candidates(timelines):
        shared = _compare(timelines[first], timelines[second], offset)
        if shared is not None:
            clips, copies = shared
            fewer = min(len(songs[names[first]]), len(songs[names[second]]))
            share = min(1.0, min(len(clips), len(copies)) / fewer)
            found.append(Shared(names[first], names[second], clips, copies, share, offset / FRAMES_A_SECOND))
    return sorted(found, key=lambda shared: (-shared.share, shared.first, shared.second))


class _Timeline:
    """A song's clips in frames. starts: where each begins."""

    def __init__(self, clips: Sequence[Heard]) -> None:
        self.clips = clips
        self.starts = [round(clip.start_s * FRAMES_A_SECOND) for clip in clips]

    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """uint32 words that the song has, each once, and the frame in which it says them first; none of silence."""
        words, times = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
        for start, clip in zip(self.starts, self.clips, strict=True):
            change = changes(clip.bands)
            heard = np.abs(change).sum(axis=0) > 0
            words.append((change > 0).T.astype(np.uint32)[heard] @ (1 << np.arange(BANDS - 1, dtype=np.uint32)))
            times.append(start + np.flatnonzero(heard))
        word, first = np.unique(np.concatenate(words), return_index=True)
        return word, np.concatenate(times)[first]

    def cut(self, start: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bands (25, frames) from a frame on, which frames of them a clip covers, and how many frames of each clip those are."""
        bands, covered, used = np.zeros((BANDS, frames), np.uint8), np.zeros(frames, bool), np.zeros(len(self.clips), int)
        for index, (begin, clip) in enumerate(zip(self.starts, self.clips, strict=True)):
            low, high = max(start, begin), min(start + frames, begin + clip.bands.shape[1])
            if low < high:
                bands[:, low - start : high - start] = clip.bands[:, low - begin : high - begin]
                covered[low - start : high - start] = True
                used[index] = high - low
        return bands, covered, used


def _candidates(timelines: Sequence[_Timeline]) -> Iterator[tuple[int, int, int]]:
    """Pairs of songs with enough words in common at one offset in frames, and that offset."""
    spoken = [timeline.words() for timeline in timelines]
    word = np.concatenate([words for words, _ in spoken] or [np.zeros(0, np.uint32)])
    time = np.concatenate([times for _, times in spoken] or [np.zeros(0, np.int64)])
    song = np.repeat(np.arange(len(spoken)), [len(words) for words, _ in spoken])
    order = np.lexsort((song, word))
    word, time, song = word[order], time[order], song[order]
    pairs = []
    for step in range(1, NEIGHBOURS + 1):
        alike = np.flatnonzero(word[:-step] == word[step:])
        pairs.append(np.stack([song[alike], song[alike + step], time[alike + step] - time[alike]], axis=1))
    votes, counts = np.unique(np.concatenate(pairs), axis=0, return_counts=True)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for (first, second, offset), count in zip(votes[counts >= FEWEST_VOTES].tolist(), counts[counts >= FEWEST_VOTES], strict=True):
        best[first, second] = max(best.get((first, second), (0, 0)), (int(count), offset))
    for (first, second), (_, offset) in best.items():
        yield first, second, offset


def _compare(first: _Timeline, second: _Timeline, offset: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The numbers of the clips that are the same with the second song moved by an offset, of each; None for none."""
    clips, copies = [], set()
    for start, clip in zip(first.starts, first.clips, strict=True):
        bands, covered, used = second.cut(start + offset, clip.bands.shape[1])
        if covered.mean() < 0.5:
            continue
        both = np.where(covered, clip.bands, 0)
        if correlation(changes(both), changes(bands)) >= SAME:
            clips.append(clip.number)
            copies |= {second.clips[index].number for index in np.flatnonzero(used * 4 >= clip.bands.shape[1]).tolist()}
    return (tuple(clips), tuple(sorted(copies))) if clips else None

"""The same recording under two names, which a split by song name does not detect.

A clip's fingerprint is a sequence of sub-fingerprints: the signs of the changes, over 160 ms, of the differences between 25
neighbouring bands (after Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002). Sub-fingerprints that
two songs share vote for a time offset between them, and the offset with the most votes is verified by correlating the changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from riff.spectrogram.image import SILENCE

BANDS, FRAMES_PER_SECOND, STEPS_PER_FRAME = 25, 50, 2  # a spectrogram's step is 10 ms
LAG, SMOOTHING = 8, 5  # frames
NEIGHBOURS = 6  # songs compared per sub-fingerprint: one that many songs share identifies none of them
MIN_VOTES = 4
# Correlation of a clip with its copy: at least 0.93 after a change of format; at most 0.92 for two songs of one synthesiser.
SAME = 0.9
SAME_SONG_SHARE = 0.5  # of the shorter song's clips; below it, the songs share a loop or a sample


def band_image(pixels: np.ndarray) -> np.ndarray:
    """A spectrogram image, uint8 (n_mels, frames), inverted and reduced: uint8, shape (25, frames // 2), low bands first."""
    size = (pixels.shape[1] // STEPS_PER_FRAME, BANDS)
    return cv2.resize((SILENCE - pixels)[::-1], size, interpolation=cv2.INTER_AREA)


class Clip(NamedTuple):
    """A clip of a song: the number of its record, its start, and its `band_image`."""

    number: int
    start_s: float
    bands: np.ndarray


@dataclass(frozen=True)
class Match:
    """Clips that two songs have in common.

    Attributes:
        first, second: the songs. first_clips, second_clips: numbers of the clips that the other song holds too.
        share: of the shorter song's clips, in (0, 1]. offset_s: by which the second song is delayed.
    """

    first: str
    second: str
    first_clips: tuple[int, ...]
    second_clips: tuple[int, ...]
    share: float
    offset_s: float

    @property
    def same_recording(self) -> bool:
        return self.share > SAME_SONG_SHARE


def changes(bands: np.ndarray) -> np.ndarray:
    """Changes, over 160 ms, of the differences between neighbouring bands: float32, shape (24, frames - 8); 0 in silence."""
    smooth = cv2.blur(bands.astype(np.float32), (SMOOTHING, 1))
    differences = np.diff(smooth, axis=0)
    return differences[:, LAG:] - differences[:, :-LAG]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of two arrays of `changes` of one shape, in [-1, 1]; 0 where one of them is all zero."""
    norms = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.vdot(first, second)) / norms if norms else 0.0


def repeats(clips: Sequence[Clip]) -> list[int]:
    """Numbers of the clips of one song that nearly equal an earlier one, as a loop of the clips' length does."""
    if not clips:
        return []
    width = min(clip.bands.shape[1] for clip in clips)
    vectors = np.stack([changes(clip.bands[:, :width]).ravel() for clip in clips])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    similarity = np.tril(vectors @ vectors.T, -1).max(axis=1)
    return [clip.number for clip, value in zip(clips, similarity, strict=True) if value >= SAME]


def find_matches(songs: Mapping[str, Sequence[Clip]]) -> list[Match]:
    """What any two songs have in common, at any offset; the largest share first.

    Clips should not be pitch-shifted: another pitch has another fingerprint.
    """
    names = sorted(songs)
    timelines = [_Timeline(songs[name]) for name in names]
    matches = []
    for first, second, offset in _candidates(timelines):
        clips, copies = _common_clips(timelines[first], timelines[second], offset)
        if clips:
            shorter = min(len(songs[names[first]]), len(songs[names[second]]))
            share = min(1.0, min(len(clips), len(copies)) / shorter)
            matches.append(Match(names[first], names[second], clips, copies, share, offset / FRAMES_PER_SECOND))
    return sorted(matches, key=lambda match: (-match.share, match.first, match.second))


class _Timeline:
    """A song's clips in frames. starts: first frame of each."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self.starts = [round(clip.start_s * FRAMES_PER_SECOND) for clip in clips]

    def fingerprint(self) -> tuple[np.ndarray, np.ndarray]:
        """The song's distinct sub-fingerprints, uint32, and the first frame of each; silence has none."""
        codes, frames = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
        for start, clip in zip(self.starts, self.clips, strict=True):
            change = changes(clip.bands)
            audible = np.abs(change).sum(axis=0) > 0
            codes.append((change > 0).T.astype(np.uint32)[audible] @ (1 << np.arange(BANDS - 1, dtype=np.uint32)))
            frames.append(start + np.flatnonzero(audible))
        code, first = np.unique(np.concatenate(codes), return_index=True)
        return code, np.concatenate(frames)[first]

    def cut(self, start: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bands (25, frames) from a frame on, whether a clip covers each frame, and the number of frames from each clip."""
        bands, covered, used = np.zeros((BANDS, frames), np.uint8), np.zeros(frames, bool), np.zeros(len(self.clips), int)
        for index, (begin, clip) in enumerate(zip(self.starts, self.clips, strict=True)):
            low, high = max(start, begin), min(start + frames, begin + clip.bands.shape[1])
            if low < high:
                bands[:, low - start : high - start] = clip.bands[:, low - begin : high - begin]
                covered[low - start : high - start] = True
                used[index] = high - low
        return bands, covered, used


def _candidates(timelines: Sequence[_Timeline]) -> Iterator[tuple[int, int, int]]:
    """Pairs of songs with enough sub-fingerprints in common at one offset, and that offset in frames."""
    fingerprints = [timeline.fingerprint() for timeline in timelines]
    code = np.concatenate([codes for codes, _ in fingerprints] or [np.zeros(0, np.uint32)])
    frame = np.concatenate([frames for _, frames in fingerprints] or [np.zeros(0, np.int64)])
    song = np.repeat(np.arange(len(fingerprints)), [len(codes) for codes, _ in fingerprints])
    order = np.lexsort((song, code))
    code, frame, song = code[order], frame[order], song[order]
    pairs = []
    for step in range(1, NEIGHBOURS + 1):
        equal = np.flatnonzero(code[:-step] == code[step:])
        pairs.append(np.stack([song[equal], song[equal + step], frame[equal + step] - frame[equal]], axis=1))
    votes, counts = np.unique(np.concatenate(pairs), axis=0, return_counts=True)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for (first, second, offset), count in zip(votes[counts >= MIN_VOTES].tolist(), counts[counts >= MIN_VOTES], strict=True):
        best[first, second] = max(best.get((first, second), (0, 0)), (int(count), offset))
    for (first, second), (_, offset) in best.items():
        yield first, second, offset


def _common_clips(first: _Timeline, second: _Timeline, offset: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the clips of each song that the other one holds, with the second song moved by an offset."""
    clips, copies = [], set()
    for start, clip in zip(first.starts, first.clips, strict=True):
        bands, covered, used = second.cut(start + offset, clip.bands.shape[1])
        if covered.mean() < 0.5:
            continue
        if correlation(changes(np.where(covered, clip.bands, 0)), changes(bands)) >= SAME:
            clips.append(clip.number)
            copies |= {second.clips[index].number for index in np.flatnonzero(used * 4 >= clip.bands.shape[1]).tolist()}
    return tuple(clips), tuple(sorted(copies))

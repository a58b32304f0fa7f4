"""Separated songs -> pairs for a ControlNet: edges of the accompaniment, spectrogram of the mix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.clips import cut_clips, vocal_ratio
from riff.audio.separation import SongOpener
from riff.data.build import BuildReport, ClipCount, PairsFolder, SongPairs, build_songs, check_usable
from riff.data.clip_images import clip_images, pitch_shifts, to_standard_rate
from riff.data.records import DEFAULT_PROMPT, PairRecord, pairs_file
from riff.data.songs import SongFile
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges, save_edges
from riff.spectrogram.image import SpectrogramImage, save_image
from riff.spectrogram.params import CLIP_SAMPLES

IMAGE_FOLDERS = ("source", "target", "accompaniment")


@dataclass(frozen=True)
class PairSettings:
    """What decides how pairs look; a folder of pairs holds one setting."""

    pitch_augment: bool = True
    min_vocal_ratio: float = 0.1
    canny_low: int = CANNY_LOW
    canny_high: int = CANNY_HIGH

    @property
    def semitones(self) -> tuple[int, ...]:
        return pitch_shifts(self.pitch_augment)


@dataclass(frozen=True)
class Pair:
    """The images of one clip at one pitch, and the name of their files. edges: uint8 (512, 512), 0 or 255."""

    name: str
    start_s: float
    semitones: int
    target: SpectrogramImage
    accompaniment: SpectrogramImage
    edges: np.ndarray


def pairs_folder(folder: Path) -> PairsFolder:
    return PairsFolder(folder, pairs_file(), IMAGE_FOLDERS, "--train_data_dir")


def usable_clips(vocals: np.ndarray, mix: np.ndarray, settings: PairSettings) -> tuple[list[int], ClipCount]:
    """Starts of the clips with enough vocal.

    Args:
        vocals, mix: float32, shape (channels, samples), at 44.1 kHz.
    """
    starts = cut_clips(mix.shape[1], CLIP_SAMPLES)
    ratios = [vocal_ratio(vocals[:, s : s + CLIP_SAMPLES], mix[:, s : s + CLIP_SAMPLES]) for s in starts]
    kept = [start for start, ratio in zip(starts, ratios, strict=True) if ratio >= settings.min_vocal_ratio]
    return kept, ClipCount(len(starts), len(starts) - len(kept))


def make_pairs(
    accompaniment: np.ndarray, mix: np.ndarray, starts: Sequence[int], settings: PairSettings, slug: str, device: str = "cpu"
) -> Iterator[Pair]:
    """Yield the pairs of every clip at every pitch.

    Args:
        accompaniment, mix: float32, shape (channels, samples), at 44.1 kHz.
        starts: of the clips, in samples.
        slug: of the song, for the names.
    """
    for clip in clip_images((mix, accompaniment), starts, settings.semitones, device):
        target, backing = clip.images
        edges = canny_edges(backing.pixels, settings.canny_low, settings.canny_high)
        yield Pair(clip.name(slug), clip.start_s, clip.semitones, target, backing, edges)


def save_pair(folder: Path, song: str, prompt: str, pair: Pair) -> PairRecord:
    """Write a pair's three PNGs under `source/`, `target/` and `accompaniment/`, and return its record."""
    paths = {kind: f"{kind}/{pair.name}" for kind in IMAGE_FOLDERS}
    save_edges(folder / paths["source"], pair.edges)
    save_image(folder / paths["target"], pair.target)
    save_image(folder / paths["accompaniment"], pair.accompaniment)
    return PairRecord(
        **paths,
        prompt=prompt,
        song=song,
        start_s=round(pair.start_s, 6),
        semitones=pair.semitones,
        target_max=pair.target.max_value,
        accompaniment_max=pair.accompaniment.max_value,
    )


def build_pairs(
    songs: Sequence[SongFile],
    slugs: Mapping[str, str],
    prompts: Mapping[str, str],
    folder: PairsFolder,
    settings: PairSettings,
    opener: SongOpener,
    device: str = "cpu",
    warn: Callable[[str], None] = print,
) -> BuildReport:
    """Make the pairs of every song that is not done yet (see `build_songs`)."""

    def open_song(song: SongFile, prompt: str) -> SongPairs:
        stems, rate = opener.open(song.path, song.plain_name)
        accompaniment, vocals = to_standard_rate(stems.accompaniment, rate), to_standard_rate(stems.vocals, rate)
        mix = accompaniment + vocals
        check_usable(song, mix)
        starts, count = usable_clips(vocals, mix, settings)
        pairs = make_pairs(accompaniment, mix, starts, settings, slugs[song.name], device)
        return SongPairs((save_pair(folder.path, song.name, prompt, pair) for pair in pairs), count)

    none_left = "every clip has next to no vocal; no pairs (lower --min_vocal_ratio to keep them)"
    return build_songs(songs, folder.open_ledger(), prompts, DEFAULT_PROMPT, open_song, none_left, warn=warn)

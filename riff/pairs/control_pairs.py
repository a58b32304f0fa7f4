"""Separated songs -> pairs for a ControlNet: edges of the accompaniment, spectrogram of the mix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.clips import cut_clips, vocal_ratio
from riff.data.records import CONTROL_PAIRS, PairRecord
from riff.files import write_new
from riff.pairs.clip_images import check_usable, clip_images, pitch_shifts, to_standard_rate
from riff.pairs.folder import PairsFolder
from riff.pairs.making import ClipCount, SongJob
from riff.pairs.songs import SongFile
from riff.separation.separator import SongOpener
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges, edges_to_png
from riff.spectrogram.image import SpectrogramImage, image_to_png
from riff.spectrogram.params import CLIP_SAMPLES

NONE_LEFT = "every clip has next to no vocal; no pairs (lower --min_vocal_ratio to keep them)"


@dataclass(frozen=True)
class PairSettings:
    """What decides how pairs look; a folder of pairs holds one setting."""

    pitch_augment: bool = True
    min_vocal_ratio: float = 0.1
    canny_low: int = CANNY_LOW
    canny_high: int = CANNY_HIGH
    pitch_method: str = "warp"

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
    return PairsFolder(folder, CONTROL_PAIRS.records_file, CONTROL_PAIRS.image_folders, "--train_data_dir")


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
    for clip in clip_images((mix, accompaniment), starts, settings.semitones, device, pitch_method=settings.pitch_method):
        target, backing = clip.images
        edges = canny_edges(backing.pixels, settings.canny_low, settings.canny_high)
        yield Pair(clip.name(slug), clip.start_s, clip.semitones, target, backing, edges)


def save_pair(folder: Path, song: str, prompt: str, pair: Pair) -> PairRecord:
    """Write a pair's three PNGs under `source/`, `target/` and `accompaniment/`, and return its record."""
    paths = {key: f"{image.folder}/{pair.name}" for key, image in CONTROL_PAIRS.images.items()}
    write_new(folder / paths["source"], edges_to_png(pair.edges))
    write_new(folder / paths["target"], image_to_png(pair.target))
    write_new(folder / paths["accompaniment"], image_to_png(pair.accompaniment))
    return PairRecord(
        **paths,
        prompt=prompt,
        song=song,
        start_s=round(pair.start_s, 6),
        semitones=pair.semitones,
        target_max=pair.target.max_value,
        accompaniment_max=pair.accompaniment.max_value,
    )


@dataclass(frozen=True)
class PairMaker:
    """Makes songs into pairs (see `SongMaker`)."""

    settings: PairSettings
    opener: SongOpener
    device: str = "cpu"

    def sources(self, song: SongFile) -> list[Path]:
        return self.opener.sources(song.path, song.plain_name)

    def make(self, job: SongJob, folder: Path) -> tuple[list[PairRecord], ClipCount]:
        stems, rate = self.opener.open(job.song.path, job.song.plain_name)
        accompaniment, vocals = to_standard_rate(stems.accompaniment, rate), to_standard_rate(stems.vocals, rate)
        mix = accompaniment + vocals
        check_usable(job.song, mix)
        starts, count = usable_clips(vocals, mix, self.settings)
        pairs = make_pairs(accompaniment, mix, starts, self.settings, job.slug, self.device)
        return [save_pair(folder, job.song.name, job.prompt, pair) for pair in pairs], count

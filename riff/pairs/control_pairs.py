"""Separated songs -> pairs for a ControlNet: edges of the accompaniment, spectrogram of the mix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.clips import cut_clips, vocal_ratio
from riff.data.records import CONTROL_PAIRS, PairRecord
from riff.files import write_new
from riff.pairs.clip_images import ClipImages, check_usable, clip_images, pitch_shifts, to_standard_rate
from riff.pairs.songs import SongFile
from riff.pairs.staging import ClipCount, SongJob
from riff.separation.separator import SongOpener
from riff.spectrogram.edges import CANNY_HIGH, CANNY_LOW, canny_edges, edges_to_png
from riff.spectrogram.image import image_to_png
from riff.spectrogram.params import CLIP_SAMPLES


@dataclass(frozen=True)
class PairSettings:
    """Everything that the pairs' content depends on; all pairs of a folder have the same settings."""

    pitch_augment: bool = True
    min_vocal_ratio: float = 0.1
    canny_low: int = CANNY_LOW
    canny_high: int = CANNY_HIGH
    pitch_method: str = "warp"

    @property
    def semitones(self) -> tuple[int, ...]:
        return pitch_shifts(self.pitch_augment)


def usable_clips(vocals: np.ndarray, mix: np.ndarray, settings: PairSettings) -> tuple[list[int], ClipCount]:
    """The starts, in samples, of the clips with enough vocal, and their number.

    Args:
        vocals, mix: float32, shape (channels, samples), at 44.1 kHz.
    """
    starts = cut_clips(mix.shape[1], CLIP_SAMPLES)
    ratios = [vocal_ratio(vocals[:, s : s + CLIP_SAMPLES], mix[:, s : s + CLIP_SAMPLES]) for s in starts]
    kept = [start for start, ratio in zip(starts, ratios, strict=True) if ratio >= settings.min_vocal_ratio]
    return kept, ClipCount(len(starts), len(starts) - len(kept))


@dataclass(frozen=True)
class PairMaker:
    """The `SongMaker` of ControlNet pairs."""

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
        semitones, method = self.settings.semitones, self.settings.pitch_method
        clips = clip_images((mix, accompaniment), starts, semitones, self.device, pitch_method=method)
        return [self._save(folder, job, clip) for clip in clips], count

    def _save(self, folder: Path, job: SongJob, clip: ClipImages) -> PairRecord:
        """Write a pair's three PNGs under `source/`, `target/` and `accompaniment/`, and return its record."""
        target, accompaniment = clip.images
        edges = canny_edges(accompaniment.pixels, self.settings.canny_low, self.settings.canny_high)
        paths = {key: f"{image.folder}/{clip.name(job.slug)}" for key, image in CONTROL_PAIRS.images.items()}
        write_new(folder / paths["source"], edges_to_png(edges))
        write_new(folder / paths["target"], image_to_png(target))
        write_new(folder / paths["accompaniment"], image_to_png(accompaniment))
        return PairRecord(
            **paths,
            prompt=job.prompt,
            song=job.song.name,
            start_s=round(clip.start_s, 6),
            semitones=clip.semitones,
            target_max=target.max_value,
            accompaniment_max=accompaniment.max_value,
        )

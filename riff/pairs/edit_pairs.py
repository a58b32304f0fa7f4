"""Songs with stems -> pairs for the edit model: an image without a stem, an instruction, an image with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.clips import cut_clips, powerful_clips
from riff.audio.io import write_audio
from riff.data.records import EDIT_PAIRS, EditRecord
from riff.errors import SettingError
from riff.files import write_new
from riff.pairs.clip_images import ClipImages, check_usable, clip_images, pitch_shifts, shift_pitch, to_standard_rate
from riff.pairs.instructions import NOTHING, choose, removals, seeded_random
from riff.pairs.songs import SongFile
from riff.pairs.staging import ClipCount, SongJob
from riff.separation.stems import STEM_NAMES, read_stems, stem_files
from riff.spectrogram.image import SILENCE, SpectrogramImage, image_to_png, save_image
from riff.spectrogram.params import STANDARD

INPUT, EDITED = EDIT_PAIRS.image_folders
(SILENT_IMAGE,) = EDIT_PAIRS.shared
NOOP_SHARE = 0.25  # of the clips: enough to learn that an edit may change nothing, too few to make that the default
WIDTH_MULTIPLE = 64  # frames: a factor of 8 in the autoencoder and of 8 in the UNet
LONGEST_FRAME = 60.0  # seconds


@dataclass(frozen=True)
class EditSettings:
    """Everything that the pairs' content depends on, named as the flags; all pairs of a folder have the same settings.

    Attributes:
        gen_stem: the stem that the edit adds. target: what the edited image shows: `mix`, or the stem's name for it alone.
        frame_overlap: share of a clip that the next one repeats, in [0, 1).
        frame_len_seconds: length of a clip, to the nearest 10 ms.
        frame_min_power_prop: see `powerful_clips`.
        with_removal, with_noop: also make pairs that take the stem away, and that change nothing.
        seed: of the random choice of wordings.

    Raises:
        SettingError: an invalid value.
    """

    gen_stem: str = "vocals"
    target: str = "vocals"
    frame_overlap: float = 0.0
    frame_len_seconds: float = 5.11
    frame_min_power_prop: float = 0.4
    pitch_augment: bool = False
    with_removal: bool = False
    with_noop: bool = False
    save_wav: bool = False
    max_examples: int | None = None
    seed: int = 0
    pitch_method: str = "warp"

    def __post_init__(self) -> None:
        if self.gen_stem not in STEM_NAMES:
            raise SettingError(f"gen_stem {self.gen_stem}: no such stem; choose from {', '.join(STEM_NAMES)}")
        if self.target not in ("mix", self.gen_stem):
            raise SettingError(f"target {self.target}: the stem that is added is {self.gen_stem}; choose mix or {self.gen_stem}")
        if self.with_removal and self.target != "mix":
            raise SettingError(f"with_removal: an image of the {self.target} alone cannot show a removal; use target mix")
        if not 0 <= self.frame_overlap < 1:
            raise SettingError(f"frame_overlap {self.frame_overlap}: must be a share in [0, 1)")
        if not 0 <= self.frame_min_power_prop < float("inf"):
            raise SettingError(f"frame_min_power_prop {self.frame_min_power_prop}: must be 0 or more")
        if not 0 < self.frame_len_seconds <= LONGEST_FRAME:
            raise SettingError(f"frame_len_seconds {self.frame_len_seconds}: must be above 0 and at most {LONGEST_FRAME:g}")
        if self.frames % WIDTH_MULTIPLE:
            below = self.frames // WIDTH_MULTIPLE
            fitting = [STANDARD.clip_samples(count * WIDTH_MULTIPLE) for count in (below, below + 1) if count]
            raise SettingError(
                f"frame_len_seconds {self.frame_len_seconds:g}: gives images {self.frames} frames wide, and models take "
                f"multiples of {WIDTH_MULTIPLE}; try {' or '.join(f'{samples / STANDARD.sample_rate:g}' for samples in fitting)}"
            )

    @property
    def frames(self) -> int:
        """Width of an image: 512 for 5.11 s."""
        return 1 + round(self.frame_len_seconds * 1000 / STANDARD.step_size_ms)

    @property
    def clip_samples(self) -> int:
        """225,351 for 5.11 s."""
        return STANDARD.clip_samples(self.frames)

    @property
    def hop_samples(self) -> int:
        """Between the starts of clips; at least one step of the spectrogram."""
        return max(STANDARD.hop_length, int(self.clip_samples * (1 - self.frame_overlap)))


@dataclass(frozen=True)
class EditPairMaker:
    """The `SongMaker` of edit pairs; a job's prompt is a list of wordings."""

    settings: EditSettings
    device: str = "cpu"

    def sources(self, song: SongFile) -> list[Path]:
        return stem_files(song.path)

    def make(self, job: SongJob, folder: Path) -> tuple[list[EditRecord], ClipCount]:
        settings = self.settings
        stems, rate = read_stems(job.song.path, needed=settings.gen_stem)
        stem = to_standard_rate(stems.parts[settings.gen_stem], rate)
        backing = to_standard_rate(stems.without(settings.gen_stem), rate)
        mix = backing + stem
        check_usable(job.song, mix, settings.clip_samples)
        starts = cut_clips(mix.shape[1], settings.clip_samples, settings.hop_samples)
        kept = powerful_clips(stem, starts, settings.clip_samples, settings.frame_min_power_prop)
        parts = (backing, mix if settings.target == "mix" else stem)
        shifts = pitch_shifts(settings.pitch_augment)
        records: list[EditRecord] = []
        for clip in clip_images(parts, kept, shifts, self.device, settings.clip_samples, settings.pitch_method):
            self._save(folder, clip.name(job.slug), clip, parts)
            records += self._records(job, clip)
        return records, ClipCount(len(starts), len(starts) - len(kept))

    def _save(self, folder: Path, name: str, clip: ClipImages, parts: Sequence[np.ndarray]) -> None:
        """Write a clip's images, with `save_wav` also its sounds."""
        for place, image in zip((INPUT, EDITED), clip.images, strict=True):
            write_new(folder / place / name, image_to_png(image))
        if self.settings.save_wav:
            start = round(clip.start_s * STANDARD.sample_rate)
            for ending, part in zip(("input", "edited"), parts, strict=True):
                path = folder / EDIT_PAIRS.sounds / f"{Path(name).stem}_{ending}.wav"
                sound = shift_pitch(part[:, start : start + self.settings.clip_samples], clip.semitones)
                write_audio(path, sound, STANDARD.sample_rate, subtype="FLOAT")

    def _records(self, job: SongJob, clip: ClipImages) -> Iterator[EditRecord]:
        """The edits of a clip: the stem added, removed, and no change (no-op).

        No-ops: the backing or the mix with an instruction to change nothing, and the backing with one to remove what it does
        not hold. Adding a vocal to a mix is not among them: a second voice would be a valid result.
        """
        settings, song, name = self.settings, job.song.name, clip.name(job.slug)
        before, after = ((f"{place}/{name}", image.max_value) for place, image in zip((INPUT, EDITED), clip.images, strict=True))
        key = (settings.seed, song, name)

        def record(kind: str, wordings: Sequence[str], original: tuple[str, float], edited: tuple[str, float]) -> EditRecord:
            return EditRecord(
                input_file_path=original[0],
                edited_file_path=edited[0],
                edit_prompt=choose(wordings, *key, kind),
                song=song,
                start_s=round(clip.start_s, 6),
                semitones=clip.semitones,
                kind=kind,
                input_max=original[1],
                edited_max=edited[1],
            )

        yield record("add", job.prompt, before, after)
        if settings.with_removal:
            yield record("remove", removals(settings.gen_stem), after, before)
        if settings.with_noop and seeded_random(*key).random() < NOOP_SHARE:
            if settings.target != "mix":
                yield record("noop", NOTHING, before, (SILENT_IMAGE, 0.0))
                return
            cases: list[tuple[Sequence[str], tuple[str, float]]] = [(NOTHING, before), (NOTHING, after)]
            if settings.with_removal:
                cases.append((removals(settings.gen_stem), before))
            wordings, unchanged = seeded_random(*key, "case").choice(cases)
            yield record("noop", wordings, unchanged, unchanged)


def write_shared(folder: Path, settings: EditSettings) -> None:
    """Write the silent image, which is the edited image of all no-op pairs of a stem alone."""
    if settings.with_noop and settings.target != "mix":
        white = np.full((STANDARD.n_mels, settings.frames), SILENCE, np.uint8)
        save_image(folder / SILENT_IMAGE, SpectrogramImage(white, max_value=0.0))

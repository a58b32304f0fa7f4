"""Songs with stems -> pairs for the edit model: a picture without a stem, an instruction, the picture with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riff.audio.clips import cut_clips, powerful_clips
from riff.audio.io import write_audio
from riff.data.records import EDIT_PAIRS, EditRecord
from riff.errors import OptionError
from riff.files import write_new
from riff.pairs.clip_images import ClipImages, check_usable, clip_images, pitch_shifts, shift_pitch, to_standard_rate
from riff.pairs.folder import PairsFolder
from riff.pairs.instructions import NOTHING, choose, draw, removals
from riff.pairs.making import ClipCount, SongJob
from riff.pairs.songs import SongFile
from riff.separation.stems import STEM_NAMES, read_stems, stem_files
from riff.spectrogram.image import SILENCE, SpectrogramImage, image_to_png, save_image
from riff.spectrogram.params import STANDARD

(INPUT, EDITED), WAV = EDIT_PAIRS.image_folders, EDIT_PAIRS.sounds
SILENT_IMAGE = f"{EDITED}/silence.png"
NOOP_SHARE = 0.25  # of the pictures: enough to learn that nothing may happen, too little to make it the habit
WIDTH_MULTIPLE = 64  # frames: a factor of 8 in the autoencoder and of 8 in the UNet
LONGEST_FRAME = 60.0  # seconds


@dataclass(frozen=True)
class EditSettings:
    """What decides how edit pairs look; a folder of pairs holds one setting. The names are those of the flags.

    Attributes:
        gen_stem: the stem that the edit adds. target: what the edited picture shows: `mix`, or the stem's name for it alone.
        frame_overlap: the share of a clip that the next one repeats, in [0, 1).
        frame_len_seconds: length of a clip, to the nearest 10 ms.
        frame_min_power_prop: see `powerful_clips`.
        with_removal, with_noop: also make pairs that take the stem away, and that change nothing.
        seed: of the choice of wordings.

    Raises:
        OptionError: a value that cannot be; names the flag.
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
            raise OptionError(f"--gen_stem {self.gen_stem}: no such stem; choose from {', '.join(STEM_NAMES)}")
        if self.target not in ("mix", self.gen_stem):
            raise OptionError(f"--target {self.target}: the stem that is added is {self.gen_stem}; choose mix or {self.gen_stem}")
        if self.with_removal and self.target != "mix":
            raise OptionError(f"--with_removal: a picture of the {self.target} alone can show no removal; use --target mix")
        if not 0 <= self.frame_overlap < 1:
            raise OptionError(f"--frame_overlap {self.frame_overlap}: is the share that clips have in common; from 0 to below 1")
        if not 0 <= self.frame_min_power_prop < float("inf"):
            raise OptionError(f"--frame_min_power_prop {self.frame_min_power_prop}: must be 0 or more")
        if not 0 < self.frame_len_seconds <= LONGEST_FRAME:
            raise OptionError(f"--frame_len_seconds {self.frame_len_seconds}: must be above 0 and at most {LONGEST_FRAME:g}")
        if self.frames % WIDTH_MULTIPLE:
            below = self.frames // WIDTH_MULTIPLE
            fitting = [STANDARD.clip_samples(count * WIDTH_MULTIPLE) for count in (below, below + 1) if count]
            raise OptionError(
                f"--frame_len_seconds {self.frame_len_seconds:g}: gives pictures {self.frames} frames wide, and models take "
                f"multiples of {WIDTH_MULTIPLE}; try {' or '.join(f'{samples / STANDARD.sample_rate:g}' for samples in fitting)}"
            )

    @property
    def frames(self) -> int:
        """Width of a picture: 512 for 5.11 s."""
        return 1 + round(self.frame_len_seconds * 1000 / STANDARD.step_size_ms)

    @property
    def clip_samples(self) -> int:
        """225,351 for 5.11 s."""
        return STANDARD.clip_samples(self.frames)

    @property
    def hop_samples(self) -> int:
        """From the start of one clip to that of the next, one step of the spectrogram at least."""
        return max(STANDARD.hop_length, int(self.clip_samples * (1 - self.frame_overlap)))


def edit_pairs_folder(folder: Path) -> PairsFolder:
    return PairsFolder(folder, EDIT_PAIRS.records_file, (INPUT, EDITED, WAV), "--output_dir", shared=(SILENT_IMAGE,))


@dataclass(frozen=True)
class _EditSong:
    """A song that was opened: its parts, float32 (channels, samples) at 44.1 kHz, and what its pairs are to be called.

    Attributes:
        backing: all stems but the one that is added. edited: what the edited picture shows.
    """

    name: str
    slug: str
    prompts: Sequence[str]
    backing: np.ndarray
    edited: np.ndarray
    starts: Sequence[int]


@dataclass(frozen=True)
class EditPairMaker:
    """Makes songs into edit pairs (see `SongMaker`); a job's prompts are a list of wordings."""

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
        edited = mix if settings.target == "mix" else stem
        opened = _EditSong(job.song.name, job.slug, job.prompt, backing, edited, kept)
        return list(_make_records(folder, opened, settings, self.device)), ClipCount(len(starts), len(starts) - len(kept))


def none_left(settings: EditSettings) -> str:
    return f"no clip has enough {settings.gen_stem}; no pairs (lower --frame_min_power_prop to keep more)"


def write_shared(folder: Path, settings: EditSettings) -> None:
    """Write the picture that pairs of all songs share: silence, where nothing is to be sung."""
    if settings.with_noop and settings.target != "mix":
        white = np.full((STANDARD.n_mels, settings.frames), SILENCE, np.uint8)
        save_image(folder / SILENT_IMAGE, SpectrogramImage(white, max_value=0.0))


def _make_records(folder: Path, song: _EditSong, settings: EditSettings, device: str) -> Iterator[EditRecord]:
    """Write the pictures of every clip at every pitch, and their sounds if asked, and yield their records."""
    shifts = pitch_shifts(settings.pitch_augment)
    parts, method = (song.backing, song.edited), settings.pitch_method
    for clip in clip_images(parts, song.starts, shifts, device, settings.clip_samples, method):
        name = clip.name(song.slug)
        for kind, image in zip((INPUT, EDITED), clip.images, strict=True):
            write_new(folder / kind / name, image_to_png(image))
        if settings.save_wav:
            start = round(clip.start_s * STANDARD.sample_rate)
            for kind, part in zip(("input", "edited"), parts, strict=True):
                path = folder / WAV / f"{Path(name).stem}_{kind}.wav"
                sound = shift_pitch(part[:, start : start + settings.clip_samples], clip.semitones)
                write_audio(path, sound, STANDARD.sample_rate, subtype="FLOAT")
        yield from _records_of_clip(song, clip, settings)


def _records_of_clip(song: _EditSong, clip: ClipImages, settings: EditSettings) -> Iterator[EditRecord]:
    """The edits that a clip's pictures show: the stem added, taken away, and nothing done.

    Nothing is done to the backing or to the mix when the instruction says so, and to the backing when it asks to take away
    what is not there. To ask for a vocal where there is one is left out: it might be a second voice.
    """
    name = clip.name(song.slug)
    before, after = ((f"{kind}/{name}", image.max_value) for kind, image in zip((INPUT, EDITED), clip.images, strict=True))
    key = (settings.seed, song.name, name)

    def record(kind: str, wordings: Sequence[str], given: tuple[str, float], wanted: tuple[str, float]) -> EditRecord:
        return EditRecord(
            input_file_path=given[0],
            edited_file_path=wanted[0],
            edit_prompt=choose(wordings, *key, kind),
            song=song.name,
            start_s=round(clip.start_s, 6),
            semitones=clip.semitones,
            kind=kind,
            input_max=given[1],
            edited_max=wanted[1],
        )

    yield record("add", song.prompts, before, after)
    if settings.with_removal:
        yield record("remove", removals(settings.gen_stem), after, before)
    if settings.with_noop and draw(*key).random() < NOOP_SHARE:
        if settings.target != "mix":
            yield record("noop", NOTHING, before, (SILENT_IMAGE, 0.0))
            return
        cases: list[tuple[Sequence[str], tuple[str, float]]] = [(NOTHING, before), (NOTHING, after)]
        if settings.with_removal:
            cases.append((removals(settings.gen_stem), before))
        wordings, given = draw(*key, "case").choice(cases)
        yield record("noop", wordings, given, given)

"""Edits of one clip by an instruction, with InstructPix2Pix: the input, scored candidates, and their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from diffusers import StableDiffusionInstructPix2PixPipeline

from riff.audio.io import write_audio
from riff.data.records import EditRecord
from riff.data.stores import PairStore
from riff.errors import DataError, OptionError
from riff.metrics.edit import Verdict, judge
from riff.models.encoders import check_size, latent_factor
from riff.sampling.clip import control_from_audio, save_take
from riff.sampling.levels import VOCAL_LEVEL_DB, mix_image, output_at_level
from riff.sampling.melody import Tune, TuneGuide
from riff.sampling.mixback import full_scale_gain, mix_back
from riff.sampling.options import EditOptions
from riff.sampling.window_models import EditWindows
from riff.sampling.windows import Guides, WindowLayout, sample_windows
from riff.seeds import seed_after
from riff.separation.separator import SongOpener
from riff.separation.song import Song, song_of
from riff.spectrogram.image import SpectrogramImage, combine_images, image_to_waveform, load_image, save_image
from riff.spectrogram.params import STANDARD, unit_maximum
from riff.spectrogram.sheet import contact_sheet

WIDTH_MULTIPLE = 8  # pixels a latent column of Stable Diffusion; smaller models may have coarser ones
CANDIDATE_STRIDE = 100_000  # between the seeds of a clip's candidates, so that clips do not share them
DEFAULTS = EditOptions()


@dataclass(frozen=True)
class EditClip:
    """The input of an edit.

    Attributes:
        before: the input image. prompt: the instruction. kind: of instruction, add, remove or noop.
        truth: the reference output, None where there is none.
        song: the clip at 44.1 kHz, whose accompaniment is the input, None where only its image is known.
    """

    name: str
    before: SpectrogramImage
    prompt: str
    kind: str = "add"
    truth: SpectrogramImage | None = None
    song: Song | None = None

    def guide(self, tune: Tune | None, target: str) -> TuneGuide | None:
        """What sampling begins with for a tune; None without one, and for an instruction that adds nothing.

        Raises:
            DataError: as `TuneGuide`; the original's tune, where only an image is known.
        """
        if tune is None or self.kind != "add":
            return None
        accompaniment = image_to_waveform(self.before)[None].numpy() if self.song is None else self.song.accompaniment
        song = self.song or song_of(np.zeros_like(accompaniment), accompaniment)
        return TuneGuide(tune, song, self.before, target, self.prompt)


@dataclass(frozen=True)
class ScoredTake:
    """A take of a clip or of a song.

    Attributes:
        output: the model's output, at its level. after: the spectrogram image of the whole mix.
        verdict: whether the edit was performed; of a song, whether a vocal that fits was added in the generated frames.
    """

    seed: int
    output: SpectrogramImage
    after: SpectrogramImage
    verdict: Verdict


@dataclass(frozen=True)
class EditTake(ScoredTake):
    """A candidate for the edit of a clip."""

    options: EditOptions

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "image_guidance_scale": self.options.image_guidance_scale,
            "guidance_scale": self.options.guidance_scale,
            "performed": self.verdict.performed,
            "score": self.verdict.score,
            **self.verdict.scores.to_json(),
            **self.verdict.fit.to_json(),
        }


AnyTake = TypeVar("AnyTake", bound=ScoredTake)


def clip_from_record(store: PairStore, record: EditRecord, target: str = "mix", prompt: str | None = None) -> EditClip:
    """Read a pair of a data set.

    Args:
        store: of the record's images. target: what its edited images show; `vocals` are added to the input for the reference.
        prompt: replaces the record's instruction.

    Raises:
        DataError: an image that is missing or broken, or images of different sizes.
    """
    before = _load(store.open(record.input_file_path), record.input_max)
    edited = _load(store.open(record.edited_file_path), record.edited_max)
    if before.pixels.shape != edited.pixels.shape:
        sizes = " and ".join("{1}x{0}".format(*image.pixels.shape) for image in (before, edited))
        raise DataError(f"{record.input_file_path}, {record.edited_file_path}: {sizes} pixels; make both of one size")
    truth = combine_images(before, edited) if target == "vocals" else edited
    name = Path(record.input_file_path).stem
    return EditClip(name, before, prompt or record.edit_prompt, record.kind, truth)


def _load(path: Path | BinaryIO, max_value: float) -> SpectrogramImage:
    """Read an image of a data set. The record's maximum takes precedence, since a converted file may have lost its own."""
    image = load_image(path)
    if len(image.pixels) != image.params.n_mels:
        raise DataError(f"{path}: {len(image.pixels)} pixels high; a spectrogram image has {image.params.n_mels} mel bands")
    return replace(image, max_value=unit_maximum(max_value)) if max_value > 0 else image


def clip_from_audio(path: Path, opener: SongOpener, start_s: float, prompt: str, kind: str, device: str = "cpu") -> EditClip:
    """5.11 s of a song without its vocal, or of the song as it is, padded with silence.

    Args:
        opener: separates the song; of one that does not (`NoSeparator`) the song is edited as it is.

    Raises:
        AudioError: a song that cannot be read, or that ends before `start_s`.
    """
    control = control_from_audio(path, opener, start_s, device=device)
    assert control.accompaniment is not None  # from audio there is one
    return EditClip(path.stem, control.accompaniment, prompt, kind, song=control.song)


def sample_edit(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    images: Sequence[np.ndarray],
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: EditOptions = DEFAULTS,
    on_step: Callable[[int], object] | None = None,
    guide: Guides | None = None,
) -> list[np.ndarray]:
    """Sample one edited spectrogram image for each input image, instruction and seed (guidance: `EditWindows`).

    Args:
        images: uint8, shape (height, width), of sizes that fit (`check_image`).
        seeds: of the initial noise, generated on the CPU for the same result on every device.
        on_step: called with the number of finished denoising steps, over all images.
        guide: image that all begin with, of their size (`sample_windows`).

    Returns:
        uint8 grey levels, shape (height, width) each. Images are processed one by one, so results do not depend on the batch.

    Raises:
        DataError: images of a size that does not fit the model, or not as many as instructions and seeds.
        OptionError: no steps.
    """
    if not len(images) == len(prompts) == len(seeds):
        raise DataError(f"{len(images)} images, {len(prompts)} instructions and {len(seeds)} seeds; give one of each a sample")
    if options.steps < 1:
        raise OptionError(f"steps {options.steps}: give 1 or more")
    for image in images:
        check_image(pipeline, image)
    samples = []
    for number, (image, prompt, seed) in enumerate(zip(images, prompts, seeds, strict=True)):
        steps_before = number * options.steps

        def report(step: int, steps_before: int = steps_before) -> None:
            if on_step is not None:
                on_step(steps_before + step)

        height, width = len(image), _padded_width(pipeline, image)
        predictor, one_window = EditWindows(pipeline, image, prompt, options), WindowLayout(width)
        further = {"on_step": report, "height": height, "guide": guide.for_seed(seed) if guide else None}
        edited = sample_windows(pipeline, predictor, width, seed, options.steps, one_window, **further)
        samples.append(np.ascontiguousarray(edited[:, : image.shape[1]]))
    return samples


def check_image(pipeline: StableDiffusionInstructPix2PixPipeline, image: np.ndarray) -> None:
    """Check that `sample_edit` can process an image of this size, uint8 (height, width).

    Raises:
        DataError: it cannot; the message names sizes that fit.
    """
    check_size(pipeline, len(image), _padded_width(pipeline, image), "an image")


def _padded_width(pipeline: StableDiffusionInstructPix2PixPipeline, image: np.ndarray) -> int:
    """Width at which an image is edited: widths that fit Stable Diffusion are padded to whole latent columns of this model."""
    width, factor = image.shape[1], latent_factor(pipeline)
    return width if width % WIDTH_MULTIPLE else -(-width // factor) * factor


def generate_candidates(
    pipeline: Any,
    clip: EditClip,
    options: EditOptions,
    seed: int,
    count: int = 1,
    target: str = "mix",
    vocal_db: float = VOCAL_LEVEL_DB,
    on_step: Callable[[], object] = lambda: None,
    guide: Guides | None = None,
) -> list[EditTake]:
    """Generate and score `count` edits of a clip; the first does not depend on their number."""
    seeds = [seed_after(seed, number * CANDIDATE_STRIDE) for number in range(count)]
    return [_generate(pipeline, clip, options, candidate_seed, target, vocal_db, on_step, guide) for candidate_seed in seeds]


def generate_sweep(
    pipeline: Any,
    clip: EditClip,
    options: EditOptions,
    seed: int,
    image_scales: Sequence[float],
    text_scales: Sequence[float],
    target: str = "mix",
    vocal_db: float = VOCAL_LEVEL_DB,
    on_step: Callable[[], object] = lambda: None,
    guide: Guides | None = None,
) -> list[EditTake]:
    """Generate and score one seed at every pair of scales; text scales vary fastest."""
    grid = [replace(options, image_guidance_scale=image, guidance_scale=text) for image in image_scales for text in text_scales]
    return [_generate(pipeline, clip, at_scales, seed, target, vocal_db, on_step, guide) for at_scales in grid]


def best_take(takes: Sequence[AnyTake]) -> AnyTake:
    """The take with the highest score among those that performed the edit, else among all; the first of equals."""
    return max(takes, key=lambda take: (take.verdict.performed, take.verdict.score))


def write_sweep(path: Path, takes: Sequence[EditTake], columns: int) -> str:
    """Write the grid of `generate_sweep` as a contact sheet, one row for each image scale, scores as captions.

    Returns:
        A line about the best take.
    """
    contact_sheet([take.after.pixels for take in takes], [_caption(take) for take in takes], path, columns)
    return f"best: {_caption(best_take(takes))}"


def _caption(take: EditTake) -> str:
    scales = f"image {take.options.image_guidance_scale:g}, text {take.options.guidance_scale:g}"
    edited = "EDIT" if take.verdict.performed else "no edit"
    return f"{scales}: {edited}, score {take.verdict.score:.2f}, kept {take.verdict.scores.backing_kept:.2f}"


def _generate(
    pipeline: Any,
    clip: EditClip,
    options: EditOptions,
    seed: int,
    target: str,
    vocal_db: float,
    on_step: Callable[[], object],
    guide: Guides | None,
) -> EditTake:
    pixels = sample_edit(pipeline, [clip.before.pixels], [clip.prompt], [seed], options, lambda _: on_step(), guide)[0]
    output = output_at_level(pixels, clip.before, target, vocal_db)
    after = mix_image(output, clip.before, target)
    return EditTake(seed, output, after, judge(clip.kind, clip.before.pixels, after.pixels, clip.before.params), options)


def write_edit(
    folder: Path,
    clip: EditClip,
    after: SpectrogramImage,
    vocal: SpectrogramImage | None,
    caption: str,
    iterations: int = 16,
) -> dict[str, Path]:
    """Write original, sample and, if there are any, vocal and target as PNG and WAV under `folder`, and sheet.png beside them.

    Args:
        vocal: the generated vocal at its level, of a model that generates vocals. The sample's audio is then the input's own
            samples with the vocal added by `mix_back`, and original and vocal have the levels that they have in the sample.
        caption: of the sample on the sheet.

    Returns:
        The written files by name, as paths without suffix.
    """
    images = {"original": (clip.before, "original"), "sample": (after, caption)}
    if vocal is not None:
        images["vocal"] = (vocal, "vocal")
    if clip.truth is not None:
        images["target"] = (clip.truth, "target")
    waveforms = _known_waveforms(clip, vocal, iterations)
    for name, (image, _) in images.items():
        if name in waveforms:
            save_image(folder / f"{name}.png", image)
            write_audio(folder / f"{name}.wav", waveforms[name], STANDARD.sample_rate)
        else:
            save_take(folder, name, image, iterations)
    on_sheet = [images[name] for name in images if name != "vocal"]
    contact_sheet([image.pixels for image, _ in on_sheet], [text for _, text in on_sheet], folder / "sheet.png")
    return {name: folder / name for name in images}


def _known_waveforms(clip: EditClip, vocal: SpectrogramImage | None, iterations: int) -> dict[str, np.ndarray]:
    """float32 (channels, samples) by name, for the images whose audio need not be reconstructed."""
    if clip.song is None:
        return {}
    before = clip.song.accompaniment
    if vocal is None:
        return {"original": before * full_scale_gain(before)}
    mix = mix_back(image_to_waveform(vocal, iterations).numpy(), before, STANDARD.sample_rate, gain_db=0.0)
    return {"original": mix.accompaniment, "sample": mix.mix, "vocal": mix.vocal}

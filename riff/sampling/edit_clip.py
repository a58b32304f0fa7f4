"""One clip to edit by an instruction: its input image, and the model's output as an image and audio."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from riff.audio.io import write_audio
from riff.data.records import EditRecord
from riff.data.stores import PairStore
from riff.errors import DataError, ModelError
from riff.models.sources import read_origin
from riff.sampling.clip import UNKNOWN_LEVEL, control_from_audio, save_take
from riff.sampling.control import match_level
from riff.sampling.mixback import full_scale_gain, mix_back
from riff.separation.separator import SongOpener
from riff.spectrogram.image import SpectrogramImage, combine_images, image_to_mel, image_to_waveform, load_image, save_image
from riff.spectrogram.params import STANDARD, unit_maximum
from riff.spectrogram.sheet import contact_sheet

TARGETS = ("mix", "vocals")
VOCAL_LEVEL_DB = 3.0  # the median over the demo songs, in the frames with a vocal
VOICED = 0.01  # of the loudest frame's energy


@dataclass(frozen=True)
class EditClip:
    """The input of an edit.

    Attributes:
        before: the input image. prompt: the instruction. kind: of instruction, add, remove or noop.
        truth: the reference output, None where there is none.
        waveform: float32, shape (channels, samples) at 44.1 kHz, the input's audio, None where only its image is known.
    """

    name: str
    before: SpectrogramImage
    prompt: str
    kind: str = "add"
    truth: SpectrogramImage | None = None
    waveform: np.ndarray | None = None


def edit_target(model: str | Path) -> str:
    """What a model generates, from its `riff.json`: the whole `mix` (default), or the `vocals` alone, to be added to the input.

    Raises:
        ModelError: another value.
    """
    target = read_origin(model).get("target", "mix")
    if target not in TARGETS:
        raise ModelError(f'{model}: its riff.json has "target": {target!r}; it must be {" or ".join(TARGETS)}')
    return target


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


def clip_from_audio(path: Path, opener: SongOpener | None, start_s: float, prompt: str, kind: str, device: str = "cpu") -> EditClip:
    """5.11 s of a song without its vocal, or of the song as it is, padded with silence.

    Args:
        opener: separates the song. None: the song is edited as it is.

    Raises:
        AudioError: a song that cannot be read, or that ends before `start_s`.
    """
    control = control_from_audio(path, opener, start_s, device=device)
    assert control.accompaniment is not None  # from audio there is one
    return EditClip(path.stem, control.accompaniment, prompt, kind, waveform=control.waveform)


def finish_edit(
    pixels: np.ndarray, before: SpectrogramImage, target: str = "mix", vocal_db: float = VOCAL_LEVEL_DB
) -> SpectrogramImage:
    """The edited clip from a model's output, at the input's level.

    Args:
        pixels: uint8, shape (n_mels, frames), the output. target: what it shows.
        vocal_db: level of generated `vocals` relative to the input.
    """
    if target == "vocals":
        return combine_images(before, vocal_at_level(pixels, before, vocal_db))
    return match_level(pixels, before)


def vocal_at_level(pixels: np.ndarray, backing: SpectrogramImage, level_db: float = VOCAL_LEVEL_DB) -> SpectrogramImage:
    """Set the maximum of a generated vocal's image, which has no level of its own.

    Args:
        pixels: uint8, shape (n_mels, frames).
        level_db: the vocal's energy relative to the backing's, summed over the frames with more than 1 % of the energy of the
            vocal's loudest frame. It applies to an image whose darkest pixel is black; paler ones, the usual output for a clip
            without a vocal, are quieter in proportion.
    """
    vocal = image_to_mel(SpectrogramImage(pixels, 1.0, backing.params))
    # Energies, shape (frames,), without a copy of an hour's spectrogram.
    energies, backing_energies = (torch.linalg.vector_norm(mel, dim=0).square() for mel in (vocal, image_to_mel(backing)))
    voiced = energies > VOICED * energies.max()
    energy, target_energy = float(energies[voiced].sum()), float(backing_energies[voiced].sum()) * 10 ** (level_db / 10)
    if energy == 0 or target_energy == 0:
        return SpectrogramImage(pixels, backing.max_value or UNKNOWN_LEVEL, backing.params)
    return SpectrogramImage(pixels, float(vocal.max()) * (target_energy / energy) ** 0.5, backing.params)


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
    if clip.waveform is None:
        return {}
    if vocal is None:
        return {"original": clip.waveform * full_scale_gain(clip.waveform)}
    mix = mix_back(image_to_waveform(vocal, iterations).numpy(), clip.waveform, STANDARD.sample_rate, gain_db=0.0)
    return {"original": mix.accompaniment, "sample": mix.mix, "vocal": mix.vocal}

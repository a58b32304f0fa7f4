"""Train a widened UNet to edit: InstructPix2Pix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import torch
from diffusers import UniPCMultistepScheduler

from riff.data.datasets import EditDataset, Example, one_of_each_song, split_by_song
from riff.data.latents import encode, of_one_size
from riff.data.pair_types import settings_of
from riff.data.records import EditRecord
from riff.data.stores import PairStore
from riff.errors import DataError, OptionError
from riff.models.edit import with_unet
from riff.models.encoders import check_size, encoder_names, warn_of_long
from riff.sampling.edit import sample_edit
from riff.sampling.options import EditOptions
from riff.spectrogram.image import load_image
from riff.training.batch_rng import BatchRng
from riff.training.samples import HeldOutClip, SampleLog
from riff.training.train import TrainingData


@dataclass(frozen=True)
class ConditioningDropout:
    """Shares of examples that train without the instruction alone, without the input image alone, and without both."""

    text: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.text, self.image, self.both)
        if min(shares) < 0 or sum(shares) > 1:
            raise OptionError(f"conditioning dropout {shares}: shares must be in [0, 1] and sum to at most 1")

    def kept(self, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks of kept instructions and kept images, from uniform numbers in [0, 1).

        With three equal shares P this is diffusers' rule: below 2P no instruction, from P to 3P no image.
        """
        no_text = uniform < self.text + self.both
        no_image = (uniform >= self.text) & (uniform < self.text + self.both + self.image)
        return ~no_text, ~no_image


FIVE_PERCENT_EACH = ConditioningDropout()


class EditObjective:
    """Predict the noise from the instruction and the input image (Brooks, Holynski and Efros, CVPR 2023).

    Args:
        unet: its input is latents and image latents; all of it is trained.
        scaling_factor: of the latents; image latents are the posterior's mode, unscaled.
    """

    def __init__(
        self,
        unet: Any,
        scaling_factor: float,
        dropout: ConditioningDropout = FIVE_PERCENT_EACH,
    ) -> None:
        # Channels last halves the time of a step on a CPU.
        self.models = {"unet": unet.requires_grad_(True).to(memory_format=torch.channels_last)}
        self.frozen_name = ""
        self._unet, self._scaling_factor, self._dropout = unet, scaling_factor, dropout

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None) -> torch.Tensor:
        text, image = batch["text"], batch["image"] / self._scaling_factor
        if rng is not None:
            with_text, with_image = self._dropout.kept(rng.uniform(1, 1))
            text = torch.where(with_text, text, batch["no_text"])
            image = torch.where(with_image[..., None], image, 0.0)
        latents = torch.cat([noisy, image], dim=1).contiguous(memory_format=torch.channels_last)
        return self._unet(latents, timesteps, text, return_dict=False)[0]


@dataclass(frozen=True)
class EditData(TrainingData[EditRecord]):
    """Edit pairs.

    Attributes:
        target: what the edited images show: `mix`, or `vocals` for the added stem alone.
    """

    target: str = "mix"

    def examples(self, records: Sequence[EditRecord]) -> EditDataset:
        return EditDataset(records, self.encoded)

    def content(self, record: EditRecord) -> str:
        return " ".join([*(self.encoded.keys[path] for path in _images(record)), record.edit_prompt])


def prepare_edit_data(
    store: PairStore,
    records: list[EditRecord],
    pipeline: Any,
    device: str,
    val_share: float,
    resolution: int | None,
    most: int | None,
    target: str,
) -> EditData:
    """Compute the missing latents and embeddings of edit pairs.

    Args:
        store, records: of the pairs, from `open_pairs`.
        resolution: required height and width of the images, None for any that fits the model.
        most: number of training pairs, None for all. target: as in `EditData`, or `auto` for that of the pairs' manifest.

    Raises:
        DataError: missing images, or none of a size that fits the model.
    """
    records, (height, width) = of_one_size(store, records, _images, partial(check_size, pipeline, what="an image"))
    if resolution is not None and (height, width) != (resolution, resolution):
        raise DataError(
            f"--resolution {resolution}: the images in {store.folder} are {height}x{width}, and resizing a spectrogram changes its "
            "sound; leave the flag out, or make the pairs again"
        )
    training, held_out = split_by_song(records, val_share)
    warn_of_long(pipeline.tokenizer, [record.edit_prompt for record in records])
    names = encoder_names(pipeline)
    images = [path for record in records for path in _images(record)]
    encoded = encode(store, images, [record.edit_prompt for record in records], pipeline, names, device)
    target = _target(store.folder) if target == "auto" else target
    return EditData(store, training[:most], held_out, encoded, names, target)


def edit_samples(
    pipeline: Any, clips: Sequence[HeldOutClip], options: EditOptions, folder: Path, every: int, seed: int
) -> SampleLog:
    """Sample clips with the pipeline's UNet every so many steps."""
    sampler = with_unet(pipeline, pipeline.unet)
    sampler.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    return SampleLog(sampler, partial(sample_edit, sampler, options=options), clips, folder, every, seed)


def held_out_edits(data: EditData, most: int, prompt: str | None = None) -> list[HeldOutClip]:
    """Clips for samples: unshifted, of different held-out songs, or of training songs where none is held out.

    Args:
        prompt: an instruction for all clips instead of their own; their targets are then unknown.
    """
    adding = [record for record in data.held_out or data.training if record.kind == "add"] or data.training
    clips = []
    for record in one_of_each_song(adding, most):
        image, target = (load_image(data.store.open(path)) for path in (record.input_file_path, record.edited_file_path))
        clips.append(
            HeldOutClip(
                Path(record.input_file_path).stem,
                prompt or record.edit_prompt,
                image.pixels,
                {"input": image},
                image if data.target == "mix" else None,
                None if prompt else target,
            )
        )
    return clips


def edit_of_image(place: str, prompt: str) -> HeldOutClip:
    """A clip of an image file or URL; its target is unknown.

    Raises:
        DataError: it cannot be fetched, or is no image.
    """
    with TemporaryDirectory() as folder:
        path = Path(place)
        if place.startswith(("http://", "https://")):
            path = Path(folder) / "image"
            try:
                with urlopen(place, timeout=30) as answer:
                    path.write_bytes(answer.read())
            except OSError as error:
                raise DataError(f"--val_image_url {place}: cannot be fetched ({error}); give a file") from error
        image = load_image(path)
    return HeldOutClip("validation", prompt, image.pixels, {"input": image}, image, None)


def _images(record: EditRecord) -> tuple[str, str]:
    return record.input_file_path, record.edited_file_path


def _target(folder: Path) -> str:
    """The target in the manifest of a folder of pairs; `mix` where there is none."""
    return "vocals" if settings_of(folder).get("target", "mix") != "mix" else "mix"

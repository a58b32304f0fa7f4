"""Train a widened UNet to edit: InstructPix2Pix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.request import urlopen

import torch
from diffusers import UNet2DConditionModel

from riff.data.datasets import EditDataset, Example, one_of_each_song
from riff.data.pair_types import settings_of
from riff.data.records import EDIT_PAIRS, EditRecord
from riff.data.stores import HubAccess, open_dataset, open_pairs
from riff.errors import DataError, OptionError
from riff.models.edit import with_unet
from riff.models.lora import add_lora
from riff.sampling.edit import sample_edit
from riff.sampling.options import EditOptions, edit_options_for
from riff.spectrogram.image import load_image
from riff.training.data import TrainingData
from riff.training.distillation import sampling_of
from riff.training.module import frozen_name
from riff.training.options import RunSettings
from riff.training.prediction import Configs
from riff.training.processes import BatchRng
from riff.training.samples import HeldOutClip, SampleLog


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
        unet: its input is latents and image latents; all of it is trained or, with a `lora_rank` above 0, adapters (`add_lora`).
        scaling_factor: of the latents; image latents are the posterior's mode, unscaled.
    """

    def __init__(
        self,
        unet: Any,
        scaling_factor: float,
        dropout: ConditioningDropout = FIVE_PERCENT_EACH,
        lora_rank: int = 0,
        seed: int = 0,
    ) -> None:
        # Channels last halves the time of a step on a CPU.
        self.models = {"unet": unet.requires_grad_(True).to(memory_format=torch.channels_last)}
        if lora_rank:
            add_lora(unet, lora_rank, seed)
        self.frozen_name = frozen_name(unet)
        self._unet, self._scaling_factor, self._dropout = unet, scaling_factor, dropout

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None) -> torch.Tensor:
        text, image = batch["text"], batch["image"] / self._scaling_factor
        if rng is not None:
            with_text, with_image = self._dropout.kept(rng.uniform(1, 1))
            text = torch.where(with_text, text, batch["no_text"])
            image = torch.where(with_image[..., None], image, 0.0)
        return self._predict(noisy, timesteps, text, image)

    def guided_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, options: EditOptions) -> torch.Tensor:
        image = batch["image"] / self._scaling_factor
        predictions = [
            weight * self._predict(noisy, timesteps, batch["text" if with_text else "no_text"], image * with_image)
            for weight, with_image, with_text in options.terms
        ]
        return torch.stack(predictions).sum(dim=0)

    def _predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        latents = torch.cat([noisy, image], dim=1).contiguous(memory_format=torch.channels_last)
        return self._unet(latents, timesteps, text, return_dict=False)[0]


def edit_on_meta(configs: Configs, lora_rank: int = 0) -> EditObjective:
    """An objective of these shapes without weights; a text-to-image UNet is widened."""
    wide = {**configs["unet"], "in_channels": 2 * configs["unet"]["out_channels"]}
    with torch.device("meta"):
        return EditObjective(UNet2DConditionModel.from_config(wide), scaling_factor=1.0, lora_rank=lora_rank)


@dataclass(frozen=True)
class EditSettings(RunSettings):
    """Settings of an edit model's training.

    Attributes:
        model, copy_bias: as of `load_to_edit`. downloads: its options for the hub.
        pairs: location of the pairs (`open_pairs`). hub: access to it.
        dataset: name of a data set to `open_dataset` instead, with its configuration `dataset_config` and `columns`.
        resolution: required height and width, None for any. max_pairs: number of training pairs, None for all.
        target: as in `EditData`, or `auto` for that of the pairs' manifest.
        dropout: of conditions.
        epochs: passes over the pairs in place of `step.max_steps`, None for these. sample_epochs: in place of `sample_every`.
        scale_rate: multiply the learning rate by the examples of an optimizer step.
        num_samples, prompt, image: clips of the samples, one instruction for all, and an image file or URL besides.
        guidance, image_guidance: of the samples and of a teacher, None for the model's recommendation.
        upload_to: repository on the hub, None to upload nothing.
    """

    model: str = ""
    copy_bias: bool = True
    downloads: Mapping[str, Any] = field(default_factory=dict)
    pairs: Path = Path()
    dataset: str | None = None
    dataset_config: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    hub: HubAccess = field(default_factory=HubAccess)
    resolution: int | None = None
    max_pairs: int | None = None
    target: str = "auto"
    dropout: ConditioningDropout = FIVE_PERCENT_EACH
    epochs: int | None = None
    sample_epochs: int | None = None
    scale_rate: bool = False
    num_samples: int = 4
    prompt: str | None = None
    image: str | None = None
    guidance: float | None = None
    image_guidance: float | None = None
    upload_to: str | None = None

    @property
    def sampling(self) -> EditOptions:
        """Options of the samples and of a teacher."""
        return edit_options_for(self.model, self.guidance, self.image_guidance, steps=self.sample_steps)

    def for_pairs(self, count: int, processes: int) -> Self:
        """These settings with numbers of epochs as steps, for so many training pairs and processes."""
        examples = processes * self.step.accumulate * self.step.batch_size  # of an optimizer step
        epoch = -(-count // examples)
        return replace(
            self,
            step=replace(
                self.step,
                learning_rate=self.step.learning_rate * (examples if self.scale_rate else 1),
                max_steps=self.step.max_steps if self.epochs is None else self.epochs * epoch,
            ),
            sample_every=self.sample_every if self.sample_epochs is None else self.sample_epochs * epoch,
        )


@dataclass(frozen=True)
class EditData(TrainingData[EditRecord]):
    """Edit pairs.

    Attributes:
        target: what the edited images show: `mix`, or `vocals` for the added stem alone.
    """

    target: str = "mix"

    @staticmethod
    def images(record: EditRecord) -> tuple[str, ...]:
        return record.input_file_path, record.edited_file_path

    @staticmethod
    def prompt(record: EditRecord) -> str:
        return record.edit_prompt

    def examples(self, records: Sequence[EditRecord]) -> EditDataset:
        return EditDataset(records, self.encoded)


def prepare_edit_data(settings: EditSettings, pipeline: Any) -> EditData:
    """Open pairs, and `TrainingData.prepare` them."""
    if settings.dataset is None:
        store, records = open_pairs(settings.pairs, EDIT_PAIRS, settings.hub)
    else:
        store, records = open_dataset(settings.dataset, EDIT_PAIRS, settings.columns, settings.dataset_config, settings.hub)
    data = EditData.prepare(store, records, pipeline, settings.device, settings.val_share, settings.resolution)
    target = settings.target
    if target == "auto":
        target = "vocals" if settings_of(store.folder).get("target", "mix") != "mix" else "mix"
    return replace(data, training=data.training[: settings.max_pairs], target=target)


def edit_samples(pipeline: Any, clips: Sequence[HeldOutClip], settings: EditSettings, folder: Path) -> SampleLog:
    """Log samples of clips with the pipeline's UNet."""
    sampler = with_unet(pipeline, pipeline.unet)
    sampler.scheduler, options = sampling_of(pipeline.scheduler, settings.sampling, settings.distill_steps)
    sample = partial(sample_edit, sampler, options=options)
    return SampleLog(sampler, sample, clips, folder, settings.sample_every, settings.step.seed)


def held_out_edits(data: EditData, count: int, prompt: str | None = None) -> list[HeldOutClip]:
    """Clips for samples: unshifted, of different held-out songs, or of training songs where none is held out.

    Args:
        prompt: an instruction for all clips instead of their own; their targets are then unknown.
    """
    adding = [record for record in data.held_out or data.training if record.kind == "add"] or data.training
    clips = []
    for record in one_of_each_song(adding, count):
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


def edit_of_image(location: str, prompt: str) -> HeldOutClip:
    """A clip of an image file or URL; its target is unknown.

    Raises:
        DataError: it cannot be fetched, or is no image.
    """
    with TemporaryDirectory() as folder:
        path = Path(location)
        if location.startswith(("http://", "https://")):
            path = Path(folder) / "image"
            try:
                with urlopen(location, timeout=30) as response:
                    path.write_bytes(response.read())
            except OSError as error:
                raise DataError(f"val_image_url {location}: cannot be fetched ({error}); give a file") from error
        image = load_image(path)
    return HeldOutClip("validation", prompt, image.pixels, {"input": image}, image, None)

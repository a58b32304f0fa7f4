"""Train a ControlNet in front of a frozen UNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from riff.data.datasets import ControlDataset, Example, one_of_each_song
from riff.data.records import PairRecord, control_pairs
from riff.data.stores import open_pairs
from riff.errors import OptionError
from riff.models.control import with_control
from riff.models.lora import add_lora
from riff.sampling.options import SamplingOptions, options_for, without_control
from riff.sampling.pipelines import sample_control
from riff.spectrogram.image import SpectrogramImage, load_grey, load_image
from riff.training.data import TrainingData
from riff.training.distillation import sampling_of
from riff.training.losses import FigureLog
from riff.training.module import frozen_name
from riff.training.options import RunSettings
from riff.training.prediction import Configs
from riff.training.processes import BatchRng
from riff.training.samples import EdgeCurve, HeldOutClip, SampleLog


class ControlObjective:
    """Predict the noise from the prompt and, through the ControlNet, the edges.

    Args:
        unet, controlnet: diffusers' models.
        prompt_dropout: share of examples that train without their prompt, which teaches the control to read the edges.
        sd_locked: False also trains the UNet's decoder. only_mid_control: the control acts on the middle block alone.
        lora_rank, seed: above 0, adapters of the UNet are trained (`add_lora`), and the ControlNet is not.

    Raises:
        OptionError: adapters beside a decoder that is trained.
    """

    def __init__(
        self,
        unet: Any,
        controlnet: Any,
        prompt_dropout: float = 0.5,
        sd_locked: bool = True,
        only_mid_control: bool = False,
        lora_rank: int = 0,
        seed: int = 0,
    ) -> None:
        if lora_rank and not sd_locked:
            raise OptionError("lora_rank: adapters are trained on a locked base; leave out --sd_locked False")
        self.models = {"unet": unet.requires_grad_(False), "controlnet": controlnet}
        self._unet, self._controlnet = unet, controlnet
        self._prompt_dropout, self._only_mid_control = prompt_dropout, only_mid_control
        # At full image size with few channels, channels last is twice as fast.
        controlnet.controlnet_cond_embedding.to(memory_format=torch.channels_last)
        if only_mid_control:
            controlnet.controlnet_down_blocks.requires_grad_(False)  # unused; ddp waits for a gradient of every trained parameter
        if not sd_locked:
            for part in (unet.up_blocks, unet.conv_norm_out, unet.conv_out):
                part.requires_grad_(True)
        if lora_rank:
            add_lora(unet, lora_rank, seed)
            controlnet.requires_grad_(False)
        self.frozen_name = frozen_name(unet, controlnet) if lora_rank else frozen_name(unet)

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None) -> torch.Tensor:
        text = batch["text"]
        if rng is not None:
            text = torch.where(rng.uniform(1, 1) < self._prompt_dropout, batch["no_text"], text)
        return self._predict(batch, noisy, timesteps, text)

    def guided_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
        predictions = [
            weight * self._predict(batch, noisy, timesteps, batch["text" if with_prompt else "no_text"], options.strength)
            for weight, with_prompt in options.terms
        ]
        return torch.stack(predictions).sum(dim=0)

    def _predict(
        self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor, strength: float = 1.0
    ) -> torch.Tensor:
        hint = (batch["hint"].float() / 255.0).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        down, mid = self._controlnet(noisy, timesteps, text, hint, strength, return_dict=False)
        if self._only_mid_control:
            down = [torch.zeros_like(residual) for residual in down]
        return self._unet(
            noisy, timesteps, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]


def control_on_meta(configs: Configs, **options: Any) -> ControlObjective:
    """An objective of these shapes without weights. options: of `ControlObjective`."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(configs["unet"]))
        return ControlObjective(unet, ControlNetModel.from_config(dict(configs["controlnet"])), **options)


@dataclass(frozen=True)
class ControlSettings(RunSettings):
    """Settings of a ControlNet's training.

    Attributes:
        model, base: as of `load_control_pipeline`. pairs: location of the pairs (`open_pairs`), of this `control_method`.
        prompt_dropout, sd_locked, only_mid_control: as in `ControlObjective`.
    """

    model: str = ""
    base: str | None = None
    pairs: Path = Path()
    control_method: str = ""
    prompt_dropout: float = 0.5
    sd_locked: bool = True
    only_mid_control: bool = False

    @property
    def sampling(self) -> SamplingOptions:
        """Options of the samples and of a teacher."""
        return options_for(self.model, None, None, steps=self.sample_steps)

    @property
    def scope(self) -> dict[str, Any]:
        """What of the models is trained, as arguments of `ControlObjective`."""
        return {name: getattr(self, name) for name in ("sd_locked", "only_mid_control", "lora_rank")} | {"seed": self.step.seed}


class ControlData(TrainingData[PairRecord]):
    """ControlNet pairs; of their images the targets are encoded."""

    @staticmethod
    def images(record: PairRecord) -> tuple[str, ...]:
        return (record.target,)

    @staticmethod
    def conditions(record: PairRecord) -> tuple[str, ...]:
        return (record.source,)

    @staticmethod
    def prompt(record: PairRecord) -> str:
        return record.prompt

    def examples(self, records: Sequence[PairRecord]) -> ControlDataset:
        return ControlDataset(self.store, records, self.encoded)


def prepare_control_data(location: Path, control_method: str, pipeline: Any, device: str, val_share: float) -> ControlData:
    """Open pairs (`open_pairs`), and `TrainingData.prepare` them."""
    return ControlData.prepare(*open_pairs(location, control_pairs(control_method)), pipeline, device, val_share)


def control_samples(
    pipeline: Any, clips: Sequence[HeldOutClip], settings: ControlSettings, folder: Path, figures: FigureLog
) -> SampleLog:
    """Log samples of clips with the pipeline's ControlNet, and their edge F1."""
    sampler = with_control(pipeline, pipeline.controlnet)
    sampler.scheduler, options = sampling_of(pipeline.scheduler, settings.sampling, settings.distill_steps)
    sampler.set_progress_bar_config(disable=True)
    sample = partial(sample_control, sampler, options=options)
    sample_free = partial(sample_control, sampler, options=without_control(options))
    return SampleLog(sampler, sample, clips, folder, settings.sample_every, settings.step.seed, EdgeCurve(figures), sample_free)


def held_out_clips(data: ControlData, count: int = 4) -> list[HeldOutClip]:
    """Clips for samples: unshifted, of different held-out songs, or of training songs where none is held out."""
    clips = []
    for record in one_of_each_song(data.held_out or data.training, count):
        target = load_image(data.store.open(record.target))
        accompaniment = load_image(data.store.open(record.accompaniment)) if record.accompaniment else target
        edges = load_grey(data.store.open(record.source), background=0)
        references: dict[str, np.ndarray | SpectrogramImage] = {"accompaniment": accompaniment, "edges": edges}
        clips.append(HeldOutClip(Path(record.source).stem, record.prompt, edges, references, accompaniment, target))
    return clips

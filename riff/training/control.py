"""Train a ControlNet in front of a frozen UNet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler

from riff.data.datasets import ControlDataset, Example, one_of_each_song, split_by_song
from riff.data.latents import encode, of_one_size
from riff.data.records import PairRecord, control_pairs
from riff.data.stores import open_pairs
from riff.models.control import with_control
from riff.models.encoders import check_size, encoder_names, sampled_hash, warn_of_long
from riff.sampling.options import SamplingOptions, without_control
from riff.sampling.pipelines import sample_control
from riff.spectrogram.image import SpectrogramImage, load_grey, load_image
from riff.training.batch_rng import BatchRng
from riff.training.edge_curve import EdgeCurve
from riff.training.samples import HeldOutClip, SampleLog
from riff.training.train import TrainingData
from riff.training.validation import FigureLog


class ControlObjective:
    """Predict the noise from the prompt and, through the ControlNet, the edges.

    Args:
        unet, controlnet: diffusers' models.
        prompt_dropout: share of examples that train without their prompt, which teaches the control to read the edges.
        sd_locked: False also trains the UNet's decoder. only_mid_control: the control acts on the middle block alone.

    Attributes:
        frozen_name: short name of the UNet's weights that are not trained, "" for one on `meta`.
    """

    def __init__(
        self, unet: Any, controlnet: Any, prompt_dropout: float = 0.5, sd_locked: bool = True, only_mid_control: bool = False
    ) -> None:
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
        frozen = [item for item in unet.named_parameters() if not item[1].requires_grad]
        self.frozen_name = "" if unet.device.type == "meta" else sampled_hash(frozen)

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None) -> torch.Tensor:
        text = batch["text"]
        if rng is not None:
            text = torch.where(rng.uniform(1, 1) < self._prompt_dropout, batch["no_text"], text)
        hint = (batch["hint"].float() / 255.0).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        down, mid = self._controlnet(noisy, timesteps, text, controlnet_cond=hint, return_dict=False)
        if self._only_mid_control:
            down = [torch.zeros_like(residual) for residual in down]
        return self._unet(
            noisy, timesteps, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]


class ControlData(TrainingData[PairRecord]):
    """ControlNet pairs; of their images the targets are encoded."""

    def examples(self, records: Sequence[PairRecord]) -> ControlDataset:
        return ControlDataset(self.store, records, self.encoded)

    def content(self, record: PairRecord) -> str:
        return f"{self.encoded.keys[record.target]} {record.prompt}"


def prepare_control_data(place: Path, control_method: str, pipeline: Any, device: str, val_share: float) -> ControlData:
    """Open pairs and compute their missing latents and embeddings.

    Args:
        place: of the pairs, as in `open_pairs`.

    Raises:
        DataError: no usable pairs, missing images, or none of a size that fits the model.
    """
    store, records = open_pairs(place, control_pairs(control_method))
    check = partial(check_size, pipeline, what="an image")
    records, _ = of_one_size(store, records, lambda record: (record.source, record.target), check)
    training, held_out = split_by_song(records, val_share)
    targets = [record.target for record in records]
    warn_of_long(pipeline.tokenizer, [record.prompt for record in records])
    names = encoder_names(pipeline)
    encoded = encode(store, targets, [record.prompt for record in records], pipeline, names, device)
    return ControlData(store, training, held_out, encoded, names)


def control_samples(
    pipeline: Any, clips: Sequence[HeldOutClip], options: SamplingOptions, folder: Path, figures: FigureLog, every: int, seed: int
) -> SampleLog:
    """Sample clips with the pipeline's ControlNet every so many steps, and follow the edge F1."""
    sampler = with_control(pipeline, pipeline.controlnet)
    sampler.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    sampler.set_progress_bar_config(disable=True)
    sample = partial(sample_control, sampler, options=options)
    sample_free = partial(sample_control, sampler, options=without_control(options))
    return SampleLog(sampler, sample, clips, folder, every, seed, EdgeCurve(figures), sample_free)


def held_out_clips(data: ControlData, most: int = 4) -> list[HeldOutClip]:
    """Clips for samples: unshifted, of different held-out songs, or of training songs where none is held out."""
    clips = []
    for record in one_of_each_song(data.held_out or data.training, most):
        target = load_image(data.store.open(record.target))
        backing = load_image(data.store.open(record.accompaniment)) if record.accompaniment else target
        edges = load_grey(data.store.open(record.source), background=0)
        shown: dict[str, np.ndarray | SpectrogramImage] = {"accompaniment": backing, "edges": edges}
        clips.append(HeldOutClip(Path(record.source).stem, record.prompt, edges, shown, backing, target))
    return clips

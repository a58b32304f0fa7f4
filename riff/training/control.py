"""Train a ControlNet in front of a frozen UNet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler

from riff.data.datasets import ControlDataset, Example, one_of_each_song, split_by_song
from riff.data.latents import check_sizes, encode
from riff.data.records import PairRecord, read_records
from riff.errors import DataError
from riff.models.base import encoder_names
from riff.models.control import with_control
from riff.sampling.control import SamplingOptions, sample_control
from riff.spectrogram.image import load_grey, load_image
from riff.training.callbacks import HeldOutClip, SampleLog
from riff.training.module import Draws, NoiseTraining, TrainingOptions
from riff.training.places import RunPlaces
from riff.training.run import RunSettings, quieten_lightning, run_training


class ControlObjective:
    """Predict the noise from the prompt and, through the ControlNet, the edges.

    Args:
        unet, controlnet: diffusers' models.
        prompt_dropout: share of examples that train without their prompt, which teaches the control to read the edges.
        sd_locked: False also trains the UNet's decoder. only_mid_control: the control acts on the middle block alone.
    """

    def __init__(
        self, unet: Any, controlnet: Any, prompt_dropout: float = 0.5, sd_locked: bool = True, only_mid_control: bool = False
    ) -> None:
        self.models = {"unet": unet.requires_grad_(False), "controlnet": controlnet}
        self._unet, self._controlnet = unet, controlnet
        self._prompt_dropout, self._only_mid_control = prompt_dropout, only_mid_control
        # On the full picture with few channels, channels last is twice as fast.
        controlnet.controlnet_cond_embedding.to(memory_format=torch.channels_last)
        if not sd_locked:
            for part in (unet.up_blocks, unet.conv_norm_out, unet.conv_out):
                part.requires_grad_(True)

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, draws: Draws) -> torch.Tensor:
        text = torch.where(draws.uniform(1, 1) < self._prompt_dropout, batch["no_text"], batch["text"])
        hint = batch["hint"].contiguous(memory_format=torch.channels_last)
        down, mid = self._controlnet(noisy, timesteps, text, controlnet_cond=hint, return_dict=False)
        if self._only_mid_control:
            down = [torch.zeros_like(residual) for residual in down]
        return self._unet(
            noisy, timesteps, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]


def train_control(
    pipeline: Any,
    objective: ControlObjective,
    data_dir: Path,
    control_method: str,
    options: TrainingOptions,
    places: RunPlaces,
    settings: RunSettings,
    *,
    val_share: float,
    sampling: SamplingOptions,
    resume: Path | None = None,
) -> tuple[int, str]:
    """Train the pipeline's ControlNet in place.

    Returns:
        The step it reached, and why it stopped early ("" if it did not).

    Raises:
        DataError: no usable pairs. ModelError: `resume` is of another model.
    """
    quieten_lightning()
    records = read_records(data_dir, control_method)
    training, held_out = split_by_song(records, val_share)
    print(f"{len(training)} pairs to train on, {len(held_out)} held out (other songs)")
    targets = [record.target for record in records]
    check_sizes(data_dir, targets)
    _check_hint_size(data_dir, records[0], pipeline)
    names = encoder_names(pipeline)
    encoded = encode(data_dir, targets, [record.prompt for record in records], pipeline, names, settings.device)
    dataset = ControlDataset(data_dir, training, encoded)
    module = NoiseTraining(objective, pipeline.scheduler, dataset, options, fingerprint="-".join(names))
    sampler = with_control(pipeline, pipeline.controlnet)
    sampler.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    sampler.set_progress_bar_config(disable=True)
    clips = held_out_clips(data_dir, held_out or training)
    draw = partial(sample_control, sampler, options=sampling)
    samples = SampleLog(sampler, draw, clips, places.images, settings.sample_every, options.seed)
    return run_training(module, places, settings, samples, resume)


def held_out_clips(data_dir: Path, records: Sequence[PairRecord], most: int = 4) -> list[HeldOutClip]:
    """Clips to draw samples for: unshifted ones of different songs."""
    clips = []
    for record in one_of_each_song(records, most):
        target = load_image(data_dir / record.target)
        backing = load_image(data_dir / record.accompaniment) if record.accompaniment else target
        edges = load_grey(data_dir / record.source)
        shown = {"accompaniment": backing.pixels, "edges": edges}
        clips.append(HeldOutClip(Path(record.source).stem, record.prompt, edges, shown, backing, target))
    return clips


def _check_hint_size(data_dir: Path, record: PairRecord, pipeline: Any) -> None:
    height, width = load_grey(data_dir / record.source).shape
    factor = 2 ** (len(pipeline.controlnet.config.conditioning_embedding_out_channels) - 1)
    if height % factor or width % factor:
        raise DataError(f"{data_dir / record.source}: {height}x{width} does not fit this model; use multiples of {factor}")

"""The LightningModule: predict the noise in latents, with a ControlNet in front of a frozen UNet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset

from riff.data.datasets import Example, StepSampler


@dataclass(frozen=True)
class TrainingOptions:
    """What decides a training step, beside the data.

    Attributes:
        accumulate: batches to one optimizer step. warmup_steps: optimizer steps of rising learning rate.
        schedule: `constant`, or `cosine` down to a hundredth at max_steps.
        prompt_dropout: share of examples that train without their prompt, which teaches the control to read the edges.
        sd_locked: False also trains the UNet's decoder. only_mid_control: the control acts on the middle block alone.
        seed: of data order, noise, timesteps and dropout.
    """

    learning_rate: float = 1e-5
    batch_size: int = 4
    accumulate: int = 1
    max_steps: int = 100_000
    warmup_steps: int = 0
    schedule: str = "constant"
    prompt_dropout: float = 0.5
    sd_locked: bool = True
    only_mid_control: bool = False
    save_memory: bool = False
    num_workers: int = 2
    seed: int = 0


class ControlTraining(pl.LightningModule):
    """Train a ControlNet on latents that were encoded beforehand.

    Everything random in batch k is drawn from (seed, k), and k travels in the checkpoint: a resumed run repeats exactly
    what a straight one does.

    Args:
        unet, controlnet: diffusers' models. noise_scheduler: one with `add_noise`, for its noise levels.
        dataset: of `ControlDataset`'s examples.
    """

    def __init__(self, unet: Any, controlnet: Any, noise_scheduler: Any, dataset: Dataset, options: TrainingOptions) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold what is trained, not the frozen UNet
        self.unet, self.controlnet, self.options = unet.requires_grad_(False), controlnet, options
        self.batches_done = 0
        self._noise_scheduler, self._dataset = noise_scheduler, dataset
        # On the full picture with few channels, channels last is twice as fast.
        controlnet.controlnet_cond_embedding.to(memory_format=torch.channels_last)
        if not options.sd_locked:
            for part in (unet.up_blocks, unet.conv_norm_out, unet.conv_out):
                part.requires_grad_(True)
        if options.save_memory:
            unet.enable_gradient_checkpointing()
            controlnet.enable_gradient_checkpointing()

    def train_dataloader(self) -> DataLoader:
        sampler = StepSampler(len(self._dataset), self.options.batch_size, self.options.seed, start=self.batches_done)  # type: ignore[arg-type]
        workers = self.options.num_workers
        return DataLoader(
            self._dataset,
            batch_sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def training_step(self, batch: Example, _batch_index: int) -> torch.Tensor:
        loss = self.noise_loss(batch, seed=(self.options.seed, self.batches_done))
        self.batches_done += 1
        self.log("train_loss", loss.detach(), prog_bar=True)
        return loss

    def noise_loss(self, batch: Example, seed: Sequence[int]) -> torch.Tensor:
        """Mean squared error of the predicted noise (Ho, Jain and Abbeel, NeurIPS 2020), a scalar.

        Args:
            batch: stacked examples. seed: fixes latents, noise, timesteps and which prompts are dropped.
        """
        generator = torch.Generator().manual_seed(_mix(seed))
        mean, std = batch["moments"].unbind(dim=1)
        size = len(mean)

        def draw() -> torch.Tensor:
            return torch.randn(mean.shape, generator=generator).to(mean)

        latents, noise = mean + std * draw(), draw()
        levels = self._noise_scheduler.config.num_train_timesteps
        timesteps = torch.randint(levels, (size,), generator=generator).to(mean.device)
        dropped = (torch.rand(size, 1, 1, generator=generator) < self.options.prompt_dropout).to(mean.device)
        text = torch.where(dropped, batch["no_text"], batch["text"])
        noisy = self._noise_scheduler.add_noise(latents, noise, timesteps)
        return mse_loss(self.predict_noise(noisy, timesteps, text, batch["hint"]).float(), noise)

    def predict_noise(self, noisy: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
        hint = hint.contiguous(memory_format=torch.channels_last)
        down, mid = self.controlnet(noisy, timesteps, text, controlnet_cond=hint, return_dict=False)
        if self.options.only_mid_control:
            down = [torch.zeros_like(residual) for residual in down]
        return self.unet(
            noisy, timesteps, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )[0]

    def configure_optimizers(self) -> dict[str, Any]:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = _adamw(parameters, self.options)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate_factor(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.options.warmup_steps))
        if self.options.schedule == "constant":
            return rise
        return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.options.max_steps))))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in trained}
        checkpoint["batches_done"] = self.batches_done

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_done = checkpoint["batches_done"]


def _mix(numbers: Sequence[int]) -> int:
    """Several numbers as one seed; neighbours give unrelated streams."""
    import numpy as np

    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _adamw(parameters: list[nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW; in 8 bits where memory is to be saved and bitsandbytes is installed."""
    if options.save_memory and parameters[0].is_cuda:
        try:
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, lr=options.learning_rate)
        except ImportError:
            pass
    return torch.optim.AdamW(parameters, lr=options.learning_rate, fused=parameters[0].is_cuda)

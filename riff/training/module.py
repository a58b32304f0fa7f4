"""The Lightning module of both model types: predict the noise in latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.training_utils import EMAModel, compute_snr
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset

from riff.data.datasets import Example, StepSampler
from riff.models.encoders import sampled_hash
from riff.training.optimizers import adamw, learning_rate_factor
from riff.training.options import TrainingOptions
from riff.training.processes import ALONE, BatchRng, Processes

MAX_VARIANTS = 64  # compilations of one block's code, by widths and sizes; Stable Diffusion needs about 20


class Objective(Protocol):
    """The models in training, and how they predict the noise.

    Attributes:
        models: by their names in checkpoints; their parameters that require gradients are trained.
        frozen_name: short hash of the weights that are not trained, "" where all are.
    """

    models: dict[str, Any]
    frozen_name: str

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None) -> torch.Tensor:
        """The noise in `noisy`, of its shape. rng: decides which conditions are dropped; None drops none."""

    def guided_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, options: Any) -> torch.Tensor:
        """The noise in `noisy` as a sampler with these options predicts it."""


def frozen_name(*models: Any) -> str:
    """Short hash of the models' weights that are not trained, "" where there are none or they are on `meta`."""
    frozen = [item for model in models for item in model.named_parameters() if not item[1].requires_grad]
    return sampled_hash(frozen) if frozen and frozen[0][1].device.type != "meta" else ""


class NoiseTraining(pl.LightningModule):
    """Train an objective's models on latents that were encoded beforehand.

    The random numbers of batch k are a function of (seed, k), and checkpoints hold k: a resumed run equals an uninterrupted
    one to the bit.

    Args:
        noise_scheduler: diffusers' scheduler with `add_noise`.
        dataset: of examples that hold `moments` and what the objective reads.
        fingerprint: of the frozen models; a checkpoint fits no others.
        data: description of the training data for checkpoints (`describe_data`).
    """

    def __init__(
        self,
        objective: Objective,
        noise_scheduler: Any,
        dataset: Dataset,
        options: TrainingOptions,
        fingerprint: str,
        processes: Processes = ALONE,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold trained parameters alone
        self.objective, self.options, self.fingerprint, self.data = objective, options, fingerprint, data
        self.batches_done = 0
        self.processes, self.noise_levels = processes, int(noise_scheduler.config.num_train_timesteps)
        self._noise_scheduler, self._dataset = noise_scheduler, dataset
        for name, model in objective.models.items():
            self.add_module(name, model)
            if options.savings.checkpointing:
                model.enable_gradient_checkpointing()
        if options.compile:
            compile_blocks(objective.models.values())
        self._average = EMAModel(self.trained, decay=options.ema_decay, foreach=True) if options.ema_decay else None

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def _global_batch_size(self) -> int:
        """Examples of all processes in a batch."""
        return self.options.batch_size * self.processes.count

    def train_dataloader(self) -> DataLoader:
        options, processes = self.options, self.processes
        sampler = StepSampler(
            len(self._dataset),  # type: ignore[arg-type]
            options.batch_size,
            options.seed,
            start=self.batches_done,
            rank=processes.rank,
            processes=processes.count,
        )
        return DataLoader(
            self._dataset,
            batch_sampler=sampler,
            num_workers=options.num_workers,
            persistent_workers=options.num_workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def training_step(self, batch: Example, _batch_index: int) -> torch.Tensor:
        loss = self.noise_loss(batch, seed=(self.options.seed, self.batches_done))
        self.batches_done += 1
        return loss

    def noise_loss(self, batch: Example, seed: Sequence[int]) -> torch.Tensor:
        """Mean squared error of the predicted noise (Ho, Jain and Abbeel, NeurIPS 2020), a scalar.

        Args:
            batch: stacked examples. seed: of latents, noise, timesteps and dropped conditions.
        """
        moments = batch["moments"]
        rng = BatchRng(seed, len(moments), self.processes, moments.device)
        latent_noise, noise = rng.normal(*moments.shape[2:]), rng.normal(*moments.shape[2:])
        return self.training_loss(batch, latent_noise, noise, rng)

    def training_loss(self, batch: Example, latent_noise: torch.Tensor, noise: torch.Tensor, rng: BatchRng) -> torch.Tensor:
        """The loss, a scalar, of latents sampled with one noise and noised with the other, each (examples, channels, h, w)."""
        timesteps = rng.integers(self.noise_levels)
        predicted = self._predict(batch, latent_noise, noise, timesteps, rng)
        if not self.options.snr_gamma:
            return mse_loss(predicted, noise)
        snr = compute_snr(self._noise_scheduler, timesteps)
        weights = (snr.clamp(max=self.options.snr_gamma) / snr).view(-1, 1, 1, 1)
        return (weights * mse_loss(predicted, noise, reduction="none")).mean()

    def validation_step(self, batch: Example, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the predicted noise of each example, float32, shape (examples,); no condition is dropped.

        Args:
            noise: shape (examples, 2, channels, height, width): of the posterior's sample, and the noise to be predicted.
            timesteps: int64, shape (examples,).
        """
        latent_noise, added = noise.unbind(dim=1)
        return (self._predict(batch, latent_noise, added, timesteps, None) - added).square().mean(dim=(1, 2, 3))

    def _predict(
        self, batch: Example, latent_noise: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None
    ) -> torch.Tensor:
        mean, std = batch["moments"].unbind(dim=1)
        noisy = self._noise_scheduler.add_noise(mean + std * latent_noise, noise, timesteps)
        return self.objective.predict_noise(batch, noisy, timesteps, rng).float()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = adamw(self.named_parameters(), self.options)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(learning_rate_factor, self.options))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.zero_grad()  # sets gradients to None; Lightning would keep them through the next forward pass
        if self._average is not None:
            self._average.step(self.trained)

    def on_fit_start(self) -> None:
        if self._average is not None:
            self._average.to(self.device)

    def on_train_start(self) -> None:
        """Set the learning rate of the options in place of the checkpoint's."""
        for config in self.trainer.lr_scheduler_configs:
            schedule = config.scheduler
            schedule.base_lrs = list(self._rates)
            for group, rate, factor in zip(schedule.optimizer.param_groups, self._rates, schedule.lr_lambdas, strict=True):
                group["initial_lr"], group["lr"] = rate, rate * factor(schedule.last_epoch)

    @property
    def has_average(self) -> bool:
        return self._average is not None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside the block, if there are any."""
        if self._average is None:
            yield
            return
        self._average.store(self.trained)
        self._average.copy_to(self.trained)
        try:
            yield
        finally:
            self._average.restore(self.trained)

    def keep_average(self) -> None:
        """Replace the weights by their average, if there is one."""
        if self._average is not None:
            self._average.copy_to(self.trained)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in trained}
        checkpoint["batches_done"], checkpoint["fingerprint"] = self.batches_done, self.fingerprint
        checkpoint["examples_done"] = self.batches_done * self._global_batch_size
        checkpoint["data"], checkpoint["seed"] = self.data, self.options.seed
        if self._average is not None:
            checkpoint["average"] = self._average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # If the batch size changed, continue at the first batch that starts behind the examples seen so far.
        examples = checkpoint.get("examples_done", checkpoint["batches_done"] * self._global_batch_size)
        self.batches_done = -(-examples // self._global_batch_size)
        # Lightning ends a step at multiples of `accumulate`, which may have changed.
        batches = checkpoint["global_step"] * self.options.accumulate
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        progress.update(dict.fromkeys(("ready", "started", "processed", "completed"), batches))
        if self._average is not None and "average" in checkpoint:
            self._average.load_state_dict(checkpoint["average"])


def compile_blocks(models: Iterable[Any]) -> None:
    """Compile the residual and transformer blocks of diffusers' models with `torch.compile`, in place, when they first run.

    A whole ControlNet does not compile, blocks do; they share few graphs, and parameter names stay as they are.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_VARIANTS)
    for model in models:
        for module in model.modules():
            if isinstance(module, (ResnetBlock2D, BasicTransformerBlock)):
                module.compile()

"""The training core: predict the noise in latents, whatever it is predicted from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from diffusers.training_utils import EMAModel, compute_snr
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset

from riff.data.datasets import Example, StepSampler
from riff.training.batch_rng import BatchRng
from riff.training.compilation import compile_blocks
from riff.training.optimizers import adamw, learning_rate_factor
from riff.training.options import TrainingOptions
from riff.training.processes import ALONE, Processes


class Objective(Protocol):
    """What the noise is predicted from.

    Attributes:
        models: by their names in checkpoints; their parameters that require gradients are trained.
        frozen_name: short hash of the weights that are not trained, "" where all are.
    """

    models: dict[str, Any]
    frozen_name: str

    def predict_noise(self, batch: Example, noisy: torch.Tensor, timesteps: torch.Tensor, rng: BatchRng | None) -> torch.Tensor:
        """The noise in `noisy`, of its shape. rng: decides which conditions are dropped; None drops none."""


class NoiseTraining(pl.LightningModule):
    """Train an objective's models on latents that were encoded beforehand.

    Everything random in batch k is drawn from (seed, k), and k travels in the checkpoint: a resumed run repeats exactly
    what a straight one does.

    Args:
        noise_scheduler: one with `add_noise`, for its noise levels.
        dataset: of examples that hold `moments` and what the objective reads.
        fingerprint: of the frozen models, which a checkpoint belongs to.
        data: what it was trained on, as `describe_data` says it, for its checkpoints.
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
        self.strict_loading = False  # checkpoints hold what is trained, not what is frozen
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
    def _examples_a_batch(self) -> int:
        """Of all processes together."""
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
            batch: stacked examples. seed: fixes latents, noise, timesteps and which conditions are dropped.
        """
        moments = batch["moments"]
        rng = BatchRng(seed, len(moments), self.processes, moments.device)
        latent_noise, noise = rng.normal(*moments.shape[2:]), rng.normal(*moments.shape[2:])
        timesteps = rng.integers(self.noise_levels)
        predicted = self._predict(batch, latent_noise, noise, timesteps, rng)
        if not self.options.snr_gamma:
            return mse_loss(predicted, noise)
        snr = compute_snr(self._noise_scheduler, timesteps)
        weights = (snr.clamp(max=self.options.snr_gamma) / snr).view(-1, 1, 1, 1)
        return (weights * mse_loss(predicted, noise, reduction="none")).mean()

    def validation_step(self, batch: Example, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the predicted noise for each example, float32, shape (examples,); no condition is dropped.

        Args:
            noise: shape (examples, 2, channels, height, width), of the latents about their mean, and what is predicted.
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

    def optimizer_step(self, *arguments: Any, **more: Any) -> None:
        super().optimizer_step(*arguments, **more)
        self.zero_grad()  # sets them to None; Lightning would keep them until the next forward pass is over
        if self._average is not None:
            self._average.step(self.trained)

    def on_fit_start(self) -> None:
        if self._average is not None:
            self._average.to(self.device)

    def on_train_start(self) -> None:
        """Take the learning rate that this call names: a checkpoint brings that of the call which wrote it."""
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
        """Hold the averaged weights inside the block, if there are any."""
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
        """Take the averaged weights for good, if there are any."""
        if self._average is not None:
            self._average.copy_to(self.trained)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in trained}
        checkpoint["batches_done"], checkpoint["fingerprint"] = self.batches_done, self.fingerprint
        checkpoint["examples_done"] = self.batches_done * self._examples_a_batch
        checkpoint["data"], checkpoint["seed"] = self.data, self.options.seed
        if self._average is not None:
            checkpoint["average"] = self._average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # With batches of another size, go on at the next one that begins behind what was seen.
        examples = checkpoint.get("examples_done", checkpoint["batches_done"] * self._examples_a_batch)
        self.batches_done = -(-examples // self._examples_a_batch)
        # Lightning makes a step of the batches up to the next multiple of `accumulate`, which may be another than before.
        batches = checkpoint["global_step"] * self.options.accumulate
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        progress.update(dict.fromkeys(("ready", "started", "processed", "completed"), batches))
        if self._average is not None and "average" in checkpoint:
            self._average.load_state_dict(checkpoint["average"])

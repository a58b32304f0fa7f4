"""The noise schedule as the original latent diffusion code keeps it: buffers in the checkpoint, which its strict loader expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from riff.errors import ModelError

BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
)


def schedule_buffers(scheduler: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The twelve buffers of a diffusion process (Ho, Jain and Abbeel, NeurIPS 2020) and `logvar`, which is zero.

    Args:
        scheduler: configuration of a diffusers scheduler.

    Returns:
        `BUFFERS`, each float32, shape (training steps,), computed in float64.

    Raises:
        ModelError: a noise schedule that the original code does not have.
    """
    betas = _betas(scheduler)
    alphas = 1 - betas
    kept = alphas.cumprod(0)  # the share of the picture's variance that is left at each step
    kept_before = torch.cat([kept.new_ones(1), kept[:-1]])
    variance = betas * (1 - kept_before) / (1 - kept)
    values = (
        betas,
        kept,
        kept_before,
        kept.sqrt(),
        (1 - kept).sqrt(),
        (1 - kept).log(),
        (1 / kept).sqrt(),
        (1 / kept - 1).sqrt(),
        variance,
        variance.clamp(min=1e-20).log(),
        betas * kept_before.sqrt() / (1 - kept),
        (1 - kept_before) * alphas.sqrt() / (1 - kept),
        torch.zeros_like(betas),
    )
    return {name: value.float() for name, value in zip(BUFFERS, values, strict=True)}


def check_schedule(betas: torch.Tensor, scheduler: Mapping[str, Any], path: object, name: str) -> None:
    """Refuse a scheduler whose noise is not what a checkpoint was trained on.

    Raises:
        ModelError: names the checkpoint and the scheduler's base.
    """
    expected = _betas(scheduler).float()
    if betas.shape != expected.shape or not torch.allclose(betas.float(), expected, rtol=1e-2, atol=0):
        raise ModelError(f"{path}: was trained with another noise schedule than that of {name}; give --base one with its schedule")


def _betas(scheduler: Mapping[str, Any]) -> torch.Tensor:
    kind = scheduler.get("beta_schedule", "linear")
    first, last, steps = scheduler["beta_start"], scheduler["beta_end"], scheduler["num_train_timesteps"]
    if scheduler.get("trained_betas") is not None:
        return torch.tensor(scheduler["trained_betas"], dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
    if kind == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    raise ModelError(f"the scheduler's beta_schedule {kind} is none of the original code's; use one with scaled_linear or linear")

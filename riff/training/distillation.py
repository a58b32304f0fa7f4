"""Distil a model and its guidance into few denoising steps of one pass each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from diffusers import UniPCMultistepScheduler

from riff.data.datasets import Example
from riff.models.lora import FewStepScheduler, without_lora
from riff.sampling.options import EditOptions, SamplingOptions
from riff.training.module import NoiseTraining
from riff.training.processes import BatchRng

Options = TypeVar("Options", bound=SamplingOptions | EditOptions)
SUBSTEPS = 2  # the teacher's steps in each of the student's


def sampling_of(scheduler: Any, options: Options, distill_steps: int) -> tuple[Any, Options]:
    """The scheduler and the options that a run's model is sampled with. scheduler: of its base."""
    if distill_steps:
        return FewStepScheduler.like(scheduler), student_options(options, distill_steps)
    return UniPCMultistepScheduler.from_config(scheduler.config), options


def student_options(teacher: Options, steps: int) -> Options:
    """A teacher's options with so many steps and without guidance."""
    if isinstance(teacher, EditOptions):
        return replace(teacher, steps=steps, guidance_scale=1.0, image_guidance_scale=1.0)
    return replace(teacher, steps=steps, guidance_scale=1.0)


class Distillation(NoiseTraining):
    """Train adapters to reach in one DDIM step what the model without them, the teacher, reaches in several guided ones.

    One round of progressive distillation (Salimans and Ho, ICLR 2022), with the guidance folded in (Meng et al., CVPR 2023):
    from a noisy training example, the teacher goes to the noise level of the student's next step, by DPM-Solver++ (2M) (Lu et al.,
    2022), which in two steps is more exact than DDIM in three; one that was distilled itself by DDIM, as it was trained. The
    loss is the squared difference of the two ends in v, which weighs the clean latents by SNR + 1.

    Args:
        teacher: sampling options of the teacher. steps: of the student. further: as of `NoiseTraining`.
    """

    def __init__(self, *args: Any, teacher: SamplingOptions | EditOptions, steps: int, **further: Any) -> None:
        super().__init__(*args, **further)
        self._teacher, self._student, self._steps = teacher, student_options(teacher, steps), steps
        scheduler = FewStepScheduler.like(self._noise_scheduler)
        scheduler.set_timesteps(steps * SUBSTEPS)
        kept = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps], scheduler.final_alpha_cumprod.reshape(1)])
        self.register_buffer("_timesteps", scheduler.timesteps, persistent=False)
        self.register_buffer("_alpha", kept.sqrt(), persistent=False)  # of the signal, at every step and at the end
        self.register_buffer("_sigma", (1 - kept).sqrt(), persistent=False)  # of the noise
        second_order = second_order_weights(kept) * (not isinstance(self._noise_scheduler, FewStepScheduler))
        self.register_buffer("_second_order", second_order, persistent=False)

    def training_loss(self, batch: Example, latent_noise: torch.Tensor, noise: torch.Tensor, rng: BatchRng) -> torch.Tensor:
        return self._errors(batch, latent_noise, noise, rng.integers(self._steps)).mean()

    def validation_step(self, batch: Example, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The loss of each example, float32, shape (examples,), at the student's step that a timestep lies in.

        Args:
            noise, timesteps: as of `NoiseTraining`.
        """
        first = self._steps - 1 - timesteps * self._steps // self.noise_levels
        latent_noise, added = noise.unbind(dim=1)
        return self._errors(batch, latent_noise, added, first)

    def _errors(self, batch: Example, latent_noise: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """The loss of each example, from the student's step of this number on."""
        mean, std = batch["moments"].unbind(dim=1)
        first = steps * SUBSTEPS
        noisy = self._at(self._alpha, first) * (mean + std * latent_noise) + self._at(self._sigma, first) * noise
        with torch.no_grad(), without_lora(self.objective.models["unet"]):
            target = self.teacher_clean(batch, noisy, first)
        clean = self._clean(batch, noisy, first, self._student)
        return ((clean - target) / self._at(self._sigma, first)).square().mean(dim=(1, 2, 3))

    def teacher_clean(self, batch: Example, noisy: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        """The clean latents with which one DDIM step (Song, Meng and Ermon, ICLR 2021) ends where the teacher's steps end."""
        reached, before = noisy, torch.zeros_like(noisy)
        for step in (first + index for index in range(SUBSTEPS)):
            clean = self._clean(batch, reached, step, self._teacher)
            used = clean + self._at(self._second_order, step) * (clean - before)
            shrunk = self._at(self._sigma, step + 1) / self._at(self._sigma, step)
            reached = self._at(self._alpha, step + 1) * used + shrunk * (reached - self._at(self._alpha, step) * used)
            before = clean
        shrunk = self._at(self._sigma, first + SUBSTEPS) / self._at(self._sigma, first)
        return (reached - shrunk * noisy) / (self._at(self._alpha, first + SUBSTEPS) - shrunk * self._at(self._alpha, first))

    def _clean(
        self, batch: Example, noisy: torch.Tensor, steps: torch.Tensor, options: SamplingOptions | EditOptions
    ) -> torch.Tensor:
        """The clean latents as a guided prediction has them, float32."""
        noise = self.objective.guided_noise(batch, noisy, self._timesteps[steps], options).float()
        return (noisy - self._at(self._sigma, steps) * noise) / self._at(self._alpha, steps)

    @staticmethod
    def _at(levels: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Values at steps, shape (examples, 1, 1, 1)."""
        return levels[steps].view(-1, 1, 1, 1)


def second_order_weights(kept: torch.Tensor) -> torch.Tensor:
    """How far DPM-Solver++ (2M) extrapolates the clean latents from those of the step before, for each of the teacher's steps.

    0, which is DDIM, in the first of the student's steps, and where the noise ends, as in diffusers' scheduler.

    Args:
        kept: the share of the signal's power at every step and at the end, ascending, shape (steps + 1,).
    """
    half_log_snr = torch.log(kept[:-1] / (1 - kept[:-1])) / 2
    length = half_log_snr.diff()
    weights = torch.zeros(len(kept) - 1)
    weights[1:-1] = length[1:] / (2 * length[:-1])
    weights[::SUBSTEPS] = 0
    return weights

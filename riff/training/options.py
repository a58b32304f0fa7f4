"""Settings of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from riff.errors import OptionError


@dataclass(frozen=True)
class Savings:
    """How a run saves GPU memory.

    Attributes:
        checkpointing: recompute activations in the backward pass instead of keeping them.
        frozen: storage of frozen weights, `32` or `half` (the half precision that the run computes in).
        trained: storage of trained weights, `32` or `bf16` (with stochastic rounding).
        moments: storage of the optimizer's two moments, `32`, `bf16` (with stochastic rounding) or `8bit` (on CUDA with
            bitsandbytes; else `32`).

    Raises:
        OptionError: 8-bit moments with bf16 weights, which no optimizer here rounds stochastically.
    """

    checkpointing: bool = False
    frozen: str = "32"
    trained: str = "32"
    moments: str = "32"

    def __post_init__(self) -> None:
        if self.moments == "8bit" and self.trained == "bf16":
            raise OptionError("8-bit AdamW rounds to nearest, and bf16 weights would stand still; store trained weights in 32")


@dataclass(frozen=True)
class TrainingOptions:
    """Options that determine a training step, beside the data and the objective.

    Attributes:
        batch_size: examples in a batch of one process. accumulate: batches of an optimizer step.
        rate_factors: (prefix of parameter names, factor of their learning rate); the first match counts.
        warmup_steps: optimizer steps of rising learning rate, with every schedule.
        schedule: `constant`, or `cosine` or `linear` down to a hundredth at max_steps.
        snr_gamma: bound of the loss's weight min(SNR, gamma) / SNR (Hang et al., ICCV 2023); 0 weighs all noise levels alike.
        ema_decay: of the averaged weights, which samples and the result use; 0 keeps no average.
        savings: of memory. compile: whether to compile the models' blocks.
        seed: of data order, noise, timesteps, dropout and stochastic rounding.
    """

    learning_rate: float = 1e-5
    rate_factors: tuple[tuple[str, float], ...] = ()
    batch_size: int = 4
    accumulate: int = 1
    max_steps: int = 100_000
    warmup_steps: int = 0
    schedule: str = "constant"
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = 1e-8
    weight_decay: float = 1e-2
    snr_gamma: float = 0.0
    ema_decay: float = 0.0
    savings: Savings = Savings()
    compile: bool = False
    num_workers: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Advice:
    """Texts of the script for messages about a run that ended early.

    Attributes:
        command: that started the run. lower_rate: its flag for the learning rate, with a lower value.
        suggestions: what else may keep the loss finite.
    """

    command: str = ""
    lower_rate: str = ""
    suggestions: str = ""


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run of either objective, made of flags by `riff.training.flags`.

    Attributes:
        step: what determines a training step. precision: `32`, `bf16` or `16`. preset: of memory savings.
        device: `cpu` or `cuda`. devices: number of processes on this machine, or `auto`. num_nodes: number of machines.
        val_share: share of songs held out.
        sample_every, validate_every, checkpoint_every: optimizer steps; 0 is never, but a checkpoint is written at the end.
        sample_steps: denoising steps of a sample. validation_images: noisy examples of a validation.
        checkpoints_kept: number of newest checkpoints kept, None for all.
        max_grad_norm: gradients are clipped to it. max_seconds: time limit.
        loggers: names of `riff.training.loggers.LOGGERS`. project: at Weights & Biases.
        log_dir: folder of `lightning_logs/` and `image_log/`. output: folder of the result. overwrite: any model in it is replaced.
        resume: path of a checkpoint, or `newest` or `latest`; None starts a new run.
        lora_rank: of adapters of the UNet, which are then all that is trained and written; 0 trains as the objective does.
        distill_steps: of a student that the adapters make of the model (`riff.training.distillation`); 0 learns the data.
        part_only: write the trained part of the pipeline alone, in half precision.
        flags: the resolved flags, for the configuration and the manifest. advice: for messages.
    """

    step: TrainingOptions = TrainingOptions()
    precision: str = "32"
    preset: str = "full"
    device: str = "cpu"
    devices: str = "auto"
    num_nodes: int = 1
    val_share: float = 0.1
    sample_every: int = 500
    sample_steps: int = 20
    validate_every: int = 500
    validation_images: int = 32
    checkpoint_every: int = 1000
    checkpoints_kept: int | None = 1
    max_grad_norm: float = 1.0
    max_seconds: float = float("inf")
    loggers: Sequence[str] = ("tensorboard",)
    project: str = "riff-cnet"
    log_dir: Path = Path(".")
    output: Path = Path("models/final")
    overwrite: bool = False
    resume: str | None = None
    lora_rank: int = 0
    distill_steps: int = 0
    part_only: bool = False
    flags: Mapping[str, Any] = field(default_factory=dict)
    advice: Advice = Advice()

    def __post_init__(self) -> None:
        if self.distill_steps and not self.lora_rank:
            raise OptionError("distill_steps: few steps are learnt by adapters; give --lora_rank as well, such as 32")

    @property
    def sampling(self) -> Any:
        """`SamplingOptions` or `EditOptions` of the samples and of a teacher."""
        raise NotImplementedError

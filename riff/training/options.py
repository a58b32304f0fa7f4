"""Options of a training step."""

from __future__ import annotations

from dataclasses import dataclass

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
            raise OptionError("8-bit AdamW rounds to nearest, and bf16 weights would stand still; add --trained_weights 32")


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

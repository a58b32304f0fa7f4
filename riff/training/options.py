"""What decides a training step, beside the data and the objective."""

from __future__ import annotations

from dataclasses import dataclass

from riff.errors import OptionError


@dataclass(frozen=True)
class Savings:
    """What a run does to take less memory of the GPU.

    Attributes:
        checkpointing: recompute activations in the backward pass instead of keeping them.
        frozen: how weights that are not trained are stored, `32` or `half` (in the half precision that the run computes in).
        trained: how those that are trained are stored, `32` or `bf16` (with stochastic rounding).
        moments: how the optimizer's two moments are stored, `32`, `bf16` (with stochastic rounding) or `8bit` (on CUDA, where
            bitsandbytes is installed; else `32`).

    Raises:
        OptionError: 8-bit moments of bf16 weights, which no optimizer here rounds stochastically.
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
    """What decides a training step, beside the data and the objective.

    Attributes:
        batch_size: examples of one process's batch. accumulate: batches to one optimizer step.
        rate_factors: (start of parameters' names, what their learning rate is multiplied by); the first that fits counts.
        warmup_steps: optimizer steps of rising learning rate, with every schedule.
        schedule: `constant`, or `cosine` or `linear` down to a hundredth at max_steps.
        snr_gamma: bound of the loss's weight min(SNR, gamma) / SNR (Hang et al., ICCV 2023); 0 weighs all noise levels alike.
        ema_decay: of the averaged weights that samples and the result are drawn with; 0 takes the weights as they are.
        savings: of memory. compile: the models' blocks, with `torch.compile`.
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

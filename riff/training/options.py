"""What decides a training step, beside the data and the objective."""

from __future__ import annotations

from dataclasses import dataclass


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
        save_memory: recompute activations. eight_bit_adam: on CUDA, where bitsandbytes is installed.
        seed: of data order, noise, timesteps and dropout.
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
    save_memory: bool = False
    eight_bit_adam: bool = False
    num_workers: int = 2
    seed: int = 0

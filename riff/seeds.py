"""Random seeds and their generators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riff.errors import OptionError

if TYPE_CHECKING:
    import torch

NUM_SEEDS = 2**64  # as in PyTorch
TORCH_SEEDS = 2**32  # PyTorch's CPU generator ignores the upper half of a seed, so that 2**40 would equal 0
SPREAD = 0x9E3779B1  # odd, so that any upper half but 0 changes the lower one


def torch_seed(seed: int) -> int:
    """The seed for PyTorch: a seed below 2**32 itself, else its lower half mixed with its upper half.

    Raises:
        OptionError: the seed is not from 0 to 2**64 - 1.
    """
    if not 0 <= seed < NUM_SEEDS:
        raise OptionError(f"seed {seed}: give one from 0 to {NUM_SEEDS - 1}")
    return (seed ^ (seed // TORCH_SEEDS * SPREAD)) % TORCH_SEEDS


def new_generator(seed: int) -> torch.Generator:
    """A CPU generator with `torch_seed`."""
    import torch

    return torch.Generator().manual_seed(torch_seed(seed))


def seed_after(seed: int, count: int) -> int:
    """The seed `count` after this one; 0 follows the last."""
    return (seed + count) % NUM_SEEDS

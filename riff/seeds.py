"""Seeds of random numbers: which there are, and the generator of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riff.errors import OptionError

if TYPE_CHECKING:
    import torch

NUM_SEEDS = 2**32  # PyTorch's generator on the CPU keeps the lower 32 bits of a seed and drops the rest


def new_generator(seed: int) -> torch.Generator:
    """A generator on the CPU; no two seeds give the same numbers.

    Raises:
        OptionError: a seed that PyTorch would take for another one.
    """
    import torch

    if not 0 <= seed < NUM_SEEDS:
        raise OptionError(f"seed {seed}: give one from 0 to {NUM_SEEDS - 1}")
    return torch.Generator().manual_seed(seed)


def seed_after(seed: int, count: int) -> int:
    """The seed that is so many after this one; 0 follows the last."""
    return (seed + count) % NUM_SEEDS

"""Seeds of random numbers: which there are, and the generator of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riff.errors import OptionError

if TYPE_CHECKING:
    import torch

NUM_SEEDS = 2**64  # those of PyTorch
KEPT = 2**32  # its generator on the CPU drops the upper half of a seed, so that 2**40 would be 0
SPREAD = 0x9E3779B1  # odd, so that no upper half but 0 leaves the lower one as it is


def kept_seed(seed: int) -> int:
    """The seed to give to PyTorch: a seed below 2**32 itself, of a larger one its lower half changed by its upper half.

    Raises:
        OptionError: no seed from 0 to 2**64 - 1.
    """
    if not 0 <= seed < NUM_SEEDS:
        raise OptionError(f"seed {seed}: give one from 0 to {NUM_SEEDS - 1}")
    return (seed ^ (seed // KEPT * SPREAD)) % KEPT


def new_generator(seed: int) -> torch.Generator:
    """A generator on the CPU (`kept_seed`)."""
    import torch

    return torch.Generator().manual_seed(kept_seed(seed))


def seed_after(seed: int, count: int) -> int:
    """The seed that is so many after this one; 0 follows the last."""
    return (seed + count) % NUM_SEEDS

"""The random numbers of training, the same on every device and for any number of processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from riff.training.processes import Processes


def keyed_generator(key: Sequence[int], device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose numbers are a function of the key alone; neighbouring keys give unrelated streams."""
    mixed = np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> np.uint64(1)))


class BatchRng:
    """The random numbers of one batch.

    They are generated on the CPU, so that every device has the same, and for the examples of all processes, of which each
    uses its own: several processes train as one with the global batch would.
    """

    def __init__(self, seed: Sequence[int], examples: int, processes: Processes, device: torch.device) -> None:
        self._generator = keyed_generator(seed)
        self._all = examples * processes.count
        self._own = slice(examples * processes.rank, examples * (processes.rank + 1))
        self._device = device

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal, shape (examples, *shape)."""
        return torch.randn(self._all, *shape, generator=self._generator)[self._own].to(self._device)

    def uniform(self, *shape: int) -> torch.Tensor:
        """In [0, 1), shape (examples, *shape)."""
        return torch.rand(self._all, *shape, generator=self._generator)[self._own].to(self._device)

    def integers(self, high: int) -> torch.Tensor:
        """From 0 to high - 1, shape (examples,)."""
        return torch.randint(high, (self._all,), generator=self._generator)[self._own].to(self._device)

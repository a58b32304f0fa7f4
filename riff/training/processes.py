"""The processes that share one training run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

LONGEST_WAIT = timedelta(days=2)  # while the first process encodes a large data set


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: its number. count: of all. local_count: of those on this machine.
    """

    rank: int = 0
    count: int = 1
    local_count: int = 1
    _waiting_group: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process through the block alone, then the others, which find done what it has done."""
        if not self.is_first:
            distributed.barrier(self._waiting_group)
        yield
        if self.is_first and self.count > 1:
            distributed.barrier(self._waiting_group)

    def say(self, text: str) -> None:
        """Print, once for all processes."""
        if self.is_first:
            print(text, flush=True)


ALONE = Processes()


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` or `accelerate launch` started; without them, this one is alone.

    Args:
        device: `cpu` or `cuda`; each process takes the CUDA device of its number on its machine.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        waiting_group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        yield Processes(distributed.get_rank(), count, int(os.environ.get("LOCAL_WORLD_SIZE", count)), waiting_group)
    finally:
        distributed.destroy_process_group()

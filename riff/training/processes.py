"""The processes of one training run, and random numbers that do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from riff import cli
from riff.errors import OptionError

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=2)  # while the first process encodes a large data set


@dataclass(frozen=True)
class Processes:
    """This process and the number of processes of a run.

    Attributes:
        rank: of this process. count: of all processes. local_count: of those on this machine.
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
        """Run the block in the first process, then in the others, which find its results."""
        if not self.is_first:
            distributed.barrier(self._waiting_group)
        yield
        if self.is_first and self.count > 1:
            distributed.barrier(self._waiting_group)

    def from_first(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process alone, and return its result in all."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.is_first else None]
        distributed.broadcast_object_list(made, src=0, group=self._waiting_group)
        return made[0]

    def print(self, text: str) -> None:
        """Print, once for all processes."""
        if self.is_first:
            print(text, flush=True)


ALONE = Processes()


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


def launched_processes() -> tuple[int, int] | None:
    """How many processes a launcher (`torchrun`, `accelerate launch`, `srun`) started: in all, and on this machine.

    None where none did. The variables of `srun` are translated into those of `torchrun` in the environment.

    Raises:
        OptionError: `srun` was called without --ntasks-per-node.
    """
    if "WORLD_SIZE" not in os.environ and "SLURM_STEP_ID" in os.environ:
        _translate_slurm()
    if "WORLD_SIZE" in os.environ:
        count = int(os.environ["WORLD_SIZE"])
        return count, int(os.environ.get("LOCAL_WORLD_SIZE", count))
    return (1, 1) if "ACCELERATE_MIXED_PRECISION" in os.environ else None


def _translate_slurm() -> None:
    from pytorch_lightning.plugins.environments import SLURMEnvironment  # takes seconds to import

    if not SLURMEnvironment.detect():
        return  # an interactive shell
    if int(os.environ["SLURM_NTASKS"]) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise OptionError("srun: give the number of processes on each machine with its --ntasks-per-node")
    slurm = SLURMEnvironment()
    variables = {
        "WORLD_SIZE": slurm.world_size(),
        "LOCAL_WORLD_SIZE": os.environ.get("SLURM_NTASKS_PER_NODE", 1),
        "RANK": slurm.global_rank(),
        "LOCAL_RANK": slurm.local_rank(),
        "GROUP_RANK": slurm.node_rank(),
        "MASTER_ADDR": slurm.main_address,
        "MASTER_PORT": slurm.main_port,
    }
    os.environ.update({name: str(value) for name, value in variables.items()})


def join_processes(device: str, train: Callable[[Processes], None]) -> int:
    """Join the processes of this run, if a launcher started several, and train; returns the exit status.

    Of several processes the first to fail reports its error: the others fail because of it, or in the same way.

    Args:
        device: `cpu` or `cuda`; each process takes the CUDA device of its local rank.

    Raises:
        OptionError: more processes than CUDA devices. Anything that `train` raises, where this is the only process.
    """
    count, local_count = launched_processes() or (1, 1)
    if count == 1:
        train(ALONE)
        return 0
    if device == "cuda":
        _take_cuda_device(local_count)
    store, rank, _ = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        waiting_group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        train(Processes(rank, count, local_count, waiting_group))
    except (Exception, KeyboardInterrupt) as error:
        return cli.report(error) if _is_first_to_fail(store, rank) else cli.status_of(error)
    finally:
        distributed.destroy_process_group()
    return 0


def _take_cuda_device(local_count: int) -> None:
    if torch.cuda.device_count() < local_count:
        raise OptionError(
            f"{local_count} processes on this machine, and each sees {torch.cuda.device_count()} CUDA devices: start one process "
            "for each device, and let every process see all of them (srun --gpus-per-node, not --gpus-per-task)"
        )
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def _is_first_to_fail(store: Any, rank: int) -> bool:
    try:
        return bool(store.compare_set("riff/failed", "", str(rank)) == str(rank).encode())
    except (RuntimeError, ValueError):
        return False  # the process of the store is gone, so it failed earlier

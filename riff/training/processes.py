"""The processes that share one training run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from riff import cli
from riff.errors import OptionError

T = TypeVar("T")
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

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them; the others do not call it."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.is_first else None]
        distributed.broadcast_object_list(made, src=0, group=self._waiting_group)
        return made[0]

    def say(self, text: str) -> None:
        """Print, once for all processes."""
        if self.is_first:
            print(text, flush=True)


ALONE = Processes()


def launched_processes() -> tuple[int, int] | None:
    """How many processes a launcher (`torchrun`, `accelerate launch`, `srun`) started: in all, and on this machine.

    None where none did. What `srun` says in its own variables is said in those of `torchrun` from here on.

    Raises:
        OptionError: `srun` does not say how many processes a machine has.
    """
    if "WORLD_SIZE" not in os.environ and "SLURM_STEP_ID" in os.environ:
        _translate_slurm()
    if "WORLD_SIZE" in os.environ:
        count = int(os.environ["WORLD_SIZE"])
        return count, int(os.environ.get("LOCAL_WORLD_SIZE", count))
    return (1, 1) if "ACCELERATE_MIXED_PRECISION" in os.environ else None


def _translate_slurm() -> None:
    from pytorch_lightning.plugins.environments import SLURMEnvironment  # seconds, which only srun is worth

    if not SLURMEnvironment.detect():
        return  # an interactive shell
    if int(os.environ["SLURM_NTASKS"]) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise OptionError("srun: say how many processes each machine has, with --ntasks-per-node")
    slurm = SLURMEnvironment()
    said = {
        "WORLD_SIZE": slurm.world_size(),
        "LOCAL_WORLD_SIZE": os.environ.get("SLURM_NTASKS_PER_NODE", 1),
        "RANK": slurm.global_rank(),
        "LOCAL_RANK": slurm.local_rank(),
        "GROUP_RANK": slurm.node_rank(),
        "MASTER_ADDR": slurm.main_address,
        "MASTER_PORT": slurm.main_port,
    }
    os.environ.update({name: str(value) for name, value in said.items()})


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that were started for this run; without them, this one is alone.

    Of what goes wrong, only the process where it went wrong first speaks: the others fail because of it, or in the same way.

    Args:
        device: `cpu` or `cuda`; each process takes the CUDA device of its number on its machine.

    Raises:
        OptionError: more processes than CUDA devices.
        SystemExit: something went wrong in one of several processes.
    """
    count, local_count = launched_processes() or (1, 1)
    if count == 1:
        yield ALONE
        return
    if device == "cuda":
        _take_cuda_device(local_count)
    store, rank, _ = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        waiting_group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        yield Processes(rank, count, local_count, waiting_group)
    except (Exception, KeyboardInterrupt) as error:
        if not _is_first_to_fail(store, rank):
            raise SystemExit(cli.status_of(error)) from None
        raise SystemExit(cli.report(error)) from error
    finally:
        distributed.destroy_process_group()


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
        return False  # the process that held the store is gone, so it failed before

"""Start the processes of a run that no launcher started: this script again, once for each device of the machine."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed
from torch.distributed.elastic import multiprocessing

from riff.errors import OptionError, RiffError
from riff.training.processes import launched_processes

DEFAULT_PORT = 29500  # torchrun's own


def start_processes(script: str, argv: Sequence[str] | None, device: str, devices: str, num_nodes: int) -> int | None:
    """Run the script once for each device of this machine, and wait for the end.

    Args:
        argv: its flags, None for those of this process.
        device: `cpu` or `cuda`. devices: how many of this machine, or `auto` for all GPUs or one CPU process.
        num_nodes: machines on which the same command runs.

    Returns:
        The exit status, None where this very process is to do the work: alone, or because a launcher started it.

    Raises:
        OptionError: more devices than there are, flags that contradict the launcher, or no way to the first machine.
        RiffError: a process was killed.
    """
    if (launched := launched_processes()) is not None:
        _check_launched(*launched, devices, num_nodes)
        return None
    count = _device_count(device, devices)
    if count * num_nodes == 1:
        return None
    rank = _node_rank(num_nodes)
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", DEFAULT_PORT))
    store: Any = None  # where the processes find each other; it outlives every one of them, and dies with this variable
    if rank == 0:
        store = distributed.TCPStore(address, port if num_nodes > 1 else 0, is_master=True, wait_for_workers=False)
        port = store.port
    shared = {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count * num_nodes),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": str(rank),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is here already, the first process need not open one
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    own = {local: {"RANK": str(rank * count + local), "LOCAL_RANK": str(local)} for local in range(count)}
    command = (script, *(sys.argv[1:] if argv is None else argv))
    return _run(command, {local: shared | one for local, one in own.items()})


def _run(command: tuple[str, ...], environments: dict[int, dict[str, str]]) -> int:
    """Run Python with this command in each environment; the exit status is 0, or that of the first process to fail."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup, a run outlives its terminal
    with TemporaryDirectory() as folder:
        context = multiprocessing.start_processes(
            name="training",
            entrypoint=sys.executable,
            args=dict.fromkeys(environments, command),
            envs=environments,
            logs_specs=multiprocessing.DefaultLogsSpecs(log_dir=folder),
        )

        def pass_on(number: int, _frame: Any) -> None:
            for pid in context.pids().values():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

        # The processes save what they have, however long it takes; a terminal's Ctrl-C does not reach their sessions.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        if stays:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            failures = list(context.wait(period=0.2).failures.values())
        except multiprocessing.SignalException as ended:
            context.close(ended.sigval)
            return 128 + ended.sigval
    if not failures:
        return 0
    first = failures[0]
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        hint = "; the machine's memory may be full" if name == "SIGKILL" else ""
        raise RiffError(f"process {first.local_rank} of the run was ended by {name}{hint}; go on from the newest checkpoint")
    return first.exitcode


def _device_count(device: str, devices: str) -> int:
    there = torch.cuda.device_count() if device == "cuda" else 1
    if devices == "auto":
        return there
    if device == "cuda" and int(devices) > there:
        raise OptionError(f"--devices {devices}: only {there} CUDA {'device is' if there == 1 else 'devices are'} visible")
    return int(devices)


def _node_rank(num_nodes: int) -> int:
    """The number of this machine."""
    if num_nodes == 1:
        return 0
    rank = os.environ.get("NODE_RANK", "")
    if "MASTER_ADDR" not in os.environ or not rank.isdecimal() or int(rank) >= num_nodes:
        raise OptionError(
            f"--num_nodes {num_nodes}: on every machine set MASTER_ADDR to the first one's address and NODE_RANK to the machine's "
            f"number, 0 to {num_nodes - 1}; or let torchrun or srun start the processes"
        )
    return int(rank)


def _check_launched(count: int, local_count: int, devices: str, num_nodes: int) -> None:
    if devices != "auto" and int(devices) != local_count:
        raise OptionError(f"--devices {devices}: the launcher started {local_count} on this machine; leave the flag to it")
    if num_nodes not in (1, count // local_count):
        raise OptionError(f"--num_nodes {num_nodes}: the launcher uses {count // local_count}; leave the flag to it")

"""Start the processes of a run without a launcher: the same script, once for each device of this machine.

Lightning's own launcher passes on neither exit status nor signals.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed
from torch.distributed.elastic import multiprocessing

from riff.errors import OptionError, RiffError
from riff.training.processes import Processes, join_processes, launched_processes

DEFAULT_PORT = 29500  # torchrun's own


def run_in_processes(
    script: str, argv: Sequence[str] | None, device: str, devices: str, num_nodes: int, train: Callable[[Processes], None]
) -> int:
    """Train in this process and, where there are several devices, in one process for each; returns the exit status.

    Args:
        script, argv: that started this process and are run again for each device; argv None stands for this process's flags.
        device: `cpu` or `cuda`. devices: their number on this machine, or `auto` for all GPUs or one CPU process.
        num_nodes: number of machines that run the same command.
        train: called in each process.

    Raises:
        OptionError: more devices than exist, flags that contradict the launcher, or no address of the first machine.
        RiffError: a process was killed. Anything that `train` raises, where this is the only process.
    """
    status = start_processes(script, argv, device, devices, num_nodes)
    return join_processes(device, train) if status is None else status


def start_processes(script: str, argv: Sequence[str] | None, device: str, devices: str, num_nodes: int) -> int | None:
    """The first half of `run_in_processes`: start the script once for each device of this machine, and wait for all to end.

    Returns:
        The exit status, or None where this process is to train: alone, or because a launcher started it.
    """
    if (launched := launched_processes()) is not None:
        _check_launched(*launched, devices, num_nodes)
        return None
    count = _device_count(device, devices)
    if count * num_nodes == 1:
        return None
    rank = _node_rank(num_nodes)
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", DEFAULT_PORT))
    store: Any = None  # rendezvous of the processes; it must outlive them, and closes with this variable
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
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store exists, so that the first process opens none
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    own = {local: {"RANK": str(rank * count + local), "LOCAL_RANK": str(local)} for local in range(count)}
    command = (script, *(sys.argv[1:] if argv is None else argv))
    return _run(command, {local: shared | one for local, one in own.items()})


def _run(command: tuple[str, ...], environments: dict[int, dict[str, str]]) -> int:
    """Run Python with this command in each environment; returns 0, or the exit status of the first process to fail."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes report their own errors
    ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup
    with TemporaryDirectory() as folder:
        context = multiprocessing.start_processes(
            name="training",
            entrypoint=sys.executable,
            args=dict.fromkeys(environments, command),
            envs=environments,
            logs_specs=multiprocessing.DefaultLogsSpecs(log_dir=folder),
        )

        def forward(number: int, _frame: Any) -> None:
            for pid in context.pids().values():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

        # Wait while the processes save a checkpoint. A terminal's Ctrl-C does not reach them: they have sessions of their own.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, forward)
        if ignores_hangup:
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
        raise RiffError(f"process {first.local_rank} of the run was ended by {name}{hint}; resume from the newest checkpoint")
    return first.exitcode


def _device_count(device: str, devices: str) -> int:
    visible = torch.cuda.device_count() if device == "cuda" else 1
    if devices == "auto":
        return visible
    if device == "cuda" and int(devices) > visible:
        raise OptionError(f"devices {devices}: only {visible} CUDA {'device is' if visible == 1 else 'devices are'} visible")
    return int(devices)


def _node_rank(num_nodes: int) -> int:
    """The rank of this machine."""
    if num_nodes == 1:
        return 0
    rank = os.environ.get("NODE_RANK", "")
    if "MASTER_ADDR" not in os.environ or not rank.isdecimal() or int(rank) >= num_nodes:
        raise OptionError(
            f"num_nodes {num_nodes}: on every machine set MASTER_ADDR to the first one's address and NODE_RANK to the machine's "
            f"number, 0 to {num_nodes - 1}; or let torchrun or srun start the processes"
        )
    return int(rank)


def _check_launched(count: int, local_count: int, devices: str, num_nodes: int) -> None:
    if devices != "auto" and int(devices) != local_count:
        raise OptionError(f"devices {devices}: the launcher started {local_count} on this machine; leave that to it")
    if num_nodes not in (1, count // local_count):
        raise OptionError(f"num_nodes {num_nodes}: the launcher uses {count // local_count}; leave that to it")

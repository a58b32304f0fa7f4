"""Where songs are made into pairs: in this process, in several, or on the machines of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil
import torch
from threadpoolctl import threadpool_limits

from riff.errors import OptionError, RiffError
from riff.pairs.making import Failure, SongJob
from riff.pairs.staging import StagedSong

Work = Callable[[SongJob], StagedSong | Failure]
Engine = Callable[[Work, Iterable[SongJob]], Iterator[StagedSong | Failure]]  # in the jobs' order

AHEAD = 2  # songs a worker that are begun or wait, while the first of them is not done
WORKER_BYTES = 1.5 * 2**30  # of a worker that separates a song of five minutes
MOST_ON_CUDA = 4  # processes that share a GPU
PRELOADED = ("riff.pairs.control_pairs", "riff.pairs.edit_pairs")


def choose_engine(args: Namespace, device: str, num_songs: int) -> Engine:
    """The engine of the flags that `riff.cli.ArgumentParser.add_workers` adds.

    Raises:
        OptionError: a flag of Ray's without it, or Ray without its package.
    """
    if args.engine == "ray":
        from riff.pairs.ray_engine import ray_engine

        return ray_engine(args.num_workers, args.ray_address, device)
    if args.ray_address is not None:
        raise OptionError(f"--ray_address {args.ray_address}: only --engine ray takes it")
    return processes(min(args.num_workers or choose_num_workers(device), num_songs))


def choose_num_workers(device: str) -> int:
    """A process a core, as many as memory has room for; a few on CUDA, which share the GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    room = max(1, int(psutil.virtual_memory().available / WORKER_BYTES))
    return min(cores, room, MOST_ON_CUDA) if device == "cuda" else min(cores, room)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Compute on one thread, so that workers do not fight over cores and sums are the same however many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def one_process(work: Work, jobs: Iterable[SongJob]) -> Iterator[StagedSong | Failure]:
    """Make one song after the other."""
    for job in jobs:
        with on_one_thread():
            result = work(job)
        yield result


def processes(count: int) -> Engine:
    """Make songs in so many processes."""
    return partial(_in_processes, count) if count > 1 else one_process


def worker_context(preloaded: Iterable[str]) -> Any:
    """How worker processes start: from a process without threads, whose libraries are imported once; on Windows, each anew.

    A process that is forked from one with OpenCV's or torch's threads waits for them for ever.

    Args:
        preloaded: modules that the workers need.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    return context


def _in_processes(count: int, work: Work, jobs: Iterable[SongJob]) -> Iterator[StagedSong | Failure]:
    context = worker_context(PRELOADED)
    waiting: deque[Future[StagedSong | Failure]] = deque()
    pool = ProcessPoolExecutor(count, context, _start_worker, (work,))
    try:
        for job in jobs:
            waiting.append(pool.submit(_do, job))
            if len(waiting) >= AHEAD * count:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    except BrokenProcessPool as error:
        raise RiffError(
            "a worker process was ended from outside; the machine's memory may be full: run it again with fewer --num_workers"
        ) from error
    finally:
        if waiting:  # what is begun is made anew another time
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _first(waiting: deque[Future[StagedSong | Failure]]) -> StagedSong | Failure:
    result = waiting[0].result()  # still waiting, should it raise
    waiting.popleft()
    return result


_work: Work  # of a worker


def _do(job: SongJob) -> StagedSong | Failure:
    return _work(job)


def _start_worker(work: Work) -> None:
    """Make a fresh process a worker: on one thread, deaf to Ctrl-C, which is its parent's to hear, and gone when that is."""
    global _work
    _work = work
    torch.set_num_threads(1)
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)

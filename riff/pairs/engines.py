"""Where songs are made into pairs: in this process, in several, or on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import psutil
import torch
from threadpoolctl import threadpool_limits

from riff.errors import RiffError, SettingError
from riff.pairs.staging import Failure, SongJob, StagedSong

Work = Callable[[SongJob], StagedSong | Failure]
Engine = Callable[[Work, Iterable[SongJob]], Iterator[StagedSong | Failure]]  # results come in the order of the jobs

JOBS_PER_WORKER = 2  # submitted before the first of them has finished
WORKER_BYTES = 1.5 * 2**30  # of a worker that separates a song of five minutes
MAX_CUDA_WORKERS = 4  # processes that share a GPU
PRELOADED = ("riff.pairs.control_pairs", "riff.pairs.edit_pairs")


def choose_engine(engine: str, num_workers: int | None, ray_address: str | None, device: str, num_songs: int) -> Engine:
    """The engine `local` or `ray`, with as many workers as fit (default) or are given.

    Raises:
        SettingError: an address without Ray, or Ray without its package.
    """
    if engine == "ray":
        return ray_engine(num_workers, ray_address, device)
    if ray_address is not None:
        raise SettingError(f"ray_address {ray_address}: only the engine ray takes it")
    return processes(min(num_workers or choose_num_workers(device), num_songs))


def choose_num_workers(device: str) -> int:
    """One process per core, as far as memory allows; on CUDA at most `MAX_CUDA_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit_in_memory = max(1, int(psutil.virtual_memory().available / WORKER_BYTES))
    return min(cores, fit_in_memory, MAX_CUDA_WORKERS) if device == "cuda" else min(cores, fit_in_memory)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Compute on one thread: workers do not compete for cores, and sums do not depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def one_process(work: Work, jobs: Iterable[SongJob]) -> Iterator[StagedSong | Failure]:
    """Make the songs one after another in this process."""
    for job in jobs:
        with on_one_thread():
            result = work(job)
        yield result


def processes(count: int) -> Engine:
    """An engine of `count` processes."""
    return partial(_in_processes, count) if count > 1 else one_process


def worker_context(preloaded: Iterable[str]) -> Any:
    """A multiprocessing context: `forkserver` with the modules that the workers need preloaded, or `spawn` on Windows.

    A plain fork of a process with OpenCV's or torch's threads deadlocks.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    return context


def _in_processes(count: int, work: Work, jobs: Iterable[SongJob]) -> Iterator[StagedSong | Failure]:
    queue: deque[Future[StagedSong | Failure]] = deque()
    pool = ProcessPoolExecutor(count, worker_context(PRELOADED), _start_worker, (work,))

    def next_result() -> StagedSong | Failure:
        result = queue[0].result()  # stays in the queue if it raises
        queue.popleft()
        return result

    try:
        for job in jobs:
            queue.append(pool.submit(_run_job, job))
            if len(queue) >= JOBS_PER_WORKER * count:
                yield next_result()
        while queue:
            yield next_result()
    except BrokenProcessPool as error:
        raise RiffError(
            "a worker process was ended from outside; the machine's memory may be full: run it again with fewer workers"
        ) from error
    finally:
        if queue:  # the next run makes unfinished songs again
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)


_work: Work  # set in each worker process


def _run_job(job: SongJob) -> StagedSong | Failure:
    return _work(job)


def _start_worker(work: Work) -> None:
    """Set up a worker process: one thread, Ctrl-C left to its parent, and an end when the parent ends."""
    global _work
    _work = work
    torch.set_num_threads(1)
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def ray_engine(num_workers: int | None, address: str | None, device: str) -> Engine:
    """An engine of Ray Data actors, each on one CPU of the cluster, or on one GPU.

    Songs and pairs must lie in folders that all machines see, at the same paths.

    Args:
        num_workers: (default: as many as the cluster has CPUs or GPUs).
        address: of the cluster; `auto` for the one this machine belongs to, None for a new one on this machine.

    Raises:
        SettingError: Ray is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise SettingError("engine ray: needs one more package: pip install ray") from error
    return partial(_on_ray, num_workers, address, device)


def _on_ray(
    num_workers: int | None, address: str | None, device: str, work: Work, jobs: Iterable[SongJob]
) -> Iterator[StagedSong | Failure]:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings concern its own internals
    import ray

    count = num_workers or choose_num_workers(device)
    options: dict[str, Any] = {} if address else {"num_cpus": count, "include_dashboard": False}
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        if address and num_workers is None:
            count = int(ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 1))
        pickled_work = pickle.dumps(work)
        rows = [{"work": pickled_work, "folder": os.getcwd(), "job": pickle.dumps(job)} for job in jobs]
        actors, worker = ray.data.ActorPoolStrategy(size=count), cast(Any, _RayWorker)
        dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
        results = dataset.map(worker, compute=actors, **cast(Any, {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}))
        for row in results.iter_rows():
            yield pickle.loads(row["result"])
    finally:
        ray.shutdown()


class _RayWorker:
    """A Ray actor: it loads the separator once, and works in the folder that paths are relative to."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._work is None:
            os.chdir(row["folder"])
            self._work = pickle.loads(row["work"])
        with on_one_thread():
            return {"result": pickle.dumps(self._work(pickle.loads(row["job"])))}

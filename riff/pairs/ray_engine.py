"""Songs made into pairs by the workers of a Ray cluster, as a step of Ray Data."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, cast

from riff.errors import OptionError
from riff.pairs.engines import Engine, Work, choose_num_workers, on_one_thread
from riff.pairs.making import Failure, SongJob
from riff.pairs.staging import StagedSong

Row = dict[str, Any]


def ray_engine(num_workers: int | None, address: str | None, device: str) -> Engine:
    """An engine of so many workers, each on a CPU of the cluster, or on a GPU (default: as many as it has).

    Songs and pairs lie in folders that all machines see, at the same paths.

    Args:
        address: of the cluster, `auto` for the one this machine belongs to, None for a new one on this machine.

    Raises:
        OptionError: Ray is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise OptionError("--engine ray: needs one more package: pip install ray") from error
    return partial(_on_ray, num_workers, address, device)


def _on_ray(
    num_workers: int | None, address: str | None, device: str, work: Work, jobs: Iterable[SongJob]
) -> Iterator[StagedSong | Failure]:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of its own ways
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
        sent = pickle.dumps(work)
        rows = [{"work": sent, "folder": os.getcwd(), "job": pickle.dumps(job)} for job in jobs]
        actors, worker = ray.data.ActorPoolStrategy(size=count), cast(Any, _Worker)
        dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
        results = dataset.map(worker, compute=actors, **cast(Any, {"num_gpus": 1} if device == "cuda" else {"num_cpus": 1}))
        for row in results.iter_rows():
            yield pickle.loads(row["result"])
    finally:
        ray.shutdown()


class _Worker:
    """An actor: it loads a separator once, and works in the folder that paths are relative to."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def __call__(self, row: Row) -> Row:
        if self._work is None:
            os.chdir(row["folder"])
            self._work = pickle.loads(row["work"])
        with on_one_thread():
            return {"result": pickle.dumps(self._work(pickle.loads(row["job"])))}

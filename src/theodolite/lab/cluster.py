"""Dask as the engine: workers of this machine, a running scheduler, or jobs of Slurm, PBS or LSF. All of them are executors.

Needs the extra ``distributed``; a batch system needs the extra ``slurm`` (dask-jobqueue).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl

from theodolite.core.errors import ArgumentError, require_extra
from theodolite.lab.workers import ONE_THREAD

__all__ = ["batch_cluster", "dask_executor"]

SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}


@contextmanager
def dask_executor(workers: int, address: Any = None) -> Iterator[tuple[Executor, int]]:
    """An executor on Dask workers, and how many tasks keep them busy.

    Args:
        workers: number of worker processes to start; an existing scheduler keeps the workers it has.
        address: None for workers on this machine; a scheduler's address such as ``"tcp://10.0.0.1:8786"``; a Dask client or
            cluster; or ``"slurm"``, ``"pbs"``, ``"lsf"``, with options as in ``"slurm?queue=gpu&memory=16GB&walltime=04:00:00"``
            (see `batch_cluster`). Workers elsewhere must see the store and be able to import the experiment.

    Yields:
        Dask's own `concurrent.futures.Executor`, and twice the number of threads behind it.

    Raises:
        MissingExtraError: distributed or dask-jobqueue is not installed.
        ArgumentError: no scheduler answers at ``address``.
    """
    require_extra("distributed", "distributed")
    from distributed import Client

    with ExitStack() as stack:
        if isinstance(address, Client):
            client = address
        else:
            place = _place(stack, workers, address)
            try:
                client = stack.enter_context(Client(place, set_as_default=False))
            except (OSError, TimeoutError, ValueError) as error:
                raise ArgumentError(f"no Dask scheduler answers at address {address!r}: {error}") from error
        yield client.get_executor(pure=False), 2 * max(workers, sum(client.nthreads().values()))


def _place(stack: ExitStack, workers: int, address: Any) -> Any:
    """What a Dask client connects to."""
    if address is None:
        cluster = stack.enter_context(_local_cluster(workers))
        stack.enter_context(_kept_at(cluster, workers))
        return cluster
    if isinstance(address, str):
        system, _, options = address.partition("?")
        if system in SYSTEMS:
            cluster = stack.enter_context(batch_cluster(system, **dict(parse_qsl(options, strict_parsing=bool(options)))))
            # Jobs that the batch system ends are replaced as long as there is work.
            cluster.adapt(minimum=1, maximum=workers)
            return cluster
    return address


def _local_cluster(workers: int) -> Any:
    import logging

    import dask
    from distributed import LocalCluster

    # One task per worker at a time, and a task is given back at the first death of its worker: then the sweep knows whom to blame
    # and decides itself how often to try again.
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": 0},
            env=dict(ONE_THREAD),
        )


#: Seconds without any task executing, while tasks wait, after which workers of this machine are started anew.
STUCK_AFTER = 20.0


@contextmanager
def _kept_at(cluster: Any, workers: int) -> Iterator[None]:
    """Replace workers that Dask gives up: a nanny whose worker dies while it is starting closes for good.

    A worker that dies at the wrong moment can also leave the scheduler waiting for a task that nobody executes. Workers are then
    ended, which the driver hears as deaths: their tiles run again.
    """
    over = threading.Event()

    def keep() -> None:
        idle_since = time.monotonic()
        while not over.wait(1.0):
            cluster.scale(workers)
            if not _stuck(cluster.scheduler):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > STUCK_AFTER:
                _end_workers(cluster)
                idle_since = time.monotonic()

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _stuck(scheduler: Any) -> bool:
    """Whether tasks wait although no worker executes any."""
    waiting = any(task.state in ("processing", "queued", "no-worker") for task in list(scheduler.tasks.values()))
    return waiting and not any(worker.executing for worker in list(scheduler.workers.values()))


def _end_workers(cluster: Any) -> None:
    """Kill the worker processes; their nannies start new ones."""
    for nanny in list(cluster.workers.values()):
        pid = getattr(nanny, "pid", None)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def batch_cluster(system: str, **options: Any) -> Any:
    """A cluster whose workers are jobs of a batch system, one process per job.

    Args:
        system: ``slurm``, ``pbs`` or ``lsf``.
        **options: those of dask-jobqueue (``queue``, ``account``, ``memory``, ``walltime``, ``job_extra_directives``, …), over these
            defaults: one core, one process, 4 GB, an hour. With ``gpus`` (Slurm) each job asks for that many devices. ``cores`` does
            not multiply processes, so that two never share a device. Workers retire before the walltime ends them.

    Returns:
        A dask-jobqueue cluster; ``cluster.job_script()`` shows what is submitted.

    Raises:
        MissingExtraError: dask-jobqueue is not installed.
        ArgumentError: an unknown system, or ``gpus`` for one whose directive is a site's own.
    """
    if system not in SYSTEMS:
        raise ArgumentError(f"system must be one of {', '.join(SYSTEMS)}, got {system!r}")
    require_extra("dask_jobqueue", "slurm")
    import dask_jobqueue

    gpus = int(options.pop("gpus", 0))
    if gpus and system != "slurm":
        raise ArgumentError(f"gpus is for slurm; for {system} pass the site's directive in job_extra_directives")
    walltime = str(options.pop("walltime", "01:00:00"))
    settings: dict[str, Any] = {"cores": 1, "memory": "4GB", **options, "processes": 1, "walltime": walltime}
    settings["cores"] = int(settings["cores"])
    if gpus:
        settings["job_extra_directives"] = [*settings.get("job_extra_directives", []), f"--gres=gpu:{gpus}"]
    exports = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    settings["job_script_prologue"] = [*exports, *settings.get("job_script_prologue", [])]
    # dask-jobqueue gives a process as many threads as cores; tasks side by side in one process would share its device and its fate.
    one_task = ["--nthreads", "1"]
    settings["worker_extra_args"] = [*one_task, *_lifetime(walltime), *settings.get("worker_extra_args", [])]
    return getattr(dask_jobqueue, SYSTEMS[system])(**settings)


def _lifetime(walltime: str) -> list[str]:
    """Retire a worker well before its walltime, at staggered moments, so that its task moves on instead of being killed."""
    parts = [int(part) for part in walltime.replace("-", ":").split(":")]
    seconds = sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
    spare = min(300, seconds // 4)
    return ["--lifetime", f"{seconds - spare}s", "--lifetime-stagger", f"{spare // 2}s"]


def killed(error: BaseException) -> str:
    """How a task's worker died according to Dask; empty when ``error`` is no such report."""
    kind: type = type(error)
    if not (kind.__module__.startswith("distributed") and kind.__name__ == "KilledWorker"):
        return ""
    address = getattr(getattr(error, "last_worker", None), "address", "")
    return f"its Dask worker {address} died"

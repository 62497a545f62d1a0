"""Dask as the engine: workers of this machine, a running scheduler, or jobs of Slurm, PBS or LSF. All of them are executors.

Needs the extra ``distributed``; a batch system needs the extra ``slurm`` (dask-jobqueue).
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qsl

from theodolite.core.errors import ArgumentError, StoreError, UnsupportedError, require_extra
from theodolite.lab.workers import ONE_THREAD, WorkerDied, worker_environment

__all__ = ["DaskExecutor", "batch_cluster", "dask_executor"]

SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
#: Seconds that workers of this machine have to start, and that a finished task has to hand over its result.
START_SECONDS, FETCH_SECONDS = 120.0, 15.0


@contextmanager
def dask_executor(workers: int, address: Any = None) -> Iterator[tuple[Executor, int]]:
    """An executor on Dask workers, and how many tasks keep them busy.

    Args:
        workers: number of worker processes to start; an existing scheduler keeps the workers it has.
        address: None for workers on this machine; a scheduler's address such as ``"tcp://10.0.0.1:8786"``; a Dask client or
            cluster; or ``"slurm"``, ``"pbs"``, ``"lsf"``, with options as in ``"slurm?queue=gpu&memory=16GB&walltime=04:00:00"``
            (see `batch_cluster`). Workers elsewhere must see the store and be able to import the experiment.

    Yields:
        A `DaskExecutor`, and twice the number of threads behind it.

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
        yield stack.enter_context(DaskExecutor(client)), 2 * max(workers, sum(client.nthreads().values()))


def _place(stack: ExitStack, workers: int, address: Any) -> Any:
    """What a Dask client connects to."""
    if address is None:
        return stack.enter_context(_local_cluster(workers))
    if isinstance(address, str):
        system, _, options = address.partition("?")
        if system in SYSTEMS:
            cluster = stack.enter_context(batch_cluster(system, **dict(parse_qsl(options, strict_parsing=bool(options)))))
            # Jobs that the batch system ends are replaced as long as there is work.
            cluster.adapt(minimum=1, maximum=workers)
            return cluster
    return address


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    """A scheduler in this process, and worker processes that are replaced whenever they die."""
    import dask
    from distributed import LocalCluster

    # One task per worker at a time, and a task is given back at the first death of its worker: then the sweep knows whom to blame
    # and decides itself how often to try again.
    with (
        dask.config.set({"distributed.scheduler.worker-saturation": 1.0}),
        LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": 0},
        ) as cluster,
        _worker_processes(cluster.scheduler_address, workers),
    ):
        try:
            cluster.get_client().wait_for_workers(workers, timeout=START_SECONDS)
        except TimeoutError as error:
            raise UnsupportedError(
                f"{workers} Dask workers could not be started on this machine within {START_SECONDS:.0f} seconds; "
                "try engine='local'"
            ) from error
        yield cluster


@contextmanager
def _worker_processes(address: str, count: int) -> Iterator[None]:
    """``count`` Dask workers as plain processes, kept at that number.

    Not Dask's nannies: one whose worker is killed while it is starting hangs or closes for good, and the cluster with it.
    """
    over = threading.Event()
    processes: dict[int, subprocess.Popen[bytes]] = {}
    scratch = tempfile.mkdtemp(prefix="theodolite-dask-")

    def keep() -> None:
        while not over.wait(0.2):
            for index in range(count):
                if index not in processes or processes[index].poll() is not None:
                    processes[index] = _start_worker(address, index, scratch)

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _start_worker(address: str, index: int, scratch: str) -> subprocess.Popen[bytes]:
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--local-directory", scratch]
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, *options],
        env={**worker_environment(index), "DASK_LOGGING__DISTRIBUTED": "critical"},
        # Ctrl-C goes to all processes of a terminal's group, and would end a worker in the middle of its tile.
        start_new_session=True,
    )


class DaskExecutor(Executor):
    """Tasks on the workers of a Dask client, with every task answered.

    Dask's own executor waits for ever for a result whose worker died between finishing the task and handing the result over, if
    that happens at the wrong moment. Here such a task fails with `WorkerDied`, and is tried again by whoever submitted it.

    Args:
        client: a `distributed.Client`; it stays open.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._fetchers = ThreadPoolExecutor(8, thread_name_prefix="theodolite-dask")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future for ``fn(*args, **kwargs)``; it cannot be cancelled, as Dask cannot stop a task that runs."""
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()
        task = self.client.submit(fn, *args, pure=False, **kwargs)
        task.add_done_callback(lambda finished: self._fetchers.submit(self._fetch, finished, answer))
        return answer

    def _fetch(self, task: Any, answer: Future[Any]) -> None:
        try:
            answer.set_result(task.result(timeout=FETCH_SECONDS))
        except TimeoutError as error:
            lost = WorkerDied("its Dask worker died with the result")
            answer.set_exception(error if task.status == "error" else lost)
        except CancelledError:
            answer.set_exception(StoreError("the Dask scheduler dropped a task (does it still run?); run again to resume"))
        except BaseException as error:
            answer.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no further answers."""
        self._fetchers.shutdown(wait=wait, cancel_futures=cancel_futures)


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

"""One result whatever computes it; workers that die are replaced; Dask, its clusters, and job scripts."""

import os
import signal
from concurrent.futures import CancelledError, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import lab_cells
import numpy as np
import pytest

import theodolite as td
from theodolite.core.errors import ArgumentError, MissingExtraError, StoreError
from theodolite.lab import InProcess, WorkerDied, Workers, batch_cluster, dask_executor
from theodolite.lab.cluster import _lifetime
from theodolite.lab.workers import ONE_THREAD, one_thread

OVER = {"a": [0.5, 1.0], "b": range(6)}


def swept(store, experiment=lab_cells.Threaded, **how):
    sweep = td.Sweep(experiment, OVER, store, tile=3)
    sweep.run(**how)
    return sweep.load()


@pytest.mark.slow
def test_results_are_identical_for_one_and_two_workers_and_for_dask(tmp_path):
    pytest.importorskip("distributed")
    one = swept(tmp_path / "1")
    assert swept(tmp_path / "2", workers=2).identical(one)
    with dask_executor(2) as (executor, _):
        assert swept(tmp_path / "3", engine="dask", address=executor.client).identical(one)
        address = executor.client.scheduler.address
        assert swept(tmp_path / "4", engine="dask", address=address).identical(one)
        assert swept(tmp_path / "5", engine=executor).identical(one)
        # Workers of Dask have one thread each too.
        assert executor.submit(os.getenv, "NUMBA_NUM_THREADS").result() == "1"
    assert one["threads"].values.max() == 1


class FinishedTask:
    """A Dask future whose result has gone, or that Dask dropped."""

    def __init__(self, error, status):
        self.error, self.status = error, status

    def add_done_callback(self, callback):
        callback(self)

    def result(self, timeout):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (TimeoutError(), "finished", WorkerDied),
        (TimeoutError("its own"), "error", TimeoutError),
        (CancelledError(), "cancelled", StoreError),
        (ValueError("x"), "error", ValueError),
    ],
)
def test_every_dask_task_is_answered(error, status, kind):
    from types import SimpleNamespace

    from theodolite.lab.cluster import DaskExecutor

    client = SimpleNamespace(submit=lambda function, *args, pure: FinishedTask(error, status))
    with DaskExecutor(client) as executor:
        assert type(executor.submit(abs, 1).exception(10)) is kind


def test_any_executor_of_the_standard_library_will_do(tmp_path):
    one = swept(tmp_path / "1", lab_cells.Product)
    with ThreadPoolExecutor(3) as executor:
        assert swept(tmp_path / "2", lab_cells.Product, engine=executor).identical(one)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert swept(tmp_path / "3", lab_cells.Product, engine=executor).identical(one)


def test_workers_have_one_thread_and_their_own_fate():
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    with Workers(2) as workers:
        good, bad, ugly = workers.submit(os.getenv, "OMP_NUM_THREADS"), workers.submit(os._exit, 3), workers.submit(int, "x")
        killed = workers.submit(lab_cells.end_by, signal.SIGKILL)
        assert good.result(30) == "1"
        with pytest.raises(WorkerDied, match="exit code 3"):
            bad.result(30)
        with pytest.raises(ValueError, match="invalid literal"):
            ugly.result(30)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            killed.result(30)
        assert list(workers.map(abs, [-1, -2, -3])) == [1, 2, 3]
    assert {name: os.environ.get(name) for name in ONE_THREAD} == before, "the parent's environment is as it was"
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(abs, 1)
    with pytest.raises(ArgumentError, match="at least 1"):
        Workers(0)


def test_workers_answer_with_errors_that_cannot_travel():
    with Workers(1) as workers:
        with pytest.raises(RuntimeError, match="Unpicklable: no way"):
            workers.submit(lab_cells.raise_unpicklable).result(30)
        assert workers.submit(abs, -1).result(30) == 1


def test_what_workers_cannot_import_is_said(monkeypatch):
    import sys
    from types import ModuleType

    ghost = ModuleType("ghost")
    exec("def walk():\n    return 1", ghost.__dict__)
    monkeypatch.setitem(sys.modules, "ghost", ghost)
    with Workers(1) as workers, pytest.raises(ArgumentError, match=r"No module named 'ghost'.*sys.path"):
        workers.submit(ghost.walk).result(30)


def test_classes_of_a_prompt_travel_by_value():
    pytest.importorskip("cloudpickle")
    code = """
import dataclasses, tempfile, theodolite as td
@dataclasses.dataclass(frozen=True)
class Local:
    a: int = 0
    def run(self): return {"double": 2 * self.a}
sweep = td.Sweep(Local, {"a": [1, 2, 3]}, tempfile.mkdtemp(), tile=1)
sweep.run(workers=2)
print(sweep.load()["double"].values.tolist())
"""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[2, 4, 6]", done.stderr


def test_each_worker_sees_one_device(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with Workers(2) as workers:
        seen = {workers.submit(lab_cells.slow_getenv, "CUDA_VISIBLE_DEVICES").result(30) for _ in range(1)}
        futures = [workers.submit(lab_cells.slow_getenv, "CUDA_VISIBLE_DEVICES") for _ in range(2)]
        seen |= {future.result(30) for future in futures}
    assert seen == {"4", "7"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


def test_in_process_tasks_have_one_thread_and_leave_no_trace():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with InProcess() as executor:
            assert executor.submit(torch.get_num_threads).result() == 1
            assert isinstance(executor.submit(int, "x").exception(), ValueError)
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_batch_systems(monkeypatch):
    assert _lifetime("01:00:00") == ["--lifetime", "3300s", "--lifetime-stagger", "150s"]
    assert _lifetime("1-00:00:00")[1] == "86100s"
    assert _lifetime("08:00")[1] == "360s"
    with pytest.raises(ArgumentError, match="slurm, pbs, lsf"):
        batch_cluster("sge")
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="slurm"):
            batch_cluster("slurm")
        return
    with batch_cluster("slurm", queue="gpu", gpus=1, cores=8, memory="16GB", walltime="04:00:00") as cluster:
        script = cluster.job_script()
    for part in ("#SBATCH -p gpu", "--gres=gpu:1", "export OMP_NUM_THREADS=1", "--lifetime 14100s", "-t 04:00:00"):
        assert part in script
    # One process with one task at a time: of two --nthreads the last one counts.
    assert "--nworkers" not in script
    assert script.rpartition("--nthreads ")[2].split()[0] == "1"
    with pytest.raises(ArgumentError, match="job_extra_directives"):
        batch_cluster("pbs", gpus=1)


def test_no_scheduler_there(tmp_path):
    pytest.importorskip("distributed")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(ArgumentError, match="no Dask scheduler"):
        td.Sweep(lab_cells.Product, OVER, tmp_path / "s").run(engine="dask", address="tcp://127.0.0.1:9")


def test_cpu_bound_results_do_not_depend_on_the_engine(tmp_path):
    a = td.Sweep(lab_cells.Busy, {"seed": range(8)}, tmp_path / "1", tile=2)
    b = td.Sweep(lab_cells.Busy, {"seed": range(8)}, tmp_path / "2", tile=3)
    a.run(workers=2)
    b.run()
    np.testing.assert_array_equal(a.load()["x"].values, b.load()["x"].values)

"""Executors on this machine: in this process, or on spawned workers of one thread each that may die and are replaced."""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from typing import Any

from theodolite.core.errors import ArgumentError
from theodolite.core.memory import large_buffers_environment

__all__ = ["ONE_THREAD", "InProcess", "WorkerDied", "Workers", "one_thread", "worker_environment"]

#: Environment of a worker, set before it imports anything: two threads per worker on two busy cores are many times slower than one.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)


class WorkerDied(BrokenExecutor):
    """The worker process that ran a task ended before the task did; the message says how."""


class InProcess(Executor):
    """Runs each task when it is submitted, in this process and with one thread, so that results are those of a worker.

    Example:
        >>> with InProcess() as executor:
        ...     executor.submit(pow, 2, 5).result()
        32
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done already."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            with one_thread():
                future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the libraries that are loaded compute with one thread inside the block; afterwards as before."""
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    before = torch.get_num_threads() if torch else 0, numba.get_num_threads() if numba else 0
    limits = _blas_limits()
    try:
        if torch and before[0] != 1:
            torch.set_num_threads(1)
        if numba and before[1] != 1:
            numba.set_num_threads(1)
        yield
    finally:
        for limit in limits:
            limit.restore_original_limits()
        if torch and before[0] != 1:
            torch.set_num_threads(before[0])
        if numba and before[1] != 1:
            numba.set_num_threads(before[1])


_controllers: dict[int, Any] = {}


def _blas_limits() -> list[Any]:
    """BLAS and OpenMP pools held at one thread. Looking for them takes milliseconds, so it is done anew only after imports."""
    if "numpy" not in sys.modules:
        return []
    import threadpoolctl

    loaded = len(sys.modules)
    if loaded not in _controllers:
        _controllers.clear()
        _controllers[loaded] = threadpoolctl.ThreadpoolController()
    controller = _controllers[loaded]
    if all(library["num_threads"] == 1 for library in controller.info()):
        return []
    return [controller.limit(limits=1)]


class Workers(Executor):
    """Spawned processes, each with one thread; a task whose process dies fails with `WorkerDied`, all others go on.

    The standard library's pool fails as a whole when one process dies, and does not say which task it was. Here each process has
    a thread of this one that hands it a task at a time and waits, so that the guilty task is known and only its process replaced.
    Processes start when first needed. They end when this object is shut down, or, by themselves, when this process is gone.
    They do not import the main script; what is defined there travels by value, with cloudpickle.

    Args:
        count: number of processes.
        environment: added to their environment, after `ONE_THREAD`. With GPUs, process i sees only device i modulo their number.

    Example:
        >>> with Workers(1) as executor:
        ...     executor.submit(pow, 2, 5).result()
        32
    """

    def __init__(self, count: int, environment: Mapping[str, str] | None = None) -> None:
        if count < 1:
            raise ArgumentError(f"workers must be at least 1, got {count}")
        self.count = count
        self._extra = dict(environment or {})
        self._tasks: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._processes: dict[int, Any] = {}
        self._threads = [threading.Thread(target=self._attend, args=(i,), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.shutdown)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future for ``fn(*args, **kwargs)``, which travel by pickle.

        Raises:
            ArgumentError: they cannot be pickled: classes must be importable, so neither local nor typed in at a prompt.
        """
        if self._closed.is_set():
            raise RuntimeError("cannot submit to workers that were shut down")
        future: Future[Any] = Future()
        self._tasks.put((future, _pack((fn, args, kwargs))))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes end after the tasks submitted so far, or, with ``cancel_futures``, after those in flight."""
        if not self._closed.is_set():
            self._closed.set()
            atexit.unregister(self.shutdown)
            if cancel_futures:
                self._cancel()
            for _ in self._threads:
                self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        """Wait for the tasks in flight; when the block was interrupted, end their processes instead."""
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for process in list(self._processes.values()):
                process.kill()
        self.shutdown()

    def _cancel(self) -> None:
        try:
            while True:
                item = self._tasks.get_nowait()
                if item:
                    item[0].cancel()
        except queue.Empty:
            pass

    def _attend(self, index: int) -> None:
        """The life of one worker's thread: take a task, have a living process, send, wait, answer."""
        process = None
        while (item := self._tasks.get()) is not None:
            future, packed = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if process is None or process.poll() is not None:
                    process = self._start(index)
                _send(process.stdin, packed)
                good, value = pickle.loads(_receive(process.stdout))
            except (EOFError, OSError):
                how = _how_it_ended(process)
                process = None
                future.set_exception(WorkerDied(f"its worker process {how}"))
            except Exception as error:
                future.set_exception(error)
            else:
                (future.set_result if good else future.set_exception)(value)
            del item, future
        if process is not None:
            process.stdin.close()
            process.wait()
            process.stdout.close()

    def _start(self, index: int) -> Any:
        # Not multiprocessing's spawn, which imports the main script again: here a script needs no guard, and starts faster.
        process = subprocess.Popen(
            [sys.executable, "-c", "from theodolite.lab.workers import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**worker_environment(index), **self._extra},
        )
        self._processes[index] = process
        return process


def worker_environment(index: int) -> dict[str, str]:
    """The environment of worker ``index``: this process's, one thread, one device, and the same modules to import."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return {**os.environ, **ONE_THREAD, **large_buffers_environment(), **_device(index), "PYTHONPATH": path}


def _device(index: int) -> dict[str, str]:
    """One process per GPU: the device that worker ``index`` may see; nothing where there is no GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        try:
            devices = [str(i) for i in range(len(os.listdir("/proc/driver/nvidia/gpus")))]
        except OSError:
            devices = []
    else:
        devices = [name for name in visible.split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} if devices else {}


def _how_it_ended(process: Any) -> str:
    if process is None:
        return "could not be started"
    try:
        code = process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return "closed its pipe and was killed"
    finally:
        process.stdout.close()
        with suppress(OSError):
            process.stdin.close()
    if code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


def _send(pipe: Any, data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def _receive(pipe: Any) -> bytes:
    header = pipe.read(8)
    data: bytes = pipe.read(int.from_bytes(header, "little")) if len(header) == 8 else b""
    if len(header) < 8 or len(data) < int.from_bytes(header, "little"):
        raise EOFError
    return data


def serve() -> None:
    """The life of a worker process: one task after another from standard input, until it is closed from the other end."""
    # Ctrl-C goes to all processes of a terminal; the parent decides what it means, the worker finishes its task.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What an experiment prints goes where errors go; what it reads is empty.
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    while True:
        try:
            packed = _receive(tasks)
        except (EOFError, OSError):
            return
        try:
            function, args, kwargs = _unpack(packed)
            answer = pickle.dumps((True, function(*args, **kwargs)))
        except Exception as error:
            answer = _packed_error(error)
        try:
            _send(answers, answer)
        except OSError:
            return


def _unpack(packed: bytes) -> Any:
    try:
        return pickle.loads(packed)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(
            f"a worker cannot import what its task needs ({error}); define the experiment in a module that lies on sys.path"
        ) from error


def _packed_error(error: Exception) -> bytes:
    try:
        packed = pickle.dumps((False, error))
        pickle.loads(packed)
        return packed
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _pack(task: Any) -> bytes:
    """``task`` pickled; with cloudpickle, where that is installed, for what was defined in ``__main__`` or in a function."""
    try:
        packed = pickle.dumps(task)
        # The main module of a worker is another one.
        if b"__main__" not in packed:
            return packed
        failure: Exception = AttributeError("it refers to the main script or prompt")
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        failure = error
    try:
        import cloudpickle
    except ImportError:
        raise ArgumentError(
            f"workers cannot be given this task ({failure}); define the experiment in a module that they can import"
        ) from failure
    packed = cloudpickle.dumps(task)
    return bytes(packed)

"""Feeding tiles to an executor, whatever it is: few in flight, deaths blamed on the right cell, an orderly stop.

A tile whose worker dies is tried again; after `TILE_ATTEMPTS` deaths its cells are tried one by one, and a cell that ends
`CELL_ATTEMPTS` workers all by itself is recorded as failed, with the way its worker ended as the reason. So a worker that is
killed from outside costs a repetition, and a cell that kills its worker costs that cell.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from theodolite.core.errors import StoreError
from theodolite.lab.cluster import killed
from theodolite.lab.store import Store
from theodolite.lab.tile import Cells, Receipt, compute, run_tile
from theodolite.lab.values import Outcome

__all__ = ["Driver", "died", "orderly_stop"]

TILE_ATTEMPTS = 2
CELL_ATTEMPTS = 5


def died(error: BaseException | None) -> str:
    """How the worker died that a task failed of; empty when it failed of something else."""
    if isinstance(error, BrokenExecutor):
        return str(error) or "its worker process died"
    return killed(error) if error is not None else ""


@contextmanager
def orderly_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C (or SIGTERM, with which batch systems announce the end) sets; a second one interrupts at once.

    Signals can only be handled in the main thread; elsewhere the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("finishing the tiles in flight; a second signal stops at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Suspect:
    """A tile whose cells are being tried one by one."""

    cells: Cells
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    deaths: int = 0


@dataclass(frozen=True)
class Task:
    """A tile, or one cell of a suspect tile, that is in flight."""

    tile: int
    position: int | None = None


class Driver:
    """Runs tiles on an executor and reports each receipt.

    Args:
        executor: where tasks run.
        store: where tiles are written.
        stamp: of the store's manifest.
        cells: tile -> its cells.
        window: number of tasks in flight.
        report: called with each receipt.
        stop: when set, nothing new is started.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        stamp: str,
        cells: Callable[[int], Cells],
        *,
        window: int,
        report: Callable[[Receipt], None],
        stop: threading.Event,
    ) -> None:
        self._executor, self._store, self._stamp, self._cells = executor, store, stamp, cells
        self._window, self._report, self._stop = window, report, stop
        self._flying: dict[Future[Any], Task] = {}
        self._deaths: dict[int, int] = {}
        self._again: deque[int] = deque()
        # Suspects are tried one cell at a time, of one tile at a time: some engines blame a death on all tasks of the dead worker.
        self._suspects: dict[int, Suspect] = {}
        self._error: BaseException | None = None

    def run(self, tiles: Iterable[int]) -> None:
        """Run ``tiles`` until all are committed, or a stop; tasks in flight are waited for in any case.

        Raises:
            StoreError: a tile could not be written. Tiles in flight are finished, no further one is started.
        """
        waiting = iter(tiles)
        exhausted = False
        try:
            while True:
                while not exhausted and not self._halted and len(self._flying) < self._window:
                    exhausted = not self._launch_next(waiting)
                if not self._flying:
                    break
                # The timeout lets signals in on every platform.
                finished, _ = wait(self._flying, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    self._settle(self._flying.pop(future), future)
                    exhausted = False
        except BaseException:
            for future in self._flying:
                future.cancel()
            raise
        if self._error is not None:
            raise self._error

    @property
    def _halted(self) -> bool:
        return self._stop.is_set() or self._error is not None

    def _launch_next(self, waiting: Iterator[int]) -> bool:
        """Start one more task; False when there is none to start now."""
        if self._suspects and not any(task.position is not None for task in self._flying.values()):
            tile, suspect = next(iter(self._suspects.items()))
            position = len(suspect.outcomes)
            self._submit(Task(tile, position), compute, suspect.cells.only(position))
            return True
        tile = self._again.popleft() if self._again else next(waiting, -1)
        if tile < 0:
            return False
        self._submit(Task(tile), run_tile, self._store.storage, self._stamp, tile, self._cells(tile))
        return True

    def _submit(self, task: Task, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._flying[self._executor.submit(function, *args)] = task
        except BrokenExecutor as error:
            # A standard pool that broke stays broken.
            self._error = self._error or error

    def _settle(self, task: Task, future: Future[Any]) -> None:
        """Act on a finished task."""
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            self._error = self._error or StoreError(f"tile {task.tile} was cancelled by its engine; run again to resume")
        elif how := died(error):
            self._mourn(task, how)
        elif error is not None:
            self._error = self._error or error
        elif task.position is None:
            self._report(future.result())
        else:
            self._heard(task, future.result()[0])

    def _mourn(self, task: Task, how: str) -> None:
        """A worker died of ``task``, or while it held it."""
        if task.position is None:
            self._deaths[task.tile] = self._deaths.get(task.tile, 0) + 1
            if self._deaths[task.tile] < TILE_ATTEMPTS:
                self._again.append(task.tile)
            else:
                self._suspects[task.tile] = Suspect(self._cells(task.tile))
            return
        suspect = self._suspects[task.tile]
        suspect.deaths += 1
        if suspect.deaths >= CELL_ATTEMPTS:
            self._heard(task, [Outcome(reason=f"WorkerDied: {CELL_ATTEMPTS} times, running alone; at last: {how}")])

    def _heard(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        """One cell of a suspect tile has an outcome; after the last one the tile is committed from here."""
        suspect = self._suspects[task.tile]
        suspect.outcomes[len(suspect.outcomes)] = outcomes[0]
        suspect.deaths = 0
        if len(suspect.outcomes) < len(suspect.cells.values):
            return
        del self._suspects[task.tile]
        gathered = list(suspect.outcomes.values())
        try:
            if not self._store.is_committed(task.tile):
                manifest = self._store.manifest()
                if manifest is None or manifest.stamp != self._stamp:
                    raise StoreError(f"the store at {self._store.storage.url} was replaced during the run; start it again")
                self._store.write_tile(manifest.layout, task.tile, gathered)
        except StoreError as error:
            self._error = self._error or error
            return
        self._report(Receipt(task.tile, len(gathered), sum(bool(o.reason) for o in gathered)))

"""Regions by cutting: in this process or shared out, into memory; the tiles that large jobs are made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from theodolite.draw.progress import progress
from theodolite.theory.piecewise.domains import Domain
from theodolite.theory.piecewise.enumeration import DegenerateError, Found, Frame, Task, advance, enumerate_cells
from theodolite.theory.piecewise.program import Array, Program
from theodolite.theory.piecewise.regions import Regions
from theodolite.theory.piecewise.scaling import in_domain, task_of

__all__ = ["carried_out", "cut_regions", "as_regions", "finish", "tiles"]

#: Cells to have before a job is split into tiles, and the greatest number of tiles of one frame.
TILES = 64

#: Tiles that are with an executor at a time.
IN_FLIGHT = 16

R = TypeVar("R")


def cut_regions(program: Program, domain: Domain, certify: str, limit: int | None, executor: Executor | None) -> Regions:
    """All regions, in memory; at most ``limit`` of them. What floats do not tell is done anew with exact arithmetic at hand."""
    tasks = [task_of(program, chart, certify) for chart in domain.charts]
    return _decided(lambda these: _cut_regions(these, domain, certify, limit, executor), tasks)


def _decided(function: Callable[[list[Task]], R], tasks: list[Task]) -> R:
    """``function(tasks)``; where floats do not tell, of the same tasks with exact arithmetic for undecided signs."""
    try:
        return function(tasks)
    except DegenerateError:
        return function([replace(task, certify="likely") for task in tasks])


def _cut_regions(tasks: list[Task], domain: Domain, certify: str, limit: int | None, executor: Executor | None) -> Regions:
    program = tasks[0].program
    begun: Frame | Found | None = None
    if executor is None and limit is None and len(tasks) == 1:
        begun = tasks[0].begin()
        if isinstance(begun, Found):  # small jobs: nothing to join, to show or to stop
            return as_regions(
                program, domain, certify, in_domain(tasks[0], begun), np.zeros(len(begun.bits), dtype=np.int64), True
            )
    batches: list[Found] = []
    charts: list[Array] = []
    total, complete = 0, True
    for k, found in progress(_batches(tasks, begun, executor), "cutting regions"):
        batches.append(found)
        charts.append(np.full(len(found.bits), k))
        total += len(found.bits)
        if limit is not None and total > limit:
            complete = False
            break
    joined = Found.join(batches)
    chart = np.concatenate(charts)
    if not complete:
        assert limit is not None
        joined = Found(joined.cells.part(0, limit), joined.bits[:limit], joined.maps[:limit])
        chart = chart[:limit]
    return as_regions(program, domain, certify, joined, chart, complete)


def as_regions(program: Program, domain: Domain, certify: str, found: Found, charts: Array, complete: bool) -> Regions:
    """Finished cells as regions."""
    witnesses = np.zeros((0, domain.dim))
    return Regions(
        program, domain, found.cells, charts, found.bits, np.ascontiguousarray(found.maps), witnesses, complete, certify
    )


def _batches(tasks: list[Task], begun: Frame | Found | None, executor: Executor | None) -> Iterator[tuple[int, Found]]:
    for k, task in enumerate(tasks):
        if executor is None:
            for found in enumerate_cells(task, begun):
                yield k, in_domain(task, found)
        else:
            for found in carried_out(finish, ((task.plain(), tile) for tile in tiles(task)), executor):
                yield k, found


def tiles(task: Task) -> list[Found | Frame]:
    """A job in independent parts, the same ones whenever it is cut: frames to be finished, and what is finished already."""
    return _decided(lambda these: _tiles(these[0]), [task])


def _tiles(task: Task) -> list[Found | Frame]:
    frames: list[Found | Frame] = [task.first()]
    while True:
        cells = sum(len(f.cells) for f in frames if isinstance(f, Frame))
        if cells >= TILES or not cells:
            break
        frames = [part for frame in frames for part in _advanced(task, frame)]
    return [part for frame in frames for part in _shares(frame)]


def _advanced(task: Task, frame: Found | Frame) -> Iterable[Found | Frame]:
    after = advance(task, frame) if isinstance(frame, Frame) else frame
    return after.slices() if isinstance(after, Frame) else [after]


def _shares(frame: Found | Frame) -> Iterator[Found | Frame]:
    if isinstance(frame, Found):
        yield frame
        return
    size = -(-len(frame.cells) // TILES)
    for low in range(0, len(frame.cells), size):
        yield frame.part(low, min(low + size, len(frame.cells))).alone()


def finish(task: Task, tile: Found | Frame) -> Found:
    """All cells of a tile, in the domain's coordinates."""
    if isinstance(tile, Found):
        return in_domain(task, tile)
    return in_domain(task, Found.join(_decided(lambda these: list(enumerate_cells(these[0], tile)), [task])))


def carried_out(function: Callable[..., R], jobs: Iterable[tuple[Any, ...]], executor: Executor | None) -> Iterator[R]:
    """Results of ``function(*job)`` in the order of the jobs, a few of them with the executor at a time; None computes here."""
    if executor is None:
        for job in jobs:
            yield function(*job)
        return
    flying: deque[Future[R]] = deque()
    try:
        for job in jobs:
            if len(flying) >= IN_FLIGHT:
                yield flying.popleft().result()
            flying.append(executor.submit(function, *job))
        while flying:
            yield flying.popleft().result()
    finally:
        for future in flying:
            future.cancel()

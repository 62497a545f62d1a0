"""Cells of plain arithmetic, and pools that are kept for the whole case so that start-up is not what is timed."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from theodolite.lab import Sweep, Workers


@dataclass(frozen=True)
class Busy:
    """A chaotic iteration in Python: one thread, no memory, about a microsecond for ten operations."""

    seed: int
    operations: int = 100_000

    def run(self) -> dict[str, float]:
        """The last iterate."""
        x = float(self.seed)
        for _ in range(self.operations):
            x = (x * 1.000001 + 0.5) % 7.0
        return {"x": x}


@dataclass(frozen=True)
class Constant:
    """The cheapest cell."""

    i: int

    def run(self) -> dict[str, float]:
        """The setting itself."""
        return {"value": float(self.i)}


def one_tile(seeds: tuple[int, ...], operations: int) -> list[float]:
    """The cells of a tile, bare."""
    return [Busy(seed, operations).run()["x"] for seed in seeds]


@functools.cache
def workers(count: int) -> Executor:
    """Theodolite's pool, started."""
    pool = Workers(count)
    list(pool.map(abs, range(4 * count)))
    return pool


@functools.cache
def standard_pool(count: int) -> Executor:
    """The standard library's pool, started."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    list(pool.map(abs, range(4 * count)))
    atexit.register(pool.shutdown)
    return pool


def sweeping(cells: int, tile: int, operations: int, count: int) -> Callable[[], np.ndarray]:
    """A whole sweep into a fresh store, with calibration, commits and loading."""

    def call() -> np.ndarray[Any, Any]:
        folder = tempfile.mkdtemp()
        try:
            sweep = Sweep(Busy, {"seed": range(cells)}, folder, tile=tile, operations=operations)
            sweep.run(workers=count, engine=workers(count))
            values: np.ndarray[Any, Any] = sweep.load()["x"].values
            return values
        finally:
            shutil.rmtree(folder)

    return call

"""Opening a finished sweep of 100,000 cells: manifest, commit records, labels, and every value checked against its checksum."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable

import numpy as np
from benchmarks.cases._busy import Constant
from benchmarks.machine import Work

from theodolite.lab import Sweep

TITLE = "Opening a sweep of 100,000 cells in 500 tiles, all values read"
TOLERANCE = 0.0
LIMITS = {"median_s": 1.0}


@functools.cache
def _store(cells: int) -> str:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, True)
    Sweep(Constant, {"i": range(cells)}, folder, tile=cells // 500).run()
    return folder


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """The labelled dataset, and zarr's own read of the one array in the store."""
    cells = 10_000 if quick else 100_000

    def load() -> np.ndarray:
        return Sweep(Constant, {"i": range(cells)}, _store(cells)).load()["value"].values

    def bare() -> np.ndarray:
        import zarr

        return np.asarray(zarr.open_group(_store(cells), mode="r")["value"][:])

    return {"theodolite": load, "bare zarr": bare}


def floor(quick: bool) -> Work:
    """Reading and writing every value once."""
    return Work(traffic=2 * 8.0 * (10_000 if quick else 100_000))

"""The same CPU-bound sweep on two workers and on one, and the same work on two and on one bare process: what the cores can give.

Pools are started beforehand. The sweep's ratio means something only beside that of the bare processes: cores that other programs use,
or that share an execution unit, give less than two for anybody.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from benchmarks.cases._busy import one_tile, standard_pool, sweeping
from benchmarks.scaling import Curve

TITLE = "A CPU-bound sweep of 32 tiles (about 100 ms each): two workers beside one"
TOLERANCE = 0.0
CLOCK = "wall"
GOALS = {"one worker": 1.7}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Two workers, one worker; two and one bare process."""
    tiles, size, operations = (12 if quick else 32), 4, 250_000
    work = functools.partial(one_tile, operations=operations)

    def bare(count: int) -> Callable[[], np.ndarray]:
        listed = [tuple(range(k * size, (k + 1) * size)) for k in range(tiles)]
        return lambda: np.concatenate(list(standard_pool(count).map(work, listed)))

    return {
        "theodolite": sweeping(tiles * size, size, operations, 2),
        "one worker": sweeping(tiles * size, size, operations, 1),
        "two bare processes": bare(2),
        "one bare process": bare(1),
    }


def curves(quick: bool) -> list[Curve]:
    tiles = 8 if quick else 24
    cells = (16, 32, 64) if quick else (16, 64, 256)
    return [
        Curve("sweep of CPU-bound tiles", "workers", (1, 2), -1, lambda n: sweeping(tiles * 4, 4, 250_000, n), clock="wall"),
        Curve("sweep, two workers, tiles of 4 cells", "cells", cells, 1, lambda n: sweeping(n, 4, 100_000, 2), clock="wall"),
    ]

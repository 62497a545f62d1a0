"""A sweep of 64 tiles of about 20 ms on two workers, beside bare maps over the same tiles, which commit nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.cases._busy import one_tile, standard_pool, sweeping

TITLE = "A sweep of 64 tiles (20 ms each, 2 workers): committed, resumable, loaded; beside bare maps over the tiles"
TOLERANCE = 0.0
CLOCK = "wall"
GOALS = {"ProcessPoolExecutor.map": 1 / 1.5}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """The sweep, the standard library, joblib, Dask."""
    tiles, size, operations = (16 if quick else 64), 4, 50_000
    listed = [tuple(range(k * size, (k + 1) * size)) for k in range(tiles)]
    work = functools.partial(one_tile, operations=operations)

    def standard() -> np.ndarray:
        return np.concatenate(list(standard_pool(2).map(work, listed)))

    def joblib() -> np.ndarray:
        from joblib import Parallel, delayed

        return np.concatenate(Parallel(2)(delayed(one_tile)(tile, operations) for tile in listed))

    def dask() -> np.ndarray:
        client = _client()
        return np.concatenate(client.gather(client.map(work, listed, pure=False)))

    return {
        "theodolite": sweeping(tiles * size, size, operations, 2),
        "ProcessPoolExecutor.map": standard,
        "joblib": joblib,
        "bare Dask": dask,
    }


@functools.cache
def _client() -> Any:
    from distributed import Client

    return Client(n_workers=2, threads_per_worker=1, dashboard_address=":0", set_as_default=False)

"""Linear regions of a ReLU network on the whole space by each peer: their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.networks import sequential


def relucent(layers: list[Any]) -> Callable[[], np.ndarray]:
    """Breadth-first search of the polyhedral complex, one worker."""
    from relucent import Complex, convert

    network = convert(sequential(layers))

    def call() -> np.ndarray:
        found = Complex(network)
        found.bfs(nworkers=1, verbose=0)
        return np.array([len(found)])

    return call


def parx(layers: list[Any]) -> Callable[[], np.ndarray]:
    """Exact enumeration; its engine is written in Julia."""
    import parx as package

    raise NotImplementedError(
        f"parx {package.__version__} imports here, which it did not when this case was written: add its call"
    )

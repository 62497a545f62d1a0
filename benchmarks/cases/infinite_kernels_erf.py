"""NNGP and NTK of a depth-10 erf network, against the plain recursion on whole matrices and neural-tangents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.infinite_kernels import inputs, neural_tangents, ours, plain

TITLE = "NNGP + NTK, depth 10, erf, N = 2,000, float64"
TOLERANCE = 1e-8


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, plain torch, neural-tangents."""
    x = inputs(quick)
    return {
        "theodolite": lambda: ours(x, "erf"),
        "plain torch": lambda: plain(x, "erf"),
        "neural-tangents": lambda: neural_tangents(x, "erf"),
    }

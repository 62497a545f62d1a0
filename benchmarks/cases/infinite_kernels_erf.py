"""NNGP and NTK of a depth-10 erf network, against the plain recursion on whole matrices and neural-tangents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.infinite_kernels import DEPTH, inputs, neural_tangents, ours, plain
from benchmarks.machine import Work

TITLE = "NNGP + NTK, depth 10, erf, N = 2,000, float64"
TOLERANCE = 1e-8
GOALS = {"neural-tangents": 2.5}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, plain torch, neural-tangents."""
    x = inputs(quick)
    return {
        "theodolite": lambda: ours(x, "erf"),
        "plain torch": lambda: plain(x, "erf"),
        "neural-tangents": neural_tangents(x, "erf"),
    }


def floor(quick: bool) -> Work:
    """One arc sine and two roots per layer and pair of samples (half of all pairs), at the speed of torch's functions."""
    pairs = len(inputs(quick)) ** 2 / 2 * DEPTH
    return Work(elements={"asin": pairs, "sqrt": 2 * pairs}, traffic=2 * 8.0 * len(inputs(quick)) ** 2)

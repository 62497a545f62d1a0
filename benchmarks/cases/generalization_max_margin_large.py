"""The hard-margin separator without bias of 10⁴ points in 784 dimensions, to rounding, against scikit-learn's linear solver."""

from collections.abc import Callable

import numpy as np
from benchmarks.cases.generalization_max_margin import linear_svc, separable
from benchmarks.machine import Work

from theodolite.theory.generalization import max_margin

TITLE = "maximum margin separator: 10⁴ points in 784 dimensions, 740 support vectors, KKT residual 1e-10, against scikit-learn"
#: scikit-learn stops at its own tolerance, far from rounding.
TOLERANCE = 1e-2


def sizes(quick: bool) -> tuple[int, int]:
    """Points and dimensions."""
    return (1000, 80) if quick else (10_000, 784)


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    x, y, _ = separable(*sizes(quick))
    return {
        "theodolite": lambda: max_margin(x, y).w,
        "sklearn LinearSVC, tol 1e-4": lambda: linear_svc(x, y, 1e-4, 10**5),
    }


def floor(quick: bool) -> Work:
    """The margins of all points, once: what a check of the result costs."""
    n, d = sizes(quick)
    return Work(flops=2.0 * n * d, traffic=8.0 * n * d)

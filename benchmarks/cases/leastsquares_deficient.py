"""Least squares with 10⁴ × 10³ smooth random features, numerically rank-deficient, against the LAPACK factorisation alone."""

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.machine import Work

from theodolite.maths.leastsquares import least_squares

TITLE = "least squares, 10⁴ × 10³ tanh features of numerical rank ~130: the whole solve against dgeqrf alone and drivers"
TOLERANCE = 1e-8
GOALS = {"floor: dgeqrf alone": 1 / 1.3}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    rows, columns = (2000, 200) if quick else (10_000, 1000)
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, rows)
    matrix = np.tanh(np.outer(x, rng.uniform(-10, 10, columns)) + rng.uniform(-10, 10, columns))
    rhs = np.sin(5 * x)
    a, b = torch.from_numpy(matrix), torch.from_numpy(rhs)[:, None]
    fitted = matrix @ least_squares(matrix, rhs).solution

    def factorisation_alone() -> np.ndarray:
        torch.geqrf(a)
        return fitted  # a factorisation has no fit to show; it is here as the floor

    return {
        "theodolite": lambda: matrix @ least_squares(matrix, rhs).solution,
        "floor: dgeqrf alone": factorisation_alone,
        "torch.linalg.lstsq gelsd": lambda: (a @ torch.linalg.lstsq(a, b, driver="gelsd").solution)[:, 0].numpy(),
        "numpy.linalg.lstsq": lambda: matrix @ np.linalg.lstsq(matrix, rhs, rcond=None)[0],
    }


def floor(quick: bool) -> Work:
    """The factorisation by reflections, at the rate of matrix products."""
    rows, columns = (2000, 200) if quick else (10_000, 1000)
    return Work(flops=2.0 * rows * columns**2 - 2 / 3 * columns**3, traffic=8.0 * rows * columns)

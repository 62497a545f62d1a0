"""Least squares with a 10⁴ × 10³ matrix against the LAPACK factorisation that any solver has to do, and against drivers."""

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.machine import Work

from theodolite.maths.leastsquares import least_squares

TITLE = "least squares, 10⁴ × 10³, float64: the whole solve against dgeqrf alone, gelsd and numpy"
TOLERANCE = 1e-9
GOALS = {"floor: dgeqrf alone": 1 / 1.3}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    rows, columns = (2000, 200) if quick else (10_000, 1000)
    rng = np.random.default_rng(0)
    matrix, rhs = rng.standard_normal((rows, columns)), rng.standard_normal(rows)
    a, b = torch.from_numpy(matrix), torch.from_numpy(rhs)[:, None]
    known = least_squares(matrix, rhs).solution

    def factorisation_alone() -> np.ndarray:
        torch.geqrf(a)
        return known  # a factorisation has no solution to show; it is here as the floor

    return {
        "theodolite": lambda: least_squares(matrix, rhs).solution,
        "floor: dgeqrf alone": factorisation_alone,
        "torch.linalg.lstsq gelsd": lambda: torch.linalg.lstsq(a, b, driver="gelsd").solution[:, 0].numpy(),
        "numpy.linalg.lstsq": lambda: np.linalg.lstsq(matrix, rhs, rcond=None)[0],
    }


def floor(quick: bool) -> Work:
    """The factorisation by reflections, at the rate of matrix products."""
    rows, columns = (2000, 200) if quick else (10_000, 1000)
    return Work(flops=2.0 * rows * columns**2 - 2 / 3 * columns**3, traffic=8.0 * rows * columns)

"""Interpolative decompositions: some columns of a matrix span the rest, with bounded coefficients.

Strong rank-revealing QR (Gu & Eisenstat 1996): columns are exchanged until no exchange raises the volume of the chosen ones by more
than a factor f. At f = 1 the chosen columns have maximal volume among their neighbours, which is the constructive form of Lemma 3.1 of
yang2024: σ_max(R22) ≤ √(1 + p(n − p)) σ_{p+1}(A), and all interpolation coefficients are at most 1 in modulus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.core.errors import ArgumentError

__all__ = ["Interpolation", "interpolate"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interpolation:
    """A ≈ A[:, kept] @ [I, T] with columns in the order kept, dropped.

    Attributes:
        kept: indices of the chosen columns, ascending.
        dropped: indices of the others, ascending.
        coefficients: T, (p, n − p): column j of A[:, dropped] ≈ A[:, kept] @ T[:, j].
        remainder: R22, (min(N, n) − p, n − p): A[:, dropped] − A[:, kept] T has the same singular values.
        growth: the factor f that was reached: σ_max(R22) ≤ √(1 + f² p(n − p)) σ_{p+1}(A).
    """

    kept: NDArray[np.intp]
    dropped: NDArray[np.intp]
    coefficients: Array
    remainder: Array
    growth: float


def interpolate(matrix: Array, p: int, f: float = 1.0) -> Interpolation:
    """Choose ``p`` columns of ``matrix`` (N, n) by strong rank-revealing QR and interpolate the others from them.

    Args:
        matrix: A, finite; a triangular factor R of A serves as well and is cheaper.
        p: number of columns to keep, 0 ≤ p ≤ n.
        f: exchange columns until the volume cannot grow by more than this factor, f ≥ 1.

    Returns:
        The `Interpolation`, whose error is exactly that of least squares on the kept columns.

    Raises:
        ArgumentError: p or f out of range.

    Cost:
        O(N n² + n³) and one O(n³) refactorisation per exchange; a few exchanges are usual.

    Example:
        >>> found = interpolate(np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), 2)
        >>> found.kept.tolist(), found.coefficients.ravel().tolist()
        ([1, 2], [0.5, 0.0])
    """
    from scipy.linalg import qr, solve_triangular

    rows, n = matrix.shape
    if not 0 <= p <= n:
        raise ArgumentError(f"p must lie in 0..{n}, got {p}")
    if f < 1:
        raise ArgumentError(f"f must be at least 1, got {f}")
    small = np.asarray(qr(matrix, mode="r")[0][:n]) if rows > n else matrix
    if p in (0, n):
        order = np.arange(n)
        return Interpolation(order[:p], order[p:], np.zeros((p, n - p)), small[:, order[p:]], 1.0)
    _, order = qr(small, mode="r", pivoting=True)
    p_true = min(p, small.shape[0])
    best: Interpolation | None = None
    for _ in range(4 * n):
        r = qr(small[:, order], mode="r")[0]
        r11, r12, r22 = r[:p_true, :p_true], r[:p_true, p:], r[p_true:, p:]
        noise = n * np.finfo(np.float64).eps * abs(r[0, 0])
        if np.min(np.abs(np.diag(r11))) <= noise:  # fewer than p independent columns: any completion of them will do
            coefficients = np.linalg.lstsq(r[:, :p], r[:, p:], rcond=None)[0]
            return _sorted(order, p, coefficients, r[:, p:] - r[:, :p] @ coefficients, 1.0)
        coefficients = solve_triangular(r11, r12)
        inverse_rows = np.linalg.norm(solve_triangular(r11, np.eye(p_true)), axis=1)
        beyond = np.linalg.norm(r22, axis=0)
        growth = np.sqrt(coefficients**2 + np.outer(inverse_rows, np.where(beyond > noise, beyond, 0.0)) ** 2)
        i, j = np.unravel_index(np.argmax(growth), growth.shape)
        reached = max(1.0, float(growth[i, j]))
        if best is None or reached < best.growth:
            best = _sorted(order, p, np.vstack([coefficients, np.zeros((p - p_true, n - p))]), r22, reached)
        if reached <= f * (1 + 1e-10):  # without the slack, rounding could swap two equal columns for ever
            break
        order[[i, p + j]] = order[[p + j, i]]
    assert best is not None
    return best


def _sorted(order: NDArray[np.intp], p: int, coefficients: Array, remainder: Array, growth: float) -> Interpolation:
    rows, columns = np.argsort(order[:p]), np.argsort(order[p:])
    return Interpolation(order[:p][rows], order[p:][columns], coefficients[np.ix_(rows, columns)], remainder[:, columns], growth)

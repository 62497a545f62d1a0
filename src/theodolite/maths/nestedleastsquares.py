"""Least squares on the first N columns of a matrix, for many N, from one factorisation on each side of N = n."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError

__all__ = ["NestedSolution", "nested_least_squares"]

#: Columns per panel of the blocked QR update.
PANEL = 32


@dataclass(frozen=True)
class NestedSolution:
    """Least-squares solution on the first ``width`` columns.

    Attributes:
        width: number of columns N used.
        coefficients: ``(N, K)``, the solution of least norm.
        rank: numerical rank of the N columns (singular values above eps·max(n, N)·largest).
    """

    width: int
    coefficients: np.ndarray
    rank: int


def nested_least_squares(
    matrix: np.ndarray, targets: np.ndarray, widths: Sequence[int], *, ridge: float = 0.0
) -> Iterator[NestedSolution]:
    """Yield argmin_a ‖A_N a − y‖² + ridge·‖a‖² (of least norm) for each N, where A_N is the first N columns of A.

    N ≤ n: A = QR once; R's leading N×N block is the factor of A_N, so a width costs one triangular solve. With a ridge the
    factorised matrix is [A; √ridge·I], whose columns are nested in the same way.

    N > n: the factor of [√ridge·I, A_N]ᴴ = Q R is *updated* by the rows that A_N gains, never recomputed and never squared,
    and a = A_Nᴴ R⁻¹ R⁻ᴴ y. These semi-normal equations have an error of order eps·cond(A_N) for minimum-norm problems
    (Paige), not eps·cond², so they hold at the interpolation threshold N ≈ n.

    Columns that are exactly zero (dead features) get coefficient zero, which is what the least norm asks for, and do not count
    towards N ≤ n. Widths whose factor is so ill-conditioned that the numerical rank is in doubt are solved by the singular
    value decomposition, with the cut-off of `numpy.linalg.lstsq`.

    Args:
        matrix: ``(n, N_max)``, real or complex.
        targets: ``(n, K)``.
        widths: strictly increasing, each in 1…N_max.
        ridge: λ ≥ 0, not divided by n.

    Yields:
        One `NestedSolution` per width, in order.

    Raises:
        ArgumentError: widths not strictly increasing or out of range, or a negative ridge.

    Cost: 2n²·N_max flops for all widths together, then O(n² + nN)·K per width; n² + nN_max numbers of memory.

    Reference: golub2013 §5.2, §5.6, §6.5; bjorck1996 §2.7 for the updates and the semi-normal equations.

    Example:
        >>> matrix = np.random.default_rng(0).normal(size=(20, 60))
        >>> targets = matrix[:, :1] ** 2
        >>> for solution in nested_least_squares(matrix, targets, [5, 20, 60]):
        ...     other = np.linalg.lstsq(matrix[:, : solution.width], targets, rcond=None)[0]
        ...     print(solution.width, solution.rank, bool(np.allclose(solution.coefficients, other)))
        5 5 True
        20 20 True
        60 20 True
    """
    n, most = matrix.shape
    if ridge < 0:
        raise ArgumentError(f"ridge must be at least 0, got {ridge}")
    steps = list(widths)
    if not steps or steps[0] < 1 or steps[-1] > most or any(a >= b for a, b in itertools.pairwise(steps)):
        raise ArgumentError(f"widths must increase strictly within 1…{most} (the number of columns), got {steps[:10]}")
    live = np.any(matrix[:, : steps[-1]] != 0, axis=0)
    counts = np.cumsum(live)
    tall = [w for w in steps if counts[w - 1] <= n]
    solvers = (
        _tall(matrix, targets, tall, live, ridge),
        _wide(matrix, targets, steps[len(tall) :], live, ridge),
    )
    for solver in solvers:
        for width, reduced, rank in solver:
            coefficients = np.zeros((width, targets.shape[1]), reduced.dtype)
            coefficients[live[:width]] = reduced
            yield NestedSolution(width, coefficients, rank)


Step = tuple[int, np.ndarray, int]


def _tall(matrix: np.ndarray, targets: np.ndarray, widths: list[int], live: np.ndarray, ridge: float) -> Iterator[Step]:
    """Widths with at most n live columns: leading blocks of one triangular factor."""
    from scipy.linalg import qr, solve_triangular

    if not widths:
        return
    n = len(matrix)
    columns = _chosen(matrix, live[: widths[-1]])
    count = columns.shape[1]
    stacked = np.vstack([columns, np.sqrt(ridge) * np.eye(count)]) if ridge > 0 else columns
    q, r = qr(stacked, mode="economic", check_finite=False)
    plain = qr(columns, mode="r", check_finite=False)[0] if ridge > 0 else r  # the rank is that of the columns themselves
    right = q[:n].conj().T @ targets  # (count, K)
    for width in widths:
        size = int(live[:width].sum())
        regular = _surely_regular(r[:size, :size], n)
        rank = size if regular and ridge == 0 else _rank(plain[:size, :size], columns[:, :size])
        if regular:
            yield width, solve_triangular(r[:size, :size], right[:size], check_finite=False), rank
        else:
            yield width, _by_svd(columns[:, :size], targets, ridge), rank


def _wide(matrix: np.ndarray, targets: np.ndarray, widths: list[int], live: np.ndarray, ridge: float) -> Iterator[Step]:
    """Widths with more than n live columns: a triangular factor updated by the columns that are added."""
    from scipy.linalg import solve_triangular

    if not widths:
        return
    n = len(matrix)
    columns = _chosen(matrix, live[: widths[-1]])
    r = np.asfortranarray(np.sqrt(ridge) * np.eye(n, dtype=columns.dtype))
    plain = np.zeros_like(r, order="F") if ridge > 0 else r
    done = 0
    for width in widths:
        size = int(live[:width].sum())
        if size > done:
            added = columns[:, done:size].conj().T  # (size - done, n)
            r = _updated(r, added)
            plain = _updated(plain, added) if ridge > 0 else r
            done = size
        regular = _surely_regular(r, size)
        rank = n if regular and ridge == 0 else _rank(plain, columns[:, :size])
        if regular:
            inner = solve_triangular(r, targets.astype(r.dtype), trans="C", check_finite=False)
            dual = solve_triangular(r, inner, check_finite=False)
            yield width, columns[:, :size].conj().T @ dual, rank
        else:
            yield width, _by_svd(columns[:, :size], targets, ridge), rank


def _chosen(matrix: np.ndarray, live: np.ndarray) -> np.ndarray:
    """The live ones of the first columns; no copy when all are."""
    first = matrix[:, : len(live)]
    return first if live.all() else first[:, live]


def _updated(r: np.ndarray, added: np.ndarray) -> np.ndarray:
    """The triangular factor of [R; added], overwriting R (Fortran order)."""
    from scipy.linalg import get_lapack_funcs

    (update,) = get_lapack_funcs(("tpqrt",), (r,))
    r, _, _, info = update(0, min(PANEL, len(r)), r, np.array(added, order="F"), overwrite_a=1, overwrite_b=1)
    if info != 0:
        raise NumericalError(f"LAPACK tpqrt refused its argument {-info}")
    return r


def _surely_regular(r: np.ndarray, longer: int) -> bool:
    """Whether the triangular factor has full numerical rank beyond doubt.

    LAPACK estimates the reciprocal condition number in the 1-norm, up to a small factor; in the 2-norm it is smaller by at most
    the dimension. With a factor ten to spare it has to stay above the rank cut-off, or the SVD decides.
    """
    from scipy.linalg import get_lapack_funcs

    size = len(r)
    if not np.all(np.diagonal(r)):
        return False
    (trcon,) = get_lapack_funcs(("trcon",), (r,))
    reciprocal, _ = trcon(r)
    return bool(reciprocal > 10 * size * _cutoff(size, longer))


def _cutoff(rows: int, columns: int) -> float:
    """Singular values below this fraction of the largest count as zero, as in `numpy.linalg.lstsq`."""
    return float(np.finfo(np.float64).eps) * max(rows, columns)


def _rank(r: np.ndarray, columns: np.ndarray) -> int:
    """Numerical rank of the columns, whose triangular factor is R."""
    from scipy.linalg import svdvals

    if _surely_regular(r, max(columns.shape)):
        return len(r)
    s = svdvals(r, check_finite=False)
    return int(np.sum(s > _cutoff(*columns.shape) * s[0]))


def _by_svd(columns: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Minimum-norm or ridge solution by the singular value decomposition, small singular values cut off."""
    from scipy.linalg import svd

    u, s, vh = svd(columns, full_matrices=False, check_finite=False)
    kept = s > _cutoff(*columns.shape) * s[0]
    u, s, vh = u[:, kept], s[kept], vh[kept]
    return vh.conj().T @ ((s / (s**2 + ridge))[:, None] * (u.conj().T @ targets))

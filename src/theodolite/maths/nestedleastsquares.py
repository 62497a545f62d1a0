"""Least squares on the first N columns of a matrix, for many N, from one factorisation on each side of N = n."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from theodolite.core.errors import ArgumentError

__all__ = ["NestedSolution", "nested_least_squares"]

#: Least and most columns per panel of the blocked QR update.
PANELS = (32, 128)
#: Power iterations for the extreme singular values.
POWERS = 12
#: Reciprocal condition number down to which semi-normal equations are used: their residual is then below 1e-5 of the targets.
SEMI_NORMAL = 1e-5


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
    towards N ≤ n. Wide ones with cond(A_N) above 1e5 get an orthogonal factorisation of their own, because that error of a is one
    of eps·cond² in what should interpolate; widths so ill-conditioned that the numerical rank is in doubt are solved by the
    singular value decomposition, with the cut-off of `numpy.linalg.lstsq`.

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
    matrix = matrix.astype(np.result_type(matrix, np.float64), copy=False)
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
    from scipy.linalg import solve_triangular

    if not widths:
        return
    n = len(matrix)
    columns = _chosen(matrix, live[: widths[-1]])
    count = columns.shape[1]
    if ridge > 0:
        padding = np.zeros((count, targets.shape[1]))
        r, right = _triangular(np.vstack([columns, np.sqrt(ridge) * np.eye(count)]), np.vstack([targets, padding]))
        plain = _triangular(columns, targets)[0]  # the rank is that of the columns themselves
    else:
        r, right = _triangular(columns, targets)
        plain = r
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
            yield width, _least_norm(r, columns[:, :size], targets, ridge), rank
        else:
            yield width, _by_svd(columns[:, :size], targets, ridge), rank


def _least_norm(r: np.ndarray, columns: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """a = Aᴴ z with (A Aᴴ + ridge) z = y, from the factor Rᴴ R of that matrix; where it is ill-conditioned, by a factor of its own.

    The semi-normal equations err by eps·cond relative to ‖a‖, which leaves a residual of up to eps·cond²·‖y‖ where the data should
    be interpolated. The orthogonal factor of [A, √ridge·I]ᴴ leaves eps·‖A‖ ‖a‖, at the cost of one factorisation.
    """
    import torch
    from scipy.linalg import solve_triangular

    if _reciprocal_condition(r) > SEMI_NORMAL:
        inner = solve_triangular(r, targets.astype(r.dtype), trans="C", check_finite=False)
        return columns.conj().T @ solve_triangular(r, inner, check_finite=False)
    n, width = columns.shape
    rows = columns.conj().T
    given = np.vstack([rows, np.sqrt(ridge) * np.eye(n)]) if ridge > 0 else rows
    factors, tau = torch.geqrf(torch.from_numpy(np.ascontiguousarray(given)))
    inner = torch.zeros(len(given), targets.shape[1], dtype=factors.dtype)
    own = np.asfortranarray(factors[:n].triu().numpy())
    inner[:n] = torch.from_numpy(solve_triangular(own, targets.astype(own.dtype), trans="C", check_finite=False))
    return torch.ormqr(factors, tau, inner)[:width].numpy()


def _chosen(matrix: np.ndarray, live: np.ndarray) -> np.ndarray:
    """The live ones of the first columns; no copy when all are."""
    first = matrix[:, : len(live)]
    return first if live.all() else first[:, live]


def _triangular(columns: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R and Qᴴ·targets of the QR factorisation, (count, count) and (count, K).

    By torch, whose LAPACK factorises several times faster than the one that scipy's wheels bring.
    """
    import torch

    count = columns.shape[1]
    factors, tau = torch.geqrf(torch.from_numpy(np.ascontiguousarray(columns)))
    given = torch.from_numpy(np.ascontiguousarray(targets)).to(factors.dtype)
    right = torch.ormqr(factors, tau, given, left=True, transpose=True)[:count]
    return np.asfortranarray(factors[:count].triu().numpy()), right.numpy()


def _updated(r: np.ndarray, added: np.ndarray) -> np.ndarray:
    """The triangular factor of [R; added], panel by panel: the rows of R outside a panel take no part in its reflections."""
    import torch

    n, rows = len(r), len(added)
    panel = min(max(rows, PANELS[0]), PANELS[1])
    top, below = torch.from_numpy(np.ascontiguousarray(r)).clone(), torch.from_numpy(np.array(added, order="C"))
    for low in range(0, n, panel):
        high = min(low + panel, n)
        size = high - low
        factors, tau = torch.geqrf(torch.cat([top[low:high, low:high], below[:, low:high]]))
        top[low:high, low:high] = factors[:size].triu()
        if high < n:
            rest = torch.cat([top[low:high, high:], below[:, high:]])
            rest = torch.ormqr(factors, tau, rest, left=True, transpose=True)
            top[low:high, high:], below[:, high:] = rest[:size], rest[size:]
    return np.asfortranarray(top.numpy())


def _surely_regular(r: np.ndarray, longer: int) -> bool:
    """Whether the triangular factor has full numerical rank beyond doubt, with a factor ten to spare; else the SVD decides.

    LAPACK's estimate of the reciprocal condition number is in the 1-norm, which is at most the dimension times that in the 2-norm.
    Where it does not settle the question, the extreme singular values are estimated themselves.
    """
    if not np.all(np.diagonal(r)):
        return False
    size, least = len(r), 10 * _cutoff(len(r), longer)
    estimate = _reciprocal_condition(r)
    if estimate > size * least:
        return True
    return estimate * size > least and _least_share(r) > least


def _least_share(r: np.ndarray) -> float:
    """σ_min/σ_max of a regular triangular matrix, up to a factor of about two, by power iterations on RᴴR and on its inverse.

    Iterates approach each extreme from inside, so that the share is never too small; a block of four random starts makes it next to
    impossible that all of them miss the direction.
    """
    from scipy.linalg import solve_triangular

    stream = np.random.default_rng(0)
    sizes = []
    for inverse in (False, True):
        block = stream.standard_normal((len(r), 4)).astype(r.dtype)
        for _ in range(POWERS):
            block = np.linalg.qr(block)[0]
            if inverse:
                image = solve_triangular(r, block, trans="C", check_finite=False)
                block = solve_triangular(r, image, check_finite=False)
            else:
                image = r @ block
                block = r.conj().T @ image
        sizes.append(float(np.linalg.norm(image, 2)))
    return 1.0 / (sizes[0] * sizes[1])


def _reciprocal_condition(r: np.ndarray) -> float:
    """LAPACK's estimate in the 1-norm."""
    from scipy.linalg import get_lapack_funcs

    (trcon,) = get_lapack_funcs(("trcon",), (r,))
    return float(trcon(r)[0])


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

"""Least squares in float64 by orthogonal factorisations, scaled, with residual, rank and condition number. Never normal equations.

The tall side of the matrix is reduced by one unpivoted Householder QR, which is nearly all of the work. What is left is a
triangular system of the short side. When it is safely regular it is solved by substitution; when it is not, by a complete
orthogonal decomposition with column pivoting, which finds the numerical rank and the solution of least norm at the cost of a
pivoted QR of the small triangle only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from theodolite.core.arrays import as_float64, as_given
from theodolite.core.errors import ArgumentError, NumericalError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

__all__ = ["CUTOFF", "LeastSquares", "block_least_squares", "compressed", "least_squares"]

ROUNDING = float(np.finfo(np.float64).eps)

#: Default relative cut-off of singular values, ten roundings. The backward error of a Householder QR with unit columns is a few
#: roundings, so what lies above it is signal. The textbook max(N, n) roundings throw away two to three digits of the residual
#: of smooth feature matrices, whose singular values decay exponentially through it; with none at all the coefficients and the
#: error of the solution of a differential equation grow again.
CUTOFF = 10 * ROUNDING


@dataclass(frozen=True, repr=False)
class LeastSquares:
    """Solution of min ‖A x − b‖ and what is known about it.

    Attributes:
        solution: x of shape (n,) or (n, K), as the right-hand side has it.
        residual: ‖A x − b‖ in the Frobenius norm, computed from A, x and b themselves.
        rhs_norm: ‖b‖.
        rank: number of directions that were used: singular values of the scaled matrix above the cut-off.
        shape: shape (N, n) of A.
        cutoff: relative cut-off of singular values.
    """

    solution: Any
    residual: float
    rhs_norm: float
    rank: int
    shape: tuple[int, int]
    cutoff: float
    _triangles: tuple[Array, ...] = field(repr=False)

    @property
    def relative_residual(self) -> float:
        """‖A x − b‖ / ‖b‖, or 0 when b = 0."""
        return self.residual / self.rhs_norm if self.rhs_norm else 0.0

    @functools.cached_property
    def singular_values(self) -> Array:
        """Singular values of the scaled matrix, descending; computed on first use, O(min(N, n)³)."""
        values = np.concatenate([np.linalg.svd(triangle, compute_uv=False) for triangle in self._triangles])
        return np.sort(values)[::-1]

    @property
    def resolved(self) -> bool:
        """Whether the least singular value stands above rounding, so that ``condition_number`` is a number, not a bound."""
        values = self.singular_values
        return bool(values.size and values[-1] > self._floor)

    @property
    def condition_number(self) -> float:
        """σ_max / σ_min of the scaled matrix, or, where rounding hides σ_min, the lower bound that can be vouched for.

        Columns of norm one come within √n of the least condition number that any column scaling can reach (van der Sluis).
        """
        values = self.singular_values
        if not values.size or values[0] == 0.0:
            return float("inf")
        return float(values[0] / max(values[-1], self._floor))

    @property
    def _floor(self) -> float:
        # Singular values of a QR factor are right to a few roundings of the largest, growing slowly with the size.
        values = self.singular_values
        return float(ROUNDING * np.sqrt(max(self.shape)) * values[0]) if values.size else 0.0

    def __repr__(self) -> str:
        sign = "" if self.resolved else "≥ "
        return (
            f"LeastSquares({self.shape[0]} × {self.shape[1]}, rank {self.rank}, relative residual {self.relative_residual:.2e}, "
            f"condition number {sign}{self.condition_number:.2e})"
        )


def least_squares(
    matrix: Any,
    rhs: Any,
    *,
    scale: Literal["columns", "rows and columns", "none"] = "columns",
    cutoff: float | None = None,
) -> LeastSquares:
    """The x that minimises ‖A x − b‖₂, of least (scaled) norm where there are several.

    Scaling columns changes no minimiser, only which directions count as numerically zero and which norm is least. Scaling rows
    (each by its largest entry) changes the weights of the equations: it suits systems of equations that all can be fulfilled,
    such as collocation, where the rows of a differential operator are orders of magnitude larger than those of a boundary value.

    Args:
        matrix: A, shape (N, n), numpy or torch, any device; real. N < n is allowed and gives the solution of least norm.
        rhs: b, shape (N,) or (N, K).
        scale: ``"columns"`` (unit 2-norm), ``"rows and columns"``, or ``"none"``, which makes the norm that is least, where there
            are several solutions, that of x itself.
        cutoff: relative size under which singular values count as zero; None for ten roundings, `CUTOFF`.

    Returns:
        A `LeastSquares`; its ``solution`` is numpy for numpy input, else torch on the device of ``matrix``. With scaled rows, its
        residual is that of the scaled rows.

    Raises:
        ArgumentError: shapes that do not agree, an empty matrix, non-finite or complex entries, an unknown scaling or a cut-off
            outside [0, 1).

    Cost: 2 N n² − 2n³/3 flops for N ≥ n (the QR), plus at most O(n³) of the pivoted decomposition; memory of A once more.

    Reference: golub2013 §5.3–5.6

    Example:
        >>> x = np.linspace(-1, 1, 50)
        >>> fit = least_squares(np.vander(x, 3), 2 * x**2 - x + 3)
        >>> fit.solution.round(12).tolist(), fit.rank, fit.relative_residual < 1e-14
        ([2.0, -1.0, 3.0], 3, True)
    """
    import torch

    tall = as_float64(matrix, "matrix", ndim=2).detach()
    right = as_float64(rhs, "rhs", at_least=1, device=tall.device).detach()
    cut = CUTOFF if cutoff is None else float(cutoff)
    _check(tall, right, scale, cut)
    columns = right[:, None] if right.ndim == 1 else right
    if scale == "rows and columns":
        weights = 1.0 / _or_one(torch.linalg.vector_norm(tall, float("inf"), dim=1))
        tall, columns = tall * weights[:, None], columns * weights[:, None]
    solve = _solve_tall if tall.shape[0] >= tall.shape[1] else _solve_wide
    x, rank, triangle = solve(tall, columns, scale != "none", cut)
    residual = float(torch.linalg.matrix_norm(tall @ x - columns))
    size = float(torch.linalg.matrix_norm(columns))
    x = x[:, 0] if right.ndim == 1 else x
    shape = (int(tall.shape[0]), int(tall.shape[1]))
    return LeastSquares(as_given(x, matrix, rhs), residual, size, rank, shape, cut, (triangle,))


def block_least_squares(
    blocks: Iterable[tuple[Any, Any]],
    *,
    scale: Literal["columns", "rows and columns", "none"] = "columns",
    cutoff: float | None = None,
) -> LeastSquares:
    """Least squares with a block-diagonal matrix: each block by itself, reported as the one system that they are.

    Args:
        blocks: pairs (A_i, b_i) as for `least_squares`, b_i of shape (N_i,) or (N_i, K). Singular values are cut off relative to
            the largest one of their block.
        scale: as there.
        cutoff: as there.

    Returns:
        A `LeastSquares` whose ``solution`` holds the blocks' solutions one after the other.

    Raises:
        ArgumentError: no blocks, or what `least_squares` refuses.

    Cost: the sum of the blocks' costs; m blocks cost m² times less than the whole.

    Example:
        >>> both = block_least_squares([(np.eye(2), np.ones(2)), (2 * np.eye(1), np.ones(1))])
        >>> both.solution.tolist(), both.shape
        ([1.0, 1.0, 0.5], (3, 3))
    """
    import torch

    parts = [least_squares(matrix, rhs, scale=scale, cutoff=cutoff) for matrix, rhs in blocks]
    if not parts:
        raise ArgumentError("blocks must hold at least one pair (matrix, rhs), got none")
    solutions = [part.solution for part in parts]
    solution = torch.cat(solutions) if isinstance(solutions[0], torch.Tensor) else np.concatenate(solutions)
    residual = float(np.hypot.reduce([part.residual for part in parts]))
    size = float(np.hypot.reduce([part.rhs_norm for part in parts]))
    shape = (sum(part.shape[0] for part in parts), sum(part.shape[1] for part in parts))
    rank = sum(part.rank for part in parts)
    triangles = tuple(triangle for part in parts for triangle in part._triangles)
    return LeastSquares(solution, residual, size, rank, shape, parts[0].cutoff, triangles)


def compressed(matrix: torch.Tensor, rhs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Fewer equations that are equivalent: (R, c, d) with ‖A x − b‖² = ‖R x − c‖² + d² for every x.

    R is the triangular factor of A, c the first rows of Qᵀb, d the norm of the others. Rows that touch only some of the unknowns
    can be compressed by themselves, before all equations are solved together.

    Args:
        matrix: A, float64 (N, n).
        rhs: b, float64 (N,).

    Returns:
        R (min(N, n), n), c (min(N, n),), d.

    Cost: 2 N n² − 2n³/3 flops for N > n; nothing is done for N ≤ n.

    Example:
        >>> import torch
        >>> a = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
        >>> r, c, d = compressed(a, torch.tensor([5.0, 0.0], dtype=torch.float64))
        >>> float((r * c).sum()), round(d, 12)
        (15.0, 4.0)
    """
    import torch

    rows, n = matrix.shape
    if rows <= n:
        return matrix, rhs, 0.0
    factors, tau = torch.geqrf(matrix)
    projected = torch.ormqr(factors, tau, rhs[:, None], left=True, transpose=True)[:, 0]
    return factors[:n].triu(), projected[:n], float(projected[n:].norm())


def _check(matrix: torch.Tensor, rhs: torch.Tensor, scale: str, cutoff: float) -> None:
    if not matrix.numel():
        raise ArgumentError(f"matrix must not be empty, got shape {tuple(matrix.shape)}")
    if rhs.ndim > 2 or rhs.shape[0] != matrix.shape[0]:
        raise ArgumentError(
            f"rhs must have shape ({matrix.shape[0]},) or ({matrix.shape[0]}, K) for a matrix of shape {tuple(matrix.shape)}, "
            f"got {tuple(rhs.shape)}"
        )
    if scale not in ("columns", "rows and columns", "none"):
        raise ArgumentError(f"scale must be 'columns', 'rows and columns' or 'none', got {scale!r}")
    if not 0.0 <= cutoff < 1.0:
        raise ArgumentError(
            f"cutoff must be at least 0 and less than 1 (it is relative to the largest singular value), got {cutoff}"
        )


def _or_one(scales: torch.Tensor) -> torch.Tensor:
    """``scales`` with 1 in place of 0: a column of zeros stays one, and its coefficient becomes zero."""
    return scales.where(scales > 0, 1.0)


def _solve_tall(matrix: torch.Tensor, rhs: torch.Tensor, scaled: bool, cutoff: float) -> tuple[torch.Tensor, int, Array]:
    """N ≥ n: A = Q R, then R x = Qᵀ b. Householder QR commutes with column scaling, A D = Q (R D), so only R is scaled."""
    import torch

    n = matrix.shape[1]
    factors, tau = torch.geqrf(matrix)
    projected = torch.ormqr(factors, tau, rhs, left=True, transpose=True)[:n]
    triangle = factors[:n].triu().cpu()
    norms = _or_one(torch.linalg.vector_norm(triangle, dim=0)) if scaled else torch.ones(n, dtype=matrix.dtype)
    square = np.asfortranarray((triangle / norms).numpy())
    x, rank = _solve_square(square, projected.cpu().numpy(), False, cutoff)
    return (torch.from_numpy(x) / norms[:, None]).to(matrix.device), rank, square


def _solve_wide(matrix: torch.Tensor, rhs: torch.Tensor, scaled: bool, cutoff: float) -> tuple[torch.Tensor, int, Array]:
    """N < n: Aᵀ = Q R, so that A x = Rᵀ (Qᵀ x); the least-norm x is Q z with the least-norm z of Rᵀ z = b."""
    import torch

    rows, n = matrix.shape
    norms = _or_one(torch.linalg.vector_norm(matrix, dim=0)) if scaled else matrix.new_ones(n)
    factors, tau = torch.geqrf((matrix / norms).T)
    square = np.asfortranarray(factors[:rows].triu().cpu().numpy())
    z, rank = _solve_square(square, rhs.cpu().numpy(), True, cutoff)
    padded = matrix.new_zeros(n, rhs.shape[1])
    padded[:rows] = torch.from_numpy(z).to(matrix.device)
    return torch.ormqr(factors, tau, padded, left=True, transpose=False) / norms[:, None], rank, square


def _solve_square(triangle: Array, rhs: Array, transpose: bool, cutoff: float) -> tuple[Array, int]:
    """Least-norm solution of R x = c, or of Rᵀ x = c, and its numerical rank."""
    from scipy.linalg import lapack

    n = len(triangle)
    reciprocal, _ = lapack.dtrcon(triangle, norm="1", uplo="U", diag="N")
    # The estimate is of the 1-norm, at most n times off the 2-norm, and optimistic by a factor that is three in practice.
    if reciprocal > 10 * n * max(cutoff, ROUNDING):
        x, info = lapack.dtrtrs(triangle, rhs, lower=0, trans=int(transpose), unitdiag=0)
        if info == 0:
            return x, n
    square = np.asfortranarray(triangle.T) if transpose else triangle
    work, _ = lapack.dgelsy_lwork(n, n, rhs.shape[1], cutoff)
    _, x, _, rank, info = lapack.dgelsy(square, rhs, np.zeros(n, dtype=np.int32), cutoff, int(work))
    if info != 0 or not np.isfinite(x).all():
        raise NumericalError(
            f"the pivoted decomposition of a {n} × {n} system failed (LAPACK info {info}); scale the matrix, or raise cutoff"
        )
    return x[:n], int(rank)

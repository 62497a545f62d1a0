"""Errors and residuals of approximate solutions."""

from __future__ import annotations

from typing import Any

import torch

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError
from theodolite.theory.pde.operators import Function, apply_operator
from theodolite.theory.pde.points import as_points, values_at
from theodolite.theory.pde.problem import Problem

__all__ = ["relative_error", "residual"]


def relative_error(values: Any, exact: Any, weights: Any = None) -> float:
    """Relative L² error ‖u − u*‖ / ‖u*‖ from values at points (absolute where u* vanishes altogether).

    Args:
        values: u, shape (N,).
        exact: u*, shape (N,).
        weights: quadrature weights (N,); None for equal ones.

    Raises:
        ArgumentError: shapes that do not agree, or non-finite entries.

    Example:
        >>> relative_error([1.0, 2.5, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])
        0.75
    """
    u = as_float64(values, "values")
    truth = as_float64(exact, "exact", device=u.device)
    w = torch.ones_like(truth) if weights is None else as_float64(weights, "weights", device=u.device)
    if not u.shape == truth.shape == w.shape:
        raise ArgumentError(f"values, exact and weights must agree in shape, got {u.shape}, {truth.shape}, {w.shape}")
    size = float((w * truth**2).sum().sqrt())
    error = float((w * (u - truth) ** 2).sum().sqrt())
    return error / size if size else error


def residual(problem: Problem, u: Function, points: Any) -> torch.Tensor:
    """operator(u, x) − rhs(x) at points: how far u is from solving the equation.

    Args:
        problem: the problem.
        u: function of one point, (d,) → (), that `torch.func` can differentiate.
        points: (N, d) in the domain.

    Returns:
        (N,), differentiable with respect to whatever ``u`` holds.

    Raises:
        ArgumentError: points outside the domain, or an operator that does not return a number.

    Example:
        >>> from theodolite.theory.pde.problems import poisson_1d
        >>> problem = poisson_1d()
        >>> exact = lambda x: problem.exact(x[None])[0]
        >>> bool(residual(problem, exact, problem.test_points(11)).abs().max() < 1e-12)
        True
    """
    x = as_points(points, problem.box)
    return apply_operator(problem.operator, u, x) - values_at(problem.rhs, x, "rhs")

"""What a solver returns: a function, and what is known about its quality."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from theodolite.core.arrays import as_given
from theodolite.maths.leastsquares import LeastSquares
from theodolite.theory.pde.features import RandomFeatures
from theodolite.theory.pde.measure import relative_error
from theodolite.theory.pde.points import Values, as_points, grid_points, values_at

__all__ = ["Solution"]


@dataclass(frozen=True, eq=False)
class Solution:
    """u(x) = Σ_k c_k φ_k(x), callable, with what is known about it.

    Attributes:
        features: the φ_k.
        coefficients: c, (mJ,).
        system: the (last) least-squares system that was solved, with its rank and singular values.
        residual: relative residual of the (row-scaled) equations.
        exact: the true solution, (N, d) → (N,), or None.
        steps: Gauss–Newton steps taken; 1 for linear problems.
        name: of the problem.
    """

    features: RandomFeatures
    coefficients: torch.Tensor
    system: LeastSquares
    residual: float
    exact: Values | None
    steps: int = 1
    name: str = "problem"

    def __call__(self, x: Any) -> Any:
        """u at points (N, d), or (N,) on an interval → (N,); numpy in, numpy out."""
        return self.derivative(x, (0,) * self.features.dim)

    def derivative(self, x: Any, order: Any = 1) -> Any:
        """Partial derivative of u of the given order per axis, (N,)."""
        points = as_points(x, self.features.box, "x")
        return as_given(self.features.derivative(points, order) @ self.coefficients.to(points.device), x)

    @property
    def condition_number(self) -> float:
        """Condition number of the scaled least-squares matrix; a lower bound where ``system.resolved`` is false."""
        return self.system.condition_number

    @property
    def rank(self) -> int:
        """Directions that the least-squares solver used."""
        return self.system.rank

    def epsilon_rank(self, eps: float = 1e-3, **options: Any) -> int:
        """ε-rank of the features in L²(dx) on the domain; options as of ``rank.epsilon_rank``."""
        return self.features.epsilon_rank(eps, **options)

    @functools.cached_property
    def error(self) -> float | None:
        """Relative L² error on a grid of its own of about 4000 points; None when the true solution is not known."""
        if self.exact is None:
            return None
        points = grid_points(self.features.box)
        return relative_error(self(points), values_at(self.exact, points, "exact"))

    @functools.cached_property
    def max_error(self) -> float | None:
        """Greatest absolute error on the same grid; None when the true solution is not known."""
        if self.exact is None:
            return None
        points = grid_points(self.features.box)
        return float((self(points) - values_at(self.exact, points, "exact")).abs().max())

    def __repr__(self) -> str:
        error = "unknown" if self.error is None else f"{self.error:.2e}"
        return (
            f"Solution({self.name!r}: relative L² error {error}, residual {self.residual:.2e}, rank {self.rank} of "
            f"{self.features.size}, {self.features!r})"
        )

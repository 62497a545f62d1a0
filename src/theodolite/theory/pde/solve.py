"""Solvers by random features: the random feature method, the extreme learning machine, and fits of functions."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from theodolite.core.errors import ArgumentError, TheodoliteWarning
from theodolite.maths.leastsquares import LeastSquares, block_least_squares, compressed, least_squares
from theodolite.theory.pde.collocation import Equation, continuity_rows, equations, linearized, placed
from theodolite.theory.pde.features import RandomFeatures
from theodolite.theory.pde.points import values_at
from theodolite.theory.pde.problem import Problem
from theodolite.theory.pde.solution import Solution

__all__ = ["fit", "fits", "solve_elm", "solve_rfm"]

#: Most Gauss–Newton steps for a nonlinear operator.
STEPS = 50


def fit(function: Callable[[torch.Tensor], Any], features: RandomFeatures, *, points: Any) -> Solution:
    """The least-squares fit of a function by random features.

    With an indicator partition every cell is a problem of its own, which is solved as such (m² times cheaper than the whole).

    Args:
        function: (N, d) → (N,).
        features: the features.
        points: how many points at least, on an equispaced grid of every cell, or the points themselves, (N, d).

    Returns:
        A `Solution` whose ``error`` is relative to ``function``.

    Raises:
        ArgumentError: something not callable, fewer points than features (in some cell), points outside the domain, or values of
            the wrong shape.

    Cost: O(N J² m) for the smooth partition and O(N J²) for the indicator one, N m J numbers of memory.

    Example:
        >>> features = RandomFeatures([(-1, 1)], subdomains=4, count=50, R=3.0, generator=torch.Generator().manual_seed(0))
        >>> fit(lambda x: torch.sin(6 * x[:, 0]), features, points=800).error < 1e-9
        True
    """
    return fits([function], features, points=points)[0]


def fits(functions: Sequence[Callable[[torch.Tensor], Any]], features: RandomFeatures, *, points: Any) -> list[Solution]:
    """Fits of several functions by the same features at the same points, as `fit` makes them, from one factorisation.

    Example:
        >>> features = RandomFeatures([(-1, 1)], subdomains=4, count=50, R=3.0, generator=torch.Generator().manual_seed(0))
        >>> [s.error < 1e-9 for s in fits([lambda x: torch.sin(6 * x[:, 0]), lambda x: x[:, 0] ** 2], features, points=800)]
        [True, True]
    """
    for function in functions:
        if not callable(function):
            raise ArgumentError(f"function must be callable, (N, {features.dim}) -> (N,), got {function!r}")
    found, cells, _ = placed(features, points)
    targets = torch.stack([values_at(function, found, "function") for function in functions], dim=1)
    _check_count(len(found), features.size, False)
    if features.partition == "smooth":
        blocks = [(features(found), targets)]
    else:
        blocks, zero = [], (0,) * features.dim
        for i in range(len(features.centers)):
            rows = (cells == i).nonzero()[:, 0]
            if len(rows) < features.count:
                raise ArgumentError(
                    f"points are too few in subdomain {i}, the fit is under-determined: {len(rows)} points for {features.count} "
                    "features; take more points or fewer features"
                )
            blocks.append((features.local(found[rows], i, zero), targets[rows]))
    system = block_least_squares(blocks)
    parts = system.solution.split([matrix.shape[1] for matrix, _ in blocks])
    missing2 = sum((matrix @ part - right).square().sum(0) for (matrix, right), part in zip(blocks, parts, strict=True))
    solutions = []
    for k, function in enumerate(functions):
        coefficients, residual, size = system.solution[:, k], float(missing2[k].sqrt()), float(targets[:, k].norm())
        own = dataclasses.replace(system, solution=coefficients, residual=residual, rhs_norm=size)
        name = getattr(function, "__name__", type(function).__name__)
        solutions.append(Solution(features, coefficients, own, own.relative_residual, function, 1, name))
    return solutions


def solve_rfm(problem: Problem, features: RandomFeatures, *, points: Any, allow_underdetermined: bool = False) -> Solution:
    """Solve a boundary-value problem by the random feature method: collocation and least squares.

    The equation is demanded at the points, the conditions on the boundary, and, for an indicator partition, continuity of u and its
    normal derivatives below the order of the operator across all inner faces. Every row is scaled by its largest entry, every
    column to norm one, and the system is solved by orthogonal factorisations in float64. Operators that are not linear in u
    are solved by Gauss–Newton steps with backtracking, from u = 0.

    Args:
        problem: the problem.
        features: features on the problem's domain.
        points: how many collocation points at least (an equispaced grid of each cell, edges included), or the points, (N, d). The
            boundary gets a grid as dense.
        allow_underdetermined: accept fewer equations than features, and take the coefficients of least norm.

    Returns:
        A callable `Solution` with ``.residual, .condition_number, .error, .epsilon_rank(eps)``.

    Raises:
        ArgumentError: features on another domain, fewer equations than features, points outside the domain, an operator that does
            not return a number, or values of the wrong shape.
        UnsupportedError: an operator that `torch.func` cannot batch or differentiate.

    Warns:
        TheodoliteWarning: Gauss–Newton stopped at a point that does not solve the equations.

    Cost: one reverse pass through the operator per point; O(N J² + (mJ)³) for the factorisations and O(N J + (mJ)²) memory with an
    indicator partition, O(N (mJ)²) and O(N m J) with a smooth one.

    Reference: chen2022rfm; dong2021locelm for the continuity conditions.

    Example:
        >>> from theodolite.theory.pde.problems import poisson_1d
        >>> features = RandomFeatures([(-1, 1)], subdomains=3, count=40, R=3.0, generator=torch.Generator().manual_seed(0))
        >>> solution = solve_rfm(poisson_1d(), features, points=300)
        >>> solution.error < 1e-9, solution([0.0, 0.5]).shape
        (True, (2,))
    """
    if features.box.shape != problem.box.shape or not torch.allclose(features.box, problem.box, rtol=1e-12, atol=0.0):
        raise ArgumentError(
            f"features must live on the problem's domain {list(problem.domain)}, got {[tuple(p) for p in features.box.tolist()]}"
        )
    system = _System(problem, features, points)
    _check_count(system.count, features.size, allow_underdetermined)
    coefficients, last, residual, steps = _gauss_newton(system)
    return Solution(features, coefficients, last, residual, problem.exact, steps, problem.name)


def solve_elm(
    problem: Problem,
    *,
    count: int,
    activation: str | Callable[[torch.Tensor], torch.Tensor] = "tanh",
    R: float = 1.0,
    points: Any,
    generator: torch.Generator | None = None,
    allow_underdetermined: bool = False,
) -> Solution:
    """Solve a boundary-value problem by an extreme learning machine: random features on the whole domain, no partition.

    Coordinates are scaled to [−1, 1] per axis; R is the half-width of the uniform distribution of weights and biases there. A
    random feature method with m cells per axis and half-width R reaches frequencies that an extreme learning machine only
    reaches with m R: compare the two at matched bandwidth.

    Args:
        problem: the problem.
        count: number of features.
        activation: name or elementwise function.
        R: half-width of U(−R, R).
        points: as in `solve_rfm`.
        generator: source of randomness; None draws from torch's default generator.
        allow_underdetermined: as in `solve_rfm`.

    Returns:
        A `Solution`.

    Raises:
        ArgumentError: as in `solve_rfm`.

    Reference: huang2006elm

    Example:
        >>> from theodolite.theory.pde.problems import poisson_1d
        >>> solve_elm(poisson_1d(), count=100, R=5.0, points=300, generator=torch.Generator().manual_seed(0)).error < 1e-9
        True
    """
    features = RandomFeatures(
        problem.domain, subdomains=1, count=count, activation=activation, R=R, partition="indicator", generator=generator
    )
    return solve_rfm(problem, features, points=points, allow_underdetermined=allow_underdetermined)


def _check_count(rows: int, columns: int, allow: bool) -> None:
    if rows < columns and not allow:
        raise ArgumentError(
            f"the system is under-determined: {rows} equations for {columns} coefficients; take more points, or fewer features"
        )


class _System:
    """All equations of a problem, scaled row by row by the largest entry of the Jacobian at u = 0.

    For an indicator partition the rows of the equations hold only the coefficients of one cell each; the continuity conditions
    (``joints``), which couple the cells, are full rows.
    """

    def __init__(self, problem: Problem, features: RandomFeatures, points: Any) -> None:
        self.features = features
        self.equations = equations(problem, features, points)
        self.cells = torch.cat([e.cells for e in self.equations])
        self.joints = torch.zeros(0, features.size, dtype=torch.float64)
        if features.partition == "indicator":
            per_cell = max(2, round((len(self.equations[0].points) / len(features.centers)) ** (1 / features.dim)))
            joints = continuity_rows(features, tuple(problem.order), per_cell)  # type: ignore[arg-type]
            self.joints = joints / _largest(joints)[:, None]
        self.target = torch.cat([e.target for e in self.equations])
        self.count = len(self.target) + len(self.joints)
        self.weights = torch.ones(len(self.target), dtype=torch.float64)

    def linearized(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted residual target − F(c) of the equations and then of the joints, (count,), and weighted rows of the equations."""
        parts = [linearized(equation, self.features, coefficients) for equation in self.equations]
        missing = self.weights * (self.target - torch.cat([value for value, _ in parts]))
        return torch.cat([missing, -self.joints @ coefficients]), self.weights[:, None] * torch.cat([rows for _, rows in parts])

    def step(self, missing: torch.Tensor, rows: torch.Tensor) -> LeastSquares:
        """The change of the coefficients that makes the linearised residual least.

        The rows of every cell are first compressed to their triangular factor, which leaves about m J rows of the many.
        """
        if self.features.partition == "smooth":
            return least_squares(rows, missing)
        m, count = len(self.features.centers), self.features.count
        blocks, rights, rests = [self.joints], [missing[len(rows) :]], [0.0]
        for i in range(m):
            own = (self.cells == i).nonzero()[:, 0]
            triangle, right, rest = compressed(rows[own], missing[own])
            block = torch.zeros(len(triangle), m, count, dtype=torch.float64)
            block[:, i] = triangle
            blocks.append(block.view(-1, m * count))
            rights.append(right)
            rests.append(rest)
        solved = least_squares(torch.cat(blocks), torch.cat(rights))
        residual = float(np.hypot.reduce([solved.residual, *rests]))
        shape = (self.count, self.features.size)
        return dataclasses.replace(solved, residual=residual, rhs_norm=float(missing.norm()), shape=shape)

    def is_linear(self) -> bool:
        """Whether the rows are the same at two different u, at a few points of every equation."""
        probe = torch.linspace(-1.0, 1.0, self.features.size, dtype=torch.float64).sin()
        for equation in self.equations:
            some = torch.linspace(0, len(equation.points) - 1, min(5, len(equation.points))).long()
            few = Equation(equation.operator, equation.name, equation.points[some], equation.cells[some], equation.target[some])
            here, there = (linearized(few, self.features, c)[1] for c in (torch.zeros_like(probe), probe))
            if not torch.allclose(here, there, rtol=1e-9, atol=1e-9 * float(here.abs().max())):
                return False
        return True


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """Largest modulus of every row, 1 for a row of zeros."""
    largest = torch.linalg.vector_norm(rows, float("inf"), dim=1)
    return largest.where(largest > 0, 1.0)


def _gauss_newton(system: _System) -> tuple[torch.Tensor, LeastSquares, float, int]:
    """Coefficients, last least-squares system, relative residual and number of steps."""
    coefficients = torch.zeros(system.features.size, dtype=torch.float64)
    missing, rows = system.linearized(coefficients)
    system.weights = 1.0 / _largest(rows)
    rows = system.weights[:, None] * rows
    missing[: len(rows)] *= system.weights
    size = max(float((system.weights * system.target).norm()), math.ulp(0.0))
    if system.is_linear():
        solved = system.step(missing, rows)
        return solved.solution, solved, solved.relative_residual, 1
    step, stationary = 0, False
    while step < STEPS and not stationary:
        step += 1
        solved, norm = system.step(missing, rows), float(missing.norm())
        stationary = solved.residual > 0.9 * norm  # no direction reduces the linear model
        for halvings in range(0 if stationary else 12):
            trial = coefficients + solved.solution * 0.5**halvings
            new_missing, new_rows = system.linearized(trial)
            if float(new_missing.norm()) < (1 - 1e-4 * 0.5**halvings) * norm:
                coefficients, missing, rows = trial, new_missing, new_rows
                break
        else:
            break  # stationary, or rounding limits the residual
    relative = float(missing.norm()) / size
    # A stationary point with a small residual is as near as these features come, as it is for a linear operator.
    if relative > (0.05 if stationary else 1e-6):
        warnings.warn(
            f"Gauss–Newton stopped after {step} steps with a relative residual of {relative:.1e}: the features may be too few, or "
            "u = 0 too far from a solution; raise the number of features or R",
            TheodoliteWarning,
            stacklevel=3,
        )
    return coefficients, solved, relative, step

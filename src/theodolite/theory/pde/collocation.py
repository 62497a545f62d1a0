"""Collocation: where the equations of a problem are demanded, and the rows that they give for the coefficients of features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.maths.quadrature import gauss_legendre, trapezoid
from theodolite.theory.pde.features import RandomFeatures
from theodolite.theory.pde.operators import Operator, check_scalar, chunk_of, in_batches
from theodolite.theory.pde.points import as_points, values_at
from theodolite.theory.pde.problem import Problem

__all__ = ["Equation", "continuity_rows", "equations", "linearized", "placed"]


@dataclass(frozen=True, eq=False)
class Equation:
    """operator(u, x) = target at points, each of them placed in a cell.

    Attributes:
        operator: function of (u, one point).
        name: what to call it in errors.
        points: (N, d).
        cells: (N,), the cell whose features count at each point.
        target: (N,).
    """

    operator: Operator
    name: str
    points: torch.Tensor
    cells: torch.Tensor
    target: torch.Tensor


def placed(features: RandomFeatures, points: Any) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Collocation points (N, d), their cells (N,), and the number of points per axis of the whole box.

    An integer asks for at least so many points in all, on an equispaced grid of each cell, edges included; an inner edge of an
    indicator partition then has the points of both its sides. An array of points is taken as it is.

    Raises:
        ArgumentError: not a positive integer and not an array of points in the domain.
    """
    m, dim = len(features.centers), features.dim
    if not isinstance(points, Integral) or isinstance(points, bool):
        found = as_points(points, features.box).cpu()
        return found, features.locate(found), max(2, round(len(found) ** (1 / dim)))
    if points < 1:
        raise ArgumentError(f"points must be a positive integer or an array (N, {dim}), got {points}")
    per_cell = max(2, math.ceil((int(points) / m) ** (1 / dim) - 1e-9))
    per_axis = per_cell * max(features.cells)
    if features.partition == "smooth":
        axes = [
            trapezoid(low, high, per_cell * n)[0][:, 0]
            for (low, high), n in zip(features.box.tolist(), features.cells, strict=True)
        ]
        found = torch.cartesian_prod(*axes).reshape(-1, dim)
        return found, features.locate(found), per_axis
    local, _ = trapezoid(-1.0, 1.0, per_cell, dim)
    found = (features.centers[:, None, :] + local * features.radii).reshape(-1, dim)
    low, high = features.box.unbind(1)
    found = torch.minimum(torch.maximum(found, low), high)  # centre ± half-width may round past the boundary
    return found, torch.arange(m).repeat_interleave(len(local)), per_axis


def equations(problem: Problem, features: RandomFeatures, points: Any) -> list[Equation]:
    """The equation in the interior, then every condition."""
    interior, cells, per_axis = placed(features, points)
    found = [Equation(problem.operator, "operator", interior, cells, values_at(problem.rhs, interior, "rhs"))]
    for k, condition in enumerate(problem.all_conditions(per_axis)):
        dirichlet = condition.values is problem.boundary
        place = condition.points
        target = values_at(condition.values, place, "boundary" if dirichlet else f"values of condition {k}")
        name = "operator of the boundary" if dirichlet else f"operator of condition {k}"
        found.append(Equation(condition.operator, name, place, features.locate(place), target))
    if features.partition == "indicator" and len(features.centers) > 1:
        for equation in found:
            _check_local(equation)
    return found


def _check_local(equation: Equation) -> None:
    """Refuse operators that evaluate u elsewhere than at x, where another cell's features count."""
    x = equation.points[0]

    def far(p: torch.Tensor) -> torch.Tensor:
        """0 near x, together with all derivatives, and 1 away from it."""
        return (((p - x) ** 2).sum() > 1e-20).to(p.dtype) + 0.0 * p.sum()

    def near(p: torch.Tensor) -> torch.Tensor:
        return 0.0 * p.sum()

    check_scalar(equation.operator, near, equation.points, equation.name)
    if float(equation.operator(far, x)) != float(equation.operator(near, x)):
        raise UnsupportedError(
            f"{equation.name} evaluates u away from x (at x = {x.tolist()}), where other cells of an indicator partition count; use "
            "partition='smooth' or a single subdomain"
        )


def linearized(equation: Equation, features: RandomFeatures, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """operator(u_c, x) and its derivative with respect to the coefficients c, at all points of an equation.

    One reverse pass per point gives a whole row: for a linear operator the row does not depend on c, and its entries are the
    operator applied to each feature.

    Args:
        equation: operator, points and cells.
        features: m J of them.
        coefficients: c, (mJ,).

    Returns:
        (values, rows): (N,) and, for the indicator partition, (N, J) with respect to the coefficients of each point's own cell, on
        which alone u depends there; (N, mJ) for the smooth partition.
    """
    points, cells = equation.points, equation.cells
    if features.partition == "indicator":
        own = coefficients.view(-1, features.count)[cells]
    else:
        own = coefficients.expand(len(points), -1)

    def value(c: torch.Tensor, x: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        return equation.operator(lambda p: features.at(p, cell) @ c, x)

    check_scalar(equation.operator, lambda p: features.at(p, cells[0]) @ own[0], points, equation.name)
    both = torch.func.grad_and_value(value)

    def joined(c: torch.Tensor, x: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        gradient, at = both(c, x, cell)
        return torch.cat([gradient, at[None]])

    chunk = chunk_of(own.shape[1] * (features.dim + 2))
    found = in_batches(joined, (own, points, cells), equation.name, chunk).detach()
    return found[:, -1], found[:, :-1]


def continuity_rows(features: RandomFeatures, order: tuple[int, ...], per_cell: int) -> torch.Tensor:
    """Rows (K, mJ) whose product with the coefficients is the jump of u and of its normal derivatives across inner faces.

    Across a face normal to axis a the derivatives 0, …, order_a − 1 are joined: a solution of an equation of order k is k − 1
    times continuously differentiable across a face on which nothing happens.

    Args:
        features: with an indicator partition.
        order: order of the operator along each axis.
        per_cell: Gauss–Legendre points along each other axis of a cell's face.
    """
    m, dim, count = len(features.centers), features.dim, features.count
    places = features.place(torch.arange(m))
    found = []
    for axis in range(dim):
        stride = math.prod(features.cells[axis + 1 :])
        for left in (places[:, axis] < features.cells[axis] - 1).nonzero()[:, 0].tolist():
            face = torch.ones(1, dim, dtype=torch.float64)
            if dim > 1:
                other, _ = gauss_legendre(-1.0, 1.0, per_cell, dim - 1)
                face = torch.ones(len(other), dim, dtype=torch.float64)
                face[:, [i for i in range(dim) if i != axis]] = other
            points = features.centers[left] + face * features.radii
            for n in range(order[axis]):
                orders = tuple(n if i == axis else 0 for i in range(dim))
                rows = torch.zeros(len(points), m, count, dtype=torch.float64)
                rows[:, left] = features.local(points, left, orders)
                rows[:, left + stride] = -features.local(points, left + stride, orders)
                found.append(rows.view(len(points), -1))
    return torch.cat(found) if found else torch.zeros(0, m * count, dtype=torch.float64)

"""A boundary-value problem on a box: operator, right-hand side, boundary values, further conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from theodolite.core.errors import ArgumentError
from theodolite.maths.quadrature import trapezoid
from theodolite.nets.init import as_domain
from theodolite.theory.pde.operators import Operator, identity
from theodolite.theory.pde.points import Values, as_points, grid_points

__all__ = ["Condition", "Problem"]


@dataclass(frozen=True, eq=False)
class Condition:
    """operator(u, x) = values at some points: a Neumann, Robin, initial, periodic or data condition.

    Attributes:
        operator: function of (u, one point), as in a `Problem`.
        points: (K, d).
        values: number, array (K,) or function of the points.
    """

    operator: Operator
    points: Any
    values: Any = 0.0


@dataclass(frozen=True, eq=False)
class Problem:
    """operator(u, x) = rhs(x) in a box, u = boundary(x) on its faces, and further conditions.

    Attributes:
        domain: one pair (low, high) per axis.
        operator: ``operator(u, x)`` → (), with u: (d,) → () and x: (d,); `torch.func` differentiates, the library batches. It may
            be nonlinear in u.
        rhs: (N, d) → (N,).
        boundary: Dirichlet values, (N, d) → (N,), on all ``faces``; or a list of conditions (then there are no Dirichlet values
            but those in the list); None if ``conditions`` says it all.
        exact: (N, d) → (N,), the solution where it is known; only used to report errors.
        conditions: further conditions, each a `Condition` or a tuple (operator, points) or (operator, points, values).
        faces: faces of the box with Dirichlet values, as pairs (axis, 0 for the low side or 1 for the high side); None for all. An
            evolution equation on (x, t) has none on the high side of t.
        order: highest derivative of the operator, one number or one per axis; partitions into disjoint subdomains join derivatives
            below it.
        name: shown in figures and errors.

    Raises:
        ArgumentError: a bad domain, face or order, something not callable, or no condition at all.

    Example:
        >>> import math
        >>> poisson = Problem(
        ...     domain=[(0.0, 1.0)],
        ...     operator=lambda u, x: torch.func.hessian(u)(x).trace(),
        ...     rhs=lambda x: -(math.pi**2) * torch.sin(math.pi * x[:, 0]),
        ...     boundary=lambda x: torch.zeros(len(x)),
        ...     exact=lambda x: torch.sin(math.pi * x[:, 0]),
        ... )
        >>> poisson
        Problem('problem' on [0, 1])
    """

    domain: Any
    operator: Operator
    rhs: Values
    boundary: Values | Sequence[Any] | None = None
    exact: Values | None = None
    conditions: Sequence[Any] = ()
    faces: Sequence[tuple[int, int]] | None = None
    order: int | Sequence[int] = 2
    name: str = "problem"
    box: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        box = as_domain(self.domain)
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "domain", tuple((low, high) for low, high in box.tolist()))
        for name in ("operator", "rhs", "exact"):
            value = getattr(self, name)
            if not callable(value) and not (name == "exact" and value is None):
                raise ArgumentError(f"{name} must be callable, got {value!r}")
        boundary, more = self.boundary, list(self.conditions)
        if boundary is not None and not callable(boundary):
            more, boundary = [*boundary, *more], None
        object.__setattr__(self, "boundary", boundary)
        object.__setattr__(self, "conditions", tuple(self._condition(c) for c in more))
        if boundary is None and not self.conditions:
            raise ArgumentError(
                "boundary is missing: pass a function x (N, d) -> (N,) with the Dirichlet values, or conditions as a list of "
                "(operator, points, values); without any the solution is not determined"
            )
        self._check_faces()
        order = (self.order,) * self.dim if isinstance(self.order, int) else tuple(self.order)
        if len(order) != self.dim or min(order) < 0:
            raise ArgumentError(f"order must be a number ≥ 0 or one per axis ({self.dim}), got {self.order!r}")
        object.__setattr__(self, "order", order)

    def _condition(self, given: Any) -> Condition:
        if not isinstance(given, Condition):
            try:
                given = Condition(*given)
            except TypeError:
                raise ArgumentError(
                    f"conditions must be Conditions or tuples (operator, points[, values]), got {type(given).__name__}"
                ) from None
        if not callable(given.operator):
            raise ArgumentError(f"the operator of a condition must be callable, got {given.operator!r}")
        return Condition(given.operator, as_points(given.points, self.box, "points of a condition").cpu(), given.values)

    def _check_faces(self) -> None:
        every = [(axis, side) for axis in range(self.dim) for side in (0, 1)]
        faces = every if self.faces is None else [tuple(face) for face in self.faces]
        for face in faces:
            if face not in every:
                raise ArgumentError(f"faces must be pairs (axis, side) with axis < {self.dim} and side 0 or 1, got {face}")
        object.__setattr__(self, "faces", tuple(faces))

    @property
    def dim(self) -> int:
        """Number of axes d."""
        return int(self.box.shape[0])

    def boundary_points(self, per_axis: int) -> torch.Tensor:
        """Points on the faces with Dirichlet values: an equispaced grid on each, (K, d) without repetitions."""
        found = []
        for axis, side in self.faces or ():
            rest = [i for i in range(self.dim) if i != axis]
            face = torch.empty(max(1, per_axis) ** len(rest), self.dim, dtype=torch.float64)
            face[:, axis] = self.box[axis, side]
            if rest:
                face[:, rest] = trapezoid(self.box[rest, 0].tolist(), self.box[rest, 1].tolist(), max(2, per_axis))[0]
            found.append(face)
        return torch.unique(torch.cat(found), dim=0) if found else torch.empty(0, self.dim, dtype=torch.float64)

    def all_conditions(self, per_axis: int) -> tuple[Condition, ...]:
        """All conditions, the Dirichlet values among them, on a grid of ``per_axis`` points along each axis of a face."""
        if self.boundary is None:
            return tuple(self.conditions)
        return (Condition(identity, self.boundary_points(per_axis), self.boundary), *self.conditions)

    def test_points(self, count: int = 4001) -> torch.Tensor:
        """About ``count`` points (N, d) that fill the domain, for measuring errors."""
        return grid_points(self.box, count)

    def __repr__(self) -> str:
        return f"Problem({self.name!r} on {' × '.join(f'[{low:g}, {high:g}]' for low, high in self.domain)})"

"""Points in a box, and values of functions at them, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from theodolite.core.arrays import as_float64
from theodolite.core.errors import ArgumentError
from theodolite.maths.quadrature import sobol, trapezoid

__all__ = ["Values", "as_points", "grid_points", "values_at"]

#: A function of many points: (N, d) -> (N,).
Values: TypeAlias = Callable[[torch.Tensor], Any]


def grid_points(box: torch.Tensor, count: int = 4001) -> torch.Tensor:
    """About ``count`` points (N, d) that fill a box (d, 2): an equispaced grid up to three axes, then Sobol points.

    Example:
        >>> grid_points(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 9).shape
        torch.Size([9, 2])
    """
    low, high = box[:, 0].tolist(), box[:, 1].tolist()
    if len(box) > 3:
        return sobol(low, high, 1 << (count - 1).bit_length())[0]
    return trapezoid(low, high, max(2, round(count ** (1 / len(box)))))[0]


def as_points(points: Any, box: torch.Tensor, name: str = "points") -> torch.Tensor:
    """``points`` as float64 (N, d), checked to lie in the box; (N,) is accepted on an interval.

    Raises:
        ArgumentError: wrong shape, no points, non-finite entries, or points outside the domain, of which the first is named.

    Example:
        >>> as_points([0.0, 0.5], torch.tensor([[0.0, 1.0]])).shape
        torch.Size([2, 1])
    """
    dim = box.shape[0]
    found = as_float64(points, name)
    if found.ndim <= 1 and dim == 1:
        found = found.reshape(-1, 1)
    if found.ndim != 2 or found.shape[1] != dim or not len(found):
        raise ArgumentError(f"{name} must have shape (N, {dim}), N ≥ 1, got {tuple(found.shape)}")
    low, high = box.to(found.device).unbind(1)
    slack = 1e-12 * (high - low)
    outside = ((found < low - slack) | (found > high + slack)).any(1)
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        raise ArgumentError(
            f"{name} must lie in the domain {[tuple(pair) for pair in box.tolist()]}, but {int(outside.sum())} of {len(found)} do not; "
            f"the first is {found[first].tolist()} at index {first}"
        )
    return torch.minimum(torch.maximum(found, low), high)


def values_at(values: Any, points: torch.Tensor, name: str) -> torch.Tensor:
    """Values (N,) of a function, an array or a number at ``points``, checked for shape and finiteness.

    Example:
        >>> values_at(lambda x: x[:, 0] ** 2, torch.tensor([[1.0], [2.0]]), "rhs").tolist()
        [1.0, 4.0]
    """
    found = as_float64(values(points) if callable(values) else values, name, device=points.device)
    if found.ndim == 0:
        found = found.expand(len(points))
    if found.shape == (len(points), 1):
        found = found[:, 0]
    if found.shape != (len(points),):
        raise ArgumentError(
            f"{name} must give one number per point, shape ({len(points)},) for points of shape {tuple(points.shape)}, "
            f"got {tuple(found.shape)}; with points of shape (N, d), coordinates are x[:, 0], x[:, 1], …"
        )
    return found

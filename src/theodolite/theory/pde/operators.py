"""Differential operators written for one point, applied to many: checked on one point, then batched by `torch.func.vmap`.

An operator is a function ``operator(u, x)`` of a function u: (d,) → () and a point x: (d,), returning a number (a tensor of shape ()),
for example ``lambda u, x: torch.func.hessian(u)(x).trace()`` for the Laplacian. Everything that `torch.func` can differentiate
may be used in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from theodolite.core.errors import ArgumentError, NumericalError, UnsupportedError

__all__ = ["Function", "Operator", "apply_operator", "check_scalar", "chunk_of", "identity", "in_batches"]

#: A function of one point: (d,) -> ().
Function: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
#: ``operator(u, x)`` -> (), with u a function of one point and x one point.
Operator: TypeAlias = Callable[[Function, torch.Tensor], torch.Tensor]

#: Numbers that a chunk of a batched derivative may hold; nested derivatives keep about ten such arrays alive.
CHUNK = 1_000_000


def identity(u: Function, x: torch.Tensor) -> torch.Tensor:
    """The operator u ↦ u, which turns a condition into a Dirichlet condition."""
    return u(x)


def apply_operator(
    operator: Operator, u: Function, points: torch.Tensor, *, name: str = "operator", width: int = 1
) -> torch.Tensor:
    """``operator(u, x)`` at every point.

    Args:
        operator: function of (u, one point) returning a number.
        u: function of one point, (d,) → ().
        points: (N, d).
        name: what to call the operator in errors.
        width: numbers that u keeps per point; sets the size of the chunks.

    Returns:
        (N,), differentiable with respect to whatever ``u`` holds.

    Raises:
        ArgumentError: the operator does not return a number.
        UnsupportedError: the operator cannot be batched or differentiated by `torch.func`.

    Cost: N evaluations of the operator, in chunks of bounded memory.

    Example:
        >>> second = lambda u, x: torch.func.hessian(u)(x).trace()
        >>> apply_operator(second, lambda x: (x**3).sum(), torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
        [18.0, 6.0]
    """
    check_scalar(operator, u, points, name)
    return in_batches(lambda x: operator(u, x), (points,), name, chunk_of(width))


def check_scalar(operator: Operator, u: Function, points: torch.Tensor, name: str) -> None:
    """Evaluate the operator at the first point and raise unless it returns a finite number."""
    try:
        value = operator(u, points[0].detach())
    except (RuntimeError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise UnsupportedError(
            f"{name}(u, x) failed at x = {points[0].tolist()}: {error}; u maps one point of shape ({points.shape[1]},) to a number "
            "and is differentiated with torch.func (grad, hessian, jvp)"
        ) from error
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
    if shape != ():
        raise ArgumentError(
            f"{name}(u, x) must return a number (a tensor of shape ()) for one point x of shape ({points.shape[1]},), got {shape}; "
            "pick or sum components, as in torch.func.grad(u)(x)[0] or torch.func.hessian(u)(x).trace()"
        )
    if not bool(torch.isfinite(value)):
        raise NumericalError(
            f"{name}(u, x) is {float(value)} at x = {points[0].tolist()}; look for a division by zero or a root in the operator"
        )


def chunk_of(width: int) -> int:
    """Points per chunk when each of them keeps ``width`` numbers."""
    return max(1, CHUNK // max(1, width))


def in_batches(function: Callable[..., torch.Tensor], arguments: tuple[torch.Tensor, ...], name: str, chunk: int) -> torch.Tensor:
    """`torch.func.vmap` of ``function`` over the first axis of all ``arguments``, at most ``chunk`` points at once."""
    try:
        return torch.func.vmap(function, chunk_size=min(chunk, max(1, len(arguments[0]))))(*arguments)
    except RuntimeError as error:
        raise UnsupportedError(
            f"{name} could not be batched over points by torch.func.vmap: {error}; avoid control flow and .item() on values of x "
            "(use torch.where), and in-place operations"
        ) from error

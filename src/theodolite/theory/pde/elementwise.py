"""Derivatives of elementwise activations of any order: closed forms where they are known, forward-mode autograd elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch

from theodolite.nets.activations import activation

__all__ = ["derivative", "derivatives"]


def derivative(which: str | Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, order: int) -> torch.Tensor:
    """σ⁽ᵒʳᵈᵉʳ⁾(z), elementwise.

    For tanh the derivatives are polynomials in t = tanh z (p_{k+1} = p_k′ · (1 − t²)); sin and cos shift their phase. Other
    activations are differentiated by nested `torch.func.jvp`.

    Args:
        which: name or elementwise function.
        z: any shape.
        order: number of derivatives, ≥ 0.

    Example:
        >>> derivative("tanh", torch.tensor([0.0, 0.5]), 1).allclose(1 - torch.tanh(torch.tensor([0.0, 0.5])) ** 2)
        True
    """
    function = activation(which)
    if function is torch.tanh:
        return _polynomial(_tanh_polynomial(order), torch.tanh(z))
    if function in (torch.sin, torch.cos):
        phase = (order + (function is torch.cos)) % 4
        value = torch.cos(z) if phase % 2 else torch.sin(z)
        return -value if phase >= 2 else value
    for _ in range(order):
        function = partial(_slope, function)
    return function(z)


def derivatives(which: str | Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, most: int) -> list[torch.Tensor]:
    """σ and its derivatives up to order ``most``, elementwise, from one tanh where σ is that.

    Example:
        >>> [round(float(v), 6) for v in derivatives("tanh", torch.tensor(0.5, dtype=torch.float64), 2)]
        [0.462117, 0.786448, -0.726862]
    """
    function = activation(which)
    if function is torch.tanh:
        t = torch.tanh(z)
        return [_polynomial(_tanh_polynomial(order), t) for order in range(most + 1)]
    return [derivative(function, z, order) for order in range(most + 1)]


def _polynomial(coefficients: tuple[float, ...], t: torch.Tensor) -> torch.Tensor:
    """Σ c_k t^k by Horner's rule, for a degree of at least 1."""
    *lower, leading = coefficients
    value: torch.Tensor | float = leading
    for c in reversed(lower):
        value = value * t + c if c else value * t
    return torch.as_tensor(value)


@cache
def _tanh_polynomial(order: int) -> tuple[float, ...]:
    """Coefficients, by ascending powers of t, of the ``order``-th derivative of tanh."""
    if order == 0:
        return (0.0, 1.0)
    lower = _tanh_polynomial(order - 1)
    result = [0.0] * (len(lower) + 1)
    for power, c in enumerate(lower[1:], start=1):
        result[power - 1] += power * c
        result[power + 1] -= power * c
    return tuple(result)


def _slope(function: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    return torch.func.jvp(function, (z,), (torch.ones_like(z),))[1]

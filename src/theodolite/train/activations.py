"""Activations with the derivative that a hand-written backward pass needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theodolite.core.errors import ArgumentError, unknown

__all__ = ["ACTIVATIONS", "Activation", "find_activation"]


@dataclass(frozen=True)
class Activation:
    """An elementwise function with its derivative.

    Attributes:
        name: as it is asked for.
        function: z -> σ(z).
        derivative: (z, σ(z)) -> σ'(z); None when autograd has to do it.
        module: makes the ``nn.Module`` that computes it.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor] | None
    module: Callable[[], nn.Module]

    def backward(self, upstream: Tensor, z: Tensor, h: Tensor) -> Tensor:
        """Upstream gradient times σ'(z)."""
        if self.derivative is not None:
            return self.derivative(z, h).mul_(upstream)
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.function(leaf), leaf, upstream)
        return gradient


class Elementwise(nn.Module):
    """An elementwise function as a module.

    Args:
        function: z -> σ(z).
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """σ(x)."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", repr(self.function))


def xtanh(z: Tensor) -> Tensor:
    """Z tanh z: multiplicity 2."""
    return z * torch.tanh(z)


def x2tanh(z: Tensor) -> Tensor:
    """z² tanh z: multiplicity 3."""
    return z * z * torch.tanh(z)


def square(z: Tensor) -> Tensor:
    """z²."""
    return z * z


def gaussian(z: Tensor) -> Tensor:
    """exp(−z²)."""
    return torch.exp(-z * z)


def identity(z: Tensor) -> Tensor:
    """Z itself (linear networks)."""
    return z


def _relu_slope(z: Tensor, h: Tensor) -> Tensor:
    # h > 0 exactly where z > 0: torch's convention relu'(0) = 0.
    return (z > 0).to(z.dtype)


def _xtanh_slope(z: Tensor, h: Tensor) -> Tensor:
    t = torch.tanh(z)
    return torch.addcmul(t, z, 1 - t * t)


def _x2tanh_slope(z: Tensor, h: Tensor) -> Tensor:
    t = torch.tanh(z)
    return z * (2 * t + z * (1 - t * t))


def _gelu_slope(z: Tensor, h: Tensor) -> Tensor:
    return 0.5 * torch.special.erfc(-z / math.sqrt(2)) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _silu_slope(z: Tensor, h: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


_TABLE = (
    Activation("relu", torch.relu, _relu_slope, nn.ReLU),
    Activation("tanh", torch.tanh, lambda z, h: 1 - h * h, nn.Tanh),
    Activation("sigmoid", torch.sigmoid, lambda z, h: h * (1 - h), nn.Sigmoid),
    Activation("softplus", nn.functional.softplus, lambda z, h: torch.sigmoid(z), nn.Softplus),
    Activation("gelu", nn.functional.gelu, _gelu_slope, nn.GELU),
    Activation("silu", nn.functional.silu, _silu_slope, nn.SiLU),
    Activation("erf", torch.erf, lambda z, h: torch.exp(-z * z) * (2 / math.sqrt(math.pi)), lambda: Elementwise(torch.erf)),
    Activation("sin", torch.sin, lambda z, h: torch.cos(z), lambda: Elementwise(torch.sin)),
    Activation("cos", torch.cos, lambda z, h: -torch.sin(z), lambda: Elementwise(torch.cos)),
    Activation("elu", nn.functional.elu, None, nn.ELU),
    Activation("leaky_relu", nn.functional.leaky_relu, lambda z, h: torch.where(z > 0, 1.0, 0.01).to(z.dtype), nn.LeakyReLU),
    Activation("hardtanh", nn.functional.hardtanh, lambda z, h: (z.abs() < 1).to(z.dtype), nn.Hardtanh),
    Activation("abs", torch.abs, lambda z, h: torch.sign(z), lambda: Elementwise(torch.abs)),
    Activation("xtanh", xtanh, _xtanh_slope, lambda: Elementwise(xtanh)),
    Activation("x2tanh", x2tanh, _x2tanh_slope, lambda: Elementwise(x2tanh)),
    Activation("square", square, lambda z, h: 2 * z, lambda: Elementwise(square)),
    Activation("gaussian", gaussian, lambda z, h: -2 * z * h, lambda: Elementwise(gaussian)),
    Activation("identity", identity, lambda z, h: torch.ones_like(z), nn.Identity),
)

#: Named activations.
ACTIVATIONS: dict[str, Activation] = {activation.name: activation for activation in _TABLE}
_SYNONYMS = {"linear": "identity", "swish": "silu", "hard_tanh": "hardtanh", "leakyrelu": "leaky_relu"}


def find_activation(activation: str | Callable[[Tensor], Tensor] | nn.Module) -> Activation:
    """The named activation, or any elementwise function as one (differentiated by autograd).

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.
        ArgumentError: neither a name nor a function, or a function that is not elementwise.

    Example:
        >>> find_activation("ReLU").name
        'relu'
    """
    if isinstance(activation, str):
        name = activation.lower()
        name = _SYNONYMS.get(name, name)
        if name not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        return ACTIVATIONS[name]
    if not callable(activation):
        raise ArgumentError(f"activation must be a name or a function of tensors, got {activation!r}")
    for known in ACTIVATIONS.values():
        if activation is known.function:
            return known
    probe = torch.tensor([[0.3, -0.7, 1.1]], dtype=torch.float64)
    value = activation(probe)
    if not isinstance(value, Tensor) or value.shape != probe.shape:
        raise ArgumentError(f"activation must be elementwise on tensors, but it maps shape (1, 3) to {getattr(value, 'shape', value)}")
    name = getattr(activation, "__name__", type(activation).__name__)
    make = (lambda: activation) if isinstance(activation, nn.Module) else (lambda: Elementwise(activation))
    return Activation(name, activation, None, make)

"""Activations with the derivative that a hand-written backward pass needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.core.errors import ArgumentError
from theodolite.nets.activations import ACTIVATIONS, Elementwise, activation_name
from theodolite.nets.activations import activation as named

__all__ = ["SLOPES", "Activation", "find_activation"]

Slope = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """An elementwise function with its derivative.

    Attributes:
        name: as it is asked for.
        function: z -> σ(z).
        slope: (z, σ(z)) -> σ'(z), a fresh tensor; None when autograd has to do it.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    slope: Slope | None

    def forward(self, z: Tensor, out: Tensor) -> Tensor:
        """σ(z), written into ``out`` (which may be ``z``) where torch can do that, else a new tensor."""
        into = _FORWARD_INTO.get(self.name) if self.slope is not None else None
        return self.function(z) if into is None else into(z, out)

    def backward(self, upstream: Tensor, z: Tensor, h: Tensor, out: Tensor | None = None) -> Tensor:
        """Upstream gradient times σ'(z), written into ``out`` (which may be ``upstream``) where torch can do that."""
        if self.slope is not None:
            into = _BACKWARD_INTO.get(self.name) if out is not None else None
            return self.slope(z, h).mul_(upstream) if into is None else into(upstream, z, h, out)
        if torch.compiler.is_compiling():
            pulled: Tensor = torch.func.vjp(self.function, z)[1](upstream)[0]
            return pulled
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.function(leaf), leaf, upstream)
        return gradient

    def module(self) -> nn.Module:
        """The activation as a module: torch's own where there is one."""
        if self.name in _MODULES and ACTIVATIONS.get(self.name) is self.function:
            return _MODULES[self.name]()
        return self.function if isinstance(self.function, nn.Module) else Elementwise(self.function)


def _xtanh(z: Tensor, h: Tensor) -> Tensor:
    t = torch.tanh(z)
    return torch.addcmul(t, z, 1 - t * t)


def _x2tanh(z: Tensor, h: Tensor) -> Tensor:
    t = torch.tanh(z)
    return z * (2 * t + z * (1 - t * t))


def _gelu(z: Tensor, h: Tensor) -> Tensor:
    return 0.5 * torch.special.erfc(-z / math.sqrt(2)) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _silu(z: Tensor, h: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


#: Derivatives by name, torch's conventions at kinks: relu'(0) = 0.
SLOPES: dict[str, Slope] = {
    "relu": lambda z, h: (z > 0).to(z.dtype),
    "leaky_relu": lambda z, h: (z > 0).to(z.dtype).mul_(0.99).add_(0.01),
    "hardtanh": lambda z, h: (z.abs() < 1).to(z.dtype),
    "abs": lambda z, h: torch.sign(z),
    "tanh": lambda z, h: 1 - h * h,
    "sigmoid": lambda z, h: h * (1 - h),
    "softplus": lambda z, h: torch.sigmoid(z),
    "gelu": _gelu,
    "silu": _silu,
    "erf": lambda z, h: torch.exp(-z * z).mul_(2 / math.sqrt(math.pi)),
    "sin": lambda z, h: torch.cos(z),
    "cos": lambda z, h: torch.sin(z).neg_(),
    "xtanh": _xtanh,
    "x2tanh": _x2tanh,
    "square": lambda z, h: 2 * z,
    "gaussian": lambda z, h: -2 * z * h,
    "identity": lambda z, h: torch.ones_like(z),
}
#: From so many elements per member on, the compiled tanh is worth its call. (Per member: bits must not depend on their number.)
MANY = 1 << 8


def _tanh_into(z: Tensor, out: Tensor) -> Tensor:
    if z.device.type == "cpu" and z[0].numel() >= MANY and z.is_contiguous() and out.is_contiguous():
        from theodolite.train.kernels.vector import tanh_into

        return tanh_into(z, out)
    return torch.tanh(z, out=out)


_FORWARD_INTO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda z, out: torch.clamp_min(z, 0, out=out),
    "tanh": _tanh_into,
    "sigmoid": lambda z, out: torch.sigmoid(z, out=out),
    "erf": lambda z, out: torch.erf(z, out=out),
    "sin": lambda z, out: torch.sin(z, out=out),
    "cos": lambda z, out: torch.cos(z, out=out),
    "abs": lambda z, out: torch.abs(z, out=out),
    "square": lambda z, out: torch.square(z, out=out),
}
_aten = torch.ops.aten
_BACKWARD_INTO: dict[str, Callable[[Tensor, Tensor, Tensor, Any], Tensor]] = {
    "relu": lambda g, z, h, out: _aten.threshold_backward.grad_input(g, z, 0, grad_input=out),
    "tanh": lambda g, z, h, out: _aten.tanh_backward.grad_input(g, h, grad_input=out),
    "sigmoid": lambda g, z, h, out: _aten.sigmoid_backward.grad_input(g, h, grad_input=out),
    "identity": lambda g, z, h, out: g,
}
_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hardtanh": nn.Hardtanh,
    "identity": nn.Identity,
}


def find_activation(activation: str | Callable[[Tensor], Tensor]) -> Activation:
    """The named activation, or any elementwise function as one (differentiated by autograd).

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.
        ArgumentError: neither a name nor a function, or a function that is not elementwise or not differentiable.

    Example:
        >>> find_activation("ReLU").name
        'relu'
    """
    function = named(activation)
    name = activation_name(activation)
    if ACTIVATIONS.get(name) is function:
        return Activation(name, function, SLOPES.get(name))
    _refuse_unfit(function)
    return Activation(name, function, None)


def _refuse_unfit(function: Callable[[Tensor], Tensor]) -> None:
    """Raise `ArgumentError` unless a function is elementwise on tensors, known to autograd, and the same at every call."""
    if isinstance(function, nn.Module) and any(True for _ in function.parameters()):
        raise ArgumentError(
            f"activation {type(function).__name__} has parameters of its own, which an MLPSpec does not train; use "
            "Ensemble.from_module"
        )
    with torch.enable_grad():
        probe = torch.tensor([[0.3, -0.7, 1.1]], dtype=torch.float64, requires_grad=True)
        try:
            value = function(probe)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ArgumentError(
                f"activation must be a function of tensors that autograd can differentiate, but it raised {type(error).__name__}: "
                f"{error}; write it with torch functions"
            ) from error
    if not isinstance(value, Tensor) or value.shape != probe.shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else value
        raise ArgumentError(f"activation must be an elementwise function of tensors, but it maps shape (1, 3) to {got}")
    parts = torch.cat([function(probe[:, k : k + 1]) for k in range(3)], 1)
    if not torch.allclose(value, parts, rtol=1e-12, atol=0.0, equal_nan=True):
        raise ArgumentError(
            "activation must be elementwise and not random, but its values at single numbers are others than those of the whole"
        )
    if not value.requires_grad:
        raise ArgumentError(
            "activation must be differentiable by autograd, but nothing flows back through it (a comparison, .detach() or numpy); "
            "write it with torch functions: torch.sign and torch.floor have the derivative zero"
        )

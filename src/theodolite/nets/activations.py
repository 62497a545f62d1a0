"""Activation functions by name, and the two of the condensation papers that torch does not have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from theodolite.core.errors import ArgumentError, unknown

__all__ = ["ACTIVATIONS", "Elementwise", "activation", "activation_name", "x2tanh", "xtanh"]


def xtanh(x: torch.Tensor) -> torch.Tensor:
    """x·tanh(x): multiplicity 2 at zero.

    Example:
        >>> xtanh(torch.tensor([-1.0, 1.0])).tolist() == xtanh(torch.tensor([1.0, -1.0])).tolist()
        True
    """
    return x * torch.tanh(x)


def x2tanh(x: torch.Tensor) -> torch.Tensor:
    """x²·tanh(x): multiplicity 3 at zero."""
    return x * x * torch.tanh(x)


def gaussian(x: torch.Tensor) -> torch.Tensor:
    """exp(−x²)."""
    return torch.exp(-x * x)


def identity(x: torch.Tensor) -> torch.Tensor:
    """The input itself: a linear network."""
    return x


#: Name -> function of one tensor. Names are lower case; ``activation`` ignores case.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
    "square": torch.square,
    "gaussian": gaussian,
    "xtanh": xtanh,
    "x2tanh": x2tanh,
    "identity": identity,
}


def activation(which: str | Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function of a name, or the callable itself.

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.
        ArgumentError: neither a name nor a callable.

    Example:
        >>> activation("ReLU")(torch.tensor(-1.0)).item()
        0.0
    """
    if isinstance(which, str):
        name = which.lower()
        if name not in ACTIVATIONS:
            raise unknown("activation", which, ACTIVATIONS)
        return ACTIVATIONS[name]
    if not callable(which):
        raise ArgumentError(f"activation must be a name or a callable, got {which!r}; names: {', '.join(ACTIVATIONS)}")
    return which


def activation_name(which: str | Callable[[torch.Tensor], torch.Tensor]) -> str:
    """A readable name: the table's, else the callable's own.

    Example:
        >>> activation_name(torch.tanh), activation_name(nn.GELU())
        ('tanh', 'gelu')
    """
    if isinstance(which, str):
        return which.lower()
    for name, function in ACTIVATIONS.items():
        if which is function:
            return name
    return getattr(which, "__name__", type(which).__name__).lower()


class Elementwise(nn.Module):
    """Any elementwise function as a module, for use in ``nn.Sequential``.

    Example:
        >>> Elementwise("xtanh")(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def __init__(self, which: str | Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = activation(which)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function of ``x``."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The function's name."""
        return activation_name(self.function)

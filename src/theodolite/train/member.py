"""One member of an ensemble as a plain module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.train.activations import find_activation
from theodolite.train.spec import MLPSpec

__all__ = ["Residual", "ScaledLinear", "make_module"]


class ScaledLinear(nn.Linear):
    """z = c W h + c' b.

    Args:
        n_in: inputs.
        n_out: outputs.
        bias: whether there is a bias.
        scale: (c, c').
    """

    def __init__(self, n_in: int, n_out: int, bias: bool, scale: tuple[float, float]) -> None:
        super().__init__(n_in, n_out, bias=bias)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """The affine map."""
        c, cb = self.scale
        return functional.linear(x, self.weight * c, None if self.bias is None else self.bias * cb)

    def extra_repr(self) -> str:
        """Sizes and factors."""
        return f"{super().extra_repr()}, scale={self.scale}"


class Residual(nn.Module):
    """h + σ(W h + b), with the affine map's parameters as its own.

    Args:
        linear: the affine map.
        activation: σ.
    """

    def __init__(self, linear: nn.Linear, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, x: Tensor) -> Tensor:
        """One residual block."""
        return x + self.activation(self.linear(x))


def make_module(spec: MLPSpec, values: Mapping[str, Tensor]) -> nn.Module:
    """The network of a specification as an ``nn.Sequential`` that holds ``values`` (name -> tensor of one member).

    Layers keep the specification's names (``hidden1``, …, ``output``); the activation after ``hidden1`` is ``activation1``. With
    forward factors other than 1 (NTK parametrisation, α) the affine layers are `ScaledLinear`; a layer with a skip is a
    `Residual` block.
    """
    like = next(iter(values.values()))
    activation = find_activation(spec.activation)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for k, name in enumerate(spec.layers):
        sizes = spec.widths[k], spec.widths[k + 1], spec.biases[k]
        with torch.device("meta"):  # sizes only: the values come below, and torch's global stream is left alone
            linear = nn.Linear(*sizes[:2], bias=sizes[2]) if spec.scales[k] == (1, 1) else ScaledLinear(*sizes, spec.scales[k])
        linear.weight = nn.Parameter(values[f"{name}.weight"].to(like))
        if spec.biases[k]:
            linear.bias = nn.Parameter(values[f"{name}.bias"].to(like))
        if spec.skips[k]:
            modules[name] = Residual(linear, activation.module())
            continue
        modules[name] = linear
        if k < spec.depth - 1:
            modules[f"activation{k + 1}"] = activation.module()
    return nn.Sequential(modules)

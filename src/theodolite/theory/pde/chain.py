"""Networks as functions of one point; those that are chains of affine maps and elementwise functions know their own Laplacian."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from theodolite.nets.activations import Elementwise
from theodolite.theory.pde.elementwise import derivatives

__all__ = ["Chain", "network_at"]

Elementary = Callable[[torch.Tensor], torch.Tensor]


class _Network:
    """x ↦ f(x), (d,) → (), for given parameters."""

    def __init__(self, net: nn.Module, parameters: Mapping[str, torch.Tensor]) -> None:
        self.net, self.parameters = net, dict(parameters)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.func.functional_call(self.net, self.parameters, (x[None],))[0, 0]
        return found


class Chain(_Network):
    """The same for a chain: value, slopes and Laplacian go through the layers together.

    An affine map takes all three through its weights; behind σ, with z, ∇z and Δz before it, they are σ(z), σ′(z) ∇z and
    σ′(z) Δz + σ″(z) |∇z|².
    """

    def __init__(
        self, net: nn.Module, parameters: Mapping[str, torch.Tensor], layers: Mapping[str, nn.Linear | Elementary]
    ) -> None:
        super().__init__(net, parameters)
        self.layers = layers

    def laplacian(self, x: torch.Tensor) -> torch.Tensor:
        """Δf at one point.

        Cost: that of d + 2 forward passes, and as much again for each derivative of it.
        """
        sizes = (1, len(x), 1)
        value, curvature = x[None], torch.zeros_like(x)[None]
        slopes = torch.eye(len(x), dtype=x.dtype, device=x.device)
        for name, layer in self.layers.items():
            if isinstance(layer, nn.Linear):
                weight, bias = (self.parameters.get(f"{name}.{part}", getattr(layer, part)) for part in ("weight", "bias"))
                value, slopes, curvature = (torch.cat([value, slopes, curvature]) @ weight.mT).split(sizes)
                value = value if bias is None else value + bias
            else:
                value, first, second = derivatives(layer, value, 2)
                curvature = first * curvature + second * slopes.square().sum(0)
                slopes = first * slopes
        return curvature[0, 0]


def network_at(net: nn.Module, parameters: Mapping[str, torch.Tensor]) -> _Network:
    """The network with these parameters (name -> tensor; its own where a name is missing) as a function of one point.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> u, x = network_at(net, dict(net.named_parameters())), torch.tensor([0.3, -0.2])
        >>> bool((u.laplacian(x) - torch.func.hessian(u)(x).trace()).abs() < 1e-6)
        True
    """
    layers = _layers(net)
    return _Network(net, parameters) if layers is None else Chain(net, parameters, layers)


def _layers(net: nn.Module) -> dict[str, nn.Linear | Elementary] | None:
    """The layers of a plain chain by name; None for anything else, hooks and shared layers included."""
    if type(net) is not nn.Sequential or any(m._forward_hooks or m._forward_pre_hooks for m in net.modules()):
        return None
    found: dict[str, nn.Linear | Elementary] = {}
    for name, module in net._modules.items():
        if type(module) is nn.Linear and not any(module is layer for layer in found.values()):
            found[name] = module
        elif type(module) is Elementwise:
            found[name] = module.function
        elif type(module) is nn.Tanh:
            found[name] = torch.tanh
        else:
            return None
    return found

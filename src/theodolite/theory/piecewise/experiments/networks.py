"""Networks of the experiments: random ones from explicit seeds, and the tent map."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from theodolite.core.errors import ArgumentError
from theodolite.core.seed import generator

__all__ = ["random_chain", "tent"]


def random_chain(widths: Sequence[int], seed: int, *, recipe: str = "gaussian", bias_std: float = 0.5) -> nn.Sequential:
    """A ReLU network in float64 from a seed.

    Args:
        widths: inputs, hidden layers, outputs.
        seed: of the weights.
        recipe: ``gaussian``: weights with variance 2 / fan-in, biases with standard deviation ``bias_std``; ``dyadic``: weights and
            biases drawn from {−16, …, 16} / 16, so that degenerate positions occur.
        bias_std: see above.
    """
    if recipe not in ("gaussian", "dyadic"):
        raise ArgumentError(f"recipe must be 'gaussian' or 'dyadic', got {recipe!r}")
    source = generator(seed, "piecewise", recipe, *widths)
    modules: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        with torch.no_grad():
            if recipe == "gaussian":
                linear.weight.copy_(torch.randn(fan_out, fan_in, dtype=torch.float64, generator=source) * (2 / fan_in) ** 0.5)
                linear.bias.copy_(torch.randn(fan_out, dtype=torch.float64, generator=source) * bias_std)
            else:
                linear.weight.copy_(torch.randint(-16, 17, (fan_out, fan_in), generator=source) / 16)
                linear.bias.copy_(torch.randint(-16, 17, (fan_out,), generator=source) / 16)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def tent(times: int) -> nn.Sequential:
    """The tent map g(x) = 2 relu(x) − 4 relu(x − ½), ``times``-fold: 2^times pieces on [0, 1] from layers of width 2.

    Reference: telgarsky2015.
    """
    inner, outer = nn.Linear(1, 2, dtype=torch.float64), nn.Linear(2, 1, dtype=torch.float64)
    with torch.no_grad():
        inner.weight.copy_(torch.tensor([[1.0], [1.0]]))
        inner.bias.copy_(torch.tensor([0.0, -0.5]))
        outer.weight.copy_(torch.tensor([[2.0, -4.0]]))
        outer.bias.zero_()
    return nn.Sequential(*(inner, nn.ReLU(), outer) * times)

"""The networks of the region counts: three recipes, each reproducible bit by bit."""

import numpy as np
import pytest
import torch
from torch import nn


def chain(layers):
    """A ReLU network in float64 from (weight, bias) pairs."""
    modules = []
    for k, (weight, bias) in enumerate(layers):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        linear.weight.data = torch.as_tensor(np.array(weight), dtype=torch.float64)
        linear.bias.data = torch.as_tensor(np.array(bias), dtype=torch.float64)
        modules += [linear, nn.ReLU()] if k + 1 < len(layers) else [linear]
    return nn.Sequential(*modules)


def he_net(widths, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for i, o in zip(widths, widths[1:], strict=False):
            weight = torch.randn(o, i, dtype=torch.float64) * np.sqrt(2 / i)
            layers.append((weight.numpy(), (torch.randn(o, dtype=torch.float64) * 0.5).numpy()))
    return chain(layers)


def default_net(widths, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        linears = [nn.Linear(i, o) for i, o in zip(widths, widths[1:], strict=False)]
    return chain([(m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in linears])


def int_net(widths, seed):
    rs = np.random.RandomState(seed)
    layers = []
    for i, o in zip(widths, widths[1:], strict=False):
        weight = rs.randint(-16, 17, (o, i)) / 16
        layers.append((weight, rs.randint(-16, 17, o) / 16))
    return chain(layers)


RECIPES = {"he": he_net, "default": default_net, "int": int_net}


@pytest.fixture(scope="session")
def nets():
    """Recipe name -> maker(widths, seed); ``chain`` makes a network from its layers."""
    return {**RECIPES, "chain": chain}


@pytest.fixture
def points():
    """Uniform points of a box, from a seed."""

    def draw(count, dim, seed=0, low=-1.0, high=1.0):
        return np.random.default_rng(seed).uniform(low, high, (count, dim))

    return draw

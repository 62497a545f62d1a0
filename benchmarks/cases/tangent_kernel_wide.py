"""Full tangent kernel with one output, MLP 784-1024³-1, against Jacobian contraction and other implementations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.cases._layers import layers_of
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work
from benchmarks.scaling import Curve
from torch import nn

from theodolite.theory.tangent import ntk

TITLE = "NTK of an MLP 784-1024³-1, N = 500, float64"
TOLERANCE = 1e-9
GOALS = {"torch.func Jacobian contraction": 50.0, "neural-tangents, structured (jit)": 1.0}
LIMITS = {"working_mb": 1000.0}


def mlp(width: int, outputs: int, hidden: int = 3) -> nn.Sequential:
    """784-w-…-w-K with ReLU, in float64."""
    torch.manual_seed(0)
    sizes = (784, *[width] * hidden, outputs)
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def samples(count: int) -> torch.Tensor:
    """Gaussian inputs."""
    return torch.randn(count, 784, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def theodolite_kernel(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """(N, N, K, K)."""
    return ntk(model, x).numpy()


def jacobian_contraction(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """The method of torch's tutorial: per-sample Jacobians by jacrev and vmap, contracted by einsum, one parameter at a time."""
    from torch.func import functional_call, jacrev, vmap

    parameters = {n: p.detach() for n, p in model.named_parameters()}
    total = torch.zeros(())
    for name, value in parameters.items():

        def single(v: torch.Tensor, sample: torch.Tensor, name: str = name) -> torch.Tensor:
            return functional_call(model, {**parameters, name: v}, (sample.unsqueeze(0),)).squeeze(0)

        flat = vmap(jacrev(single), (None, 0))(value, x).flatten(2)  # (N, K, P of this parameter)
        total = total + torch.einsum("naf,mbf->nmab", flat, flat)
    return total.numpy()


def peers(model: nn.Sequential, x: torch.Tensor) -> dict[str, Any]:
    """The implementations of other packages, each in its own interpreter."""
    arguments = {"layers": layers_of(model), "x": x.numpy()}
    place = "benchmarks.peers.tangent_kernels"
    return {
        "nngeometry": Elsewhere("torch", f"{place}:nngeometry", arguments),
        "BackPACK, gradients of every output": Elsewhere("torch", f"{place}:backpack", arguments),
        "asdl, from per-sample gradients": Elsewhere("torch", f"{place}:asdl", arguments),
        "neural-tangents, structured (jit)": Elsewhere("jax", f"{place}:neural_tangents", arguments),
    }


def kernel_work(widths: tuple[int, ...], samples: int) -> Work:
    """Forward and K backward passes, and both products of every layer, each of a symmetric matrix: half of the arithmetic."""
    outputs = widths[-1]
    passes = 2 * samples * sum(i * o for i, o in itertools.pairwise(widths)) * (1 + outputs)
    products = sum(samples**2 * i for i in widths[:-1]) + sum((samples * outputs) ** 2 * o for o in widths[1:-1])
    return Work(flops=passes + products, traffic=8.0 * (samples * outputs) ** 2)


def floor(quick: bool) -> Work:
    width, count = (256, 50) if quick else (1024, 500)
    return kernel_work((784, width, width, width, 1), count)


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, torch.func's Jacobian contraction, and the other packages."""
    model, x = mlp(256 if quick else 1024, 1), samples(50 if quick else 500)
    return {
        "theodolite": lambda: theodolite_kernel(model, x),
        "torch.func Jacobian contraction": lambda: jacobian_contraction(model, x),
        **peers(model, x),
    }


def curves(quick: bool) -> list[Curve]:
    sizes = (50, 100, 200) if quick else (250, 500, 1000, 2000)
    widths = (64, 128, 256) if quick else (256, 512, 1024, 2048)
    depths = (2, 4, 8) if quick else (2, 4, 8, 16)
    outputs = (1, 2, 4) if quick else (4, 8, 16, 32)

    def kernel(width: int, classes: int, hidden: int, count: int) -> Callable[[], Any]:
        model, x = mlp(width, classes, hidden), samples(count)
        return lambda: ntk(model, x)

    return [
        Curve("NTK, 784-256³-1", "N", sizes, 2, lambda n: kernel(256, 1, 3, n)),
        Curve("NTK, N = 200", "width", widths, 2, lambda w: kernel(w, 1, 3, 200)),
        Curve("NTK, N = 200, width 256", "depth", depths, 1, lambda d: kernel(256, 1, d, 200)),
        Curve("NTK, all pairs of outputs, N = 50", "outputs", outputs, 2, lambda k: kernel(128, k, 3, 50)),
    ]

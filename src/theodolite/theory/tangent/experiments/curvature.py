"""Hessians: when the output's vanishes with width, and how the set of zero loss of an over-parameterised system looks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from torch import nn

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.draw.progress import progress
from theodolite.lens.kernel import parameter_jacobian
from theodolite.theory.tangent.experiments.setting import TrainedWidths, networks, slope_variables, sphere, train
from theodolite.theory.tangent.measure import hessian_extremes, hessian_norm

__all__ = ["HessianScaling", "SolutionManifold"]

_NETWORKS = ("one hidden layer", "two hidden layers", "quadratic output", "bottleneck")


class _Scaled(nn.Module):
    """A linear layer in NTK parameterisation: z = W x/√fan-in with W ~ N(0, 1), no bias."""

    def __init__(self, fan_in: int, fan_out: int, draw: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, dtype=torch.float64, generator=draw))
        self.factor = fan_in**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """W x/√fan-in."""
        return nn.functional.linear(x, self.weight * self.factor)


class _Quadratic(nn.Module):
    def forward(self, f: torch.Tensor) -> torch.Tensor:
        """½ f² + f, a non-linear output of slope about one."""
        return 0.5 * f * f + f


def _network(kind: str, dim: int, width: int, draw: torch.Generator) -> nn.Module:
    widths = {
        "one hidden layer": [width],
        "two hidden layers": [width] * 2,
        "quadratic output": [width] * 2,
        "bottleneck": [width, 1, width],
    }
    sizes = [dim, *widths[kind], 1]
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [_Scaled(i, o, draw), nn.Tanh()]
    layers.pop()
    return nn.Sequential(*layers, *([_Quadratic()] if kind == "quadratic output" else []))


@dataclass(frozen=True)
class HessianScaling(Experiment):
    """‖∇²f‖ against width separates three cases: a linear output (Õ(m^(-1/2))), a non-linear output and a bottleneck (both O(1)).

    The maximum over m Gaussian readout weights makes the linear case √(log m / m): measured slopes are −0.41 to −0.45.

    Attributes:
        widths: hidden widths.
        seeds: independent networks per width.
        dim: input dimension d.
        seed: seed of data and networks.
    """

    reference: ClassVar[str] = "liu2020"
    small: ClassVar[Mapping[str, Any]] = {"widths": (32, 64, 128), "seeds": 3}

    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    seeds: int = 5
    dim: int = 10
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Lanczos norms of the output's Hessian at one input."""
        norms = np.empty((len(_NETWORKS), len(self.widths), self.seeds))
        for k, kind in enumerate(_NETWORKS):
            for w, width in enumerate(progress(self.widths, kind)):
                for s in range(self.seeds):
                    draw = generator(self.seed, "hessian", kind, width, s)
                    model = _network(kind, self.dim, width, draw)
                    x = torch.randn(1, self.dim, dtype=torch.float64, generator=draw)
                    norms[k, w, s] = hessian_norm(model, x * (self.dim**0.5 / x.norm()), tol=1e-4)
        return xr.Dataset(
            {
                "hessian_norm": (("network", "width", "seed"), norms, {"description": "spectral norm of ∇²f at one input"}),
                **slope_variables(self.widths, norms, ("network",), "hessian_norm"),
            },
            coords={"network": list(_NETWORKS), "width": list(self.widths)},
        )


@dataclass(frozen=True)
class SolutionManifold(TrainedWidths):
    """The set of zero loss of an over-parameterised system: its dimension, its tangent space, the non-convexity around it.

    Two pictures and one measurement: one equation in two unknowns (w₁ w₂ = 1, a curve; and its linear counterpart, a line); and two-
    layer networks at a solution, where rank J = N makes the solutions a manifold of dimension P − N with tangent space ker J, and
    where the loss's Hessian at nearby points has negative eigenvalues.

    Attributes:
        noise: size of the perturbation around a minimiser.
        grid: points per axis of the picture.
    """

    reference: ClassVar[str] = "liu2022"
    small: ClassVar[Mapping[str, Any]] = {"widths": (8, 16), "seeds": 1, "steps": 300, "grid": 41, "samples": 5}

    widths: tuple[int, ...] = (16, 64, 256)
    samples: int = 8
    dim: int = 5
    steps: int = 3000
    noise: float = 1e-2
    grid: int = 201

    def measure(self) -> xr.Dataset:
        """The landscape of the toy system, and networks trained to zero loss."""
        axis = np.linspace(-3, 3, self.grid)
        w1, w2 = np.meshgrid(axis, axis, indexing="ij")
        curved, straight = 0.5 * (w1 * w2 - 1.0) ** 2, 0.5 * (w1 + w2 - 1.0) ** 2
        # ∇²L = [[w₂², 2w₁w₂−1], [2w₁w₂−1, w₁²]] for L = ½(w₁w₂ − 1)²
        half_trace, off = 0.5 * (w1**2 + w2**2), 2 * w1 * w2 - 1
        convexity = half_trace - np.sqrt((0.5 * (w1**2 - w2**2)) ** 2 + off**2)
        shape = (len(self.widths), self.seeds)
        rank, size, loss = np.empty(shape, dtype=int), np.empty(len(self.widths), dtype=int), np.empty(shape)
        along, across, negative = np.empty(shape), np.empty(shape), np.empty(shape)
        x, y = sphere(self.samples, self.dim, self.seed)
        for w, width in enumerate(progress(self.widths, "solutions")):
            ensemble = networks(self.dim, width, "tanh", self.seeds, hidden=1, seed=self.seed)
            loss[w] = train(ensemble, x, y, self.steps, [], fraction=1.0).loss[:, -1]
            for e in range(self.seeds):
                found = _at_solution(ensemble.member(e), x, y, self.noise, generator(self.seed, "solution", width, e))
                size[w], rank[w, e], along[w, e], across[w, e], negative[w, e] = found
        dims = ("width", "seed")
        return xr.Dataset(
            {
                "curved_loss": (("w1", "w2"), curved, {"description": "½(w₁w₂ − 1)²"}),
                "straight_loss": (("w1", "w2"), straight, {"description": "½(w₁ + w₂ − 1)²"}),
                "curved_convexity": (
                    ("w1", "w2"),
                    convexity,
                    {"description": "smallest eigenvalue of the Hessian of ½(w₁w₂ − 1)²"},
                ),
                "parameters": (("width",), size, {"description": "number of parameters P"}),
                "rank": (dims, rank, {"description": "rank of the Jacobian at the solution"}),
                "dimension": (dims, size[:, None] - rank, {"description": "dimension of the solution set, P − rank J"}),
                "loss": (dims, loss, {"description": "½‖f − y‖² reached"}),
                "change_along": (dims, along, {"description": "‖f(θ + εv) − f(θ)‖/ε for unit v in ker J, ε = noise"}),
                "change_across": (dims, across, {"description": "the same for unit v orthogonal to ker J"}),
                "lambda_min": (dims, negative, {"description": "smallest eigenvalue of ∇²L near the solution"}),
            },
            coords={"width": list(self.widths), "w1": axis, "w2": axis},
        )


def _at_solution(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, noise: float, draw: torch.Generator
) -> tuple[int, int, float, float, float]:
    """(P, rank J, change along ker J, change across it, smallest Hessian eigenvalue at a point ``noise`` away)."""
    jacobian = parameter_jacobian(model, x).flatten(0, 1)  # (N, P)
    _, sigma, right = torch.linalg.svd(jacobian, full_matrices=False)
    rank = int((sigma > sigma[0] * 1e-10).sum())
    parameters = list(model.parameters())
    start = torch.cat([p.detach().reshape(-1) for p in parameters])
    direction = torch.randn(len(start), dtype=torch.float64, generator=draw)
    normal = right[:rank].T @ (right[:rank] @ direction)
    tangent = direction - normal

    def move(v: torch.Tensor) -> None:
        with torch.no_grad():
            for p, part in zip(parameters, (start + v).split([p.numel() for p in parameters]), strict=True):
                p.copy_(part.view_as(p))

    with torch.no_grad():
        base = model(x)
        changes = []
        for v in (tangent, normal):
            move(noise * v / v.norm())
            changes.append(float((model(x) - base).norm()) / noise)
    move(noise * direction)
    lowest = float(hessian_extremes(model, x, y, tol=1e-9).values[0])
    move(torch.zeros_like(direction))
    return len(start), rank, changes[0], changes[1], lowest

"""Experiments with physics-informed networks. Defaults are paper size."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator

if TYPE_CHECKING:
    import torch
    import xarray as xr

__all__ = ["PinnInitialization", "PinnRank"]


def _xavier(net: torch.nn.Module, source: torch.Generator) -> None:
    """Xavier-uniform weights and zero biases, in place."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=source)
            nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class PinnInitialization(Experiment):
    """Example 4.2: physics-informed networks from Xavier and from uniform-density initialisation, ε-rank and loss.

    The problem is −Δu = f on [−1, 1]² with u = sin(ωπx) sin(ωπy). The uniform-density initialisation replaces the first layer of the
    Xavier one by σ(γ(a · x + r)), with γ = ω here.

    Attributes:
        frequencies: ω.
        width: neurons in each of the two hidden layers.
        steps: steps of Adam.
        lr: learning rate.
        points: interior points.
        boundary_points: points along each side.
        boundary_weight: weight of the boundary term of the loss.
        looks: how many looks at each run.
        seeds: seeds, trained side by side.
    """

    frequencies: tuple[float, ...] = (1.0, 2.0)
    width: int = 50
    steps: int = 2500
    lr: float = 1e-3
    points: int = 361
    boundary_points: int = 21
    boundary_weight: float = 10.0
    looks: int = 50
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    reference = "yang2024"
    small = {"frequencies": (1.0,), "width": 30, "steps": 150, "points": 81, "boundary_points": 9, "looks": 5, "seeds": (0, 1)}

    def measure(self) -> xr.Dataset:
        """Loss, error and ε-rank over frequency, initialisation, seed and step."""
        import xarray as xr

        runs = []
        for frequency in self.frequencies:
            pair = [self._train(frequency, name) for name in ("xavier", "uniform density")]
            runs.append(xr.concat(pair, xr.Variable("initialization", ["xavier", "uniform density"])))
        return xr.concat(runs, xr.Variable("frequency", list(self.frequencies)))

    def _train(self, frequency: float, initialization: str) -> xr.Dataset:
        import torch

        from theodolite.core.schedule import every
        from theodolite.nets.architectures import mlp
        from theodolite.nets.init import uniform_density_init_
        from theodolite.theory.pde.pinn import PINN
        from theodolite.theory.pde.problems import poisson_2d

        problem = poisson_2d(frequency)
        nets = []
        for seed in self.seeds:
            net = mlp([2, self.width, self.width, 1], "tanh", dtype=torch.float32)
            source = generator(seed, "pde.pinn_initialization")
            _xavier(net, source)
            if initialization == "uniform density":
                uniform_density_init_(net, problem.domain, gamma=frequency, generator=source)
            nets.append(net)
        pinn = PINN(
            problem,
            nets,
            functools.partial(torch.optim.Adam, lr=self.lr),
            points=self.points,
            boundary_points=self.boundary_points,
            condition_weights=self.boundary_weight,
        )
        history = pinn.train(self.steps, when=every(max(1, self.steps // self.looks)))
        return _with_seeds(history, self.seeds)


@dataclass(frozen=True)
class PinnRank(Experiment):
    """Remark 3.4: the staircase on a physics-informed network. ε-rank and loss of a residual loss, at every look.

    The problem is −u″ = f on [−1, 1] with u = sin(ωπx), from torch's default initialisation.

    Attributes:
        frequency: ω.
        width: neurons in each of the two hidden layers.
        steps: steps of Adam.
        lr: learning rate.
        points: interior points.
        boundary_weight: weight of the boundary term of the loss.
        every: steps between looks.
        seeds: seeds, trained side by side.
    """

    frequency: float = 2.0
    width: int = 50
    steps: int = 5000
    lr: float = 1e-3
    points: int = 128
    boundary_weight: float = 100.0
    every: int = 50
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    reference = "yang2024"
    small = {"width": 20, "steps": 300, "points": 48, "every": 25, "seeds": (0, 1)}

    def measure(self) -> xr.Dataset:
        """Loss, error and ε-rank over seed and step."""
        import torch

        from theodolite.core.schedule import every
        from theodolite.nets.architectures import mlp
        from theodolite.theory.pde.pinn import PINN
        from theodolite.theory.pde.problems import poisson_1d

        nets = []
        for seed in self.seeds:
            net = mlp([1, self.width, self.width, 1], "tanh", dtype=torch.float64)
            _uniform_fan_in(net, generator(seed, "pde.pinn_rank"))
            nets.append(net)
        pinn = PINN(
            poisson_1d(self.frequency),
            nets,
            functools.partial(torch.optim.Adam, lr=self.lr),
            points=self.points,
            condition_weights=self.boundary_weight,
        )
        return _with_seeds(pinn.train(self.steps, when=every(self.every)), self.seeds)


def _uniform_fan_in(net: torch.nn.Module, source: torch.Generator) -> None:
    """torch's default initialisation of linear layers, U(−1/√fan_in, 1/√fan_in), from an explicit generator."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=source)
            nn.init.uniform_(module.bias, -bound, bound, generator=source)


def _with_seeds(history: xr.Dataset, seeds: tuple[int, ...]) -> xr.Dataset:
    return history.rename(network="seed").assign_coords(seed=list(seeds))

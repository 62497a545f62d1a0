"""Function fitting: the staircase (Ex. 2.6), its layers, its activations, and deterministic initialisation (Ex. 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.core.experiment import Experiment
from theodolite.theory.rank.experiments.training import fit
from theodolite.train import Deterministic, MLPSpec

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Activations", "DeterministicInit", "Layers", "Staircase"]


def _spec(depth: int, width: int, activation: str, init: Any = "torch") -> MLPSpec:
    return MLPSpec((1, *[width] * depth, 1), activation, init=init)


@dataclass(frozen=True)
class Staircase(Experiment):
    """Ex. 2.6: the ε-rank of the last hidden layer and the loss along training, over depth, width and optimiser.

    Attributes:
        depths: numbers of hidden layers L.
        widths: neurons per hidden layer n.
        optimizers: adam (rate 1e-3) and sgd (full batch, rate 0.05).
        activation: activation of all hidden layers.
        target: target function on [−1, 1].
        samples: training points, equispaced.
        steps: optimisation steps.
        seeds: number of independent networks per case.
        eps: threshold ε.
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"depths": (2,), "widths": (25,), "samples": 64, "steps": 800}

    depths: tuple[int, ...] = (2, 4)
    widths: tuple[int, ...] = (25, 50)
    optimizers: tuple[str, ...] = ("adam", "sgd")
    activation: str = "tanh"
    target: str = "three_cosines"
    samples: int = 256
    steps: int = 6000
    seeds: int = 5
    eps: float = 1e-3

    def measure(self) -> xr.Dataset:
        """``rank`` and ``loss`` over (depth, width, optimizer, seed, step)."""
        import xarray as xr

        def case(depth: int, width: int, optimizer: str) -> xr.Dataset:
            spec = _spec(depth, width, self.activation)
            data = fit(
                spec,
                target=self.target,
                samples=self.samples,
                seeds=self.seeds,
                steps=self.steps,
                optimizer=optimizer,
                eps=self.eps,
            )
            last = data.isel(layer=-1, drop=True)
            return last.expand_dims(depth=[depth], width=[width], optimizer=[optimizer])

        cases = [case(d, n, o) for d in self.depths for n in self.widths for o in self.optimizers]
        return xr.merge(cases, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")


@dataclass(frozen=True)
class Layers(Experiment):
    """The ε-rank of every hidden layer along training (Ex. 2.6, depth 4).

    Attributes:
        depth: number of hidden layers L.
        width: neurons per hidden layer.
        optimizer: adam or sgd.
        activation: activation of all hidden layers.
        target: target function on [−1, 1].
        samples: training points.
        steps: optimisation steps.
        seeds: number of independent networks.
        eps: threshold ε.
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"samples": 64, "steps": 800}

    depth: int = 4
    width: int = 50
    optimizer: str = "adam"
    activation: str = "tanh"
    target: str = "three_cosines"
    samples: int = 256
    steps: int = 6000
    seeds: int = 5
    eps: float = 1e-3

    def measure(self) -> xr.Dataset:
        """``rank`` over (seed, step, layer) and ``loss`` over (seed, step)."""
        spec = _spec(self.depth, self.width, self.activation)
        return fit(
            spec,
            target=self.target,
            samples=self.samples,
            seeds=self.seeds,
            steps=self.steps,
            optimizer=self.optimizer,
            eps=self.eps,
        )


@dataclass(frozen=True)
class Activations(Experiment):
    """The staircase for several activations (Ex. 2.6, two hidden layers of 50).

    Attributes:
        activations: names of activations.
        depth: number of hidden layers.
        width: neurons per hidden layer.
        target: target function on [−1, 1].
        samples: training points.
        steps: optimisation steps (Adam, 1e-3).
        seeds: number of independent networks per activation.
        eps: threshold ε.
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"samples": 64, "steps": 800}

    activations: tuple[str, ...] = ("relu", "elu", "cos", "tanh")
    depth: int = 2
    width: int = 50
    target: str = "three_cosines"
    samples: int = 256
    steps: int = 4000
    seeds: int = 5
    eps: float = 1e-3

    def measure(self) -> xr.Dataset:
        """``rank`` and ``loss`` over (activation, seed, step)."""
        import xarray as xr

        def case(activation: str) -> xr.Dataset:
            data = fit(
                _spec(self.depth, self.width, activation),
                target=self.target,
                samples=self.samples,
                seeds=self.seeds,
                steps=self.steps,
                eps=self.eps,
            )
            return data.isel(layer=-1, drop=True).expand_dims(activation=[activation])

        return xr.concat([case(a) for a in self.activations], "activation", combine_attrs="drop_conflicts")


@dataclass(frozen=True)
class DeterministicInit(Experiment):
    """Ex. 4.1: a first layer whose transitions cover the interval evenly, against torch's default initialisation.

    ``deterministic`` has σ(γ(x − x_j)) with γ = n/2, so that neighbouring transitions touch; ``saturated`` has γ = 2n: still more
    linearly independent neurons at the start, but steps so sharp that they say little about a smooth target.

    Attributes:
        cases: pairs (number of hidden layers, neurons per layer).
        saturation: γ of ``saturated`` in units of n.
        activation: activation of all hidden layers.
        target: target function on [−1, 1].
        samples: training points.
        steps: optimisation steps (Adam, 1e-3).
        seeds: number of independent networks per case.
        eps: threshold ε.
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"cases": ((2, 30),), "samples": 64, "steps": 800}

    cases: tuple[tuple[int, int], ...] = ((2, 30), (4, 50))
    saturation: float = 2.0
    activation: str = "tanh"
    target: str = "three_cosines"
    samples: int = 256
    steps: int = 4000
    seeds: int = 5
    eps: float = 1e-3

    def measure(self) -> xr.Dataset:
        """``rank`` and ``loss`` over (case, init, seed, step); cases are named ``L=2, n=30``."""
        import xarray as xr

        def case(depth: int, width: int, name: str, init: Any) -> xr.Dataset:
            data = fit(
                _spec(depth, width, self.activation, init),
                target=self.target,
                samples=self.samples,
                seeds=self.seeds,
                steps=self.steps,
                eps=self.eps,
            )
            return data.isel(layer=-1, drop=True).expand_dims(case=[f"L={depth}, n={width}"], init=[name])

        rows = []
        for depth, width in self.cases:
            inits = {
                "default": "torch",
                "deterministic": Deterministic(gamma=width / 2),
                "saturated": Deterministic(gamma=self.saturation * width),
            }
            rows.append(xr.concat([case(depth, width, k, v) for k, v in inits.items()], "init", combine_attrs="drop_conflicts"))
        return xr.concat(rows, "case", combine_attrs="drop_conflicts")

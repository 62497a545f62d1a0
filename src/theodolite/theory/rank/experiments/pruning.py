"""Pruning (Cor. 3.6): interpolation against the usual ways to drop neurons, with the a-priori bounds beside the errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.data import TARGETS
from theodolite.theory.rank.measure import epsilon_rank
from theodolite.theory.rank.predict import approximation_bound
from theodolite.theory.rank.prune import prune
from theodolite.train import Ensemble, MLPSpec

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Pruning"]

PRUNERS = ("interpolation", "magnitude, refit", "random, refit", "magnitude", "random")


@dataclass(frozen=True)
class Pruning(Experiment):
    """Prune the last hidden layer of trained networks to its ε-rank, in five ways, and measure how far the output moves.

    Attributes:
        width: neurons in each of two hidden layers.
        target: target function on [−1, 1].
        samples: training points, on which errors are measured.
        steps: training steps (Adam, 1e-3).
        seeds: independent networks.
        eps: thresholds ε that set the number of neurons kept (under the empirical measure).
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"samples": 64, "steps": 800, "seeds": 3}

    width: int = 50
    target: str = "three_cosines"
    samples: int = 256
    steps: int = 6000
    seeds: int = 5
    eps: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-6)

    def measure(self) -> xr.Dataset:
        """``error`` (pruner, seed, eps), ``kept``, ``bound`` (certificate) and ``theorem_bound`` (seed, eps)."""
        import xarray as xr

        x = torch.linspace(-1, 1, self.samples, dtype=torch.float64)[:, None]
        y = TARGETS[self.target](x)[:, None]
        ensemble = Ensemble(MLPSpec((1, self.width, self.width, 1), "tanh"), self.seeds, dtype=torch.float64)
        ensemble.train(x, y, steps=self.steps, optimizer="adam", lr=1e-3, curve=False, progress=True)
        shape = (self.seeds, len(self.eps))
        error = np.zeros((len(PRUNERS), *shape))
        kept, bound, theorem = np.zeros(shape, dtype=int), np.zeros(shape), np.zeros(shape)
        for seed in range(self.seeds):
            model = ensemble.member(seed)
            for k, eps in enumerate(self.eps):
                features, beta, scale = _last_layer(model, x)
                p = int(epsilon_rank(features, eps=eps))
                _, certificate = prune(model, x, width={_last_name(model, x): p})
                kept[seed, k], bound[seed, k] = p, certificate.bound
                theorem[seed, k] = approximation_bound(self.width, p, eps, float(beta.norm())) / scale
                error[:, seed, k] = [certificate.error, *_others(features, beta, p, seed)]
        dims = ("seed", "eps")
        return xr.Dataset(
            {
                "error": (("pruner", *dims), error, {"description": "relative L² change of the output"}),
                "kept": (dims, kept, {"description": "neurons kept = ε-rank"}),
                "bound": (dims, bound, {"description": "a-priori bound with λ_{p+1} and the dropped weights"}),
                "theorem_bound": (dims, theorem, {"description": "√(ε(1+p(n−p)))‖β‖, relative"}),
            },
            {"pruner": list(PRUNERS), "seed": range(self.seeds), "eps": list(self.eps)},
        )


def _last_name(model: nn.Module, x: torch.Tensor) -> str:
    from theodolite.lens import Lens

    return Lens(model, x).layers[-1]


def _last_layer(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Features and outgoing weights of the last hidden layer, and the root mean square of the output."""
    from theodolite.lens import Lens

    lens = Lens(model, x)
    name = lens.layers[-1]
    return lens.features[name], lens.show("outgoing", name)[0], float(lens.outputs.norm()) / len(x) ** 0.5


def _others(features: torch.Tensor, beta: torch.Tensor, p: int, seed: int) -> list[float]:
    """Relative errors of magnitude and random choices, with and without a least-squares refit of the kept weights and the bias."""
    target = features @ beta
    strength = features.norm(dim=0) * beta.abs()
    choices = {
        "magnitude": strength.argsort(descending=True)[:p],
        "random": torch.randperm(len(beta), generator=generator(seed))[:p],
    }
    ones = torch.ones(len(features), 1, dtype=features.dtype)

    def refitted(index: torch.Tensor) -> float:
        columns = torch.cat([features[:, index], ones], 1)
        fit = torch.linalg.lstsq(columns, target[:, None], driver="gelsd").solution
        return float((columns @ fit - target[:, None]).norm() / target.norm())

    def plain(index: torch.Tensor) -> float:
        return float((features[:, index] @ beta[index] - target).norm() / target.norm())

    return [*(refitted(choices[m]) for m in ("magnitude", "random")), *(plain(choices[m]) for m in ("magnitude", "random"))]

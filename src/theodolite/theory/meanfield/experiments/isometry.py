"""`meanfield.jacobian_spectrum` and `meanfield.dynamical_isometry_training`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from theodolite.core.experiment import Experiment
from theodolite.core.seed import generator
from theodolite.maths.activation import identify
from theodolite.theory.meanfield import predict
from theodolite.theory.meanfield.experiments.simulation import layers, two_inputs
from theodolite.theory.meanfield.experiments.training import accuracies, digits_networks
from theodolite.theory.meanfield.measure import jacobian_products
from theodolite.theory.meanfield.predict.isometry import Weights

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DynamicalIsometryTraining", "JacobianSpectrum"]


@dataclass(frozen=True)
class JacobianSpectrum(Experiment):
    """Spectrum of JJᵀ of random networks at criticality, Gaussian and orthogonal, against free probability.

    Attributes:
        nets: (activation, q) pairs; each is put at the critical point of that q. The first two are tanh at σ_w² = 1.05 and 2.
        depths: depths at which the spectrum is taken, all from one product.
        widths: widths of the networks.
        seeds: number of networks.
        points: abscissae of the density, spread from 0 to the upper edge.
    """

    reference = "pennington2017 Fig. 1"
    small: ClassVar = {"widths": (100,), "depths": (4, 16), "seeds": 2, "points": 60}

    nets: tuple[tuple[str, float], ...] = (
        ("tanh", 0.02592094821125),
        ("tanh", 0.8213544265039),
        ("relu", 1.0),
        ("hardtanh", 0.1),
    )
    depths: tuple[int, ...] = (4, 16, 64)
    widths: tuple[int, ...] = (200, 400)
    seeds: int = 5
    points: int = 200

    def measure(self) -> xr.Dataset:
        """Eigenvalues, densities, moments and edges for both kinds of weights."""
        import xarray as xr

        kinds: tuple[Weights, ...] = ("gaussian", "orthogonal")
        shape = (len(self.nets), len(kinds), len(self.depths))
        lam, density = np.zeros((*shape, self.points)), np.zeros((*shape, self.points))
        edge, variance, atom = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        widest = max(self.widths)
        seen = np.full((*shape, len(self.widths), self.seeds, widest), np.nan)
        for i, (name, q) in enumerate(self.nets):
            point = predict.critical_point(name, q)
            for k, kind in enumerate(kinds):
                for d, depth in enumerate(self.depths):
                    edge[i, k, d] = predict.s_max(name, q, depth, kind)
                    lam[i, k, d] = edge[i, k, d] * (np.arange(self.points) + 0.5) / self.points
                    density[i, k, d] = predict.jacobian_density(lam[i, k, d], name, q, depth, kind)
                    moments = predict.jacobian_moments(name, q, point.sigma_w2, depth, kind)
                    variance[i, k, d], atom[i, k, d] = moments.variance, _atom_at_zero(name, q, depth, kind)
                for n, width in enumerate(self.widths):
                    for seed in range(self.seeds):
                        seen[i, k, :, n, seed, :width] = self._eigenvalues(name, q, point, kind, width, (seed, i, k, n))
        dims = ("net", "weights", "depth")
        return xr.Dataset(
            {
                "lam": ((*dims, "point"), lam, {"description": "squared singular values at which the density is given"}),
                "density": ((*dims, "point"), density, {"description": "density of the continuous part, N → ∞"}),
                "edge": (dims, edge, {"description": "upper edge of the spectrum, N → ∞"}),
                "variance": (dims, variance, {"description": "variance of the spectrum, N → ∞ (mean 1)"}),
                "atom": (dims, atom, {"description": "mass at 0, N → ∞"}),
                "eigenvalues": (
                    (*dims, "width", "seed", "unit"),
                    seen,
                    {"description": "eigenvalues of JJᵀ (NaN beyond the width)"},
                ),
            },
            coords={
                "net": [f"{name} q={q:.3g}" for name, q in self.nets],
                "weights": list(kinds),
                "depth": list(self.depths),
                "width": list(self.widths),
                "seed": range(self.seeds),
            },
        )

    def _eigenvalues(
        self, name: str, q: float, point: predict.CriticalPoint, kind: str, width: int, path: tuple[int, ...]
    ) -> np.ndarray:
        """Squared singular values at all depths from one product, shape (depths, width)."""
        import torch

        phi = identify(name)
        g = generator(path[0], "jacobian", *path[1:])
        z = two_inputs(width, q, 0.0, g)[:1]

        def steps():
            for weight, z_l in layers(z, phi, point.sigma_w2, point.sigma_b2, max(self.depths), kind, g):
                yield weight, torch.from_numpy(phi.derivative(z_l[0].numpy()))

        rows = []
        for product in jacobian_products(steps(), at=self.depths):
            values = torch.linalg.svdvals(product.matrix).log() + product.log_scale
            rows.append((2.0 * values).exp().numpy())
        return np.stack(rows)


def _atom_at_zero(name: str, q: float, depth: int, kind: str) -> float:
    """Mass of JJᵀ at 0: free products of projections keep the largest kernel of a factor."""
    from theodolite.maths.squared_slope import SquaredSlope

    return SquaredSlope(identify(name), q).atom


@dataclass(frozen=True)
class DynamicalIsometryTraining(Experiment):
    """Training speed on digits of deep tanh networks at criticality: orthogonal against Gaussian weights, small and large q*.

    Attributes:
        q: fixed variances; the smaller, the closer to isometry with orthogonal weights.
        depth: number of hidden layers.
        width: of them.
        steps: optimiser steps.
        lr: learning rates tried; the best per network counts.
        batch: mini-batch size.
        seeds: number of networks per setting.
    """

    reference = "pennington2017 Fig. 5"
    small: ClassVar = {"depth": 24, "width": 48, "steps": 120, "lr": (0.02, 0.5), "seeds": 2, "q": (0.03, 0.8)}

    q: tuple[float, ...] = (1 / 64, 0.1, 0.8)
    depth: int = 100
    width: int = 128
    steps: int = 1500
    lr: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    batch: int = 128
    seeds: int = 5

    def measure(self) -> xr.Dataset:
        """Losses and test accuracies of all settings, trained side by side."""
        import xarray as xr

        kinds: tuple[Weights, ...] = ("gaussian", "orthogonal")
        cases = [(kind, q, lr, seed) for kind in kinds for q in self.q for lr in self.lr for seed in range(self.seeds)]
        points = [predict.critical_point("tanh", q) for _, q, _, _ in cases]
        nets = digits_networks(
            "tanh", self.depth, self.width,
            [(p.sigma_w2, p.sigma_b2, p.q_star, kind) for p, (kind, *_) in zip(points, cases, strict=True)],
            [seed for *_, seed in cases],
        )  # fmt: skip
        loss, accuracy = accuracies(nets, self.steps, [lr for _, _, lr, _ in cases], self.batch)
        shape = (len(kinds), len(self.q), len(self.lr), self.seeds)
        variance = [
            [
                predict.jacobian_moments("tanh", q, predict.critical_point("tanh", q).sigma_w2, self.depth, k).variance
                for q in self.q
            ]
            for k in kinds
        ]
        dims = ("weights", "q", "lr", "seed")
        return xr.Dataset(
            {
                "loss": ((*dims, "step"), loss.reshape(*shape, -1), {"description": "cross-entropy of the mini-batch"}),
                "accuracy": (dims, accuracy.reshape(shape), {"description": "test accuracy after training"}),
                "variance": (("weights", "q"), variance, {"description": "variance of the spectrum of JJᵀ at initialisation"}),
            },
            coords={"weights": list(kinds), "q": list(self.q), "lr": list(self.lr), "step": np.arange(loss.shape[-1])},
            attrs={"chance_loss": math.log(10.0)},
        )

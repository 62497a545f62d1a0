"""`meanfield.correlation_flow` and `meanfield.gradient_flow`: signals forwards and gradients backwards, against depth."""

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

if TYPE_CHECKING:
    import torch
    import xarray as xr

__all__ = ["CorrelationFlow", "GradientFlow"]


def _points(activation: str, sigma_b2: float, factors: tuple[float, ...]) -> list[float]:
    """σ_w² at the given multiples of the critical one."""
    return [f * predict.critical_line(activation, sigma_b2).sigma_w2 for f in factors]


@dataclass(frozen=True)
class CorrelationFlow(Experiment):
    """Correlation of two inputs against depth in the ordered phase, at criticality and in the chaotic phase.

    Attributes:
        activation: name of φ.
        sigma_b2: variance of the biases.
        factors: σ_w² as multiples of the critical one; 1 must be among them.
        c0: initial correlation.
        depth: number of layers.
        width: of the simulated networks.
        seeds: number of simulated networks.
    """

    reference = "schoenholz2017 Fig. 2"
    small: ClassVar = {"depth": 60, "width": 200, "seeds": 3}

    activation: str = "tanh"
    sigma_b2: float = 0.05
    factors: tuple[float, ...] = (0.6, 1.0, 1.8)
    c0: float = 0.2
    depth: int = 300
    width: int = 1000
    seeds: int = 5

    def measure(self) -> xr.Dataset:
        """Recursion and simulation at every factor."""
        import xarray as xr

        phi = identify(self.activation)
        weights = _points(self.activation, self.sigma_b2, self.factors)
        theory, simulated, lengths, fixed, scale = [], [], [], [], []
        for i, w in enumerate(weights):
            flow = predict.correlation_flow(self.activation, w, self.sigma_b2, self.depth, self.c0)
            theory.append(flow.c)
            fixed.append(predict.c_star(self.activation, w, self.sigma_b2))
            scale.append(predict.depth_scales(self.activation, w, self.sigma_b2).xi_c)
            runs, ends = [], []
            for seed in range(self.seeds):
                g = generator(seed, "correlation", i)
                z = two_inputs(self.width, float(flow.q1[0]), self.c0, g)
                runs.append([self.c0])
                for _, after in layers(z, phi, w, self.sigma_b2, self.depth, "gaussian", g):
                    runs[-1].append(_cosine(after))
                ends.append(float(after[0].square().mean()))
            simulated.append(runs)
            lengths.append(ends)
        critical = predict.critical_line(self.activation, self.sigma_b2)
        law = predict.critical_law(self.activation, critical.sigma_w2, self.sigma_b2)
        return xr.Dataset(
            {
                "c": (("factor", "layer"), theory, {"description": "correlation by the recursion"}),
                "simulated": (("factor", "seed", "layer"), simulated, {"description": "correlation in random networks"}),
                "own_product": (
                    ("factor", "seed"),
                    lengths,
                    {"description": "E[z_a z_a] of one input with itself, last layer of random networks"},
                ),
                "c_star": ("factor", fixed, {"description": "fixed correlation"}),
                "xi_c": ("factor", scale, {"description": "depth scale in layers; infinite at criticality"}),
                "sigma_w2": ("factor", weights, {"description": "σ_w²"}),
                "law_exponent": ((), law.exponent, {"description": "1 − c ~ l^−exponent at criticality"}),
                "law_coefficient": ((), law.coefficient, {"description": "limit of l^exponent (1 − c)"}),
            },
            coords={"factor": list(self.factors), "layer": np.arange(self.depth + 1), "seed": range(self.seeds)},
        )


def _cosine(z: torch.Tensor) -> float:
    return float((z[0] @ z[1]) / (z[0].norm() * z[1].norm()))


@dataclass(frozen=True)
class GradientFlow(Experiment):
    """Squared gradient of each layer's weights against the layer, in the three phases, with the χ₁ of theory.

    Attributes:
        activation: name of φ.
        sigma_b2: variance of the biases.
        factors: σ_w² as multiples of the critical one.
        depth: number of layers.
        width: of the networks.
        seeds: number of networks.
    """

    reference = "schoenholz2017 Fig. 4"
    small: ClassVar = {"depth": 40, "width": 150, "seeds": 3}

    activation: str = "tanh"
    sigma_b2: float = 0.05
    factors: tuple[float, ...] = (0.6, 1.0, 1.8)
    depth: int = 150
    width: int = 500
    seeds: int = 8

    def measure(self) -> xr.Dataset:
        """Backpropagate a random error through random networks."""
        import torch
        import xarray as xr

        phi = identify(self.activation)
        weights = _points(self.activation, self.sigma_b2, self.factors)
        norms = np.empty((len(weights), self.seeds, self.depth))
        for i, w in enumerate(weights):
            q = predict.q_star(self.activation, w, self.sigma_b2)
            for seed in range(self.seeds):
                g = generator(seed, "gradient", i)
                z = [two_inputs(self.width, q, 0.0, g)[:1]]
                matrices = []
                for weight, following in layers(z[0], phi, w, self.sigma_b2, self.depth, "gaussian", g):
                    matrices.append(weight)
                    z.append(following)
                delta = torch.randn(1, self.width, dtype=torch.float64, generator=g)
                for layer in range(self.depth, 0, -1):
                    # ∂E/∂W_l = δ_l φ(z_{l−1})ᵀ, whose squared norm factorises
                    features = phi(z[layer - 1].numpy())
                    norms[i, seed, layer - 1] = float(delta.square().sum()) * float(np.square(features).sum())
                    delta = (delta @ matrices[layer - 1]) * torch.from_numpy(phi.derivative(z[layer - 1].numpy()))
        chi = [predict.chi_1(self.activation, w, self.sigma_b2) for w in weights]
        return xr.Dataset(
            {
                "gradient": (("factor", "seed", "layer"), norms, {"description": "‖∂E/∂W_l‖²_F"}),
                "chi_1": ("factor", chi, {"description": "χ₁ of theory"}),
                "sigma_w2": ("factor", weights, {"description": "σ_w²"}),
                "width": ((), self.width, {"description": "width of the networks"}),
            },
            coords={"factor": list(self.factors), "layer": np.arange(1, self.depth + 1), "seed": range(self.seeds)},
            attrs={"log10_range": math.log10(norms.max() / max(norms.min(), 1e-300))},
        )

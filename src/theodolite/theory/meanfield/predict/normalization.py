"""Normalised networks at initialisation: gradients explode under batch normalisation, and layer normalisation fixes χ.

Batch normalisation makes the pre-activations of a neuron over a batch of B samples u = √B G h/‖G h‖, G the centring projection. For
Gaussian h at the permutation-symmetric fixed point, u/√B is uniform on the unit sphere of the hyperplane Σ u_a = 0, whatever the
variances, so every expectation is an integral over one or two coordinates of a uniform point on a sphere.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.maths.activation import identify
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting, check_count
from theodolite.theory.meanfield.predict.moments import mean, second_moment, slope_moment

__all__ = ["batchnorm_gradient_growth", "layernorm_chi"]

#: Nodes per panel of the quadrature over angles.
NODES = 32
_legendre = functools.cache(np.polynomial.legendre.leggauss)


def layernorm_chi(activation: Any) -> float:
    """χ of a network with layer normalisation before each activation: E φ′²/E φ² at q = 1, whatever σ_w² and σ_b² = 0.

    Args:
        activation: φ, any elementwise callable without jumps.

    Returns:
        χ: 1 for ReLU (critical for every σ_w²), above 1 for tanh, GELU and SiLU (gradients grow by χ per layer).

    Raises:
        UnsupportedError: φ jumps. ArgumentError: φ is 0.

    Example:
        >>> import torch
        >>> round(layernorm_chi(torch.relu), 12), round(layernorm_chi(torch.tanh), 9)
        (1.0, 1.177807232)
    """
    second = float(second_moment(activation, 1.0))
    if not second > 0:
        raise ArgumentError("activation must not vanish, got E φ² = 0 at q = 1")
    return float(slope_moment(activation, 1.0)) / second


@broadcasting("batch")
def batchnorm_gradient_growth(activation: Any, batch: Any = None) -> Any:
    """Factor per layer by which the squared gradient grows backwards through batch normalisation before φ.

    For B → ∞ it is E φ′²/Var φ at q = 1. For finite B, with v uniform on the unit sphere of the hyperplane Σ v_a = 0, u = √B v and
    D = diag φ′(u): B/(s(B−3)(B−1)) · E[tr(G D G D) − vᵀ D G D v], where s = E φ(u_a)² − E φ(u_a)φ(u_b). For the identity this is
    (B−2)/(B−3).

    Args:
        activation: φ, any elementwise callable without jumps.
        batch: B ≥ 4, number or array; None for the limit of large batches.

    Returns:
        The growth of the squared gradient per layer: above 1 for every φ, so that depth explodes gradients.

    Raises:
        ArgumentError: a batch below 4, for which E 1/‖G h‖² is infinite; or φ constant.
        UnsupportedError: φ jumps.

    Domain:
        Infinite width, fresh weights, at the permutation-symmetric fixed point of the batch's kernel.

    Reference:
        yang2019 (the finite-B integral is derived here).

    Example:
        >>> import torch
        >>> round(batchnorm_gradient_growth(torch.relu), 12), round(batchnorm_gradient_growth(torch.nn.Identity(), 16), 12)
        (1.466942206924, 1.076923076923)
    """
    a = identify(activation)
    slope = a.prime
    if batch is None:
        variance = float(second_moment(a, 1.0)) - float(mean(a, 1.0)) ** 2
        return float(slope_moment(a, 1.0)) / _positive(variance)
    size = check_count(batch, "batch", 4)
    kinks = np.unique([*a.splits])
    one, two = _Sphere(size, kinks).expectations
    s = one(lambda u: a.function(u) ** 2) - two(lambda u, w: a.function(u) * a.function(w))
    slopes = one(lambda u: slope.function(u) ** 2)
    pairs = two(lambda u, w: slope.function(u) * slope.function(w))
    trace = size * (1 - 1 / size) ** 2 * slopes + (size - 1) / size * pairs
    # vᵀ D G D v = Σ (v_a φ′_a)² − (Σ v_a φ′_a)²/B, and v_a = u_a/√B
    along = one(lambda u: (u * slope.function(u)) ** 2)
    across = two(lambda u, w: u * slope.function(u) * w * slope.function(w))
    quadratic = along * (1 - 1 / size) - (size - 1) / size * across
    return size * (trace - quadratic) / (_positive(s) * (size - 3) * (size - 1))


def _positive(variance: float) -> float:
    if not variance > 1e-14:
        raise ArgumentError(f"activation must vary on a standard Gaussian, got variance {variance:.1e}")
    return variance


class _Sphere:
    """Expectations over one coordinate u_a, and over two, u_a and u_b, of u = √B v.

    u_a = √(B−1) cos θ with density ∝ sin^{B−3} θ; given u_a, u_b is ρ u_a + √(1−ρ²) √(B−1) sin θ cos ψ with ρ = −1/(B−1) and
    density ∝ sin^{B−4} ψ.
    """

    def __init__(self, size: int, kinks: Array) -> None:
        self.radius, self.rho, self.kinks = math.sqrt(size - 1.0), -1.0 / (size - 1.0), kinks
        self.theta, self.weight = self._rule(kinks / self.radius, size - 3)
        self.inner_power = size - 4

    def _rule(self, cosines: Array, power: int) -> tuple[Array, Array]:
        """Nodes and normalised weights over the angle, split where its cosine takes the given values."""
        spread = min(math.pi / 2, 14.0 / math.sqrt(power + 1.0))  # the density falls like exp(−power (θ − π/2)²/2)
        low, high = math.pi / 2 - spread, math.pi / 2 + spread
        breaks = np.arccos(np.clip(cosines, -1.0, 1.0))
        panels = np.linspace(low, high, 9)
        edges = np.unique(np.clip(np.concatenate([panels, breaks]), low, high))
        x, w = _legendre(NODES)
        half = 0.5 * np.diff(edges)[:, None]
        angle = ((0.5 * (edges[1:] + edges[:-1]))[:, None] + half * x).ravel()
        with np.errstate(divide="ignore"):
            weight = (half * w).ravel() * np.exp(power * np.log(np.sin(angle)))
        return angle, weight / weight.sum()

    @property
    def expectations(
        self,
    ) -> tuple[Callable[[Callable[[Array], Array]], float], Callable[[Callable[[Array, Array], Array]], float]]:
        """(one coordinate, two coordinates)."""
        u = self.radius * np.cos(self.theta)
        rows = []
        for first, angle in zip(u, self.theta, strict=True):
            scale = math.sqrt(1 - self.rho**2) * self.radius * math.sin(angle)
            psi, inner = self._rule((self.kinks - self.rho * first) / scale, self.inner_power)
            rows.append((self.rho * first + scale * np.cos(psi), inner))

        def one(f: Callable[[Array], Array]) -> float:
            return float(self.weight @ f(u))

        def two(f: Callable[[Array, Array], Array]) -> float:
            values = [float(inner @ f(np.full_like(w, first), w)) for first, (w, inner) in zip(u, rows, strict=True)]
            return float(self.weight @ values)

        return one, two

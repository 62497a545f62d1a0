"""The density of σ_w² φ′(√q z)², z a standard Gaussian: the spectrum of JJᵀ of a single orthogonal layer."""

from __future__ import annotations

import itertools
import math

import numpy as np

from theodolite.maths.activation import Activation
from theodolite.maths.gaussian import WINDOW, density
from theodolite.maths.resolution import Array

__all__ = ["slope_density"]

#: Points of z per piece between which preimages are bracketed, halvings of a bracket, and the step of derivatives in z.
POINTS, HALVINGS, STEP = 4096, 60, 1e-3


def slope_density(lam: Array, activation: Activation, q: float, sigma_w2: float) -> Array:
    """ρ(λ) = Σ n(z)/|d(σ_w² φ′²)/dz| over the preimages z of λ; 0 for a piecewise linear φ, whose values are all atoms.

    Args:
        lam: points, shape (k,).
        activation: φ.
        q: variance of the pre-activations.
        sigma_w2: squared gain of the orthogonal weights.

    Returns:
        (k,).

    Example:
        >>> from theodolite.maths.activation import identify
        >>> sine = identify("sin")
        >>> rho = slope_density(np.array([0.5]), sine, 1.0, 1.0)[0]  # cos² z = ½ at z = π/4 + k π/2, where |d cos² z/dz| = 1
        >>> bool(abs(rho - 2 * sum(density(np.pi / 4 + k * np.pi / 2) for k in range(9))) < 1e-9)
        True
    """
    total = np.zeros(len(lam))
    if activation.slopes is not None:
        return total
    slope, root = activation.prime.function, math.sqrt(q)

    def squared(z: Array) -> Array:
        return sigma_w2 * slope(root * z) ** 2

    inner = [k / root for k in activation.splits if abs(k) < WINDOW * root]
    edges = np.array([-WINDOW, *inner, WINDOW])
    for low, high in itertools.pairwise(edges):
        # Of a slope that jumps at an end, the value inside the piece counts.
        margin = 1e-12 * max(1.0, abs(low), abs(high))
        z = np.linspace(low + margin, high - margin, POINTS)
        excess = squared(z)[None, :] - lam[:, None]
        point, place = np.nonzero(excess[:, :-1] * excess[:, 1:] < 0)
        a, b, sign = z[place], z[place + 1], np.sign(excess[point, place])
        for _ in range(HALVINGS):
            middle = 0.5 * (a + b)
            left = np.sign(squared(middle) - lam[point]) == sign
            a, b = np.where(left, middle, a), np.where(left, b, middle)
        h = np.minimum(STEP, np.minimum(a - low, high - a) / 3.0)
        rise = (8.0 * (squared(a + h) - squared(a - h)) - squared(a + 2 * h) + squared(a - 2 * h)) / (12.0 * h)
        np.add.at(total, point, density(a) / np.abs(rise))
    return total

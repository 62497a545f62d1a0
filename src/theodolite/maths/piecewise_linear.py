"""Gaussian covariances of continuous piecewise-linear functions, by Price's theorem and the arcsine substitution.

With kinks k_i and slope jumps s_i, φ″ is a sum of delta functions, and d/dc E φ′(u)φ′(v) = √(q1 q2) E φ″(u)φ″(v) is a sum of
bivariate densities. With c = sin θ the factor 1/√(1 − c²) disappears:

    E φ′φ′ = E φ′(u) E φ′(v) + (1/2π) ∫_0^{asin c} Σ_ij s_i s_j exp(−e_ij(θ)) dθ,
    E φφ   = E φ(u) E φ(v) + √(q1 q2) [c E φ′(u) E φ′(v) + (1/2π) ∫_0^{asin c} (c − sin θ) Σ_ij s_i s_j exp(−e_ij(θ)) dθ],
    e_ij   = (k_i²/q1 − 2 k_i k_j sin θ/√(q1 q2) + k_j²/q2) / (2 cos² θ).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from theodolite.maths.activation import Activation
from theodolite.maths.gaussian import density
from theodolite.maths.resolution import Array

__all__ = ["mean", "mean_slope", "slope_covariance", "value_covariance"]

#: Gauss–Legendre nodes on each half of [0, asin c].
NODES = 48


def mean_slope(activation: Activation, q: Array) -> Array:
    """E φ′(√q z)."""
    slopes, kinks = _pieces(activation)
    below = ndtr(kinks / np.sqrt(np.maximum(q, 1e-300))[..., None])
    ends = np.concatenate([np.zeros((*q.shape, 1)), below, np.ones((*q.shape, 1))], axis=-1)
    return np.diff(ends, axis=-1) @ slopes


def mean(activation: Activation, q: Array) -> Array:
    """E φ(√q z) = A + B·0 + Σ s_i E(x − k_i)₊, the sum running over the kinks from the left."""
    slopes, kinks = _pieces(activation)
    root = np.sqrt(np.maximum(q, 1e-300))[..., None]
    at = kinks / root
    ramps = root * density(at) - kinks * ndtr(-at)
    anchor = float(kinks[0]) if len(kinks) else 0.0
    start = float(activation.function(np.array([anchor]))[0]) - slopes[0] * anchor
    return start + ramps @ np.diff(slopes)


def slope_covariance(activation: Activation, q1: Array, q2: Array, c: Array) -> Array:
    """E φ′(u) φ′(v), elementwise over arrays of one shape."""
    return mean_slope(activation, q1) * mean_slope(activation, q2) + _integral(activation, q1, q2, c, first_moment=False)


def value_covariance(activation: Activation, q1: Array, q2: Array, c: Array) -> Array:
    """E φ(u) φ(v), elementwise over arrays of one shape."""
    slopes = mean_slope(activation, q1) * mean_slope(activation, q2)
    correction = c * slopes + _integral(activation, q1, q2, c, first_moment=True)
    return mean(activation, q1) * mean(activation, q2) + np.sqrt(q1 * q2) * correction


def _pieces(activation: Activation) -> tuple[Array, Array]:
    assert activation.slopes is not None
    return np.array(activation.slopes), np.array(activation.kinks)


def _integral(activation: Activation, q1: Array, q2: Array, c: Array, *, first_moment: bool) -> Array:
    slopes, kinks = _pieces(activation)
    x, w = np.polynomial.legendre.leggauss(NODES)
    # Two panels: the second resolves what unequal kinks do near |c| = 1, where the integrand is smooth but not analytic.
    unit = np.concatenate([0.75 * 0.5 * (x + 1.0), 0.75 + 0.25 * 0.5 * (x + 1.0)])
    weight = np.concatenate([0.75 * 0.5 * w, 0.25 * 0.5 * w])
    end = np.arcsin(c)[..., None]
    theta = end * unit
    sine, cosine2 = np.sin(theta), np.maximum(np.cos(theta) ** 2, 1e-300)
    total = np.zeros(theta.shape)
    h1 = kinks / np.sqrt(np.maximum(q1, 1e-300))[..., None]
    h2 = kinks / np.sqrt(np.maximum(q2, 1e-300))[..., None]
    for i, s_i in enumerate(np.diff(slopes)):
        for j, s_j in enumerate(np.diff(slopes)):
            a, b = h1[..., i, None], h2[..., j, None]
            # (a² − 2ab sin θ + b²)/(2cos²θ) without cancellation: ((a − b)² + 2ab(1 − sin θ))/(2cos²θ), cos² = (1 − sin)(1 + sin).
            same = a * b > 0
            sign = np.where(same, 1.0, -1.0)
            exponent = 0.5 * (a - sign * b) ** 2 / cosine2 + np.abs(a * b) / (1.0 + sign * sine)
            total += s_i * s_j * np.exp(-exponent)
    if first_moment:
        total *= np.asarray(c)[..., None] - sine
    return (total @ weight) * end[..., 0] / (2.0 * math.pi)

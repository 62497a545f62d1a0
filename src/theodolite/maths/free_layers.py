"""Spectrum of a product of different free factors, each given by a sample: trained layers with the singular values they have.

S-transforms multiply. With m = the common value of all moment functions, w_k the solution of M_k(w_k) = m, the product's λ is

    λ(m) = (1 + m)/m · ∏_k m w_k/(1 + m),     M_k(w) = mean of a/(w − a) over the k-th factor's sample a,

and the density is −Im (1 + m)/(πλ) at λ + i0. One complex unknown m; each w_k follows by Newton.
"""

from __future__ import annotations

import math

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.maths.resolution import Array
from theodolite.maths.squared_slope import Complex

__all__ = ["free_product_density", "free_product_moments"]

#: Angles of λ on the way from the imaginary axis to the real one; the last one smooths the sample's point masses.
_ANGLES = 0.5 * math.pi * np.array([0.75, 0.5, 0.3, 0.15, 0.07, 0.03])
_STRIDE = 0.5


def free_product_moments(factors: list[Array]) -> tuple[float, float]:
    """(mean, variance) of the product's spectrum: means multiply and relative variances add.

    Example:
        >>> mean, variance = free_product_moments([np.array([1.0, 3.0]), np.array([2.0])])
        >>> mean, variance
        (4.0, 4.0)
    """
    mean = float(np.prod([f.mean() for f in factors]))
    relative = sum(float(f.var() / f.mean() ** 2) for f in factors)
    return mean, mean * mean * relative


def free_product_density(lam: Array, factors: list[Array], smoothing: float = 1e-3) -> Array:
    """Density of the spectrum of the free product of positive factors at ``lam``.

    Args:
        lam: points, shape (k,).
        factors: a sample of each factor's eigenvalues (squared singular values, squared slopes), each of any length.
        smoothing: imaginary part of λ relative to its size at which the density is read; a sample has no density of its own.

    Raises:
        NumericalError: the continuation lost the solution.

    Cost: O(k · Σ len(factor)) per step, about 30 steps.
    """
    out = np.zeros(len(lam))
    at = lam[lam > 0]
    if not len(at):
        return out
    means = np.array([f.mean() for f in factors])
    start = np.log(100.0 * np.maximum(at, float(means.prod())))
    m = np.exp(np.log(means).sum()) / (1j * np.exp(start))
    w = means[:, None] / m
    strides = math.ceil(float((start - np.log(at)).max()) / _STRIDE)
    path = [start + (np.log(at) - start) * k / strides + 0.5j * math.pi for k in range(1, strides + 1)]
    path += [np.log(at) + 1j * angle for angle in _ANGLES if angle > smoothing] + [np.log(at) + 1j * smoothing]
    for target in path:
        m, w, settled = _solve(m, w, target, factors)
    if not settled.all():
        raise NumericalError(
            f"the spectral equation was not solved at λ = {at[~settled][0]:.6g}; raise the smoothing or leave out that point"
        )
    out[lam > 0] = np.maximum(0.0, -((1.0 + m) / np.exp(path[-1])).imag / math.pi)
    return out


def _solve(m: Complex, w: Complex, target: Complex, factors: list[Array]) -> tuple[Complex, Complex, Array]:
    """Newton in ln m on ln λ(m) = target, each w_k carried along by its own Newton step."""
    settled = np.zeros(len(m), dtype=bool)
    count = len(factors)
    for _ in range(60):
        slopes = np.empty_like(w)
        for k, a in enumerate(factors):
            w[k], slopes[k] = _invert(a, w[k], m)
        value = np.log1p(m) - np.log(m) + count * (np.log(m) - np.log1p(m)) + np.log(w).sum(0)
        miss = value - target
        miss = miss - 2j * math.pi * np.round(miss.imag / (2.0 * math.pi))
        # d ln w_k / d m = 1/(w_k M_k′)
        slope = (count - 1) / (m * (1.0 + m)) + (1.0 / (w * slopes)).sum(0)
        step = miss / (m * slope)
        size = np.abs(step)
        m = np.where(settled, m, m * np.exp(-step * np.minimum(1.0, 0.3 / np.maximum(size, 1e-300))))
        settled = settled | (size < 1e-9)
        if settled.all():
            break
    return m, w, settled


def _invert(a: Array, w: Complex, m: Complex) -> tuple[Complex, Complex]:
    """(w, M′(w)) with M(w) = m, by Newton on 1/M, which is nearly linear in w."""
    slope = np.zeros_like(w)
    for _ in range(30):
        inverse = 1.0 / (w[:, None] - a)
        terms = inverse * (a / len(a))
        value, slope = terms.sum(1), -(terms * inverse).sum(1)
        step = (value / m - 1.0) * value / slope
        w = w - step
        if (np.abs(step) < 1e-11 * np.abs(w)).all():
            break
    return w, slope

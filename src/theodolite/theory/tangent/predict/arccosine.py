"""Closed-form dual maps of homogeneous activations and of erf on blocks, with as few passes as possible."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["erf_maps", "homogeneous_maps"]

Array = npt.NDArray[np.float64]


def homogeneous_maps(kernel: Array, r1: Array, r2: Array, a: float) -> tuple[Array, Array]:
    """(E φφ, E φ′φ′) of φ(x) = max(x, 0) + a min(x, 0).

    With c = K/(r₁r₂) and θ = arccos c: E φφ = (1−a)²/(2π) (r₁r₂ sin θ + (π−θ) K) + a K and E φ′φ′ = (1−a)²/(2π) (π−θ) + a.

    Args:
        kernel: K, ``(n, m)``.
        r1: standard deviations ``(n,)``.
        r2: standard deviations ``(m,)``.
        a: slope for negative arguments.

    Returns:
        Two fresh arrays ``(n, m)``.

    Example:
        >>> value, slope = homogeneous_maps(np.array([[0.0]]), np.ones(1), np.ones(1), 0.0)
        >>> print(round(2 * math.pi * float(value[0, 0]), 12), float(slope[0, 0]))
        1.0 0.25
    """
    tiny = np.finfo(np.float64).tiny
    product = np.multiply.outer(r1, r2)
    c = kernel / np.maximum(product, tiny)
    np.clip(c, -1.0, 1.0, out=c)
    rounding = 4.0 * np.finfo(np.float64).eps  # of the product of two parallel inputs, which is no angle
    c[c > 1.0 - rounding] = 1.0
    c[c < rounding - 1.0] = -1.0
    turn = np.arccos(c)
    np.subtract(math.pi, turn, out=turn)  # π − θ
    np.multiply(c, c, out=c)
    np.subtract(1.0, c, out=c)
    np.sqrt(c, out=c)  # sin θ
    c *= product
    weight = (1.0 - a) ** 2 / (2.0 * math.pi)
    value = turn * kernel
    value += c
    value *= weight
    turn *= weight
    if a:
        value += a * kernel
        turn += a
    return value, turn


def erf_maps(kernel: Array, u1: Array, u2: Array) -> tuple[Array, Array]:
    """(E φφ, E φ′φ′) of erf, with u = 1 + 2q: (2/π) asin(2K/√(u₁u₂)) and (4/π)/√(u₁u₂ − 4K²).

    Args:
        kernel: K, ``(n, m)``.
        u1: ``(n,)``.
        u2: ``(m,)``.

    Returns:
        Two fresh arrays ``(n, m)``.

    Example:
        >>> value, slope = erf_maps(np.array([[0.0]]), np.ones(1), np.ones(1))
        >>> print(float(value[0, 0]), round(math.pi * float(slope[0, 0]), 12))
        0.0 4.0
    """
    product = np.multiply.outer(u1, u2)
    twice = 2.0 * kernel
    value = twice / np.sqrt(product)
    np.arcsin(value, out=value)
    value *= 2.0 / math.pi
    np.multiply(twice, twice, out=twice)
    product -= twice
    np.sqrt(product, out=product)
    return value, np.divide(4.0 / math.pi, product, out=product)

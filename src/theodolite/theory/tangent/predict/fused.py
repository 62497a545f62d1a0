"""The whole depth of a kernel recursion in one sweep over a block, compiled: a row stays in the first-level cache for all layers.

The library's arc sine is a call per entry that no loop vectorises over. Here asin t = t + t³ g(t²) for t ≤ ½, with g a polynomial
interpolated at Chebyshev points when the module loads (its singularity t² = 1 lies so far off that degree 12 reaches rounding), and
larger arguments are reduced by asin t = π/2 − 2 asin √((1 − t)/2).
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["erf_layers", "homogeneous_layers"]

Array = npt.NDArray[np.float64]


def _interpolated() -> tuple[float, ...]:
    """Coefficients of g in x = 8 t² − 1 for t in [0, ½], lowest first; g(z) = Σ_n a_n z^(n−1), a_n = (2n)!/(4ⁿ n!² (2n+1))."""
    series = [math.comb(2 * n, n) / 4.0**n / (2 * n + 1) for n in range(1, 40)]

    def function(x: Array) -> Array:
        return np.asarray(np.polynomial.polynomial.polyval((x + 1.0) / 8.0, series), dtype=np.float64)

    found = np.polynomial.chebyshev.Chebyshev.interpolate(function, 12)
    return tuple(float(c) for c in np.polynomial.chebyshev.cheb2poly(found.coef))


_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12 = _interpolated()


@numba.njit(inline="always")
def _asin(t: float) -> float:
    """Arc sine on [−1, 1], without a call, so that loops over it vectorise."""
    size = abs(t)
    large = size > 0.5
    z = 0.5 * (1.0 - size) if large else size * size
    root = math.sqrt(z) if large else size
    x = 8.0 * z - 1.0
    p = _C12
    p = p * x + _C11
    p = p * x + _C10
    p = p * x + _C9
    p = p * x + _C8
    p = p * x + _C7
    p = p * x + _C6
    p = p * x + _C5
    p = p * x + _C4
    p = p * x + _C3
    p = p * x + _C2
    p = p * x + _C1
    p = p * x + _C0
    p = root + root * z * p
    angle = 0.5 * math.pi - 2.0 * p if large else p
    return angle if t >= 0.0 else -angle


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc", "arcp"})
def homogeneous_layers(
    kernel: Array, tangent: Array, r1: Array, r2: Array, a: float, w2: float, b2: float, gradients: Array
) -> None:
    """All layers of φ(x) = max(x, 0) + a min(x, 0) in place.

    Args:
        kernel: K⁰ ``(n, m)``, becomes K^L.
        tangent: Θ⁰ ``(n, m)``, becomes Θ^L.
        r1: standard deviations before each layer, ``(L, n)``.
        r2: the same of the columns, ``(L, m)``.
        a: slope for negative arguments.
        w2: σ_w².
        b2: σ_b².
        gradients: per layer (g_w, g_b) of Θ′ = g_w E φφ + g_b + σ_w² E φ′φ′ Θ, ``(L, 2)``.
    """
    weight = (1.0 - a) ** 2 / (2.0 * math.pi)
    edge = 1.0 - 4.0 * 2.220446049250313e-16
    for i in range(kernel.shape[0]):
        k_row, t_row = kernel[i], tangent[i]
        for layer in range(r1.shape[0]):
            root, others = r1[layer, i], r2[layer]
            g_w, g_b = gradients[layer, 0], gradients[layer, 1]
            for j in range(kernel.shape[1]):
                product = root * others[j]
                c = k_row[j] / max(product, 2.2250738585072014e-308)
                c = 1.0 if c > edge else c
                c = -1.0 if c < -edge else c
                turn = 0.5 * math.pi + _asin(c)  # π − θ
                value = weight * (product * math.sqrt(1.0 - c * c) + turn * k_row[j]) + a * k_row[j]
                t_row[j] = g_w * value + g_b + w2 * (weight * turn + a) * t_row[j]
                k_row[j] = w2 * value + b2


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc", "arcp"})
def erf_layers(kernel: Array, tangent: Array, v1: Array, v2: Array, w2: float, b2: float, gradients: Array) -> None:
    """All layers of erf in place; arguments as in `homogeneous_layers`, with v = 1/√(1 + 2q) for the standard deviations."""
    for i in range(kernel.shape[0]):
        k_row, t_row = kernel[i], tangent[i]
        for layer in range(v1.shape[0]):
            own, others = v1[layer, i], v2[layer]
            g_w, g_b = gradients[layer, 0], gradients[layer, 1]
            for j in range(kernel.shape[1]):
                inverse = own * others[j]
                t = 2.0 * k_row[j] * inverse
                value = 2.0 / math.pi * _asin(t)
                slope = 4.0 / math.pi * inverse / math.sqrt(1.0 - t * t)
                t_row[j] = g_w * value + g_b + w2 * slope * t_row[j]
                k_row[j] = w2 * value + b2

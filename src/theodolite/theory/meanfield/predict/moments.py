"""Gaussian moments of one activation along q, as functions of log q: what every map, fixed point and depth scale is made of."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.maths.activation import Activation, identify
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import integrate
from theodolite.maths.resolution import Array, chebyshev_points

__all__ = ["MomentTable", "fourth_slope_moment", "mean", "moment_table", "second_moment", "slope_moment", "variance_slope"]

#: Panels of the table: a factor of four in q each, from 2⁻⁴⁸ on.
LOW, FACTOR, NODES = 2.0**-48, 4.0, 24
#: Beyond this variance a recursion counts as divergent.
LARGEST = 2.0**32


def _closed(activation: Activation) -> bool:
    return dual(activation).form in ("closed form", "Owen")


def mean(activation: Any, q: Any) -> Array:
    """E φ(√q z)."""
    a = identify(activation)
    return integrate(lambda x, z: a.function(x), q, a)


def second_moment(activation: Any, q: Any) -> Array:
    """E φ(√q z)²."""
    a = identify(activation)
    q = np.asarray(q, dtype=np.float64)
    if _closed(a):
        return np.asarray(dual(a).value(q, q, 1.0))
    return integrate(lambda x, z: a.function(x) ** 2, q, a)


def slope_moment(activation: Any, q: Any) -> Array:
    """E φ′(√q z)²: χ₁ = σ_w² times this."""
    a = identify(activation)
    q = np.asarray(q, dtype=np.float64)
    slope = a.prime
    if _closed(a):
        return np.asarray(dual(a).derivative(q, q, 1.0))
    return integrate(lambda x, z: slope.function(x) ** 2, q, a)


def fourth_slope_moment(activation: Any, q: Any) -> Array:
    """E φ′(√q z)⁴."""
    a = identify(activation)
    slope = a.prime
    return integrate(lambda x, z: slope.function(x) ** 4, q, a)


def variance_slope(activation: Any, q: Any) -> Array:
    """d E φ(√q z)² / dq: Q′(q) = σ_w² times this.

    E[φφ′z]/√q, which is E φ′² + E φφ″; for a φ that jumps E[φ²(z² − 1)]/(2q), which asks for no slope.
    """
    a = identify(activation)
    q = np.maximum(np.asarray(q, dtype=np.float64), 1e-24)
    if a.jumps:
        return integrate(lambda x, z: a.function(x) ** 2 * (z * z - 1.0), q, a) / (2.0 * q)
    return integrate(lambda x, z: a.function(x) * a.derivative(x) * z, q, a) / np.sqrt(q)


@dataclass
class MomentTable:
    """log(E φ²/q) and log E φ′² as piecewise Chebyshev series in log q, built panel by panel on demand; relative error about 1e-15.

    Both moments are analytic in log q in the strip |Im| < π/2, so that 24 nodes per factor of four converge to rounding; their
    logarithms keep the relative accuracy of moments that grow fast.
    """

    activation: Activation
    _series: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    _plain: dict[int, tuple[list[float], ...]] = field(default_factory=dict)

    def _panel(self, index: int) -> tuple[Array, Array]:
        if index not in self._series:
            points, matrix = chebyshev_points(NODES)
            q = LOW * FACTOR ** (index + 0.5 * (points + 1.0))
            with np.errstate(over="ignore"):
                slopes = np.ones(NODES) if self.activation.jumps else slope_moment(self.activation, q)
                moments = [second_moment(self.activation, q), slopes]
            if not np.isfinite(moments).all():
                raise NumericalError(f"E φ² of {self.activation.name} overflows at q = {q.max():.3g}")
            second, slope = (matrix @ np.log(np.maximum(m, 1e-300)) for m in (moments[0] / q, moments[1]))
            self._series[index] = second, slope
        return self._series[index]

    def _evaluate(self, which: int, q: Array) -> tuple[Array, Array]:
        """(moment, d moment / d log q)."""
        if not q.size:
            return np.zeros(q.shape), np.zeros(q.shape)
        place = np.log(np.maximum(q, LOW) / LOW) / math.log(FACTOR)
        index = np.floor(place).astype(int)
        needed, row = np.unique(index, return_inverse=True)
        series = np.stack([self._panel(int(i))[which] for i in needed], 1)
        slopes = np.polynomial.chebyshev.chebder(series, axis=0) * (2.0 / math.log(FACTOR))
        x = (2.0 * (place - index) - 1.0).ravel()
        row = row.ravel()
        value = np.exp(np.polynomial.chebyshev.chebval(x, series[:, row], tensor=False))
        slope = value * np.polynomial.chebyshev.chebval(x, slopes[:, row], tensor=False)
        return value.reshape(q.shape), slope.reshape(q.shape)

    def second(self, q: Array) -> tuple[Array, Array]:
        """E φ² and its derivative in log q."""
        ratio, change = self._evaluate(0, q)
        return q * ratio, q * (ratio + change)

    def slope(self, q: Array) -> tuple[Array, Array]:
        """E φ′² and its derivative in log q."""
        _ = self.activation.prime  # refuses a φ that jumps, with the reason
        return self._evaluate(1, q)

    def at(self, q: float) -> tuple[float, float]:
        """(E φ², E φ′²) at one variance, for recursions: a hundred times faster than arrays of one entry; E φ′² is NaN if φ jumps."""
        place = math.log(max(q, LOW) / LOW) / math.log(FACTOR)
        index = math.floor(place)
        if index not in self._plain:
            self._plain[index] = tuple(series.tolist() for series in self._panel(index))
        x = 2.0 * (place - index) - 1.0
        second, slope = self._plain[index]
        return q * math.exp(_clenshaw(second, x)), math.nan if self.activation.jumps else math.exp(_clenshaw(slope, x))


def _clenshaw(series: list[float], x: float) -> float:
    """Σ a_n T_n(x)."""
    first = second = 0.0
    for coefficient in reversed(series[1:]):
        first, second = coefficient + 2.0 * x * first - second, first
    return series[0] + x * first - second


@functools.lru_cache(maxsize=64)
def _table(activation: Activation) -> MomentTable:
    return MomentTable(activation)


def moment_table(activation: Any) -> MomentTable:
    """The one table of an activation."""
    return _table(identify(activation))

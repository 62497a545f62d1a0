"""D(q, c) = E φ′(u)φ′(v) and its mean over [c, 1], as Chebyshev series that resolve the neighbourhood of c = 1 at every variance."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.maths.activation import Activation, identify
from theodolite.maths.dual import dual
from theodolite.maths.resolution import Array, chebyshev_points
from theodolite.theory.meanfield.predict.moments import FACTOR, LOW

__all__ = ["SlopeSeries", "SlopeTable", "slope_table"]

#: Chebyshev terms in θ: the first number is tried, and its nodes are among those of the second.
TERMS = (40, 120)
#: Numbers of nodes in log q of a panel that are tried.
NODES = (14, 18, 24)
#: Last coefficients, relative to the largest, at which a series is complete.
COMPLETE = 1e-14


@dataclass(frozen=True)
class SlopeSeries:
    """Series at one variance per column; arrays (terms, columns).

    With c = cos θ, θ = s sinh(κ t) and t ∈ [0, 1] mapped to [−1, 1], s = (1 + q)^(−1/2) and κ = arsinh(π/2s): a function that
    lives on θ ~ 1/√q and one that lives on θ ~ 1 are both smooth in t.

    Attributes:
        slope: coefficients of D.
        mean: coefficients of M(c), the mean of D over [c, 1].
        scale: s, for each column.
    """

    slope: Array
    mean: Array
    scale: Array

    def take(self, columns: NDArray[np.intp]) -> SlopeSeries:
        """The series of these columns."""
        return SlopeSeries(self.slope[:, columns], self.mean[:, columns], self.scale[columns])

    def at(self, theta: Array) -> tuple[Array, Array]:
        """(D, M) at one θ per column."""
        x = _variable(theta, self.scale)
        return tuple(np.polynomial.chebyshev.chebval(x, part, tensor=False) for part in (self.slope, self.mean))  # type: ignore[return-value]

    def derivatives_at_one(self) -> tuple[Array, Array]:
        """(dD/dθ, d²D/dθ²) at θ = 0, that is at c = 1, one per column."""
        chebyshev = np.polynomial.chebyshev
        rate = 2.0 / (self.scale * _stretch(self.scale))
        # θ is odd in t, so that its second derivative vanishes at t = 0.
        first, second = (chebyshev.chebval(-1.0, chebyshev.chebder(self.slope, order)) for order in (1, 2))
        return rate * first, rate**2 * second


def _stretch(scale: Any) -> Any:
    """κ(s)."""
    return np.arcsinh(0.5 * math.pi / scale)


def _variable(theta: Array, scale: Any) -> Array:
    """Chebyshev variable 2t − 1 of θ."""
    return np.clip(2.0 * np.arcsinh(theta / scale) / _stretch(scale) - 1.0, -1.0, 1.0)


class SlopeTable:
    """`SlopeSeries` of one activation: computed at the variances asked for, or interpolated in log q over panels of a factor four.

    1 − C(c) = σ_w² (1 − c) M, so that the fixed correlation solves σ_w² M = 1: no difference of nearly equal numbers appears next
    to c = 1.
    """

    def __init__(self, activation: Activation) -> None:
        self.map = dual(activation).slope_covariance
        self._panels: dict[int, tuple[Array, Array]] = {}

    def series(self, q: Array) -> SlopeSeries:
        """Series at each variance of a vector."""
        scale = 1.0 / np.sqrt(1.0 + q)
        slopes = [self._slope(float(v)) for v in q]
        means = [_averaged(slope, float(s)) for slope, s in zip(slopes, scale, strict=True)]
        return SlopeSeries(_columns(slopes), _columns(means), scale)

    def interpolated(self, q: Array) -> SlopeSeries:
        """As `series`, interpolated in log q from nodes shared by all calls, where there are more entries than nodes."""
        place = np.log(q / LOW) / math.log(FACTOR)
        index = np.floor(place).astype(int)
        parts: list[tuple[NDArray[np.bool_], Array, Array]] = []
        for i in map(int, np.unique(index)):
            here = index == i
            if i not in self._panels and here.sum() <= NODES[0]:
                exact = self.series(q[here])
                parts.append((here, exact.slope, exact.mean))
                continue
            if i not in self._panels:
                self._panels[i] = self._panel(i)
            slope, mean = self._panels[i]
            basis = np.polynomial.chebyshev.chebvander(2.0 * (place[here] - i) - 1.0, len(slope) - 1).T
            parts.append((here, slope.T @ basis, mean.T @ basis))
        terms = max(len(slope) for _, slope, _ in parts)
        out = SlopeSeries(np.zeros((terms, len(q))), np.zeros((terms, len(q))), 1.0 / np.sqrt(1.0 + q))
        for here, slope, mean in parts:
            out.slope[: len(slope), here], out.mean[: len(mean), here] = slope, mean
        return out

    def _panel(self, i: int) -> tuple[Array, Array]:
        """Coefficients in log q of those in θ, arrays (nodes, terms); as many nodes as a probe at two angles needs."""
        for count in NODES:
            nodes, matrix = chebyshev_points(count)
            q = LOW * FACTOR ** (i + 0.5 * (nodes + 1.0))
            probes = np.stack([self._at(q, 1.0 / (1.0 + q)), self._at(q, np.full(count, 0.95))])
            coefficients = probes @ matrix.T
            if np.abs(coefficients[:, -2:]).max() <= COMPLETE * np.abs(coefficients).max():
                break
        series = self.series(q)
        return matrix @ series.slope.T, matrix @ series.mean.T

    def _slope(self, q: float) -> Array:
        """Coefficients of D; few terms where they suffice to rounding."""
        scale = 1.0 / math.sqrt(1.0 + q)
        few, all_ = (_angles(terms, scale) for terms in TERMS)
        shared = np.abs(few[:, None] - all_).argmin(1)
        values = np.empty(TERMS[1])
        values[shared] = self._at(np.full(TERMS[0], q), np.cos(few))
        series = chebyshev_points(TERMS[0])[1] @ values[shared]
        if np.abs(series[-4:]).max() <= COMPLETE * np.abs(series).max():
            return series
        others = np.setdiff1d(np.arange(TERMS[1]), shared)
        values[others] = self._at(np.full(len(others), q), np.cos(all_[others]))
        return chebyshev_points(TERMS[1])[1] @ values

    def _at(self, q: Array, c: Array) -> Array:
        return self.map(q, q, c)


def _angles(terms: int, scale: float) -> Array:
    """θ at the Chebyshev points in t."""
    points, _ = chebyshev_points(terms)
    return scale * np.sinh(_stretch(scale) * 0.5 * (points + 1.0))


def _columns(series: list[Array]) -> Array:
    """Vectors of one or two lengths as columns, filled up with zeros."""
    out = np.zeros((max(map(len, series)), len(series)))
    for column, values in zip(out.T, series, strict=True):
        column[: len(values)] = values
    return out


def _averaged(slope: Array, scale: float) -> Array:
    """Coefficients of M(θ) = ∫_0^θ D sin / (1 − cos θ), as many as those of D."""
    points, matrix = chebyshev_points(len(slope))
    x, w = np.polynomial.legendre.leggauss(64)
    stretch, t = float(_stretch(scale)), 0.5 * (points + 1.0)
    inner = 0.5 * t[:, None] * (x + 1.0)
    theta = scale * np.sinh(stretch * inner)
    weight = 0.5 * t[:, None] * w * np.sin(theta) * scale * stretch * np.cosh(stretch * inner)
    whole = 2.0 * np.sin(0.5 * scale * np.sinh(stretch * t)) ** 2
    values = np.polynomial.chebyshev.chebval(2.0 * inner - 1.0, slope)
    return matrix @ ((weight * values).sum(1) / whole)


@functools.lru_cache(maxsize=64)
def _slope_table(activation: Activation) -> SlopeTable:
    return SlopeTable(activation)


def slope_table(activation: Any) -> SlopeTable:
    """The one table of an activation."""
    return _slope_table(identify(activation))

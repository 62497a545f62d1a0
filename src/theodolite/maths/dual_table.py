"""Chebyshev tables of a Gaussian covariance in θ = arccos c, and in the logarithms of the variances when these differ."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.maths.resolution import Array, chebyshev_points

__all__ = ["DualTable"]

Covariance = Callable[[Array, Array, Array], Array]

#: Chebyshev terms in θ that are tried, and the size of the last ones at which to stop.
THETA_TERMS = (32, 64, 128, 256)
TOLERANCE = 2e-14
#: Variances up to this number of distinct ones are tabulated exactly.
FEW = 6
#: Nodes per factor of four in variance: the moments are analytic in log q with singularities at imaginary part ±π/2 or more.
NODES_PER_FACTOR_4 = 24
_CHUNK = 65_536


class DualTable:
    """E φφ and E φ′φ′ on [0, π] in θ, built on demand for the variances that are asked for.

    For each pair of nodal variances the map is a Chebyshev series in θ, analytic on the closed interval also for kinked φ (the
    √(1 − c²) of a kink is sin θ). With at most `FEW` distinct variances these are the nodes; else the nodes are Chebyshev points
    in log q, and entries are interpolated.
    """

    def __init__(self, covariance: Covariance, slope_covariance: Covariance) -> None:
        self.maps = {"value": covariance, "derivative": slope_covariance}
        self._series: dict[tuple[str, float, float], Array] = {}

    def evaluate(self, which: str, q1: Array, q2: Array, c: Array) -> Array:
        """The map ``which`` on broadcast arrays.

        Raises:
            NumericalError: the variances span more than a factor of 4⁸; a table over them would not pay.
        """
        shape = np.broadcast_shapes(q1.shape, q2.shape, c.shape)
        distinct = np.unique(np.concatenate([q1.ravel(), q2.ravel()]))
        theta = np.arccos(np.broadcast_to(c, shape))
        if len(distinct) <= FEW:
            return self._on_few(which, distinct, np.broadcast_to(q1, shape), np.broadcast_to(q2, shape), theta)
        return self._interpolated(which, distinct, q1, q2, theta)

    def series(self, which: str, q1: float, q2: float) -> Array:
        """Chebyshev coefficients in 2θ/π − 1 for one pair of variances."""
        key = (which, *sorted((q1, q2)))
        if key not in self._series:
            if len(self._series) > 20_000:
                self._series.clear()
            self._series[key] = self._expand(self.maps[which], key[1], key[2])
        return self._series[key]

    @staticmethod
    def _expand(map_: Covariance, q1: float, q2: float) -> Array:
        for terms in THETA_TERMS:
            points, matrix = chebyshev_points(terms)
            c = np.cos(0.5 * math.pi * (points + 1.0))
            values = map_(np.full(terms, q1), np.full(terms, q2), c)
            coefficients = matrix @ values
            if np.abs(coefficients[-4:]).max() <= TOLERANCE * np.abs(values).max():
                break
        return coefficients

    def _on_few(self, which: str, distinct: Array, q1: Array, q2: Array, theta: Array) -> Array:
        out = np.empty(theta.shape)
        i, j = np.searchsorted(distinct, q1), np.searchsorted(distinct, q2)
        for a in range(len(distinct)):
            for b in range(len(distinct)):
                at = (i == a) & (j == b)
                if at.all():
                    return _clenshaw(self.series(which, distinct[a], distinct[b]), theta)
                if at.any():
                    out[at] = _clenshaw(self.series(which, distinct[a], distinct[b]), theta[at])
        return out

    def _interpolated(self, which: str, distinct: Array, q1: Array, q2: Array, theta: Array) -> Array:
        if distinct[0] <= 0.0:
            raise NumericalError("a table over many variances needs them positive; leave out the samples of variance zero")
        low, high = math.log(distinct[0]), math.log(distinct[-1])
        if high - low > 8 * math.log(4.0):
            raise NumericalError(
                f"the variances span [{distinct[0]:.3g}, {distinct[-1]:.3g}], too wide for one table; normalise the inputs"
            )
        # The half-width in log q against the nearest singularity at ±iπ/2 gives the rate of convergence.
        ratio = math.pi / max(high - low, 1e-9)
        rate = math.log(ratio + math.sqrt(ratio * ratio + 1.0))
        m = max(3, min(8 * NODES_PER_FACTOR_4, math.ceil(34.0 / rate)))
        points, matrix = chebyshev_points(m)
        nodes = np.exp(0.5 * (low + high) + 0.5 * (high - low) * points)
        terms = max(len(self.series(which, a, b)) for a in nodes for b in nodes)
        table = np.zeros((m, m, terms))
        for i, a in enumerate(nodes):
            for j, b in enumerate(nodes):
                row = self.series(which, a, b)
                table[i, j, : len(row)] = row
        # To coefficients in both variances, so that an entry is T(q1)ᵀ · table · T(q2).
        table = np.einsum("ai,bj,ijk->abk", matrix, matrix, table, optimize=True)
        t1, t2 = (self._basis(np.log(q), low, high, m) for q in (q1, q2))
        return _contract(table, t1, t2, theta)

    @staticmethod
    def _basis(log_q: Array, low: float, high: float, m: int) -> Array:
        x = np.clip((2.0 * log_q - low - high) / max(high - low, 1e-300), -1.0, 1.0)
        return np.polynomial.chebyshev.chebvander(x, m - 1)


def _clenshaw(coefficients: Array, theta: Array) -> Array:
    # T_k(x) as cos(k arccos x) would cost a cosine per term; Clenshaw's recursion costs two flops.
    out = np.empty(theta.size)
    flat = theta.ravel()
    for start in range(0, flat.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        out[part] = np.polynomial.chebyshev.chebval(flat[part] * (2.0 / math.pi) - 1.0, coefficients)
    return out.reshape(theta.shape)


def _contract(table: Array, t1: Array, t2: Array, theta: Array) -> Array:
    """Σ_abk T_a(q1) T_b(q2) T_k(θ) table_abk, entry by entry in chunks."""
    m, _, terms = table.shape
    t1 = np.broadcast_to(t1, (*theta.shape, m)).reshape(-1, m)
    t2 = np.broadcast_to(t2, (*theta.shape, m)).reshape(-1, m)
    x = theta.ravel() * (2.0 / math.pi) - 1.0
    out = np.empty(x.size)
    step = max(64, 4_000_000 // (m * terms))
    for start in range(0, x.size, step):
        part = slice(start, start + step)
        by_angle = np.polynomial.chebyshev.chebvander(x[part], terms - 1)  # (p, k)
        rows = (t1[part] @ table.reshape(m, -1)).reshape(-1, m, terms)  # (p, b, k)
        out[part] = np.einsum("pb,pbk,pk->p", t2[part], rows, by_angle, optimize=True)
    return out.reshape(theta.shape)

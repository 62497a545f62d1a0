"""Chebyshev tables of a Gaussian covariance in θ = arccos c, and in the logarithms of the variances when these differ."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from theodolite.maths.hermite import REACH
from theodolite.maths.resolution import Array, chebyshev_points

__all__ = ["DualTable"]

Covariance = Callable[[Array, Array, Array], Array]

#: Chebyshev terms in θ that are tried, and the size of the last ones at which to stop.
THETA_TERMS = (32, 64, 128, 256)
TOLERANCE = 2e-14
#: Variances up to this number of distinct ones are tabulated exactly.
FEW = 6
#: Largest ratio of variances in one table.
WIDEST = 1e4
#: What a table over many variances costs, in entries away from |c| = 1, and what one next to it costs.
ENTRIES, CLOSE = 2_000_000, 80
_CHUNK = 65_536


class DualTable:
    """E φφ and E φ′φ′ on [0, π] in θ, built on demand for the variances that are asked for.

    For each pair of nodal variances the map is a Chebyshev series in θ, analytic on the closed interval also for kinked φ (the
    √(1 − c²) of a kink is sin θ). With at most `FEW` distinct variances these are the nodes; else the nodes are Chebyshev points
    in log q, and entries are interpolated.

    Args:
        covariance: (q1, q2, c) -> E φφ on arrays of one shape.
        slope_covariance: (q1, q2, c) -> E φ′φ′, likewise.
        few_only: the maps are cheap enough for many variances, so that only a table over few of them pays.
    """

    def __init__(self, covariance: Covariance, slope_covariance: Covariance, *, few_only: bool = False) -> None:
        self.maps = {"value": covariance, "derivative": slope_covariance}
        self.few_only = few_only
        self._series: dict[tuple[str, float, float], Array] = {}

    def pays(self, q1: Array, q2: Array, c: Array) -> bool:
        """Whether a table over these variances is possible and cheaper than entry by entry."""
        distinct = np.unique(np.concatenate([q1.ravel(), q2.ravel()]))
        if len(distinct) <= FEW:
            return True
        if self.few_only or distinct[0] <= 0 or distinct[-1] / distinct[0] > WIDEST:
            return False
        close = (np.abs(c) > REACH) & (np.abs(c) < 1.0)
        return np.broadcast(q1, q2, c).size + CLOSE * int(close.sum()) > ENTRIES

    def evaluate(self, which: str, q1: Array, q2: Array, c: Array) -> Array:
        """The map ``which`` on broadcast arrays."""
        shape = np.broadcast_shapes(q1.shape, q2.shape, c.shape)
        distinct = np.unique(np.concatenate([q1.ravel(), q2.ravel()]))
        theta = np.arccos(np.broadcast_to(c, shape))
        if len(distinct) <= FEW:
            return self._on_few(which, distinct, np.broadcast_to(q1, shape), np.broadcast_to(q2, shape), theta)
        return self._interpolated(which, distinct, q1, q2, theta)

    def series(self, which: str, q1: float, q2: float) -> Array:
        """Chebyshev coefficients in 2θ/π − 1 for one pair of variances."""
        key = (which, min(q1, q2), max(q1, q2))
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
        low, high = math.log(distinct[0]), math.log(distinct[-1])
        nodes, matrix = self._variance_nodes(which, low, high)
        m = len(nodes)
        rows = [[self.series(which, a, b) for b in nodes] for a in nodes]
        table = np.zeros((max(len(r) for row in rows for r in row), m, m))
        for i, row in enumerate(rows):
            for j, r in enumerate(row):
                table[: len(r), i, j] = r
        # To coefficients in both variances, so that an entry is Σ_k T_k(θ) · T(q1)ᵀ table_k T(q2).
        table = matrix @ table @ matrix.T
        t1, t2 = (self._basis(np.log(q), low, high, m) for q in (q1, q2))
        if theta.ndim == 2 and q1.shape[-1:] == (1,) and (q2.ndim == 1 or q2.shape[0] == 1):
            return _on_gram(table, t1.reshape(-1, m), t2.reshape(-1, m), theta)
        return _entry_by_entry(table, t1, t2, theta)

    def _variance_nodes(self, which: str, low: float, high: float) -> tuple[Array, Array]:
        """Chebyshev nodes in log q, as many as a probe along the diagonal and one along an axis need."""
        for m in (4, 6, 8, 11, 15, 20, 26, 36, 50):
            points, matrix = chebyshev_points(m)
            nodes = np.exp(0.5 * (low + high) + 0.5 * (high - low) * points)
            middle = np.full(m, math.exp(0.5 * (low + high)))
            half = np.full(m, 0.5)
            probes = np.stack([self.maps[which](nodes, middle, half), self.maps[which](middle, nodes, 1.9 * half)])
            tail = np.abs(probes @ matrix[-2:].T).max()
            if tail <= 4.0 * TOLERANCE * np.abs(probes).max():
                break
        return nodes, matrix

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


def _on_gram(table: Array, t1: Array, t2: Array, theta: Array) -> Array:
    """Σ_k T_k(θ_ij) (t1 table_k t2ᵀ)_ij by Clenshaw's recursion on blocks of rows: one small matrix product per term."""
    out = np.empty(theta.shape)
    step = max(1, 32_768 // theta.shape[1])
    right = table @ t2.T  # (k, m, n)
    for start in range(0, len(theta), step):
        part = slice(start, start + step)
        x = theta[part] * (4.0 / math.pi) - 2.0  # twice the Chebyshev variable
        later, now = np.zeros_like(x), np.zeros_like(x)
        for k in range(len(table) - 1, 0, -1):
            later, now = now, t1[part] @ right[k] + x * now - later
        out[part] = t1[part] @ right[0] + 0.5 * x * now - later
    return out


def _entry_by_entry(table: Array, t1: Array, t2: Array, theta: Array) -> Array:
    """Σ_kab T_k(θ) T_a(q1) T_b(q2) table_kab for variances in no particular order."""
    terms, m, _ = table.shape
    t1 = np.broadcast_to(t1, (*theta.shape, m)).reshape(-1, m)
    t2 = np.broadcast_to(t2, (*theta.shape, m)).reshape(-1, m)
    x = theta.ravel() * (2.0 / math.pi) - 1.0
    flat = np.ascontiguousarray(table.transpose(1, 2, 0)).reshape(m * m, terms)
    out = np.empty(x.size)
    for start in range(0, x.size, 8192):
        part = slice(start, start + 8192)
        both = (t1[part, :, None] * t2[part, None, :]).reshape(-1, m * m)
        out[part] = np.einsum("pk,pk->p", both @ flat, np.polynomial.chebyshev.chebvander(x[part], terms - 1))
    return out.reshape(theta.shape)

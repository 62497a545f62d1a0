"""The kernel recursion of infinitely wide fully connected networks, block by block.

NTK parameterisation (W = σ_w ω/√fan_in, b = σ_b β; ω, β standard normal and trained):

    K⁰ = σ_w² x·x′/d + σ_b²,   K^{l+1} = σ_w² E φ(u)φ(v) + σ_b²,   Θ⁰ = K⁰,   Θ^{l+1} = K^{l+1} + σ_w² E φ′(u)φ′(v) Θ^l,

with (u, v) Gaussian of covariance K^l; ``depth`` counts the hidden layers, that is the applications of φ.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from theodolite.theory.tangent.predict.layers import Layer, Scales, layer_of

__all__ = ["Recursion"]

Array = npt.NDArray[np.float64]

#: Rows of a block whose temporaries stay in the second-level cache.
_BLOCK = 256
#: Entries times layers of a block from which on loading the compiled sweep pays.
_SWEEP_FROM = 100_000
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Recursion:
    """The settings of a fully connected recursion; picklable where the activation is.

    Attributes:
        depth: number of hidden layers.
        activation: φ.
        sigma_w2: variance of weights times fan-in.
        sigma_b2: variance of biases.
        widths: for the standard parameterisation, the widths n_1..n_depth that weight gradients scale with; None for NTK.
        bias: for the standard parameterisation, whether layers have a bias.
    """

    depth: int
    activation: Any
    sigma_w2: float
    sigma_b2: float
    widths: tuple[float, ...] | None = None
    bias: bool = False

    def variances(self, x: Array) -> list[Array]:
        """q at every layer, ``(depth + 1)`` arrays ``(N,)``."""
        layer = layer_of(self.activation)
        found = [self.sigma_w2 * np.einsum("nd,nd->n", x, x) / x.shape[1] + self.sigma_b2]
        for _ in range(self.depth):
            found.append(self.sigma_w2 * layer.variance(found[-1]) + self.sigma_b2)
        return found

    def block(self, x1: Array, x2: Array, q1: list[Array], q2: list[Array], same: bool) -> tuple[Array, Array]:
        """Kernels between two blocks of inputs; ``same`` when they are one block."""
        layer, fan_in = layer_of(self.activation), x1.shape[1]
        product = x1 @ x2.T
        product /= fan_in
        nngp = self.sigma_w2 * product + self.sigma_b2
        pairs = _nearly_parallel(nngp, q1[0], q2[0], same)
        ntk = self._first(product, nngp, fan_in)
        if not (nngp.size * self.depth >= _SWEEP_FROM and layer.sweep(nngp, ntk, q1[:-1], q2[:-1], self._scales)):
            for k in range(self.depth):
                value, slope = layer.maps(nngp, q1[k], q2[k])
                nngp, ntk = self._next(k, value, slope, ntk)
        if len(pairs[0]):
            nngp[pairs], ntk[pairs] = self._pairs(layer, pairs, x1, x2, q1, q2)
        return nngp, ntk

    @functools.cached_property
    def _scales(self) -> Scales:
        ntk = [(self.sigma_w2, self.sigma_b2)] * self.depth
        pairs = ntk if self.widths is None else [(n, float(self.bias)) for n in self.widths]
        return Scales(self.sigma_w2, self.sigma_b2, np.array(pairs).reshape(self.depth, 2))

    def _first(self, product: Array, nngp: Array, fan_in: int) -> Array:
        return nngp.copy() if self.widths is None else fan_in * product + float(self.bias)

    def _next(self, k: int, value: Array, slope: Array, ntk: Array) -> tuple[Array, Array]:
        """K^{l+1} and Θ^{l+1}, in the memory of the arguments."""
        ntk *= slope
        ntk *= self.sigma_w2
        if self.widths is not None:
            ntk += self.widths[k] * value + float(self.bias)
        value *= self.sigma_w2
        value += self.sigma_b2
        if self.widths is None:
            ntk += value
        return value, ntk

    def _pairs(
        self, layer: Layer, pairs: tuple[Any, Any], x1: Array, x2: Array, q1: list[Array], q2: list[Array]
    ) -> tuple[Array, Array]:
        """The recursion for single nearly parallel pairs, carried by h = sin²(θ/2) instead of the product."""
        i, j = pairs
        product = np.sqrt(q1[0][i] * q2[0][j])
        h = np.concatenate([self._half_angle(x1[a], x2[b], q1[0][a], q2[0][b]) for a, b in _chunks(i, j, x1.shape[1])])
        nngp = product * (1.0 - 2.0 * h)
        ntk = self._first((nngp - self.sigma_b2) / self.sigma_w2, nngp, x1.shape[1])
        for k in range(self.depth):
            v1, v2 = self.sigma_w2 * layer.variance(q1[k][i]), self.sigma_w2 * layer.variance(q2[k][j])
            value, slope, loss = layer.near(h, q1[k][i], q2[k][j])
            # √((v₁+b)(v₂+b)) − (√(v₁v₂)+b) = b (√v₁−√v₂)² / (their sum), so that nothing cancels
            product, before = np.sqrt(q1[k + 1][i] * q2[k + 1][j]), np.sqrt(v1 * v2) + self.sigma_b2
            spread = self.sigma_b2 * (np.sqrt(v1) - np.sqrt(v2)) ** 2 / np.maximum(product + before, _TINY)
            h = np.clip((spread + self.sigma_w2 * loss) / np.maximum(2.0 * product, _TINY), 0.0, 1.0)
            nngp, ntk = self._next(k, value, slope, ntk)
        return nngp, ntk

    def _half_angle(self, a: Array, b: Array, qa: Array, qb: Array) -> Array:
        """sin²(θ/2) = ‖û − v̂‖²/4 of the unit vectors along (σ_w x/√d, σ_b), row by row."""
        ra, rb = np.sqrt(np.maximum(qa, _TINY)), np.sqrt(np.maximum(qb, _TINY))
        difference = a / ra[:, None] - b / rb[:, None]
        squares = self.sigma_w2 / a.shape[1] * np.einsum("pd,pd->p", difference, difference)
        return np.asarray(0.25 * (squares + self.sigma_b2 * (1.0 / ra - 1.0 / rb) ** 2))

    def kernels(self, x1: Array, x2: Array | None) -> tuple[Array, Array]:
        """Both kernels by blocks; only blocks on and above the diagonal are computed when ``x2`` is None."""
        symmetric = x2 is None
        other = x1 if x2 is None else x2
        nngp, ntk = np.empty((len(x1), len(other))), np.empty((len(x1), len(other)))
        q1 = self.variances(x1)
        q2 = q1 if symmetric else self.variances(other)
        for a in range(0, len(x1), _BLOCK):
            b = min(a + _BLOCK, len(x1))
            rows = [q[a:b] for q in q1]
            for c in range(a if symmetric else 0, len(other), _BLOCK):
                d = min(c + _BLOCK, len(other))
                columns = [q[c:d] for q in q2]
                nngp[a:b, c:d], ntk[a:b, c:d] = self.block(x1[a:b], other[c:d], rows, columns, symmetric and a == c)
                if symmetric and a != c:
                    nngp[c:d, a:b], ntk[c:d, a:b] = nngp[a:b, c:d].T, ntk[a:b, c:d].T
        return nngp, ntk


def _nearly_parallel(kernel: Array, q1: Array, q2: Array, same: bool) -> tuple[Any, Any]:
    """Pairs whose angle is lost to rounding in their product: 1 − c ≤ 1e-8 (the diagonal of a symmetric block among them)."""
    root = np.sqrt(q1)[:, None] * np.sqrt(q2)
    close = kernel >= (1.0 - 1e-8) * root
    if same:
        np.fill_diagonal(close, True)
    rows, columns = np.nonzero(close)
    return rows, columns


def _chunks(i: Any, j: Any, features: int) -> Iterator[tuple[Any, Any]]:
    """Pairs in pieces whose differences take a few megabytes."""
    step = max(1, 2**20 // features)
    for a in range(0, len(i), step):
        yield i[a : a + step], j[a : a + step]

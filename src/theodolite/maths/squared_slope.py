"""The distribution of y = φ′(√q z)², and its moment function M(w) = E y/(w − y) next to the support too.

Where w comes within the spacing of the nodes of the support, plain quadrature of M is off by percents. Here every panel whose
range of y comes close to w, measured by the panel's own range, is halved until it does not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from theodolite.maths.activation import Activation
from theodolite.maths.gaussian import WINDOW, density
from theodolite.maths.resolution import Array

__all__ = ["Complex", "Nodes", "SquaredSlope"]

Complex: TypeAlias = NDArray[Any]

#: Gauss–Legendre nodes per panel.
NODES = 16
#: A panel is halved while min |w − y| over its nodes is less than this times its range of y.
REACH = 0.6
MOST_HALVINGS = 46
#: Points w treated at once, so that temporaries stay in the cache.
_ROWS = 64


class Nodes(NamedTuple):
    """Quadrature for each of k points w: nodes shared by all, and more of them near w for some.

    Attributes:
        y: shared nodes, shape (n,).
        weight: their weights, shape (n,), or (k, n) where panels close to one of the w are left out for it.
        near_y: nodes of the halved panels, each for the point ``owner``.
        near_weight: their weights.
        owner: index into w.
    """

    y: Array
    weight: Array
    near_y: Array
    near_weight: Array
    owner: NDArray[np.intp]

    def moments(self, w: Complex) -> tuple[Complex, Complex, Complex]:
        """(M(w), 1 + M(w), M′(w)) with M = E y/(w − y); 1 + M = w E 1/(w − y) is small next to w = 0, where M tends to −1."""
        mass = self.weight * self.y
        first, whole, second = np.empty_like(w), np.empty_like(w), np.empty_like(w)
        for start in range(0, len(w), _ROWS):
            part = slice(start, start + _ROWS)
            here = (mass, self.weight) if mass.ndim == 1 else (mass[part], self.weight[part])
            first[part], whole[part], second[part] = _row_sums(w[part], self.y, *here)
        if len(self.owner):
            inverse = 1.0 / (w[self.owner] - self.near_y)
            terms = self.near_weight * self.near_y * inverse
            first += _owner_sums(terms, self.owner, len(w))
            whole += _owner_sums(self.near_weight * inverse, self.owner, len(w))
            second += _owner_sums(terms * inverse, self.owner, len(w))
        return first, w * whole, -second


def _row_sums(w: Complex, y: Array, mass: Array, weight: Array) -> tuple[Complex, Complex, Complex]:
    """Σ mass/(w − y), Σ weight/(w − y) and Σ mass/(w − y)², in real arithmetic, which numpy vectorises."""
    gap, height = w.real[:, None] - y, w.imag[:, None]
    inverse = 1.0 / (gap * gap + height * height)
    real, over = gap * inverse, inverse
    products = (real, over, real * real, over * over, real * over)

    def total(product: Array, by: Array) -> Array:
        return product @ by if by.ndim == 1 else np.einsum("kn,kn->k", product, by)

    a, b, aa, bb, ab = (total(product, mass) for product in products)
    v = w.imag
    return a - 1j * v * b, total(real, weight) - 1j * v * total(over, weight), (aa - v * v * bb) - 2j * v * ab


def _owner_sums(terms: Complex, owner: NDArray[np.intp], count: int) -> Complex:
    real = np.bincount(owner, weights=terms.real, minlength=count)
    return real + 1j * np.bincount(owner, weights=terms.imag, minlength=count)


class SquaredSlope:
    """Distribution of φ′(√q z)², z a standard Gaussian.

    Attributes:
        discrete: values and probabilities when φ is piecewise linear, else None.
        top: the essential supremum of y (infinite where φ′ is unbounded).
        atom: probability of y = 0 on pieces where φ is constant.
    """

    def __init__(self, activation: Activation, q: float) -> None:
        self._slope = activation.prime.function
        self._root = math.sqrt(q)
        self.discrete: tuple[Array, Array] | None = None
        if activation.slopes is not None:
            ends = np.concatenate([[0.0], ndtr(np.array(activation.kinks) / self._root), [1.0]])
            values, place = np.unique(np.array(activation.slopes) ** 2, return_inverse=True)
            self.discrete = values, np.bincount(place.ravel(), weights=np.diff(ends))
            self.top = float(values[self.discrete[1] > 0].max())
            self.atom = float(self.discrete[1][values == 0].sum())
            return
        breaks = np.clip(activation.panels(WINDOW * self._root) / self._root, -WINDOW, WINDOW)
        self._breaks = np.unique(np.concatenate([breaks, [-9.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 9.0]]))
        z, weight = self._panel_nodes(self._breaks[:-1], self._breaks[1:])
        y = self._squared(z)
        self._shared = y, weight
        self.top = math.inf if self._grows() else max(float(y.max()), self._refined_top(y))
        constant = np.ptp(y, axis=1) == 0.0
        flat = constant & (y[:, 0] == 0.0)
        self.atom = float((ndtr(self._breaks[1:]) - ndtr(self._breaks[:-1]))[flat].sum())

    def _squared(self, z: Array) -> Array:
        return self._slope(self._root * z) ** 2

    def _grows(self) -> bool:
        """Whether y goes on growing from octave to octave beyond the window, on either side."""
        octave = WINDOW * np.geomspace(1.0, 2.0, 256)
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = np.array([[self._squared(side * 2.0**k * octave).max() for k in range(6)] for side in (-1.0, 1.0)])
            grows = (sizes[:, 1:] > 1.001 * sizes[:, :-1]).all(1)
        return bool((grows | ~np.isfinite(sizes).all(1)).any())

    def _refined_top(self, y: Array) -> float:
        """The largest y, between the nodes too."""
        from scipy.optimize import minimize_scalar

        panel = int(np.argmax(y.max(1)))
        low, high = self._breaks[max(panel - 1, 0)], self._breaks[min(panel + 2, len(self._breaks) - 1)]
        best = minimize_scalar(lambda v: -float(self._squared(np.array([v]))[0]), bounds=(low, high), options={"xatol": 1e-12})
        edges = self._squared(np.clip(self._breaks[:, None] + np.array([-1e-13, 0.0, 1e-13]), -WINDOW, WINDOW))
        return max(-float(best.fun), float(edges.max()))

    @staticmethod
    def _panel_nodes(low: Array, high: Array) -> tuple[Array, Array]:
        x, weight = np.polynomial.legendre.leggauss(NODES)
        half = 0.5 * (high - low)[:, None]
        z = 0.5 * (high + low)[:, None] + half * x
        return z, half * weight * density(z)

    def nodes(self, w: Complex) -> Nodes:
        """Quadrature nodes that are right for each of ``w``, shape (k,), and for points nearby."""
        none = np.empty(0)
        if self.discrete is not None:
            return Nodes(*self.discrete, none, none, none.astype(np.intp))
        y, weight = self._shared
        near = self._too_near(w[:, None], y[None])
        if not near.any():
            return Nodes(y.ravel(), weight.ravel(), none, none, none.astype(np.intp))
        kept = np.where(near[..., None], 0.0, weight).reshape(len(w), -1)
        owner, panel = np.nonzero(near)
        return Nodes(y.ravel(), kept, *self._halved(w, owner, self._breaks[panel], self._breaks[panel + 1]))

    def _halved(self, w: Complex, owner: NDArray[np.intp], low: Array, high: Array) -> tuple[Array, Array, NDArray[np.intp]]:
        """Nodes, weights and owners of panels that are halved until none is too near its owner's w."""
        parts = []
        for depth in range(MOST_HALVINGS):
            middle = 0.5 * (low + high)
            low, high, owner = np.concatenate([low, middle]), np.concatenate([middle, high]), np.concatenate([owner, owner])
            z, weight = self._panel_nodes(low, high)
            y = self._squared(z)
            near = self._too_near(w[owner], y) & (depth < MOST_HALVINGS - 1)
            parts.append((y[~near], weight[~near], owner[~near]))
            low, high, owner = low[near], high[near], owner[near]
            if not len(owner):
                break
        y, weight, owner = (np.concatenate(part) for part in zip(*parts, strict=True))
        return y.ravel(), weight.ravel(), np.repeat(owner, NODES)

    @staticmethod
    def _too_near(w: Complex, y: Array) -> NDArray[np.bool_]:
        return np.abs(w[..., None] - y).min(-1) < REACH * np.ptp(y, axis=-1)

    def moment(self, power: int) -> float:
        """E yᵖ."""
        if self.discrete is not None:
            return float(self.discrete[0] ** power @ self.discrete[1])
        y, weight = self._shared
        return float((weight * y**power).sum())

"""Dual activations: E φ(u) φ(v) and E φ′(u) φ′(v) as functions of (q1, q2, c), for recursions on full Gram matrices.

`dual` returns the best form that an activation has: a closed form (for piecewise-linear functions by Owen's T), Mehler's series
for smooth functions; for the rest its first terms away from |c| = 1, and split quadrature next to it. All but elementary closed
forms are replaced by Chebyshev tables in θ = arccos c when there are many entries, so that an n × n kernel costs O(1) per entry.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import UnsupportedError
from theodolite.maths import piecewise_linear
from theodolite.maths.activation import Activation, identify
from theodolite.maths.dual_table import DualTable
from theodolite.maths.gaussian import bivariate, check_correlation, check_variance
from theodolite.maths.hermite import MOST_TERMS, REACH, SOME_TERMS, hermite_coefficients, short_coefficients, slope_coefficients
from theodolite.maths.resolution import Array

__all__ = ["Dual", "dual"]

Covariance = Callable[[Array, Array, Array], Array]

#: Entries from which on a table is cheaper than entry by entry.
TABLE_FROM = 600
#: Entries whose series are held at once.
_CHUNK = 8192
#: Correlations next to ±1 per variance from which on long series are cheaper than quadrature next to |c| = 1.
LONG_FROM = 100


@dataclass(frozen=True, eq=False)
class Dual:
    """The dual maps of one activation.

    Attributes:
        activation: φ.
        form: ``closed form``, ``Owen``, ``Mehler`` or ``quadrature``: how an entry is computed.
        covariance: (q1, q2, c) -> E φφ on float64 arrays of one shape.
        slope_covariance: (q1, q2, c) -> E φ′φ′, likewise.
    """

    activation: Activation
    form: str
    covariance: Covariance
    slope_covariance: Covariance

    def value(self, q1: Any, q2: Any, c: Any) -> Any:
        """E φ(u) φ(v) for Gaussians of variances q1, q2 and correlation c, elementwise; the three broadcast.

        Args:
            q1: variance of u: number, numpy array or torch tensor.
            q2: variance of v.
            c: correlation, in [−1, 1] up to rounding; where a variance is 0 it does not matter.

        Returns:
            A float for numbers; else numpy or torch float64, as given.

        Raises:
            ArgumentError: a negative variance or a correlation beyond ±1.

        Cost: closed forms, some 10 ns per entry; tables, some 100 ns per entry and 0.1 to 2 s once.
        """
        return self._evaluate(self.covariance, "value", q1, q2, c)

    def derivative(self, q1: Any, q2: Any, c: Any) -> Any:
        """E φ′(u) φ′(v), as `value`; it is d E φφ / dc divided by √(q1 q2).

        Raises:
            ArgumentError: a negative variance or a correlation beyond ±1.
            UnsupportedError: φ jumps, so that E φ′² is infinite.
        """
        if self.activation.jumps:
            _ = self.activation.prime  # raises, with the reason
        return self._evaluate(self.slope_covariance, "derivative", q1, q2, c)

    def _evaluate(self, map_: Covariance, which: str, q1: Any, q2: Any, c: Any) -> Any:
        arrays = [on_host(a) for a in (q1, q2, c)]
        v1, v2, corr = check_variance(arrays[0], "q1"), check_variance(arrays[1], "q2"), check_correlation(arrays[2])
        size = np.broadcast(v1, v2, corr).size
        if size >= TABLE_FROM and self._table is not None and self._table.pays(v1, v2, corr):
            result = self._table.evaluate(which, v1, v2, corr)
        else:
            shape = np.broadcast_shapes(v1.shape, v2.shape, corr.shape)
            result = map_(*(np.broadcast_to(a, shape) for a in (v1, v2, corr)))
        return _like(result, q1, q2, c)

    @functools.cached_property
    def _table(self) -> DualTable | None:
        if self.form == "closed form":
            return None
        return DualTable(self.covariance, self.slope_covariance, few_only=self.form == "Owen")


def _like(result: Array, *given: Any) -> Any:
    import sys

    torch = sys.modules.get("torch")
    tensors = [g for g in given if torch is not None and isinstance(g, torch.Tensor)]
    if tensors and torch is not None:
        return torch.from_numpy(np.ascontiguousarray(result)).to(tensors[0].device)
    return float(result) if np.ndim(result) == 0 else result


@functools.lru_cache(maxsize=64)
def _dual(activation: Activation) -> Dual:
    family = activation.family
    if family[0] in _CLOSED:
        value, slope = _CLOSED[family[0]](*family[1:])
        return Dual(activation, "closed form", value, slope)
    if activation.slopes is not None:
        parts = (piecewise_linear.value_covariance, piecewise_linear.slope_covariance)
        value, slope = (functools.partial(p, activation) for p in parts)
        return Dual(activation, "Owen", value, slope)
    mehler = _Mehler(activation)
    return Dual(activation, "quadrature" if activation.splits else "Mehler", mehler.value, mehler.slope)


def dual(activation: Any) -> Dual:
    """The dual maps of an activation: closed form, Mehler or quadrature, whichever is exact and cheapest.

    Closed forms: identity, (leaky) ReLU, |x|, erf, sin, cos, GELU, x², exp, sign (values only); hard tanh, ReLU6 and everything
    continuous and piecewise linear through Owen's T. Accuracy 1e-13 relative to
    √(E φ² E φ²), near c = ±1 too.

    Args:
        activation: any elementwise callable (see `theodolite.maths.activation.identify`).

    Returns:
        An object with ``.value(q1, q2, c)`` and ``.derivative(q1, q2, c)``.

    Raises:
        ArgumentError: not an elementwise function.

    Reference: cho2009 (ReLU), williams1997 (erf), daniely2016 (dual activations), tsuchida2021 (GELU).

    Example:
        >>> import torch
        >>> relu = dual(torch.relu)
        >>> round(2 * relu.value(1.0, 1.0, 0.0), 12), relu.derivative(1.0, 1.0, 1.0)
        (0.318309886184, 0.5)
    """
    return _dual(identify(activation))


class _Mehler:
    """Σ a_n(q1) a_n(q2) cⁿ; where it converges slowly, its first terms away from |c| = 1 and quadrature next to it."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self.coefficients: dict[tuple[int, tuple[float, ...]], tuple[Array, bool]] = {}
        self.short: dict[tuple[bool, float], Array] = {}
        #: Correlations next to ±1 asked for so far, by variances.
        self.asked: dict[tuple[float, ...], int] = {}
        #: A variance at which so many terms did not suffice: they do not at larger ones either.
        self.beyond = dict.fromkeys((MOST_TERMS, SOME_TERMS), 0.0 if activation.splits else math.inf)

    def _of(self, q: tuple[float, ...], most: int) -> tuple[Array, bool]:
        """Coefficients at all variances to one number of terms: a series cut short would spoil the tails of products."""
        key = (most, q)
        if key not in self.coefficients:
            if len(self.coefficients) > 512:
                self.coefficients.clear()
                self.asked.clear()
            tried = min(q) > 0 and max(q) < self.beyond[most]
            found = hermite_coefficients(self.activation, np.array(q), most) if tried else (np.zeros((1, 1)), False)
            if tried and not found[1]:
                self.beyond[most] = max(q)
            self.coefficients[key] = found
        return self.coefficients[key]

    def _first(self, f: Activation, q: Array) -> Array:
        """The first coefficients of f = φ or φ′ at each variance; array (len(q), terms)."""
        slope = f is not self.activation
        rows = []
        for v in map(float, q):
            if (slope, v) not in self.short:
                if len(self.short) > 2048:
                    self.short.clear()
                self.short[slope, v] = short_coefficients(f, v)
            rows.append(self.short[slope, v])
        return np.stack(rows)

    def _sum(self, q1: Array, q2: Array, c: Array, *, slope: bool) -> Array:
        u, v, corr = (np.ravel(a) for a in (q1, q2, c))
        distinct, index = np.unique(np.concatenate([u, v]), return_inverse=True)
        i, j = index[: len(u)], index[len(u) :]
        near = np.abs(corr) > REACH
        key = tuple(map(float, distinct))
        self.asked[key] = self.asked.get(key, 0) + int(near.sum())
        a, converged = self._of(key, MOST_TERMS if self.asked[key] >= LONG_FROM * len(distinct) else SOME_TERMS)
        if converged:
            return _products(slope_coefficients(a, distinct) if slope else a, i, j, corr).reshape(np.shape(c))
        f = self.activation.prime if slope else self.activation
        out = np.empty(len(corr))
        out[near] = bivariate(f, f, u[near], v[near], corr[near])
        if not near.all():
            out[~near] = _products(self._first(f, distinct), i[~near], j[~near], corr[~near])
        return out.reshape(np.shape(c))

    def value(self, q1: Array, q2: Array, c: Array) -> Array:
        return self._sum(q1, q2, c, slope=False)

    def slope(self, q1: Array, q2: Array, c: Array) -> Array:
        return self._sum(q1, q2, c, slope=True)


def _products(a: Array, i: Array, j: Array, c: Array) -> Array:
    """Σ_n a_in a_jn cⁿ for vectors of indices and correlations."""
    if len(a) == 1:
        return np.asarray(np.polynomial.polynomial.polyval(c, a[0] * a[0]))
    out = np.empty(len(c))
    for start in range(0, len(c), _CHUNK):
        part = slice(start, start + _CHUNK)
        out[part] = np.polynomial.polynomial.polyval(c[part], (a[i[part]] * a[j[part]]).T, tensor=False)
    return out


# -- closed forms; each returns the pair (E φφ, E φ′φ′) ---------------------------------------------------------------------


def _relu_like(a: float) -> tuple[Covariance, Covariance]:
    """φ = x for x > 0, a·x below: ½(1 + a) x + ½(1 − a)|x|, whose two parts are uncorrelated (Cho & Saul 2009)."""
    odd, even = (0.5 * (1.0 + a)) ** 2, (0.5 * (1.0 - a)) ** 2 * 2.0 / math.pi

    def value(q1: Array, q2: Array, c: Array) -> Array:
        return np.sqrt(q1 * q2) * (odd * c + even * (np.sqrt((1.0 - c) * (1.0 + c)) + c * np.arcsin(c)))

    def slope(q1: Array, q2: Array, c: Array) -> Array:
        return odd + even * np.arcsin(c) + 0.0 * (q1 + q2)

    return value, slope


def _identity() -> tuple[Covariance, Covariance]:
    return (lambda q1, q2, c: np.sqrt(q1 * q2) * c), (lambda q1, q2, c: 1.0 + 0.0 * (q1 + q2 + c))


def _erf() -> tuple[Covariance, Covariance]:
    """Williams 1997; the arcsine is taken as an arctangent, which is accurate where its argument is near ±1."""

    def determinant(q1: Array, q2: Array, c: Array) -> Array:
        # (1 + 2q1)(1 + 2q2) − 4 q1 q2 c² without cancellation
        return 1.0 + 2.0 * (q1 + q2) + 4.0 * q1 * q2 * (1.0 - c) * (1.0 + c)

    def value(q1: Array, q2: Array, c: Array) -> Array:
        return 2.0 / math.pi * np.arctan2(2.0 * np.sqrt(q1 * q2) * c, np.sqrt(determinant(q1, q2, c)))

    def slope(q1: Array, q2: Array, c: Array) -> Array:
        return 4.0 / math.pi / np.sqrt(determinant(q1, q2, c))

    return value, slope


def _exponentials(q1: Array, q2: Array, c: Array) -> tuple[Array, Array]:
    """exp(−Var(u − v)/2) and exp(−Var(u + v)/2)."""
    spread = 0.5 * (np.sqrt(q1) - np.sqrt(q2)) ** 2
    root = np.sqrt(q1 * q2)
    return np.exp(-spread - root * (1.0 - c)), np.exp(-spread - root * (1.0 - c) - 2.0 * root * c)


def _sin() -> tuple[Covariance, Covariance]:
    return _odd_wave, _even_wave


def _cos() -> tuple[Covariance, Covariance]:
    return _even_wave, _odd_wave


def _odd_wave(q1: Array, q2: Array, c: Array) -> Array:
    """E sin u sin v = exp(−(q1 + q2)/2) sinh(√(q1 q2) c)."""
    x = np.sqrt(q1 * q2) * c
    # Through expm1, because the two exponentials cancel for small variances.
    return -0.5 * np.sign(x) * np.exp(np.abs(x) - 0.5 * (q1 + q2)) * np.expm1(-2.0 * np.abs(x))


def _even_wave(q1: Array, q2: Array, c: Array) -> Array:
    """E cos u cos v."""
    minus, plus = _exponentials(q1, q2, c)
    return 0.5 * (minus + plus)


def _gelu() -> tuple[Covariance, Covariance]:
    """φ = xΦ(x), by Stein's lemma; D = det(I + Σ), P = 1/(2π√D)."""

    def parts(q1: Array, q2: Array, c: Array) -> tuple[Array, Array, Array, Array]:
        q12 = np.sqrt(q1 * q2) * c
        d = 1.0 + q1 + q2 + q1 * q2 * (1.0 - c) * (1.0 + c)
        both = 0.25 + np.arctan2(q12, np.sqrt(d)) / (2.0 * math.pi)
        return q12, d, 1.0 / (2.0 * math.pi * np.sqrt(d)), both

    def value(q1: Array, q2: Array, c: Array) -> Array:
        q12, _, p, both = parts(q1, q2, c)
        return q12 * both + p * (q1 * q2 + q12**2 * (1.0 / (1.0 + q1) + 1.0 / (1.0 + q2) - 1.0))

    def slope(q1: Array, q2: Array, c: Array) -> Array:
        q12, d, p, both = parts(q1, q2, c)
        return both + p * q12 * (1.0 / (1.0 + q1) + 1.0 / (1.0 + q2) + 1.0 / d)

    return value, slope


def _square() -> tuple[Covariance, Covariance]:
    return (lambda q1, q2, c: q1 * q2 * (1.0 + 2.0 * c * c)), (lambda q1, q2, c: 4.0 * np.sqrt(q1 * q2) * c)


def _exp() -> tuple[Covariance, Covariance]:
    def value(q1: Array, q2: Array, c: Array) -> Array:
        return np.exp(0.5 * (q1 + q2) + np.sqrt(q1 * q2) * c)

    return value, value


def _sign() -> tuple[Covariance, Covariance]:
    def slope(q1: Array, q2: Array, c: Array) -> Array:
        raise UnsupportedError("the slope of sign is a delta function, so that E φ′² is infinite; use erf or hardtanh")

    return (lambda q1, q2, c: 2.0 / math.pi * np.arcsin(c) * (q1 > 0) * (q2 > 0)), slope


_CLOSED: dict[str, Callable[..., tuple[Covariance, Covariance]]] = {
    "relu": _relu_like,
    "identity": _identity,
    "erf": _erf,
    "sin": _sin,
    "cos": _cos,
    "gelu": _gelu,
    "square": _square,
    "exp": _exp,
    "sign": _sign,
}

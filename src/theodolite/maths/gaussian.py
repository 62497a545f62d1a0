"""Gaussian expectations E f(√q z) and E f(u) g(v) in float64, for smooth and for kinked functions.

Composite Gauss–Legendre rules, split at the kinks of the functions and graded to the width of their features, so that the error is
that of rounding whatever q is. Two correlated Gaussians share a part; given that, they are independent, so that one-dimensional
expectations of each function, smoothed over the width √(1 − |c|), are all there is to integrate: this is resolved at every correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.activation import Activation, identify
from theodolite.maths.resolution import Array

__all__ = ["bivariate", "check_correlation", "check_variance", "expectation", "integrate", "rule"]

#: Half-width of the window in standard deviations: the Gaussian's mass outside is 4e-33.
WINDOW = 12.0
#: Window for integrands that grow like exponentials; the density underflows beyond.
WIDE_WINDOW = 36.0
#: Breaks of the Gaussian weight itself, between which it is a low-degree polynomial.
_WEIGHT_BREAKS = np.array([-WINDOW, -7.5, -4.6, -1.7, 1.7, 4.6, 7.5, WINDOW])
_WIDE_BREAKS = np.arange(-WIDE_WINDOW, WIDE_WINDOW + 1.0, 3.0)
#: Nodes per panel in one dimension, and in each of two.
NODES, NODES_2D = 32, 16
#: Largest number of function values held at once.
_CHUNK = 2_000_000


@cache
def _legendre(n: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(n)


@cache
def _hermite() -> tuple[Array, Array]:
    """Nodes and weights of E f(x) for a standard Gaussian x, exact up to degree 39."""
    x, weight = np.polynomial.hermite_e.hermegauss(20)
    return x, weight / weight.sum()


def density(z: Array) -> Array:
    """The standard Gaussian density."""
    return np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _real(value: Any, name: str) -> Array:
    values = np.asarray(on_host(value))
    if values.dtype.kind not in "fiu":
        raise ArgumentError(f"{name} must be a real number or an array of them, got dtype {values.dtype}")
    return values.astype(np.float64)


def check_variance(q: Any, name: str = "q", *, positive: bool = False) -> Array:
    """``q`` as a float64 array, refused unless finite and not negative (or positive).

    Raises:
        ArgumentError: complex, NaN, infinite or negative entries, or zeros where ``positive``.
    """
    values = _real(q, name)
    bad = ~np.isfinite(values) | (values <= 0 if positive else values < 0)
    if bad.any():
        rule_ = "positive and finite" if positive else "a variance: finite and not negative"
        raise ArgumentError(f"{name} must be {rule_}, got {values[bad].flat[0]}")
    return values


def check_correlation(c: Any, name: str = "c") -> Array:
    """``c`` as a float64 array in [−1, 1], where rounding beyond the ends is clipped.

    Raises:
        ArgumentError: complex or non-finite entries, or |c| > 1 + 1e-9.
    """
    values = _real(c, name)
    bad = ~(np.abs(values) <= 1.0 + 1e-9)
    if bad.any():
        raise ArgumentError(f"{name} must be a correlation in [-1, 1], got {values[bad].flat[0]}")
    return np.clip(values, -1.0, 1.0)


def rule(q: Any, *activations: Activation, window: float = WINDOW) -> tuple[Array, Array]:
    """Nodes z and weights w with E F(z) ≈ Σ w F(z) for every F(z) made of the ``activations`` at x = √q z.

    Args:
        q: variances, any shape.
        activations: the functions whose kinks and features the rule must respect.
        window: half-width in standard deviations.

    Returns:
        (z, w): arrays of shape ``q.shape + (n,)``; the weights hold the Gaussian density.

    Example:
        >>> z, w = rule(2.0, identify("relu"))
        >>> round(float(w @ np.maximum(np.sqrt(2.0) * z, 0) ** 2), 14)
        1.0
    """
    q = np.asarray(q, dtype=np.float64)
    root = np.sqrt(np.maximum(q, 1e-300))[..., None]
    radius = window * math.sqrt(max(float(q.max(initial=0.0)), 1e-300))
    weight_breaks = _WEIGHT_BREAKS if window == WINDOW else _WIDE_BREAKS
    parts = [np.broadcast_to(weight_breaks, (*q.shape, len(weight_breaks)))]
    with np.errstate(over="ignore"):
        parts += [np.clip(activation.panels(radius) / root, -window, window) for activation in activations]
    breaks = np.sort(np.concatenate(parts, axis=-1), axis=-1)
    if q.ndim == 0 or q.size == 1:
        breaks = np.unique(breaks).reshape(*q.shape, -1)
    x, weight = _legendre(NODES)
    half = 0.5 * np.diff(breaks, axis=-1)[..., None]
    z = (0.5 * (breaks[..., 1:] + breaks[..., :-1]))[..., None] + half * x
    z = z.reshape(*q.shape, -1)
    return z, (half * weight).reshape(*q.shape, -1) * density(z)


def integrate(integrand: Callable[[Array, Array], Array], q: Any, *activations: Activation) -> Array:
    """E F(√q z, z), batched over q, where F is made of ``activations`` at its first argument.

    Args:
        integrand: (x, z) -> values of the same shape.
        q: variances, any shape.
        activations: the functions inside ``integrand``.

    Returns:
        Array of the shape of q.

    Raises:
        NumericalError: the integrand grows so fast that its expectation is infinite or dominated by |z| > 36.
    """
    q = np.asarray(q, dtype=np.float64)
    flat = q.ravel()
    out = np.empty_like(flat)
    step = 1 if not flat.size else max(1, _CHUNK // (NODES * 60))
    # Neighbours in size share a radius, so that small variances do not carry the panels of large ones.
    order = np.argsort(flat)
    for start in range(0, len(flat), step):
        part = order[start : start + step]
        out[part] = _integrate(integrand, flat[part], activations)
    return out.reshape(q.shape)


def _integrate(integrand: Callable[[Array, Array], Array], q: Array, activations: tuple[Activation, ...]) -> Array:
    for window in (WINDOW, WIDE_WINDOW):
        z, w = rule(q, *activations, window=window)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = w * integrand(np.sqrt(q)[:, None] * z, z)
            total = terms.sum(-1)
            size = np.abs(terms).sum(-1)
            edge = np.abs(terms * (np.abs(z) > window - 1.0)).sum(-1)
        if np.isfinite(total).all() and (edge <= 1e-14 * size).all():
            return total
    worst = float(q[~np.isfinite(total) | (edge > 1e-14 * size)][0])
    names = ", ".join(a.name for a in activations)
    raise NumericalError(
        f"the Gaussian expectation of {names} at variance q = {worst:.6g} is infinite or lies beyond 36 standard deviations: "
        "the activation grows too fast; bound it, or keep the variance small"
    )


def expectation(function: Any, q: Any) -> Any:
    """E f(√q z), z a standard Gaussian, batched over q.

    Split at the kinks and jumps of f, to about 1e-14 relative to E|f|.

    Args:
        function: any elementwise callable (see `identify`).
        q: variance, a number or an array.

    Returns:
        A float for a number, else an array of the shape of q.

    Raises:
        ArgumentError: q is not a variance, or f is not elementwise.
        NumericalError: the expectation is infinite.

    Cost: about 500 evaluations of f per q.

    Example:
        >>> import torch
        >>> round(expectation(lambda x: torch.relu(x) ** 2, 3.0), 12)
        1.5
    """
    variance = check_variance(q)
    activation = identify(function)
    value = integrate(lambda x, z: activation.function(x), variance, activation)
    return float(value) if variance.ndim == 0 else value


def bivariate(first: Any, second: Any, q1: Any, q2: Any, c: Any) -> Any:
    """E f(u) g(v) for Gaussians u, v of variances q1, q2 and correlation c, batched.

    With u = √q1 (a z + b x), v = √q2 (±a z + b y), a² = |c|, b² = 1 − |c|, and x, y, z independent, it is E_z[F(z) G(z)] for the
    smoothed F = E_x f(u) and G = E_y g(v). The inner integrals are split where u or v crosses a kink, the outer one around the layers
    of width b/a that smoothing makes of a kink. Absolute error about 1e-14 of √(E f² E g²), from c = 0 to |c| = 1 − 1e-16 and at
    |c| = 1.

    Args:
        first: f, any elementwise callable.
        second: g, likewise.
        q1: variance of u.
        q2: variance of v.
        c: correlation in [−1, 1]; the three broadcast.

    Returns:
        A float when all are numbers, else an array of their common shape.

    Raises:
        ArgumentError: arguments out of range.

    Cost: 2·10⁴ to 2·10⁵ evaluations per entry, half of it where f is g and q1 is q2; for many entries use `theodolite.maths.dual.dual`.

    Example:
        >>> import torch
        >>> exact = 2 / math.pi * math.asin(math.sqrt(2) / math.sqrt(15))
        >>> abs(bivariate(torch.erf, torch.erf, 1.0, 2.0, 0.5) - exact) < 1e-14
        True
    """
    f, g = identify(first), identify(second)
    v1, v2, corr = check_variance(q1, "q1"), check_variance(q2, "q2"), check_correlation(c)
    v1, v2, corr = np.broadcast_arrays(v1, v2, corr)
    out = np.empty(corr.size)
    for i, entry in enumerate(zip(v1.ravel(), v2.ravel(), corr.ravel(), strict=True)):
        out[i] = _bivariate(f, g, *map(float, entry))
    return float(out[0]) if corr.ndim == 0 else out.reshape(corr.shape)


def _bivariate(f: Activation, g: Activation, q1: float, q2: float, c: float) -> float:
    r1, r2 = math.sqrt(q1), math.sqrt(q2)
    flip = -1.0 if c < 0.0 else 1.0
    if abs(c) == 1.0:
        return _on_diagonal(f, g, r1, r2 * flip)
    # At c = 0 nothing is common; a scale far below rounding keeps the breaks finite.
    a, b = max(math.sqrt(abs(c)), 1e-100), math.sqrt(1.0 - abs(c))
    z, w = _nodes(np.concatenate([_common_breaks(f, r1, a, b), flip * _common_breaks(g, r2, a, b)]))
    first = _smoothed(f, r1 * a * z, r1 * b)
    second = first if f is g and r1 == r2 * flip else _smoothed(g, flip * r2 * a * z, r2 * b)
    return float(w @ (first * second))


def _smoothed(f: Activation, mean: Array, width: float) -> Array:
    """E f(mean + width·x), x a standard Gaussian, for a vector of means."""
    panels = f.panels(float(np.abs(mean).max()) + WINDOW * width)
    out = np.empty(len(mean))
    # Between two features f is a polynomial of degree 24 to rounding, which Gauss and Hermite integrate exactly.
    alone = np.searchsorted(panels, mean - WINDOW * width) == np.searchsorted(panels, mean + WINDOW * width)
    x, weight = _hermite()
    out[alone] = f.function(mean[alone, None] + width * x) @ weight
    others = np.flatnonzero(~alone)
    step = max(1, _CHUNK // (NODES_2D * (len(panels) + len(_WEIGHT_BREAKS))))
    for i in range(0, len(others), step):
        part = others[i : i + step]
        out[part] = _smoothed_part(f, panels, mean[part], width)
    return out


def _smoothed_part(f: Activation, panels: Array, mean: Array, width: float) -> Array:
    features = np.clip(_in_units(panels - mean[:, None], width), -WINDOW, WINDOW)
    breaks = np.sort(
        np.concatenate([np.broadcast_to(_WEIGHT_BREAKS, (len(mean), len(_WEIGHT_BREAKS))), features], axis=1), axis=1
    )
    low, high = breaks[:, :-1], breaks[:, 1:]
    row, panel = np.nonzero(high - low > 1e-15)
    low, high = low[row, panel], high[row, panel]
    x, weight = _legendre(NODES_2D)
    half = 0.5 * (high - low)
    t = 0.5 * (high + low)[:, None] + half[:, None] * x
    values = f.function(mean[row, None] + width * t) * density(t)
    return np.bincount(row, (values @ weight) * half, len(mean))


def _in_units(points: Array, root: float) -> Array:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = points / root if root > 0 else np.where(points == 0, 0.0, np.copysign(np.inf, points))
    return np.clip(scaled, -1e12, 1e12)


def _common_breaks(f: Activation, root: float, a: float, b: float) -> Array:
    """Breaks in the common part: the function's features, and the layers that smoothing makes of its kinks."""
    layers = (b / a) * np.array([-10.0, -6.0, -3.0, 0.0, 3.0, 6.0, 10.0])
    kinks = _in_units(np.array(f.splits), root * a)
    features = _in_units(f.panels(WINDOW * (a + b) * root), root * a)
    return np.concatenate([_thinned(features, b / a), (kinks[:, None] + layers).ravel()])


def _thinned(breaks: Array, least: float) -> Array:
    """Ascending breaks without those nearer than ``least`` to the one before: smoothing over that width leaves nothing finer."""
    kept = breaks[:1].tolist()
    for point in breaks[1:].tolist():
        if point - kept[-1] >= least:
            kept.append(point)
    return np.array(kept)


def _nodes(breaks: Array) -> tuple[Array, Array]:
    """Nodes and weights, the Gaussian density among them, of the panels between these breaks and the weight's own."""
    breaks = np.unique(np.clip(np.concatenate([_WEIGHT_BREAKS, breaks]), -WINDOW, WINDOW))
    breaks = breaks[np.concatenate([[True], np.diff(breaks) > 1e-15])]
    x, weight = _legendre(NODES_2D)
    half = 0.5 * np.diff(breaks)[:, None]
    z = (0.5 * (breaks[1:] + breaks[:-1])[:, None] + half * x).ravel()
    return z, (half * weight).ravel() * density(z)


def _on_diagonal(f: Activation, g: Activation, r1: float, r2: float) -> float:
    """E f(r1 z) g(r2 z), where r2 is negative for correlation −1."""
    parts = [_WEIGHT_BREAKS, _in_units(f.panels(WINDOW * r1), r1), np.sign(r2) * _in_units(g.panels(WINDOW * abs(r2)), abs(r2))]
    breaks = np.unique(np.clip(np.concatenate(parts), -WINDOW, WINDOW))
    x, weight = _legendre(NODES)
    half = 0.5 * np.diff(breaks)[:, None]
    z = (0.5 * (breaks[1:] + breaks[:-1])[:, None] + half * x).ravel()
    return float(((half * weight).ravel() * density(z)) @ (f.function(r1 * z) * g.function(r2 * z)))

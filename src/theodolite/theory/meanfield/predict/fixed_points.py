"""Fixed points of the variance map and of the correlation map, for one point or for a grid of them."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.core.errors import NumericalError
from theodolite.maths.activation import Activation, identify
from theodolite.maths.dual import dual
from theodolite.maths.resolution import Array, chebyshev_points
from theodolite.theory.meanfield.predict.moments import FACTOR, LARGEST, LOW, MomentTable, moment_table

__all__ = ["SlopeTable", "fixed_correlation", "fixed_variance", "slope_table"]

#: Ratio of neighbouring variances in the search for a bracket.
STEP = 2.0**0.25
#: Chebyshev terms in θ on [0, π/2], and nodes of the integral over it.
THETA_TERMS = 72
#: Rates that differ from 1 by less are 1 to rounding: c* = 1 where χ₁ exceeds 1 by less, and depth scales are infinite.
MARGIN = 4e-15


def fixed_variance(activation: Any, sigma_w2: Array, sigma_b2: Array, start: float, *, diverging: float | None = None) -> Array:
    """Stable fixed points q = σ_b² + σ_w² E φ² next to ``start``, for arrays of one shape.

    From ``start`` the search walks in the direction in which the map moves, up to the first crossing, which is stable from that
    side; Newton in log q, kept inside the bracket, finishes. Where the variance diverges the result is ``diverging``.

    Raises:
        NumericalError: the variance diverges and ``diverging`` is None; with the reason.
    """
    table = moment_table(activation)
    w, b = sigma_w2.ravel(), sigma_b2.ravel()
    low, high = np.full(w.shape, np.nan), np.full(w.shape, np.nan)
    found = np.full(w.shape, np.nan)
    rise = _excess(table, np.array([start]), w, b)
    level = _is_level(rise, start)
    found[level] = start
    lost = _walk(table, w, b, start, STEP, np.flatnonzero(~level & (rise > 0)), (low, high, found))
    if len(lost) and diverging is None:
        raise _diverges(table, float(w[lost[0]]), float(b[lost[0]]))
    _walk(table, w, b, start, 1.0 / STEP, np.flatnonzero(~level & (rise < 0)), (low, high, found))
    found[lost] = np.inf
    todo = np.isnan(found)
    if todo.any():
        found[todo] = _newton(table, w[todo], b[todo], low[todo], high[todo])
    if diverging is not None:
        found[lost] = diverging
    return found.reshape(sigma_w2.shape)


def _excess(table: MomentTable, q: Array, w: Array, b: Array) -> Array:
    """Q(q) − q."""
    second, _ = table.second(q)
    return b + w * second - q


def _is_level(excess: Array, q: Any) -> Array:
    """Q(q) = q to rounding: q is a fixed point (and for homogeneous φ at criticality every q is)."""
    return np.abs(excess) <= 3e-15 * np.asarray(q)


def _walk(
    table: MomentTable, w: Array, b: Array, start: float, step: float, points: Array, out: tuple[Array, Array, Array]
) -> NDArray[np.intp]:
    """Walk from ``start`` until Q(q) − q changes sign; fill brackets (low, high), or the fixed point where it is met exactly.

    Returns the points at which it never does while q grows beyond bounds.
    """
    low, high, found = out
    q, upwards = start, step > 1.0
    sign = 1.0 if upwards else -1.0
    while len(points):
        before, q = q, q * step
        if q > LARGEST:
            return points
        if q < 64 * LOW:
            # Q(q) < q all the way down: only q = 0 is left, and only without bias.
            found[points] = 0.0
            break
        try:
            excess = _excess(table, np.array([q]), w[points], b[points])
        except NumericalError:  # E φ² overflows: it has long outgrown q
            return points
        level = _is_level(excess, q)
        found[points[level]] = q
        crossed = (sign * excess < 0) & ~level
        low[points[crossed]], high[points[crossed]] = min(before, q), max(before, q)
        points = points[~crossed & ~level]
    return np.empty(0, dtype=np.intp)


def _diverges(table: MomentTable, w: float, b: float) -> NumericalError:
    name = table.activation.name
    try:
        ratio = float(table.second(np.array([1e6]))[0][0]) / 1e6
        reason = f"for large q, σ_w² E φ² ≈ {w * ratio:.6g} q, which together with σ_b² = {b:g} is never less than q"
    except NumericalError:
        reason = "E φ² grows faster than any power of q"
    return NumericalError(
        f"q has no fixed point for {name} at σ_w² = {w:g}, σ_b² = {b:g}: the variance diverges with depth, because {reason}; "
        "lower σ_w² (or σ_b²), or bound the activation"
    )


def _newton(table: MomentTable, w: Array, b: Array, low: Array, high: Array) -> Array:
    """Roots of Q(q) − q in [low, high], by Newton in log q with bisection where it leaves the bracket."""
    x_low, x_high = np.log(low), np.log(high)
    falling = np.sign(_excess(table, low, w, b))
    x = 0.5 * (x_low + x_high)
    active = np.arange(len(x))
    for _ in range(100):
        q = np.exp(x[active])
        second, slope = table.second(q)
        excess, change = b[active] + w[active] * second - q, w[active] * slope - q
        inside = falling[active] * excess > 0
        x_low[active] = np.where(inside, x[active], x_low[active])
        x_high[active] = np.where(inside, x_high[active], x[active])
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -excess / change
        trial = x[active] + step
        good = (trial >= x_low[active]) & (trial <= x_high[active])
        x[active] = np.where(good, trial, 0.5 * (x_low[active] + x_high[active]))
        # Newton doubles the digits, so that after a step of 1e-9 the next one is rounding.
        active = active[~(good & (np.abs(step) <= 1e-9)) & (x_high[active] - x_low[active] > 1e-15)]
        if not len(active):
            break
    return np.exp(x)


class SlopeTable:
    """D(q, c) = E φ′(u)φ′(v), and its mean M(q, c) over [c, 1], as Chebyshev series in θ = arccos c ∈ [0, π/2].

    1 − C(c) = σ_w² (1 − c) M, so that the fixed correlation solves σ_w² M = 1: no difference of nearly equal numbers appears next
    to c = 1. In q the coefficients are interpolated over panels of a factor four, or computed at the q asked for. The terms resolve
    the layer of width 1/√q next to θ = 0 to 1e-11 up to q = 10³, and to 1e-8 at q = 10⁴.
    """

    def __init__(self, activation: Activation) -> None:
        self.map = dual(activation).slope_covariance
        self._panels: dict[int, Array] = {}

    def series(self, q: Array) -> Array:
        """Chebyshev coefficients of D in θ for each q; array (THETA_TERMS, len(q))."""
        return np.stack([self._one_series(float(v)) for v in q], 1)

    def _one_series(self, q: float) -> Array:
        """A third of the terms, where they suffice to rounding; their nodes are among those of all."""
        points, matrix = chebyshev_points(THETA_TERMS)
        few, few_matrix = chebyshev_points(THETA_TERMS // 3)
        c, values = np.cos(0.25 * math.pi * (points + 1.0)), np.empty(THETA_TERMS)
        shared = np.abs(few[:, None] - points).argmin(1)
        values[shared] = self._at(q, c[shared])
        series = few_matrix @ values[shared]
        if np.abs(series[-4:]).max() <= 1e-14 * np.abs(series).max():
            return np.concatenate([series, np.zeros(THETA_TERMS - len(series))])
        others = np.setdiff1d(np.arange(THETA_TERMS), shared)
        values[others] = self._at(q, c[others])
        return matrix @ values

    def _at(self, q: float, c: Array) -> Array:
        return self.map(np.full(len(c), q), np.full(len(c), q), c)

    def interpolated(self, q: Array) -> Array:
        """As `series`, interpolated in log q from nodes shared by all calls, where there are more entries than nodes."""
        nodes, matrix = chebyshev_points(24)
        place = np.log(q / LOW) / math.log(FACTOR)
        index = np.floor(place).astype(int)
        out = np.empty((THETA_TERMS, len(q)))
        for i in np.unique(index):
            here = index == i
            if i not in self._panels and here.sum() <= len(nodes):
                out[:, here] = self.series(q[here])
                continue
            if i not in self._panels:
                at = LOW * FACTOR ** (i + 0.5 * (nodes + 1.0))
                self._panels[int(i)] = self.series(at) @ matrix.T
            out[:, here] = np.polynomial.chebyshev.chebval(2.0 * (place[here] - i) - 1.0, self._panels[int(i)].T)
        return out


@functools.cache
def _averaging() -> Array:
    """Matrix from the θ-series of D to that of M(θ) = ∫_0^θ D sin / (1 − cos θ)."""
    points, matrix = chebyshev_points(THETA_TERMS)
    theta = 0.25 * math.pi * (points + 1.0)
    x, w = np.polynomial.legendre.leggauss(64)
    inner = 0.5 * theta[:, None] * (x + 1.0)
    basis = np.polynomial.chebyshev.chebvander(inner * (4.0 / math.pi) - 1.0, THETA_TERMS - 1)
    weight = 0.5 * theta[:, None] * w * np.sin(inner) / (2.0 * np.sin(0.5 * theta[:, None]) ** 2)
    return matrix @ np.einsum("tx,txk->tk", weight, basis)


@functools.lru_cache(maxsize=64)
def _slope_table(activation: Activation) -> SlopeTable:
    return SlopeTable(activation)


def slope_table(activation: Any) -> SlopeTable:
    """The one table of an activation."""
    return _slope_table(identify(activation))


def fixed_correlation(activation: Any, q: Array, sigma_w2: Array, chi_1: Array, mean_only: Array) -> tuple[Array, Array]:
    """(c*, χ at c*) of the correlation map at the fixed variances ``q``, arrays of one dimension.

    The map is convex and increasing on [0, 1], so that its stable fixed point is 1 when χ₁ ≤ 1 and else the only one below 1.

    Args:
        activation: φ.
        q: fixed variances.
        sigma_w2: weight variances.
        chi_1: slopes of the correlation map at 1.
        mean_only: C(0) q = σ_b² + σ_w² (E φ)²; zero where c* = 0 exactly.
    """
    c, slope = np.ones(len(q)), chi_1.copy()
    chaotic = np.flatnonzero(chi_1 > 1.0 + MARGIN)
    if not len(chaotic):
        return c, slope
    table = slope_table(activation)
    few = len(chaotic) <= 48
    series = (table.series if few else table.interpolated)(q[chaotic])
    averages = _averaging() @ series
    u, d = _correlation_gap(series, averages, sigma_w2[chaotic])
    zero = mean_only[chaotic] <= 1e-15 * q[chaotic]
    c[chaotic] = np.where(zero, 0.0, 1.0 - u)
    slope[chaotic] = sigma_w2[chaotic] * np.where(
        zero, _at(series, np.full(len(chaotic), 0.5 * math.pi), np.arange(len(chaotic))), d
    )
    return c, slope


def _at(series: Array, theta: Array, columns: NDArray[np.intp]) -> Array:
    chosen = series if len(columns) == series.shape[1] else series[:, columns]
    return np.polynomial.chebyshev.chebval(theta * (4.0 / math.pi) - 1.0, chosen, tensor=False)


def _correlation_gap(series: Array, averages: Array, w: Array) -> tuple[Array, Array]:
    """u = 1 − c* with w M(u) = 1, and D there, by Newton in u kept inside a bracket."""
    low, high = np.zeros(len(w)), np.ones(len(w))
    u = np.full(len(w), 0.5)
    active = np.arange(len(w))
    for _ in range(100):
        at = u[active]
        theta = 2.0 * np.arcsin(np.sqrt(0.5 * at))
        m, d = _at(averages, theta, active), _at(series, theta, active)
        excess = w[active] * m - 1.0
        low[active], high[active] = np.where(excess > 0, at, low[active]), np.where(excess > 0, high[active], at)
        with np.errstate(divide="ignore", invalid="ignore"):
            # M is the mean of D over an interval of length u: dM/du = (D − M)/u
            step = -excess * at / (w[active] * (d - m))
        trial = at + step
        good = (trial >= low[active]) & (trial <= high[active])
        u[active] = np.where(good, trial, 0.5 * (low[active] + high[active]))
        active = active[~(good & (np.abs(step) <= 1e-9 * at)) & (high[active] - low[active] > 1e-16)]
        if not len(active):
            break
    theta = 2.0 * np.arcsin(np.sqrt(0.5 * u))
    return u, _at(series, theta, np.arange(len(w)))

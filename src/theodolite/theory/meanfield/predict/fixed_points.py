"""Fixed points of the variance map and of the correlation map, for one point or for a grid of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.core.errors import NumericalError
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.moments import LARGEST, LOW, MomentTable, moment_table
from theodolite.theory.meanfield.predict.slope_table import SlopeSeries, slope_table

__all__ = ["fixed_correlation", "fixed_variance"]

#: Ratio of neighbouring variances in the search for a bracket.
STEP = 2.0**0.25
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
    u, d = _correlation_gap(series, sigma_w2[chaotic])
    zero = mean_only[chaotic] <= 1e-15 * q[chaotic]
    c[chaotic] = np.where(zero, 0.0, 1.0 - u)
    slope[chaotic] = sigma_w2[chaotic] * np.where(zero, series.at(np.full(len(chaotic), 0.5 * math.pi))[0], d)
    return c, slope


def _correlation_gap(series: SlopeSeries, w: Array) -> tuple[Array, Array]:
    """u = 1 − c* with w M(u) = 1, and D there, by Newton in u kept inside a bracket."""
    low, high = np.zeros(len(w)), np.ones(len(w))
    u = np.full(len(w), 0.5)
    active = np.arange(len(w))
    for _ in range(100):
        at = u[active]
        theta = 2.0 * np.arcsin(np.sqrt(0.5 * at))
        d, m = (series if len(active) == len(w) else series.take(active)).at(theta)
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
    return u, series.at(theta)[0]

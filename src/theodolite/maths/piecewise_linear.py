"""Gaussian covariances of continuous piecewise-linear functions, in closed form.

By Price's theorem d/dc E φ′(u)φ′(v) is a sum of bivariate densities at the kinks, and with c = sin θ its integral is a sum of
orthant probabilities P(u > h, v > k), which are arcsines where h = k = 0 and Owen's T functions elsewhere:

    P(u > h, v > k) = ½Q(h) + ½Q(k) − T(h, (k − ch)/(h√(1 − c²))) − T(k, (h − ck)/(k√(1 − c²))),      h, k ≥ 0.

φ is written as its line through 0 plus ramps that open away from 0, so that no two large terms cancel at small variance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, owens_t

from theodolite.maths.activation import Activation
from theodolite.maths.gaussian import density
from theodolite.maths.resolution import Array

__all__ = ["mean", "mean_slope", "slope_covariance", "value_covariance"]


class _Ramp(NamedTuple):
    """``height`` · max(side · x − threshold, 0), threshold ≥ 0, side = ±1; its slope is side · height."""

    side: float
    threshold: float
    height: float


def _parts(activation: Activation) -> tuple[float, float, list[_Ramp]]:
    """(φ(0), slope of the piece to the right of 0, ramps)."""
    assert activation.slopes is not None
    kinks, slopes = activation.kinks, activation.slopes
    at_zero = sum(k < 0 for k in kinks)
    ramps = []
    for i, kink in enumerate(kinks):
        jump = slopes[i + 1] - slopes[i]
        # Left of 0 the slope changes by −jump when one walks outwards.
        ramps.append(_Ramp(1.0, kink, jump) if kink >= 0 else _Ramp(-1.0, -kink, jump))
    return float(activation.function(np.zeros(1))[0]), slopes[at_zero], ramps


def _root(q: Array) -> Array:
    return np.sqrt(np.maximum(q, 1e-300))


def mean_slope(activation: Activation, q: Array) -> Array:
    """E φ′(√q z)."""
    _, slope, ramps = _parts(activation)
    return slope + sum((r.side * r.height * ndtr(-r.threshold / _root(q)) for r in ramps), np.zeros(np.shape(q)))


def mean(activation: Activation, q: Array) -> Array:
    """E φ(√q z)."""
    value, _, ramps = _parts(activation)
    return value + sum((r.height * _root(q) * _ramp_mean(r.threshold / _root(q)) for r in ramps), np.zeros(np.shape(q)))


def _ramp_mean(h: Array) -> Array:
    """E (z − h)₊."""
    return density(h) - h * ndtr(-h)


def slope_covariance(activation: Activation, q1: Array, q2: Array, c: Array) -> Array:
    """E φ′(u) φ′(v), elementwise over arrays of one shape."""
    _, slope, ramps = _parts(activation)
    h1, h2 = [[r.threshold / _root(q) for r in ramps] for q in (q1, q2)]
    total = np.full(np.shape(c), slope * slope)
    for i, r in enumerate(ramps):
        total += slope * r.side * r.height * (ndtr(-h1[i]) + ndtr(-h2[i]))
        for j, s in enumerate(ramps):
            total += r.side * r.height * s.side * s.height * _orthant(h1[i], h2[j], r.side * s.side * c)
    return total


def value_covariance(activation: Activation, q1: Array, q2: Array, c: Array) -> Array:
    """E φ(u) φ(v), elementwise over arrays of one shape."""
    value, slope, ramps = _parts(activation)
    r1, r2 = _root(q1), _root(q2)
    h1, h2 = [[r.threshold / root for r in ramps] for root in (r1, r2)]
    # E u·ramp(v) = √(q1 q2) c E ramp′(v), by Stein's lemma
    total = value * value + slope * slope * r1 * r2 * c
    for i, r in enumerate(ramps):
        total += value * r.height * (r1 * _ramp_mean(h1[i]) + r2 * _ramp_mean(h2[i]))
        total += slope * r.side * r.height * r1 * r2 * c * (ndtr(-h1[i]) + ndtr(-h2[i]))
        for j, s in enumerate(ramps):
            total += r.height * s.height * r1 * r2 * _ramp_product(h1[i], h2[j], r.side * s.side * c)
    return total


def _orthant(h: Array, k: Array, c: Array) -> Array:
    """P(u > h, v > k) for standard Gaussians of correlation c and h, k ≥ 0."""
    gap = (1.0 - c) * (1.0 + c)
    root = np.sqrt(gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        # k − ch = (k − h) + h(1 − c) keeps its digits next to c = 1
        to_k = ((k - h) + h * (1.0 - c)) / (h * root)
        to_h = ((h - k) + k * (1.0 - c)) / (k * root)
        generic = 0.5 * (ndtr(-h) + ndtr(-k)) - owens_t(h, to_k) - owens_t(k, to_h)
    result = np.where((h == 0.0) & (k == 0.0), 0.25 + np.arcsin(c) / (2.0 * math.pi), generic)
    # One threshold at 0: T(0, ±∞) = ±1/4 is an arctangent of k/0, which numpy gives; at |c| = 1 the Gaussians are one.
    result = np.where(c >= 1.0, ndtr(-np.maximum(h, k)), result)
    return np.where(c <= -1.0, 0.0, result)


def _ramp_product(h: Array, k: Array, c: Array) -> Array:
    """E (u − h)₊ (v − k)₊ for standard Gaussians of correlation c and h, k ≥ 0."""
    gap = (1.0 - c) * (1.0 + c)
    root = np.sqrt(gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_h = ((h - k) + k * (1.0 - c)) / root
        to_k = ((k - h) + h * (1.0 - c)) / root
        joint = np.exp(-0.5 * (h * h + to_k**2)) * root / (2.0 * math.pi)
        generic = (h * k + c) * _orthant(h, k, c) - h * density(k) * ndtr(-to_h) - k * density(h) * ndtr(-to_k) + joint
    low, high = np.minimum(h, k), np.maximum(h, k)
    # c = 1: E (z − h)₊(z − k)₊ over z > max(h, k)
    same = (1.0 + h * k) * ndtr(-high) - low * density(high)
    return np.where(c >= 1.0, same, np.where(c <= -1.0, 0.0, generic))

"""Expectations over gates: functions of e ~ N(μ, v) that are smooth on the scale of the logistic function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.gaussian import check_variance
from theodolite.maths.resolution import Array

__all__ = ["bias_for_rate", "fixed_length", "gate_rule", "per_gate", "sigmoid"]

#: Half-width in standard deviations, and largest steps: in standard deviations, and in units of e.
WINDOW, STEP, FINE = 10.0, 0.5, 0.15


def sigmoid(e: Array) -> Array:
    """1/(1 + exp(−e)), to full relative accuracy in both tails."""
    return 1.0 / (1.0 + np.exp(np.minimum(-e, 700.0)))


def gate_rule(mean: float, variance: float) -> tuple[Array, Array]:
    """Nodes e and weights w with E F(e) ≈ Σ w F(e) for e ~ N(mean, variance), to rounding for F made of sigmoid and tanh.

    Example:
        >>> e, w = gate_rule(1.0, 4.0)
        >>> round(float(w @ e**2), 12)
        5.0
    """
    # The trapezoidal rule errs by exp(−2π·strip/step): the Gaussian allows a step of 0.5, the poles of tanh, π/2 away, 0.15 in e.
    root = math.sqrt(variance)
    if root == 0.0:
        return np.array([mean]), np.ones(1)
    half = math.ceil(WINDOW / min(STEP, FINE / root))
    z = np.linspace(-WINDOW, WINDOW, 2 * half + 1)
    w = np.exp(-0.5 * z * z)
    return mean + root * z, w / w.sum()


def per_gate(value: float | Sequence[float], gates: int, name: str) -> tuple[float, ...]:
    """One variance for all gates, or one for each, checked.

    Raises:
        ArgumentError: a negative or non-finite entry, or another number of them.
    """
    array = check_variance(value, name)
    if array.ndim > 1 or array.size not in (1, gates):
        raise ArgumentError(f"{name} must be one number or {gates}, got shape {array.shape}")
    return tuple(float(v) for v in np.broadcast_to(array.ravel(), (gates,)))


def fixed_length(map_: Callable[[float], float], largest: float) -> float:
    """The stable fixed point of a length map on [0, largest] that maps into it: 0 only where 0 is stable.

    Raises:
        NumericalError: the map leaves the interval.
    """
    from scipy.optimize import brentq

    tiny = 1e-12 * largest
    if largest == 0.0 or map_(tiny) <= tiny:
        return 0.0
    if map_(largest) > largest * (1 + 1e-12):
        raise NumericalError(f"the length has no fixed point below {largest:.6g}")
    return float(brentq(lambda q: map_(q) - q, tiny, largest * (1 + 2e-12), xtol=1e-15 * largest, rtol=1e-14))


def bias_for_rate(loss: Callable[[float], float], time_scale: Any) -> float:
    """The largest μ at which 1 − χ(μ), given by ``loss``, equals 1 − exp(−1/time_scale); 1 − χ ~ 2 exp(−μ) for large μ.

    Raises:
        ArgumentError: a time scale outside (0, 1e6].
        NumericalError: no bias in [−30, 40] gives it.
    """
    from scipy.optimize import brentq

    if not 0 < time_scale <= 1e6:
        raise ArgumentError(f"time_scale must lie in (0, 1e6] steps, got {time_scale}")
    target = -math.expm1(-1.0 / time_scale)

    def excess(mu: float) -> float:
        return loss(mu) - target

    high = math.log(2.0 / target) + 1.0
    while excess(high) > 0:
        high += 2.0
        if high > 40.0:
            raise NumericalError(f"no bias below 40 gives a memory of {time_scale:g} steps: sigma_w2 makes the network chaotic")
    low = high - 1.0
    while excess(low) < 0:
        high, low = low, low - 1.0
        if low < -30.0:
            raise NumericalError(f"no bias above -30 gives a memory as short as {time_scale:g} steps")
    return float(brentq(excess, low, high, xtol=1e-10))

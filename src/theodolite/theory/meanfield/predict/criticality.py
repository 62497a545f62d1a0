"""Where χ₁ = 1: critical points, the critical line, its half-stable point, and variance-preserving gains.

The line is parametrised by q: σ_w²(q) = 1/E φ′², σ_b²(q) = q − σ_w² E φ², so that nothing has to be found by trial in σ_w².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.activation import Activation, identify
from theodolite.maths.gaussian import check_variance
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting
from theodolite.theory.meanfield.predict.maps import TINY
from theodolite.theory.meanfield.predict.moments import moment_table, second_moment, slope_moment, variance_slope

__all__ = ["CriticalPoint", "critical_line", "critical_point", "gain", "half_stable_point"]

#: Range of q in which critical points are looked for, with 8 trial values per octave.
_TRIALS = 2.0 ** np.arange(-40.0, 16.01, 0.125)


@dataclass(frozen=True)
class CriticalPoint:
    """A point with χ₁ = 1.

    Attributes:
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.
        q_star: fixed variance there.
        stable: Q′(q*) ≤ 1, so that the variance runs into q*; the small-q critical points of GELU, SiLU and Mish are unstable,
            and a network initialised there leaves them.
    """

    sigma_w2: Any
    sigma_b2: Any
    q_star: Any
    stable: Any


def _line(activation: Activation, q: Array) -> tuple[Array, Array]:
    """(σ_w², σ_b²) of the critical point at each q.

    Raises:
        ArgumentError: φ is constant, so that χ₁ = 0 whatever the weights.
    """
    slopes = slope_moment(activation, q)
    if (slopes <= 0.0).all():
        raise ArgumentError(f"activation must not be constant, got {activation.name} with E φ′² = 0 at q = {np.ravel(q)[0]:g}")
    w = 1.0 / slopes
    return w, q - w * second_moment(activation, q)


def _stable(activation: Activation, q: Array, w: Array) -> Array:
    return w * variance_slope(activation, q) <= 1.0 + 1e-9


def critical_point(activation: Any, q_star: Any) -> CriticalPoint:
    """The critical point whose fixed variance is ``q_star``: σ_w² = 1/E φ′², σ_b² = q* − σ_w² E φ².

    Args:
        activation: φ.
        q_star: positive variance, number or array.

    Raises:
        NumericalError: it would need σ_b² < 0.
        UnsupportedError: φ jumps.

    Reference: schoenholz2017, Sec. 3; roberts2022, Ch. 5.

    Example:
        >>> point = critical_point("hardtanh", 0.463863969432006)
        >>> round(point.sigma_w2, 12), round(point.sigma_b2, 12), point.stable
        (1.165544689636, 0.05, True)
    """
    a = identify(activation)
    q = check_variance(q_star, "q_star", positive=True)
    w, b = _line(a, q)
    b = np.where(np.abs(b) <= 4e-15 * q, 0.0, b)
    if (b < 0).any():
        raise NumericalError(
            f"{a.name} has no critical point with q* = {q[b < 0].flat[0]:.6g}: χ₁ = 1 needs σ_w² = {w[b < 0].flat[0]:.6g}, at which "
            f"q* would ask for a bias variance of {b[b < 0].flat[0]:.6g} < 0; try another q_star"
        )
    stable = _stable(a, q, w)
    if q.ndim == 0:
        return CriticalPoint(float(w), float(b), float(q), bool(stable))
    return CriticalPoint(w, b, q, stable)


@broadcasting("sigma_b2")
def critical_line(activation: Any, sigma_b2: Any) -> CriticalPoint:
    """The critical point with bias variance ``sigma_b2``: the stable one if there are several.

    At σ_b² = 0 an activation with φ(0) = 0 is critical in the limit q* → 0, at σ_w² = 1/E φ′² there (1 for tanh, 4 for GELU). ReLU
    and its leaky relatives have no line, only (2/(1 + a²), 0), at which every q is fixed; q* = 1 is given.

    Args:
        activation: φ.
        sigma_b2: variance of the biases, number or array.

    Returns:
        `CriticalPoint`, with arrays for an array.

    Raises:
        NumericalError: no critical point with this bias variance exists for q up to 6·10⁴ (softplus; ReLU with a bias).
        UnsupportedError: φ jumps.

    Reference: poole2016, Fig. 1; schoenholz2017, Fig. 1.

    Example:
        >>> point = critical_line("tanh", 0.05)
        >>> round(point.sigma_w2, 10), round(point.q_star, 10), point.stable
        (1.7609546396, 0.5700478816, True)
        >>> critical_line("gelu", 0.05).stable
        False
    """
    return _on_line(identify(activation), float(check_variance(sigma_b2, "sigma_b2")))


def _on_line(a: Activation, target: float) -> CriticalPoint:
    from scipy.optimize import brentq

    table = moment_table(a)
    trials = _TRIALS
    _ = _line(a, np.ones(1))  # refuses an activation that jumps or is constant, with the reason
    w, second = 1.0 / table.slope(trials)[0], table.second(trials)[0]
    bias = trials - w * second
    noise = 2e-14 * trials
    if (np.abs(bias) <= noise).all():
        if target == 0.0:
            return CriticalPoint(float(w[0]), 0.0, 1.0, True)
        raise NumericalError(
            f"{a.name} has no critical point with sigma_b2 = {target:g}: it is homogeneous, χ₁ = 1 only at σ_w² = {w[0]:.6g}, "
            "and there a bias makes q grow without bound; use sigma_b2=0"
        )
    roots = []
    if target == 0.0 and abs(float(a.function(np.zeros(1))[0])) < 1e-15:
        small = np.array([TINY])
        w_0 = 1.0 / slope_moment(a, small)
        # Whether q leaves 0 at χ₁ = 1 is a matter of the next order; read it off at a small q.
        tiny = np.array([1e-5])
        stable = bool(variance_slope(a, tiny)[0] / slope_moment(a, tiny)[0] <= 1.0 + 1e-9)
        roots.append(CriticalPoint(float(w_0[0]), 0.0, 0.0, stable))
    excess = np.where(np.abs(bias - target) <= noise, 0.0, bias - target)
    for i in np.flatnonzero(excess[:-1] * excess[1:] < 0):

        def miss(v: float) -> float:
            return float(_line(a, np.array(v))[1]) - target

        if miss(trials[i]) * miss(trials[i + 1]) > 0:
            continue  # a crossing of the table's rounding
        q = np.array(brentq(miss, trials[i], trials[i + 1], xtol=1e-300, rtol=1e-14))
        weight = 1.0 / slope_moment(a, q)
        roots.append(CriticalPoint(float(weight), target, float(q), bool(_stable(a, q, weight))))
    if not roots:
        raise NumericalError(
            f"{a.name} has no critical point with sigma_b2 = {target:g}: for q up to {trials[-1]:.0f}, χ₁ = 1 asks for bias "
            f"variances between {bias.min():.4g} and {bias.max():.4g} only"
        )
    return next((point for point in roots if point.stable), roots[0])


def half_stable_point(activation: Any) -> CriticalPoint:
    """The critical point at which the variance is critical too: χ₁ = Q′(q*) = 1, that is E φφ″ = 0.

    Critical points with a smaller q* are unstable. GELU, SiLU and Mish have one; tanh-like functions have none.

    Args:
        activation: φ.

    Raises:
        NumericalError: E φφ″ keeps its sign (every critical point is stable) or is zero throughout (ReLU: every q is fixed).
        UnsupportedError: φ jumps.

    Reference: roberts2022, Sec. 5.3.4.

    Example:
        >>> point = half_stable_point("mish")
        >>> round(point.q_star, 9), round(point.sigma_w2, 9), round(point.sigma_b2, 9)
        (1.670169132, 2.01352407, 0.094521787)
    """
    from scipy.optimize import brentq

    a = identify(activation)
    trials = 2.0 ** np.arange(-20.0, 12.1, 0.25)
    curvature = variance_slope(a, trials) - slope_moment(a, trials)  # E φφ″
    significant = np.abs(curvature) > 1e-12 * slope_moment(a, trials)
    if not significant.any():
        raise NumericalError(f"{a.name} has no half-stable point: E φφ″ = 0 for every q, so that every q is a fixed point")
    signs = np.where(significant, np.sign(curvature), 0.0)
    for i in np.flatnonzero(signs[:-1] * signs[1:] < 0):
        q = brentq(
            lambda v: float(variance_slope(a, np.array(v)) - slope_moment(a, np.array(v))),
            trials[i],
            trials[i + 1],
            xtol=1e-300,
            rtol=1e-14,
        )
        w, b = _line(a, np.array(q))
        if b >= 0:
            return CriticalPoint(float(w), float(b), float(q), True)
    sign = "negative" if (signs <= 0).all() else "positive"
    raise NumericalError(
        f"{a.name} has no half-stable point: E φφ″ is {sign} (or σ_b² < 0) for every q, so that its critical points are all "
        f"{'stable' if sign == 'negative' else 'unstable'}"
    )


def gain(activation: Any, at_q: Any = 1.0) -> Any:
    """Gain g = 1/√E φ(√q z)² that gives the outputs of ``activation`` unit second moment at pre-activation variance q = ``at_q``.

    Weights of standard deviation g/√fan_in then have pre-activations of variance 1, as ``torch.nn.init.calculate_gain`` means it,
    but right for every activation: tanh 1.5925 (torch: 5/3), GELU 1.5335 (torch: refused), SELU 1 (torch: 3/4). √2 for ReLU.

    Args:
        activation: φ.
        at_q: variance of the pre-activations, number or array.

    Returns:
        A float for a number, else an array. It is a standard deviation; σ_w² = gain².

    Raises:
        ArgumentError: ``at_q`` is not a positive variance, or φ vanishes there.

    Reference: klambauer2017 (SELU).

    Example:
        >>> import torch
        >>> round(gain(torch.tanh), 8), round(gain(torch.nn.GELU()), 9), round(gain("relu") ** 2, 12)
        (1.59253742, 1.533530441, 2.0)
    """
    q = check_variance(at_q, "at_q", positive=True)
    second = second_moment(activation, q)
    if (second <= 0).any():
        raise ArgumentError(f"activation must not vanish, got E φ² = 0 at q = {q.flat[0]:g}")
    return float(second**-0.5) if q.ndim == 0 else second**-0.5

"""How far signals and gradients reach: depth scales away from criticality, power laws at it, and the flow of correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import check_correlation, check_variance
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import check_count
from theodolite.theory.meanfield.predict.fixed_points import MARGIN
from theodolite.theory.meanfield.predict.maps import TINY, _result, chi_1, chi_parallel, correlation_fixed_point, q_star
from theodolite.theory.meanfield.predict.moments import second_moment
from theodolite.theory.meanfield.predict.slope_table import slope_table

__all__ = ["CorrelationFlow", "CriticalLaw", "DepthScales", "correlation_flow", "critical_law", "depth_scales", "length_scale"]


@dataclass(frozen=True)
class DepthScales:
    """Depth scales in layers; infinite at criticality.

    Attributes:
        xi_q: of the variance, −1/ln|Q′(q*)|.
        xi_c: of the correlation, −1/ln χ(c*).
        xi_grad: of the gradient, 1/|ln χ₁|; gradients vanish when χ₁ < 1 and explode when χ₁ > 1.
    """

    xi_q: Any
    xi_c: Any
    xi_grad: Any


def length_scale(rate: Any) -> Array:
    """−1/ln|rate|, infinite at rate 1 (to rounding) and 0 at rate 0."""
    with np.errstate(divide="ignore"):
        logarithm = np.log(np.abs(np.asarray(rate, dtype=np.float64)))
        return np.where(np.abs(logarithm) <= MARGIN, np.inf, -1.0 / logarithm)


def depth_scales(activation: Any, sigma_w2: Any, sigma_b2: Any) -> DepthScales:
    """Depth scales ξ_q = −1/ln|Q′(q*)|, ξ_c = −1/ln χ(c*), ξ_∇ = 1/|ln χ₁|.

    |q_l − q*| ~ exp(−l/ξ_q), |c_l − c*| ~ exp(−l/ξ_c), squared gradients ~ exp(±l/ξ_∇). Networks are trainable up to a depth of
    about 6 ξ_c (schoenholz2017). In the ordered phase ξ_c = ξ_∇; at criticality both are infinite and `critical_law` holds.

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.

    Raises:
        NumericalError: q has no fixed point.
        UnsupportedError: φ jumps.

    Reference: schoenholz2017, Eqs. 9, 10 and 17.

    Example:
        >>> scales = depth_scales("erf", 1.5, 0.05)
        >>> round(scales.xi_q, 10), round(scales.xi_c, 9), round(scales.xi_grad, 9)
        (1.3228594174, 32.340239646, 29.315493604)
    """
    arguments = (sigma_w2, sigma_b2)
    _, slope = correlation_fixed_point(activation, *arguments)
    grad = np.abs(length_scale(chi_1(activation, *arguments)))
    xi_q = length_scale(chi_parallel(activation, *arguments))
    return DepthScales(*(_result(x, *arguments) for x in (xi_q, length_scale(slope), grad)))


@dataclass(frozen=True)
class CriticalLaw:
    """1 − c_l → coefficient / l^exponent at criticality.

    Attributes:
        exponent: 1 for an activation without kinks, 2 for one with.
        coefficient: the limit of l^exponent (1 − c_l).
    """

    exponent: int
    coefficient: float


def critical_law(activation: Any, sigma_w2: float, sigma_b2: float) -> CriticalLaw:
    """Power law by which correlations approach 1 at criticality (χ₁ = 1).

    With θ = arccos c and D(θ) = E φ′(u)φ′(v): without kinks 1 − c_l → 2/(C″(1) l), C″(1) = −σ_w² D″(0) = σ_w² q E φ″². Kinks with
    slope jumps s_i make D′(0) = −Σ s_i² exp(−k_i²/2q)/2π, and 1 − c_l → 9/(2 σ_w⁴ D′(0)² l²); 9π²/(2l²) for ReLU.

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.

    Raises:
        ArgumentError: the point is not critical, |χ₁ − 1| > 1e-6.
        NumericalError: φ is linear or q* = 0, so that correlations do not move at this order.

    Reference: hayou2019, Prop. 1 and 3.

    Example:
        >>> law = critical_law("relu", 2.0, 0.0)
        >>> law.exponent, round(law.coefficient, 6)
        (2, 44.41322)
    """
    slope = chi_1(activation, sigma_w2, sigma_b2)
    if abs(slope - 1.0) > 1e-6:
        raise ArgumentError(f"(sigma_w2, sigma_b2) must be a critical point, got χ₁ = {slope:.6g}; see critical_line")
    q = q_star(activation, sigma_w2, sigma_b2)
    first, second = (float(d[0]) for d in slope_table(activation).series(np.array([max(q, TINY)])).derivatives_at_one())
    if first < -1e-8:
        return CriticalLaw(2, 4.5 / (sigma_w2 * first) ** 2)
    if -second * sigma_w2 < 1e-5:
        raise NumericalError(
            f"correlations of {activation!r} do not move at this critical point: C″(1) = 0 to rounding (φ is linear, or q* = 0)"
        )
    return CriticalLaw(1, 2.0 / (-second * sigma_w2))


@dataclass(frozen=True)
class CorrelationFlow:
    """Recursion of two inputs through the layers.

    Attributes:
        q1: variances of the first input's pre-activations at layers 0..depth.
        q2: of the second one.
        c: their correlations.
    """

    q1: Array
    q2: Array
    c: Array


def correlation_flow(
    activation: Any, sigma_w2: float, sigma_b2: float, depth: int, c0: float = 0.0, q0: tuple[float, float] | None = None
) -> CorrelationFlow:
    """Variances and correlation of two inputs at layers 0..depth, by iterating both maps.

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.
        depth: number of layers to iterate.
        c0: correlation of the first layer's pre-activations.
        q0: their variances; q* by default.

    Raises:
        ArgumentError: arguments out of range.
        NumericalError: ``q0`` is left out and q has no fixed point.

    Reference: poole2016, Eqs. 3 and 5.

    Example:
        >>> flow = correlation_flow("relu", 2.0, 0.0, depth=10)
        >>> round(float(flow.c[1]), 12), round(float(flow.c[10]), 12)
        (0.318309886184, 0.871535516022)
    """
    depth = check_count(depth, "depth", 0)
    if q0 is None:
        q0 = (q_star(activation, sigma_w2, sigma_b2),) * 2
    u, v = (float(check_variance(q, "q0")) for q in q0)
    q1, q2, c = [u], [v], [float(check_correlation(c0, "c0"))]
    kernel = dual(activation)
    for _ in range(depth):
        covariance = sigma_b2 + sigma_w2 * kernel.value(q1[-1], q2[-1], c[-1])
        for lengths in (q1, q2) if u != v else (q1,):
            following = float(sigma_b2 + sigma_w2 * second_moment(activation, lengths[-1]))
            # A length that has settled stays the same number, so that the kernel's coefficients are computed once.
            settled = abs(following - lengths[-1]) <= 1e-14 * lengths[-1]
            lengths.append(lengths[-1] if settled else following)
        if u == v:
            q2.append(q1[-1])
        size = math.sqrt(q1[-1] * q2[-1])
        c.append(min(1.0, max(-1.0, covariance / size)) if size > 0 else 1.0)
    return CorrelationFlow(np.array(q1), np.array(q2), np.array(c))

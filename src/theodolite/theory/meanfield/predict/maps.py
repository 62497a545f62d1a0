"""The variance map q ↦ Q(q), the correlation map c ↦ C(c), their slopes and their fixed points.

Convention: z = W φ(z′) + b with W_ij ~ N(0, σ_w²/fan-in), b_i ~ N(0, σ_b²), width to infinity; all arguments are variances.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import check_correlation, check_variance
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import common_shape
from theodolite.theory.meanfield.predict.fixed_points import fixed_correlation, fixed_variance
from theodolite.theory.meanfield.predict.moments import mean, second_moment, slope_moment, variance_slope

__all__ = ["c_map", "c_star", "chi", "chi_1", "chi_parallel", "covariance_map", "q_map", "q_star"]

#: Stands for q* = 0 where a ratio of moments has a limit there.
TINY = 1e-22


def _result(value: Any, *arguments: Any) -> Any:
    """A float when all arguments are numbers, else an array."""
    array = np.asarray(value)
    return float(array) if all(np.ndim(a) == 0 for a in arguments) else array


def variances(sigma_w2: Any, sigma_b2: Any) -> tuple[Array, Array]:
    """Both, checked and broadcast against each other.

    Raises:
        ArgumentError: negative, non-finite or complex, or of shapes that do not broadcast.
    """
    w, b = check_variance(sigma_w2, "sigma_w2"), check_variance(sigma_b2, "sigma_b2")
    shape = common_shape(sigma_w2=w, sigma_b2=b)
    return np.broadcast_to(w, shape), np.broadcast_to(b, shape)


def q_map(q: Any, activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """Variance of the next pre-activations: Q(q) = σ_b² + σ_w² E φ(√q z)².

    Args:
        q: variance of the pre-activations, a number or an array.
        activation: any elementwise callable, torch module or name.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.

    Returns:
        A float for numbers, else an array of the broadcast shape.

    Raises:
        ArgumentError: a negative or non-finite variance, or an activation that is not elementwise.

    Reference: poole2016, Eq. 3.

    Example:
        >>> q_map(1.0, "relu", 2.0, 0.1)
        1.1
    """
    w, b = variances(sigma_w2, sigma_b2)
    common_shape(q=q, sigma_w2=w, sigma_b2=b)
    return _result(b + w * second_moment(activation, check_variance(q)), q, sigma_w2, sigma_b2)


def covariance_map(q1: Any, q2: Any, c: Any, activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """Covariance of the next pre-activations of two inputs: σ_b² + σ_w² E φ(u)φ(v), for variances q1, q2 and correlation c.

    Raises:
        ArgumentError: as `q_map`, or |c| > 1.

    Reference: poole2016, Eq. 5.

    Example:
        >>> round(covariance_map(1.0, 1.0, 0.0, "relu", 2.0, 0.0), 12)
        0.318309886184
    """
    w, b = variances(sigma_w2, sigma_b2)
    common_shape(q1=q1, q2=q2, c=c, sigma_w2=w, sigma_b2=b)
    return _result(b + w * dual(activation).value(*map(on_host, (q1, q2, c))), q1, q2, c, sigma_w2, sigma_b2)


def q_star(activation: Any, sigma_w2: Any, sigma_b2: Any, *, start: float = 1.0) -> Any:
    """Stable fixed point of the variance map, q* = Q(q*), that the recursion from q = ``start`` runs into.

    0 where the variance dies out (no bias, φ(0) = 0, σ_w² φ′(0)² ≤ 1); ``start`` where every q is a fixed point (ReLU at σ_w² = 2,
    σ_b² = 0).

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in, number or array.
        sigma_b2: variance of the biases; the two broadcast.
        start: variance of the first layer's pre-activations; matters only when there are several stable fixed points.

    Returns:
        A float for numbers, else an array.

    Raises:
        NumericalError: the variance diverges; the message says why.
        ArgumentError: as `q_map`.

    Cost: a table of some milliseconds per activation, then about 2 µs per point.

    Example:
        >>> round(q_star("tanh", 1.3, 0.05), 12)
        0.315316477485
    """
    w, b = variances(sigma_w2, sigma_b2)
    at = float(check_variance(start, "start", positive=True))
    return _result(fixed_variance(activation, w, b, at), sigma_w2, sigma_b2)


def _fixed(activation: Any, sigma_w2: Any, sigma_b2: Any) -> tuple[Array, Array, Array]:
    w, b = variances(sigma_w2, sigma_b2)
    return np.maximum(fixed_variance(activation, w, b, 1.0), TINY), w, b


def c_map(c: Any, activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """Correlation of the next pre-activations at the fixed variance: C(c) = (σ_b² + σ_w² E φ(u)φ(v)) / q*.

    Where q* = 0 the limit of the ratio; 1 where the next layer vanishes altogether (σ_w² = σ_b² = 0).

    Args:
        c: correlation of the pre-activations of two inputs.
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.

    Raises:
        NumericalError: q has no fixed point.
        ArgumentError: as `q_map`, or |c| > 1.

    Reference: poole2016, Eq. 6.

    Example:
        >>> c_map(1.0, "tanh", 1.3, 0.05), round(c_map(0.0, "relu", 2.0, 0.0), 12)
        (1.0, 0.318309886184)
    """
    corr = check_correlation(c)
    common_shape(c=corr, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    q, w, b = _fixed(activation, sigma_w2, sigma_b2)
    # Divided by Q(q) itself, so that C(1) = 1 exactly, also where q* = 0 and only the ratio has a limit.
    length = b + w * dual(activation).value(q, q, np.ones_like(q))
    with np.errstate(invalid="ignore"):
        ratio = (b + w * dual(activation).value(q, q, corr)) / length
    return _result(np.where((corr == 1.0) | (length == 0.0), 1.0, ratio), c, sigma_w2, sigma_b2)


def chi(c: Any, activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """Slope of the correlation map at the fixed variance: χ(c) = C′(c) = σ_w² E φ′(u)φ′(v).

    Raises:
        UnsupportedError: φ jumps, so that χ is infinite.
        NumericalError: q has no fixed point.

    Reference: schoenholz2017, Eq. 5.

    Example:
        >>> round(chi(0.5, "relu", 2.0, 0.0), 12)
        0.666666666667
    """
    corr = check_correlation(c)
    common_shape(c=corr, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    q, w, _ = _fixed(activation, sigma_w2, sigma_b2)
    return _result(w * dual(activation).derivative(q, q, corr), c, sigma_w2, sigma_b2)


def chi_1(activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """χ₁ = C′(1) = σ_w² E φ′(√q* z)²: growth of squared perturbations, and of squared gradients, per layer.

    Raises:
        UnsupportedError: φ jumps, so that χ₁ is infinite.
        NumericalError: q has no fixed point.

    Reference: poole2016, Eq. 8.

    Example:
        >>> round(chi_1("tanh", 1.3, 0.05), 12), chi_1("relu", 2.0, 0.0)
        (0.880163509883, 1.0)
    """
    q, w, _ = _fixed(activation, sigma_w2, sigma_b2)
    return _result(w * slope_moment(activation, q), sigma_w2, sigma_b2)


def chi_parallel(activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """Q′(q*) = σ_w² E[φφ′z]/√q*: slope of the variance map at its fixed point, below 1 where it is stable.

    Raises:
        NumericalError: q has no fixed point.

    Reference: roberts2022, Sec. 5.3.

    Example:
        >>> round(chi_parallel("tanh", 1.3, 0.05), 12)
        0.57112348462
    """
    q, w, _ = _fixed(activation, sigma_w2, sigma_b2)
    return _result(w * variance_slope(activation, q), sigma_w2, sigma_b2)


def c_star(activation: Any, sigma_w2: Any, sigma_b2: Any) -> Any:
    """Stable fixed point of the correlation map: 1 in the ordered phase and at criticality, below 1 in the chaotic phase.

    Raises:
        UnsupportedError: φ jumps.
        NumericalError: q has no fixed point.

    Cost: about 5 ms for a smooth activation, 0.1 s for one with kinks between curved pieces; per point of a grid some µs.

    Reference: poole2016, Sec. 3.

    Example:
        >>> c_star("tanh", 1.3, 0.05), round(c_star("erf", 4.0, 0.1), 12)
        (1.0, 0.203231363649)
    """
    return _result(correlation_fixed_point(activation, sigma_w2, sigma_b2)[0], sigma_w2, sigma_b2)


def correlation_fixed_point(activation: Any, sigma_w2: Any, sigma_b2: Any) -> tuple[Array, Array]:
    """(c*, χ at c*) as arrays."""
    q, w, b = _fixed(activation, sigma_w2, sigma_b2)
    flat_q, flat_w = q.ravel(), w.ravel()
    slope = flat_w * slope_moment(activation, flat_q)
    floor = b.ravel() + flat_w * mean(activation, flat_q) ** 2
    c, at = fixed_correlation(activation, flat_q, flat_w, slope, floor)
    return c.reshape(w.shape), at.reshape(w.shape)

"""Recurrent networks at initialisation: how long a state is remembered (Chen, Pennington & Schoenholz 2018).

Mean field: weights Gaussian and drawn anew at every step (with tied weights, q and χ of these two networks differ by a few per
cent), inputs independent from step to step, of second moment R per coordinate. The time scale −1/ln χ is in steps; χ is the growth
per step of the squared distance of two nearby states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from theodolite.maths.dual import dual
from theodolite.maths.gaussian import check_variance
from theodolite.theory.meanfield.predict.arguments import broadcasting, check_number
from theodolite.theory.meanfield.predict.depth import length_scale
from theodolite.theory.meanfield.predict.gates import bias_for_rate, fixed_length, gate_rule, sigmoid
from theodolite.theory.meanfield.predict.maps import c_star, q_star

__all__ = ["MinimalRNN", "VanillaRNN", "minimal_rnn", "minimal_rnn_bias", "vanilla_rnn"]


@dataclass(frozen=True)
class VanillaRNN:
    """Fixed points of a vanilla recurrent network; arrays where an argument was one.

    Attributes:
        q_star: variance of the pre-activations.
        c_star: correlation of the pre-activations of two sequences.
        chi: σ_w² E φ′φ′ at c*, the slope of the correlation map.
        chi_1: σ_w² E φ′², the growth of squared perturbations and gradients per step.
        time_scale: −1/ln χ in steps: how long the difference of two pasts survives; inf at criticality.
    """

    q_star: Any
    c_star: Any
    chi: Any
    chi_1: Any
    time_scale: Any


@dataclass(frozen=True)
class MinimalRNN:
    """Fixed point of a minimal recurrent network; arrays where an argument was one.

    Attributes:
        q_star: E h², the second moment of the state.
        chi: growth of squared perturbations per step.
        time_scale: −1/ln χ in steps; inf where χ = 1, negative where perturbations grow (χ > 1).
        gate: E u², the part of χ that the gate's memory makes.
    """

    q_star: Any
    chi: Any
    time_scale: Any
    gate: Any


@broadcasting("sigma_w2", "sigma_v2", "sigma_b2", "input_correlation", "R")
def vanilla_rnn(activation: Any, sigma_w2: Any, sigma_v2: Any, sigma_b2: Any, input_correlation: Any, R: Any = 1.0) -> VanillaRNN:
    """Fixed points and memory of e_t = W φ(e_{t−1}) + V x_t + b, for two input sequences of correlation Σ.

    q* = σ_w² E φ² + σ_v² R + σ_b², c* = (σ_w² E φφ + σ_v² R Σ + σ_b²)/q*, χ = σ_w² E φ′φ′ at c*. Critical settings: `critical_point`
    gives σ_w² and the sum σ_v² R + σ_b² for which χ₁ = 1.

    Args:
        activation: φ, any elementwise callable without jumps.
        sigma_w2: variance of the recurrent weights times width.
        sigma_v2: variance of the input weights times the number of inputs.
        sigma_b2: variance of the biases.
        input_correlation: Σ in [−1, 1], correlation of x_t and x′_t at equal times.
        R: second moment of an input coordinate.

    Returns:
        `VanillaRNN`.

    Raises:
        ArgumentError: a negative variance or |Σ| > 1. NumericalError: q has no fixed point. UnsupportedError: φ jumps.

    Reference:
        chen2018.

    Example:
        >>> found = vanilla_rnn("erf", 0.6, 0.4, 0.0, 0.5)
        >>> round(found.q_star, 12), round(found.c_star, 12), round(found.chi_1, 12)
        (0.624991762256, 0.487685294905, 0.408347020583)
    """
    w, v, b = (float(check_variance(x, n)) for x, n in ((sigma_w2, "sigma_w2"), (sigma_v2, "sigma_v2"), (sigma_b2, "sigma_b2")))
    drive = v * float(check_variance(R, "R"))
    check_number(input_correlation, "input_correlation", -1.0, 1.0)
    kernel, q = dual(activation), float(q_star(activation, w, drive + b))
    different = drive * (1.0 - input_correlation)
    c = (
        float(c_star(activation, w, drive + b))
        if different == 0.0 or q == 0.0
        else _correlation(kernel, q, w, drive + b, different)
    )
    chi, chi_1 = (w * float(kernel.derivative(q, q, at)) for at in (c, 1.0))
    return VanillaRNN(q, c, chi, chi_1, float(length_scale(chi)))


def _correlation(kernel: Any, q: float, w: float, shared: float, different: float) -> float:
    """Root of (σ_w² E φφ + shared − different)/q = c, where the map lies below 1 at c = 1.

    The map is a power series with coefficients that are not negative, so that it is convex on [0, 1] and has one root there when it
    is not negative at 0; else the root is negative.
    """
    from scipy.optimize import brentq

    def excess(c: float) -> float:
        return (w * float(kernel.value(q, q, c)) + shared - different) / q - c

    if excess(0.0) >= 0:
        return float(brentq(excess, 0.0, 1.0, xtol=1e-15, rtol=1e-14))
    if excess(-1.0) <= 1e-14:  # opposite inputs of an odd network: c = −1, unless it is unstable
        if w * float(kernel.derivative(q, q, -1.0)) <= 1.0:
            return -1.0
        return float(brentq(excess, -1.0 + 1e-9, 0.0, xtol=1e-15, rtol=1e-14))
    return float(brentq(excess, -1.0, 0.0, xtol=1e-15, rtol=1e-14))


@broadcasting("sigma_w2", "sigma_v2", "mu_b", "sigma_b2", "R")
def minimal_rnn(sigma_w2: Any, sigma_v2: Any, mu_b: Any, sigma_b2: Any, R: Any = 1.0) -> MinimalRNN:
    """Fixed point and memory of h_t = u ⊙ h_{t−1} + (1 − u) ⊙ x̃_t with u = σ(W h_{t−1} + V x̃_t + b).

    Q = E u² Q + E(1 − u)² R, with u = σ(e), e ~ N(μ_b, σ_w² Q + σ_v² R + σ_b²), and χ = E u² + σ_w² (Q + R) E σ′(e)². Critical
    as μ_b → ∞ and σ_w → 0; `minimal_rnn_bias` gives the μ_b of a wanted memory.

    Args:
        sigma_w2: variance of the recurrent weights times width.
        sigma_v2: variance of the input weights times width.
        mu_b: mean of the biases of the gate.
        sigma_b2: their variance.
        R: second moment of an input coordinate x̃.

    Returns:
        `MinimalRNN`.

    Raises:
        ArgumentError: a negative variance or a bias that is not finite.

    Reference:
        chen2018.

    Example:
        >>> found = minimal_rnn(1.0, 1.0, 2.0, 0.0)
        >>> round(found.q_star, 12), round(found.chi, 12)
        (0.159368573995, 0.744397858652)
    """
    q, loss, gate = _minimal(sigma_w2, sigma_v2, mu_b, sigma_b2, R)
    return MinimalRNN(q, 1.0 - loss, _scale(loss), gate)


def _scale(loss: float) -> float:
    """−1/ln χ from 1 − χ, without cancellation."""
    if loss == 0.0:
        return math.inf
    return 0.0 if loss >= 1.0 else -1.0 / math.log1p(-loss)


def _minimal(sigma_w2: float, sigma_v2: float, mu_b: float, sigma_b2: float, R: float) -> tuple[float, float, float]:
    """(Q*, 1 − χ, E u²)."""
    w, v, b = (float(check_variance(x, n)) for x, n in ((sigma_w2, "sigma_w2"), (sigma_v2, "sigma_v2"), (sigma_b2, "sigma_b2")))
    size = float(check_variance(R, "R"))
    check_number(mu_b, "mu_b")

    def moments(q: float) -> tuple[float, float, float, float]:
        """1 − E u², E(1 − u)², E σ′², E u²."""
        e, weight = gate_rule(float(mu_b), w * q + v * size + b)
        u, rest = sigmoid(e), sigmoid(-e)
        return tuple(float(weight @ f) for f in (rest * (1.0 + u), rest**2, (u * rest) ** 2, u * u))  # type: ignore[return-value]

    def length(q: float) -> float:
        lost, squared, _, _ = moments(q)
        return squared * size / lost

    q = fixed_length(length, size)
    lost, _, slope, gate = moments(q)
    return q, lost - w * (q + size) * slope, gate


def minimal_rnn_bias(time_scale: float, sigma_w2: float, sigma_v2: float, sigma_b2: float = 0.0, R: float = 1.0) -> float:
    """The mean bias μ_b at which a minimal recurrent network remembers for ``time_scale`` steps, −1/ln χ(μ_b) = time_scale.

    Args:
        time_scale: in steps, in (0, 1e6].
        sigma_w2: as in `minimal_rnn`.
        sigma_v2: as there.
        sigma_b2: as there.
        R: as there.

    Returns:
        μ_b, the largest when there are several.

    Raises:
        ArgumentError: a time scale out of range. NumericalError: no bias in [−30, 40] gives it.

    Reference:
        chen2018.

    Example:
        >>> mu = minimal_rnn_bias(100.0, 0.1, 1.0)
        >>> round(minimal_rnn(0.1, 1.0, mu, 0.0).time_scale, 8)
        100.0
    """
    return bias_for_rate(lambda mu: _minimal(sigma_w2, sigma_v2, mu, sigma_b2, R)[1], time_scale)

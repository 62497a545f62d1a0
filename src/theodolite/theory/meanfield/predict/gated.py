"""LSTM and GRU at initialisation: lengths, growth of perturbations and memory (after Gilboa et al. 2019).

Mean field: Gaussian pre-activations, weights and biases drawn anew at every step, inputs independent from step to step, of second
moment R per coordinate. The gates are then independent of the state that they multiply. Tied weights break this: h drifts slowly, a
gate that it drives stays open or shut for long, and the memory of an LSTM or a GRU is longer than predicted (at σ_w² = σ_v² = 1 with
a forget bias of 1, χ is 0.67 in a tied LSTM of width 500, where fresh weights have 0.55, as predicted; 0.62 and 0.55 for a GRU).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.maths.activation import identify
from theodolite.maths.gaussian import check_variance, integrate
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting
from theodolite.theory.meanfield.predict.cell_state import CellState
from theodolite.theory.meanfield.predict.gates import bias_for_rate, fixed_length, gate_rule, per_gate, sigmoid

__all__ = ["GatedRNN", "gru", "gru_bias", "lstm", "lstm_bias"]

#: One number for all gates, a list or tuple with one for each, or an array of numbers, which broadcasts.
PerGate = Any


@dataclass(frozen=True)
class GatedRNN:
    """Fixed point of a gated recurrent network.

    Attributes:
        q_star: E h², the second moment of the state (of the output, for an LSTM).
        cell: E c² of the cell of an LSTM; for a GRU, whose state is its cell, equal to ``q_star``.
        chi: growth of squared perturbations per step.
        time_scale: −1/ln χ in steps; inf where χ = 1, negative where perturbations grow.
        gate: E f² or E z², the part of χ that the memory gate makes.
    """

    q_star: Any
    cell: Any
    chi: Any
    time_scale: Any
    gate: Any


def _result(q: float, cell: float, chi: float, gate: float) -> GatedRNN:
    scale = math.inf if chi == 1.0 else -1.0 / math.log(chi) if chi > 0 else 0.0
    return GatedRNN(q, cell, chi, scale, gate)


def _moments(mean: float, variance: float) -> tuple[float, float, float]:
    """E σ(e)², E σ(e)⁴, E σ′(e)²."""
    e, w = gate_rule(mean, variance)
    s = sigmoid(e)
    return float(w @ s**2), float(w @ s**4), float(w @ (s * sigmoid(-e)) ** 2)


def _means(mu_b: PerGate, names: Sequence[str]) -> tuple[float, ...]:
    """Means of the gates' biases: one number is that of the memory gate, the second of ``names``, the others being 0."""
    given = np.asarray(mu_b, dtype=np.float64)
    if given.ndim == 0:
        given = np.where(np.arange(len(names)) == 1, given, 0.0)
    if given.shape != (len(names),) or not np.isfinite(given).all():
        raise ArgumentError(f"mu_b must be one finite number, or one for each of {', '.join(names)}, got {mu_b}")
    return tuple(float(m) for m in given)


@broadcasting("sigma_w2", "sigma_v2", "mu_b", "sigma_b2", "R", sequences=False)
def lstm(sigma_w2: PerGate, sigma_v2: PerGate, mu_b: PerGate = 0.0, sigma_b2: PerGate = 0.0, R: Any = 1.0) -> GatedRNN:
    """Fixed point and memory of c_t = f c_{t−1} + i g, h_t = o tanh c_t (gates σ, candidate g = tanh, as torch.nn.LSTM).

    Q_h = E o² E tanh² c with e_k ~ N(μ_k, σ_wk² Q_h + σ_vk² R + σ_bk²). The law of c, which is not Gaussian, comes from its
    characteristic function, φ_c(t) = E cos(t i g) · E φ_c(f t). (E δc², E δh²) of a perturbation follow the map with rows
    (A, B) and (SA, SB + D): A = E f², B = E c² E f′² σ_wf² + E g² E i′² σ_wi² + E i² E g′² σ_wg², S = E o² E sech⁴ c,
    D = E tanh² c E o′² σ_wo²; χ is its largest eigenvalue. The size of δc is taken to be independent of c.

    Args:
        sigma_w2: variance of the recurrent weights times width: one number, or one for each of (i, f, g, o), torch's order.
        sigma_v2: variance of the input weights times the number of inputs, likewise.
        mu_b: mean of the forget gate's bias; or of those of (i, f, o).
        sigma_b2: variance of the biases: one number or one for each of (i, f, g, o).
        R: second moment of an input coordinate.

    Returns:
        `GatedRNN`. Arrays for the arguments broadcast, and its entries become arrays; lists and tuples are read gate by gate.

    Raises:
        ArgumentError: a variance that is negative, or another number of them.

    Cost: about 0.3 s; some ten solutions for the law of c.

    Reference:
        gilboa2019 (the law of c is derived here).

    Example:
        >>> found = lstm(1.0, 1.0, mu_b=1.0)
        >>> round(found.q_star, 8), round(found.chi, 8)
        (0.05054205, 0.55303392)
    """
    w, v, b = (per_gate(x, 4, n) for x, n in ((sigma_w2, "sigma_w2"), (sigma_v2, "sigma_v2"), (sigma_b2, "sigma_b2")))
    input_mean, forget_mean, output_mean = _means(mu_b, ("i", "f", "o"))
    drive = [v[k] * float(check_variance(R, "R")) + b[k] for k in range(4)]

    def cell(q: float) -> CellState:
        (e_i, e_f, e_g, _) = (w[k] * q + drive[k] for k in range(4))
        return CellState(gate_rule(forget_mean, e_f), gate_rule(input_mean, e_i), gate_rule(0.0, e_g))

    def output(q: float) -> tuple[float, float, float]:
        return _moments(output_mean, w[3] * q + drive[3])

    q = fixed_length(lambda q: output(q)[0] * cell(q).tanh2, 1.0)
    state, (o2, _, o_slope) = cell(q), output(q)
    i2, _, i_slope = _moments(input_mean, w[0] * q + drive[0])
    f2, _, f_slope = _moments(forget_mean, w[1] * q + drive[1])
    g, weight = gate_rule(0.0, w[2] * q + drive[2])
    g2, g_slope = float(weight @ np.tanh(g) ** 2), float(weight @ np.cosh(np.minimum(np.abs(g), 300.0)) ** -4.0)
    mixing = state.second * f_slope * w[1] + g2 * i_slope * w[0] + i2 * g_slope * w[2]
    through, direct = o2 * state.sech4, state.tanh2 * o_slope * w[3]
    trace = f2 + through * mixing + direct
    chi = 0.5 * (trace + math.sqrt(max(trace**2 - 4.0 * f2 * direct, 0.0)))
    return _result(q, state.second, chi, f2)


def lstm_bias(time_scale: float, sigma_w2: PerGate, sigma_v2: PerGate, sigma_b2: PerGate = 0.0, R: float = 1.0) -> float:
    """The mean bias of the forget gate at which an LSTM remembers for ``time_scale`` steps; the other biases have mean 0.

    Args:
        time_scale: in steps, in (0, 1e6].
        sigma_w2: as in `lstm`.
        sigma_v2: as there.
        sigma_b2: as there.
        R: as there.

    Raises:
        ArgumentError: a time scale out of range. NumericalError: no bias gives it: too large a σ_w² makes the network chaotic.

    Example:
        >>> round(lstm(0.01, 0.1, lstm_bias(20.0, 0.01, 0.1)).time_scale, 5)
        20.0
    """
    return bias_for_rate(lambda mu: 1.0 - lstm(sigma_w2, sigma_v2, mu, sigma_b2, R).chi, time_scale)


@broadcasting("sigma_w2", "sigma_v2", "mu_b", "sigma_b2", "R", sequences=False)
def gru(sigma_w2: PerGate, sigma_v2: PerGate, mu_b: PerGate = 0.0, sigma_b2: PerGate = 0.0, R: Any = 1.0) -> GatedRNN:
    """Fixed point and memory of h_t = (1 − z) n + z h_{t−1}, n = tanh(a + r b) (gates σ, as torch.nn.GRU).

    Q = (E(1 − z)²/(1 − E z²)) E n², where a ~ N(0, σ_vn² R + σ_bn²) comes from the input, b ~ N(0, σ_wn² Q) from the state, and
    χ = E z² + (Q + E n²) E z′² σ_wz² + E(1 − z)² (E n′² r² σ_wn² + E n′² b² E r′² σ_wr²), with n′ = sech²(a + r b): the gates'
    slopes are averaged jointly with n, so that the last product is E[n′² b² r′²].

    Args:
        sigma_w2: variance of the recurrent weights times width: one number, or one for each of (r, z, n), torch's order.
        sigma_v2: variance of the input weights times the number of inputs, likewise.
        mu_b: mean of the bias of z, the gate that keeps the old state; or of those of (r, z).
        sigma_b2: variance of the biases: one number or one for each of (r, z, n). That of n stands outside the reset gate.
        R: second moment of an input coordinate.

    Returns:
        `GatedRNN`. Arrays for the arguments broadcast, and its entries become arrays; lists and tuples are read gate by gate.

    Raises:
        ArgumentError: a variance that is negative, or another number of them.

    Reference:
        gilboa2019 (for torch's form of the reset gate, derived here).

    Example:
        >>> found = gru(1.0, 1.0, mu_b=1.0)
        >>> round(found.q_star, 8), round(found.chi, 8)
        (0.10780653, 0.55350143)
    """
    w, v, b = (per_gate(x, 3, n) for x, n in ((sigma_w2, "sigma_w2"), (sigma_v2, "sigma_v2"), (sigma_b2, "sigma_b2")))
    reset_mean, update_mean = _means(mu_b, ("r", "z"))
    drive = [v[k] * float(check_variance(R, "R")) + b[k] for k in range(3)]

    def update(q: float) -> tuple[float, float, float, float]:
        """1 − E z², E(1 − z)², E z′², E z²."""
        e, weight = gate_rule(update_mean, w[1] * q + drive[1])
        z, rest = sigmoid(e), sigmoid(-e)
        return tuple(float(weight @ f) for f in (rest * (1.0 + z), rest**2, (z * rest) ** 2, z * z))  # type: ignore[return-value]

    def candidate(q: float) -> _Candidate:
        return _Candidate(gate_rule(reset_mean, w[0] * q + drive[0]), drive[2], w[2] * q)

    def length(q: float) -> float:
        lost, squared, _, _ = update(q)
        return squared * candidate(q).second / lost

    q = fixed_length(length, 1.0)
    (_, squared, z_slope, z2), n = update(q), candidate(q)
    chi = z2 + (q + n.second) * z_slope * w[1] + squared * (n.through_state * w[2] + n.through_reset * w[0])
    return _result(q, q, chi, z2)


def gru_bias(time_scale: float, sigma_w2: PerGate, sigma_v2: PerGate, sigma_b2: PerGate = 0.0, R: float = 1.0) -> float:
    """The mean bias of the update gate at which a GRU remembers for ``time_scale`` steps; the reset gate's has mean 0.

    Args:
        time_scale: in steps, in (0, 1e6].
        sigma_w2: as in `gru`.
        sigma_v2: as there.
        sigma_b2: as there.
        R: as there.

    Raises:
        ArgumentError: a time scale out of range. NumericalError: no bias gives it.

    Example:
        >>> round(gru(0.1, 1.0, gru_bias(20.0, 0.1, 1.0)).time_scale, 6)
        20.0
    """
    return bias_for_rate(lambda mu: 1.0 - gru(sigma_w2, sigma_v2, mu, sigma_b2, R).chi, time_scale)


class _Candidate:
    """Moments of n = tanh(a + r b): given r, a + r b is Gaussian, of variance V = v_a + r² v_b."""

    def __init__(self, reset: tuple[Array, Array], input_variance: float, state_variance: float) -> None:
        e, self.weight = reset
        self.r, self.r_slope = sigmoid(e), sigmoid(e) * sigmoid(-e)
        self.total = input_variance + self.r**2 * state_variance
        self.input, self.state = input_variance, state_variance

    def _mean(self, power: int, *, slope: bool) -> Array:
        """E tanh² or E sech⁴ times u^power at u ~ N(0, V), for every r."""
        phi = identify("tanh")
        return integrate(lambda u, z: (phi.derivative(u) if slope else phi.function(u)) ** 2 * u**power, self.total, phi)

    @property
    def second(self) -> float:
        """E n²."""
        return float(self.weight @ self._mean(0, slope=False))

    @property
    def through_state(self) -> float:
        """E n′² r²."""
        return float(self.weight @ (self._mean(0, slope=True) * self.r**2))

    @property
    def through_reset(self) -> float:
        """E n′² b² r′²: given a + r b = u, b has mean (r v_b/V) u and variance v_a v_b/V."""
        total = np.where(self.total > 0, self.total, 1.0)
        pull, spread = self.r * self.state / total, self.input * self.state / total
        squared = pull**2 * self._mean(2, slope=True) + spread * self._mean(0, slope=True)
        return float(self.weight @ (squared * self.r_slope**2))

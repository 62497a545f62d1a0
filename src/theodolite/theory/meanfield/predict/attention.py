"""Transformers at initialisation: lengths, angles and gradients of a symmetric set of tokens (Noci 2022; Cowsik et al. 2024).

A block is x ← residual·x + branch·Attention(x), then x ← residual·x + branch·MLP(x). For n tokens with ‖x_i‖² = d q and x_i·x_j = d p,
logits of random heads are Gaussian with covariance σ_a² q Σ_jk; what all tokens share, the softmax ignores, so that the weights of a
query are a softmax of independent logits of variance τ = σ_a² q (q − p), and those of two queries have correlation p/q.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.dual import Dual, dual
from theodolite.maths.gaussian import check_variance
from theodolite.maths.resolution import Array
from theodolite.theory.meanfield.predict.arguments import broadcasting, check_count, check_number
from theodolite.theory.meanfield.predict.softmax_moments import softmax_moments

__all__ = ["TransformerPropagation", "attention"]

Norm = Literal["pre", "none"]
#: Of one sublayer: (q, p, what maps the squared gradient and its product between tokens back, what the angle does at collapse).
Step = tuple[float, float, Array, float]


@dataclass(frozen=True)
class TransformerPropagation:
    """What a transformer does to a symmetric set of tokens and to gradients, block by block.

    Attributes:
        depth: 0, 1, …, L.
        length: q_l = ‖x_i‖²/d.
        correlation: c_l = p_l/q_l of two tokens; it tends to 1 when the rank collapses.
        log_gradient_growth: for each of the L blocks, ln of E‖∂f/∂x^{l−1}‖²/E‖∂f/∂x^l‖², with a loss whose gradients at the top are
            independent from token to token. Their sum is the growth through the network.
        angle_exponent: ln of the factor by which 1 − c changes in the last block for tokens that almost coincide: negative where the
            collapse is stable, positive where tokens repel.
        gradient_exponent: average of ``log_gradient_growth``; networks train well where both exponents are near 0.
    """

    depth: Array
    length: Array
    correlation: Array
    log_gradient_growth: Array
    angle_exponent: Any
    gradient_exponent: Any

    def __repr__(self) -> str:
        return (
            f"TransformerPropagation(depth={int(self.depth.flat[-1])}, length={self.length.flat[-1]:.6g}, "
            f"correlation={self.correlation.flat[-1]:.6g}, angle_exponent={np.ravel(self.angle_exponent)[-1]:.6g}, "
            f"gradient_exponent={np.ravel(self.gradient_exponent)[-1]:.6g})"
        )


@broadcasting("sigma_v2", "sigma_a2", "sigma_m2", "residual", "branch", "q0", "c0")
def attention(
    depth: int,
    tokens: int,
    *,
    sigma_v2: Any = 1.0,
    sigma_a2: Any = 1.0,
    activation: Any = "relu",
    sigma_m2: Any = 2.0,
    residual: Any = 1.0,
    branch: Any = 1.0,
    norm: Norm = "pre",
    q0: Any = 1.0,
    c0: Any = 0.0,
) -> TransformerPropagation:
    """Signal propagation in a transformer at initialisation.

    Attention has the output length σ_v² (q S + p (1 − S)) and the product σ_v² (q S′ + p (1 − S′)) between tokens, S = E Σ A_j²,
    S′ = E Σ A_j A′_j. The squared gradient is multiplied by σ_v² (S + σ_a² (q − p)(2q − p) T), T = E[S − 2 Σ A³ + S²], plus what
    the product of gradients at different tokens, which is followed too, adds. The MLP has σ_m² E φφ and σ_m² E φ′φ′.

    Args:
        depth: L, number of blocks (attention and MLP).
        tokens: n ≥ 2.
        sigma_v2: σ_v², variance of output and value weights together: of the output per unit of input, at uniform lengths.
        sigma_a2: σ_a², variance of a logit between tokens of unit length, x_iᵀ W_Qᵀ W_K x_j/√d_head.
        activation: φ of the MLP V φ(W x), W with variance 1/d.
        sigma_m2: σ_m², variance of its outer weights times fan-in; 0 for attention alone.
        residual: factor of the skip connection; 0 for none.
        branch: factor of each sublayer, for instance 1/√L.
        norm: ``"pre"``: layer normalisation before each sublayer; ``"none"``.
        q0: length of the tokens at the bottom.
        c0: their correlation, between −1/(n − 1) and 1.

    Returns:
        `TransformerPropagation`; numbers that are arrays broadcast, and their axes come first.

    Raises:
        ArgumentError: arguments out of range. NumericalError: the length overflows or vanishes.
        UnsupportedError: φ jumps.

    Domain:
        Infinite width, many heads (or the average over networks), no mask, no positional weights, independent weights.

    Cost:
        L times some 10 ms, growing with σ_a² q.

    Reference:
        noci2022, cowsik2024 (S, S′ and the gradient's recursion are derived here).

    Example:
        >>> found = attention(6, 8, branch=0.5)
        >>> round(float(found.correlation[-1]), 6), round(found.gradient_exponent, 6)
        (0.355839, 0.204066)
    """
    depth, tokens = check_count(depth, "depth"), check_count(tokens, "tokens", 2)
    if norm not in ("pre", "none"):
        raise ArgumentError(f"norm must be 'pre' or 'none', got {norm!r}")
    check_variance(q0, "q0", positive=True)
    check_number(c0, "c0", -1.0 / (tokens - 1), 1.0)
    for name, value in (("sigma_v2", sigma_v2), ("sigma_a2", sigma_a2), ("sigma_m2", sigma_m2)):
        check_variance(value, name)
    for name, value in (("residual", residual), ("branch", branch)):
        check_number(value, name)
    heads, mlp = _Attention(tokens, sigma_v2, sigma_a2), _MLP(dual(activation), sigma_m2)
    join = _Residual(residual**2, branch**2, norm == "pre")
    lengths, products, maps, angle = [float(q0)], [float(q0 * c0)], [], 0.0
    for block in range(depth):
        q, p, into, first = join.step(heads.step, lengths[-1], products[-1])
        if q > 0:
            q, p, out, second = join.step(mlp.step, q, p)
        if not (math.isfinite(q) and q > 0):
            raise NumericalError(f"the length is {q} after {block + 1} blocks; scale the branches, e.g. branch=depth**-0.5")
        lengths.append(q)
        products.append(p)
        maps.append(into @ out)
        angle = first + second
    growth = _gradients(maps)
    length = np.array(lengths)
    return TransformerPropagation(
        np.arange(depth + 1.0), length, np.array(products) / length, growth, angle, float(growth.mean())
    )


def _gradients(maps: list[Array]) -> Array:
    """Per block, ln of the growth of the squared gradient, from the top down."""
    state, growth = np.array([1.0, 0.0]), np.empty(len(maps))
    for block in range(len(maps) - 1, -1, -1):
        state = maps[block] @ state
        growth[block] = math.log(state[0]) if state[0] > 0 else -math.inf
        state = state / state[0] if state[0] > 0 else np.zeros(2)
    return growth


@dataclass(frozen=True)
class _Residual:
    """x ← residual·x + branch·F(x) or F(x/√q)."""

    keep: float
    add: float
    normalise: bool

    def step(self, sublayer: Callable[[float, float], Step], q: float, p: float) -> Step:
        scale = 1.0 / q if self.normalise else 1.0
        q_new, p_new, back, slope = sublayer(q * scale, p * scale)
        total = self.keep * q + self.add * q_new
        change = (self.keep + self.add * scale * slope) * q  # of q − p where it is small
        angle = math.log(change / total) if change > 0 and total > 0 else -math.inf
        return total, self.keep * p + self.add * p_new, self.keep * np.eye(2) + self.add * scale * back, angle


@dataclass(frozen=True)
class _MLP:
    """V φ(W x)."""

    kernel: Dual
    outer: float

    def step(self, q: float, p: float) -> Step:
        c = min(1.0, max(-1.0, p / q))
        value, slope = self.kernel.value, self.kernel.derivative
        back = self.outer * np.diag([float(slope(q, q, 1.0)), float(slope(q, q, c))])
        return self.outer * float(value(q, q, 1.0)), self.outer * float(value(q, q, c)), back, float(back[0, 0])


@dataclass(frozen=True)
class _Attention:
    """Σ_j A_ij W_O W_V x_j."""

    tokens: int
    output: float
    logits: float

    def step(self, q: float, p: float) -> Step:
        n, gap = self.tokens, max(q - p, 0.0)
        m = softmax_moments(n, self.logits * q * gap, min(1.0, max(-1.0, p / q)))
        s, t, s_, t_ = m.overlap, m.spread, m.cross_overlap, m.cross_spread
        # Through the values, the gradients at tokens k and l are Σ_i A_ik g_i and Σ_i A_il g_i. Through the logits of query k they are
        # Σ_j A_kj (g_k·(x_j − x̄_k)) M x_j, and as the coefficients sum to 0 only the gap q − p of the x_j counts; through the logits of
        # key k they are Σ_i A_ik (g_i·(x_k − x̄_i)) Mᵀ x_i. Rows: E g_k², E g_k g_l; columns: the same above.
        values = np.array([[s, (n - 1) * s_], [(1 - s) / (n - 1), 1 - s_]])
        queries = gap * np.array([[t, 0.0], [0.0, t_]])
        keys = np.array([[q * t, (n - 1) * p * t_], [-q * t / (n - 1), -p * t_]])
        back = self.output * (values + self.logits * gap * (queries + keys))
        # For tokens that almost coincide the weights are uniform for all queries: their difference is averaged away.
        return self.output * (p + gap * s), self.output * (p + gap * s_), back, 0.0

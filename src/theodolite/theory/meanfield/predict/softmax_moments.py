"""Moments of softmax weights over independent Gaussian logits, of one query and of two correlated ones.

A = exp(a_j)/Z with a_j ~ N(0, τ). Powers of 1/Z are Laplace transforms, Z^{−k} = ∫ s^{k−1} exp(−sZ) ds/(k−1)!, under which the
tokens are independent: with H_k(x) = E w^k exp(−w), w = exp(x + a), and s = exp(x), for instance E Σ A_j² = n ∫ H_2 H_0^{n−1} dx. All
integrands are analytic in a strip of half-width π/2 around the real axis, so that the trapezoidal rule converges exponentially: to
about 1e-11 with the steps below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.maths.resolution import Array

__all__ = ["SoftmaxMoments", "softmax_moments"]

#: Trapezoidal steps: exp(−π²/h) in x and exp(−2π²/h²) in a standard Gaussian. exp(−w) needs x from −38 to 4 and 9 deviations.
STEP, GAUSSIAN_STEP, LOW, HIGH, WINDOW = 0.27, 0.6, -38.0, 4.0, 9.0

#: Largest variance of the logits; the grids grow with its square root in each dimension.
LARGEST = 100.0


@dataclass(frozen=True)
class SoftmaxMoments:
    """Expectations over the weights A, A′ of two queries.

    Attributes:
        overlap: S = E Σ A_j², 1/n for uniform weights, 1 for a hard choice.
        spread: T = E[Σ A_j² − 2 Σ A_j³ + (Σ A_j²)²], the squared sensitivity to logits.
        cross_overlap: S′ = E Σ A_j A′_j.
        cross_spread: T′ = E[X − Σ A_j² A′_j − Σ A_j A′_j² + X²], X = Σ A_j A′_j.
    """

    overlap: float
    spread: float
    cross_overlap: float
    cross_spread: float


def _gaussian(deviation: float) -> tuple[Array, Array]:
    """Nodes and weights of N(0, deviation²), fine enough for integrands of the softmax."""
    step = min(GAUSSIAN_STEP, STEP / max(deviation, 1e-300))
    z = step * np.arange(-math.ceil(WINDOW / step), math.ceil(WINDOW / step) + 1)
    w = np.exp(-0.5 * z * z)
    return deviation * z, w / w.sum()


def _laplace(x: Array, powers: int) -> list[Array]:
    """w^k exp(−w) at w = exp(x), k = 0 … powers."""
    w = np.exp(np.minimum(x, 7.0))
    return [w**k * np.exp(-w) for k in range(powers + 1)]


def softmax_moments(tokens: int, tau: float, correlation: float) -> SoftmaxMoments:
    """Moments of the attention weights of two queries over ``tokens`` tokens.

    Args:
        tokens: n ≥ 2.
        tau: τ, variance of the logits apart from what they share.
        correlation: ρ of the logits of the two queries, in [−1, 1].

    Returns:
        `SoftmaxMoments`.

    Raises:
        NumericalError: τ > 100, where the weights are those of a hard choice.

    Cost: a few milliseconds, growing with τ.

    Example:
        >>> round(softmax_moments(4, 0.0, 0.5).overlap, 12)
        0.25
    """
    if not tau <= LARGEST:
        raise NumericalError(
            f"logits of variance {tau:.3g} make attention a hard choice, beyond what is resolved here (at most {LARGEST:g}); lower "
            "sigma_a2, or keep the length down by norm='pre'"
        )
    n, h, reach = tokens, STEP, WINDOW * math.sqrt(tau)
    x = np.arange(LOW - reach, HIGH + reach, h)
    a, weight = _gaussian(math.sqrt(tau))
    h0, _, h2, h3, h4 = (part @ weight for part in _laplace(np.add.outer(x, a), 4))
    one, two = h0 ** (n - 1), h0 ** (n - 2)
    s2, s3 = n * h * float(h2 @ one), n / 2 * h * float(h3 @ one)
    s22 = n / 6 * h * (float(h4 @ one) + (n - 1) * float(h2**2 @ two))
    cross, spread = _cross(n, tau, correlation, x)
    return SoftmaxMoments(s2, s2 - 2 * s3 + s22, cross, spread)


def _cross(n: int, tau: float, correlation: float, x: Array) -> tuple[float, float]:
    """(S′, T′): the logits are √(|ρ|τ) c + √((1 − |ρ|)τ) a with c shared, up to its sign, by both queries."""
    shared, weight = _gaussian(math.sqrt(abs(correlation) * tau))
    own, own_weight = _gaussian(math.sqrt((1.0 - abs(correlation)) * tau))
    if math.isclose(shared[1] - shared[0], STEP):  # then x + c runs over one line of nodes
        line = x[0] + shared[0] + STEP * np.arange(len(x) + len(shared) - 1)
        parts = (part @ own_weight for part in _laplace(np.add.outer(line, own), 2))
        first = [np.lib.stride_tricks.sliding_window_view(part, len(shared)) for part in parts]
    else:
        first = [part @ own_weight for part in _laplace(np.add.outer(np.add.outer(x, shared), own), 2)]
    second = first if correlation >= 0 else [part[:, ::-1] for part in first]  # the nodes of c are symmetric

    def joint(k: int, m: int) -> Array:
        return (first[k] * weight) @ second[m].T

    h00, h11 = joint(0, 0), joint(1, 1)
    one, two = h00 ** (n - 1), h00 ** (n - 2)
    area = n * STEP**2
    overlap = area * float((h11 * one).sum())
    cubic = area * float((joint(2, 1) * one).sum())
    squared = area * (float((joint(2, 2) * one).sum()) + (n - 1) * float((h11**2 * two).sum()))
    return overlap, overlap - 2.0 * cubic + squared

"""How far a network of finite width strays from the infinite-width length: the standard deviations that tests and reports use."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.maths.activation import identify
from theodolite.maths.gaussian import check_variance, integrate
from theodolite.theory.meanfield.predict.moments import second_moment, variance_slope

__all__ = ["length_variance", "relative_length_variance"]


def length_variance(activation: Any, sigma_w2: float, sigma_b2: float, q0: float, width: int, depth: int) -> np.ndarray:
    """Variance over initialisations of the empirical length q̂_l = (1/N) Σ z², at layers 0..depth.

    The conditional variance K_l of a layer's pre-activations is itself random: Var K_{l+1} = Q′(q_l)² Var K_l + σ_w⁴ Var[φ²]/N, and
    Var q̂_l = Var K_l + 2 (q_l² + Var K_l)/N. Layer 0 is taken to have K = q0 exactly. First order in 1/N; the mean of q̂ itself is
    off by O(depth/N), which is not included.

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.
        q0: variance of the first layer's pre-activations.
        width: N, the same for all layers.
        depth: last layer.

    Returns:
        Array of shape (depth + 1,).

    Raises:
        ArgumentError: arguments out of range.

    Reference: derived from the recursion; simulated in the tests. Cf. hanin2018, roberts2022 Ch. 4.

    Example:
        >>> bool(np.isclose(length_variance("identity", 1.0, 0.0, 1.0, 100, 1)[0], 0.02))
        True
    """
    if width < 1 or depth < 0:
        raise ArgumentError(f"width must be positive and depth not negative, got {width} and {depth}")
    a = identify(activation)
    q, spread, out = float(check_variance(q0, "q0", positive=True)), 0.0, []
    for _ in range(depth + 1):
        out.append(spread + 2.0 * (q * q + spread) / width)
        second = float(second_moment(a, q))
        fourth = float(integrate(lambda x, z: a.function(x) ** 4, np.array(q), a))
        slope = sigma_w2 * float(variance_slope(a, np.array(q)))
        # The next layer's length is averaged over the biases of its units too; those fluctuate within 2 q²/N already counted.
        spread = slope * slope * spread + sigma_w2**2 * (fourth - second * second) / width
        q = sigma_b2 + sigma_w2 * second
    return np.array(out)


def relative_length_variance(activation: Any, sigma_w2: float, sigma_b2: float, q0: float, width: int, depth: int) -> np.ndarray:
    """`length_variance` divided by q_l²; about (5(L − 1) + 2)/N for ReLU at criticality, so that depth over width must be small.

    Raises:
        ArgumentError: arguments out of range.

    Example:
        >>> bool(np.isclose(relative_length_variance("relu", 2.0, 0.0, 1.0, 1000, 9)[-1], (5 * 9 + 2) / 1000, rtol=0.05))
        True
    """
    variance = length_variance(activation, sigma_w2, sigma_b2, q0, width, depth)
    lengths = [q0]
    for _ in range(depth):
        lengths.append(sigma_b2 + sigma_w2 * float(second_moment(activation, lengths[-1])))
    return variance / np.array(lengths) ** 2

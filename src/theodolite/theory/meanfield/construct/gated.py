"""Critical initialisation of the minimal recurrent network, whose gate keeps a memory of a chosen length."""

from __future__ import annotations

import math

import torch

from theodolite.core.errors import ArgumentError
from theodolite.theory.meanfield.construct.orthogonal import orthogonal_
from theodolite.theory.meanfield.predict import minimal_rnn_bias

__all__ = ["minimal_rnn_init_"]


def minimal_rnn_init_(
    recurrent: torch.Tensor,
    inputs: torch.Tensor,
    bias: torch.Tensor,
    time_scale: float,
    *,
    sigma_w: float = 0.01,
    sigma_v2: float = 1.0,
    generator: torch.Generator | None = None,
) -> float:
    """Set u_t = σ(W h_{t−1} + V x̃_t + b) of a minimal RNN to remember for ``time_scale`` steps; in place.

    W is σ_w times a Haar orthogonal matrix with σ_w ≪ 1, V Gaussian, b = μ_b, which `minimal_rnn_bias` finds: χ = exp(−1/time_scale).
    Criticality is approached as μ_b → ∞.

    Args:
        recurrent: W (n, n).
        inputs: V (n, d).
        bias: b (n,).
        time_scale: ξ > 0, in steps.
        sigma_w: gain of W.
        sigma_v2: variance of V times fan-in (inputs of unit second moment).
        generator: source of randomness.

    Returns:
        μ_b.

    Raises:
        ArgumentError: time_scale is not positive or beyond 1e6, or shapes that do not fit.
        NumericalError: no bias gives a memory that short or, with this σ_w, that long.

    Reference: chen2018, Sec. 3.3.

    Example:
        >>> w, v, b = torch.empty(8, 8), torch.empty(8, 3), torch.empty(8)
        >>> round(minimal_rnn_init_(w, v, b, 100.0), 2) == round(float(b[0]), 2)
        True
    """
    n = len(bias)
    if bias.ndim != 1 or tuple(recurrent.shape) != (n, n) or inputs.ndim != 2 or len(inputs) != n:
        raise ArgumentError(
            "recurrent, inputs and bias must have shapes (n, n), (n, d) and (n,), "
            f"got {tuple(recurrent.shape)}, {tuple(inputs.shape)} and {tuple(bias.shape)}"
        )
    mu = minimal_rnn_bias(time_scale, sigma_w**2, sigma_v2)
    orthogonal_(recurrent, sigma_w, generator)
    with torch.no_grad():
        inputs.copy_(torch.randn(inputs.shape, generator=generator) * math.sqrt(sigma_v2 / inputs.shape[1]))
        bias.fill_(mu)
    return mu

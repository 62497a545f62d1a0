"""Random networks of finite width, layer by layer: what the experiments compare theory with."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from theodolite.maths.activation import Activation
from theodolite.theory.meanfield.construct.orthogonal import orthogonal_

__all__ = ["layers", "random_weight", "two_inputs"]


def random_weight(n: int, m: int, sigma_w2: float, weights: str, generator: torch.Generator) -> torch.Tensor:
    """A float64 weight (n, m): Gaussian of variance σ_w²/m, or orthogonal of gain σ_w."""
    weight = torch.empty(n, m, dtype=torch.float64)
    if weights == "orthogonal":
        return orthogonal_(weight, math.sqrt(sigma_w2), generator)
    return weight.normal_(0.0, math.sqrt(sigma_w2 / m), generator=generator)


def two_inputs(width: int, q: float, c: float, generator: torch.Generator) -> torch.Tensor:
    """Two pre-activation vectors (2, width) with length q and correlation c exactly."""
    z = torch.randn(2, width, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(z.T)[0].T * math.sqrt(width * q)
    return torch.stack([basis[0], c * basis[0] + math.sqrt(1.0 - c * c) * basis[1]])


def layers(
    z: torch.Tensor, phi: Activation, sigma_w2: float, sigma_b2: float, depth: int, weights: str, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(weight, pre-activations) of layers 1..depth from the pre-activations (N, n) of layer 0."""
    n = z.shape[1]
    for _ in range(depth):
        weight = random_weight(n, n, sigma_w2, weights, generator)
        bias = torch.randn(n, dtype=torch.float64, generator=generator) * math.sqrt(sigma_b2)
        z = torch.from_numpy(np.asarray(phi(z.numpy()))) @ weight.T + bias
        yield weight, z

"""Networks as plain arrays, which can go to another interpreter."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from torch import nn


def layers_of(model: nn.Sequential) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of every Linear."""
    return [(m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy()) for m in model if isinstance(m, nn.Linear)]


def random_layers(sizes: tuple[int, ...], seed: int = 0, sigma_w2: float = 2.0, sigma_b2: float = 0.25) -> list[tuple[Any, Any]]:
    """Gaussian weights of variance σ_w²/fan-in and biases of variance σ_b²."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((o, i)) * np.sqrt(sigma_w2 / i), rng.standard_normal(o) * np.sqrt(sigma_b2))
        for i, o in itertools.pairwise(sizes)
    ]

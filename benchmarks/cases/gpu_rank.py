"""ε-rank of one 1,000-wide layer on 100,000 samples on a GPU, against the singular values there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.machine import Work

from theodolite.theory.rank import epsilon_rank

TITLE = "GPU: ε-rank of one layer, N = 100,000, n = 1,000, float64"
TOLERANCE = 0.0
REQUIRES = "cuda"
CLOCK = "wall"
EPS = 1e-3


def _size(quick: bool) -> tuple[int, int]:
    return (10_000, 200) if quick else (100_000, 1000)


def floor(quick: bool) -> Work:
    """Half of the Gram matrix, and reading the features once."""
    samples, width = _size(quick)
    return Work(flops=1.0 * samples * width**2, traffic=8.0 * samples * width)


def contenders(quick: bool = False, device: str = "cuda") -> dict[str, Callable[[], np.ndarray]]:
    """Counts."""
    samples, width = _size(quick)
    g = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, samples, dtype=torch.float64)[:, None]
    layer = torch.tanh(
        x * torch.randn(1, width, dtype=torch.float64, generator=g) * 5 + torch.randn(width, dtype=torch.float64, generator=g)
    ).to(device)
    return {
        "theodolite": lambda: np.array([int(epsilon_rank(layer, eps=EPS))]),
        "singular values (torch)": lambda: np.array([int((torch.linalg.svdvals(layer) ** 2 / samples > EPS).sum())]),
    }

"""ε-rank of the four layers of a 50-wide network on 1,000 samples, against the source notes' function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.machine import Work

from theodolite.maths.quadrature import trapezoid
from theodolite.theory.rank import epsilon_rank

TITLE = "ε-rank of four layers, N = 1,000, n = 50"
TOLERANCE = 0.0
GOALS = {"source notes": 7.0}
SAMPLES, WIDTH, EPS = 1000, 50, 1e-3


def features(samples: int, width: int, layers: int = 4) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Grid, trapezoid weights, and tanh features of ``layers`` random layers."""
    generator = torch.Generator().manual_seed(0)
    x, w = trapezoid(-1.0, 1.0, samples)
    h, found = x, []
    for _ in range(layers):
        weight = torch.randn(h.shape[1], width, dtype=torch.float64, generator=generator) * 2 / h.shape[1] ** 0.5
        h = torch.tanh(h @ weight + torch.randn(width, dtype=torch.float64, generator=generator))
        found.append(h)
    return x, w, found


def literal(phi: torch.Tensor, g: torch.Tensor, eps: float) -> int:
    """The source's computation: sort by the mean of g, dense diagonal weight matrix, eigenvalues above ε."""
    d, x = phi.detach().cpu().numpy(), g.detach().cpu().numpy().mean(axis=1)
    order = np.argsort(x)
    d, x = d[order], x[order]
    step = (x[-1] - x[0]) / (len(x) - 1 + 1e-8)
    w = np.ones(len(x))
    w[0] = w[-1] = 0.5
    m = d.T @ np.diag(w * step) @ d
    return int(np.sum(np.linalg.eigvalsh((m + m.T) / 2) > eps))


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, the source's function, and full SVD."""
    x, w, layers = features(SAMPLES, WIDTH)
    root = w.sqrt()[:, None]

    def svd() -> np.ndarray:
        return np.array([int((torch.linalg.svd(root * h, full_matrices=False).S ** 2 > EPS).sum()) for h in layers])

    return {
        "theodolite": lambda: np.array([int(epsilon_rank(h, w, eps=EPS)) for h in layers]),
        "source notes": lambda: np.array([literal(h, x, EPS) for h in layers]),
        "full SVD (torch)": svd,
    }


def floor(quick: bool) -> Work:
    """Half of the Gram matrix of every layer, and reading the features once."""
    return Work(flops=4.0 * SAMPLES * WIDTH**2, traffic=4 * 8.0 * SAMPLES * WIDTH)

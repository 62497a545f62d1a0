"""ε-rank of one 100-wide layer on 10,000 samples, against the source notes' function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.rank_small import EPS, features, literal
from benchmarks.machine import Work
from benchmarks.scaling import Curve

from theodolite.theory.rank import epsilon_rank

TITLE = "ε-rank of one layer, N = 10,000, n = 100"
TOLERANCE = 0.0
GOALS = {"source notes": 80.0}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours and the source's function."""
    x, w, (layer,) = features(2000 if quick else 10_000, 100, 1)
    return {
        "theodolite": lambda: np.array([int(epsilon_rank(layer, w, eps=EPS))]),
        "source notes": lambda: np.array([literal(layer, x, EPS)]),
    }


def floor(quick: bool) -> Work:
    """Half of the Gram matrix, and reading the features once."""
    samples = 2000 if quick else 10_000
    return Work(flops=1.0 * samples * 100**2, traffic=8.0 * samples * 100)


def curves(quick: bool) -> list[Curve]:
    def rank(samples: int, width: int) -> Callable[[], object]:
        _, w, (layer,) = features(samples, width, 1)
        return lambda: epsilon_rank(layer, w, eps=EPS)

    samples, widths = ((1000, 2000, 4000), (25, 50, 100)) if quick else ((10_000, 40_000, 160_000, 640_000), (100, 200, 400, 800))
    return [
        Curve("ε-rank, n = 100", "N", samples, 1, lambda n: rank(n, 100)),
        Curve("ε-rank, N = 10,000", "width n", widths, 2, lambda n: rank(10_000, n)),
    ]

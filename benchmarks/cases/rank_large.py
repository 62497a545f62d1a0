"""ε-rank of one 100-wide layer on 10,000 samples, against the source notes' function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.rank_small import EPS, features, literal

from theodolite.theory.rank import epsilon_rank

TITLE = "ε-rank of one layer, N = 10,000, n = 100"
TOLERANCE = 0.0


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours and the source's function."""
    x, w, (layer,) = features(2000 if quick else 10_000, 100, 1)
    return {
        "theodolite": lambda: np.array([int(epsilon_rank(layer, w, eps=EPS))]),
        "source notes": lambda: np.array([literal(layer, x, EPS)]),
    }

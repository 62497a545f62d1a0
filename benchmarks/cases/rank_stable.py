"""Stable rank of the four layers of a 50-wide network on 1,000 samples, against ndtracker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.rank_small import SAMPLES, WIDTH, features
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import Work

from theodolite.theory.rank import stable_rank

TITLE = "stable rank of four layers, N = 1,000, n = 50"
TOLERANCE = 1e-8  # ndtracker adds 1e-10 to its denominator


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours and ndtracker's estimator, both on the plain features."""
    _, _, layers = features(SAMPLES, WIDTH)
    arguments = {"layers": [h.numpy() for h in layers]}
    return {
        "theodolite": lambda: np.array([float(stable_rank(h)) for h in layers]),
        "ndtracker": Elsewhere("torch", "benchmarks.peers.ranks:stable_rank", arguments),
    }


def floor(quick: bool) -> Work:
    """Half of the Gram matrix of every layer, and reading the features once."""
    return Work(flops=4.0 * SAMPLES * WIDTH**2, traffic=4 * 8.0 * SAMPLES * WIDTH)

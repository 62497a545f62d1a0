"""Full tangent kernel with ten outputs, MLP 784-512³-10, against Jacobian contraction and other implementations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.cases.tangent_kernel_wide import jacobian_contraction, kernel_work, mlp, peers, samples, theodolite_kernel
from benchmarks.machine import Work

TITLE = "NTK of an MLP 784-512³-10, all 100 pairs of outputs, N = 64, float64"
TOLERANCE = 1e-9
GOALS = {"torch.func Jacobian contraction": 50.0, "neural-tangents, structured (jit)": 1.0}


def floor(quick: bool) -> Work:
    return kernel_work((784, 512, 512, 512, 10), 16 if quick else 64)


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, torch.func's Jacobian contraction, and the other packages."""
    model, x = mlp(512, 10), samples(16 if quick else 64)
    return {
        "theodolite": lambda: theodolite_kernel(model, x),
        "torch.func Jacobian contraction": lambda: jacobian_contraction(model, x),
        **peers(model, x),
    }

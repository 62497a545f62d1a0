"""Full tangent kernel with ten outputs, MLP 784-512³-10, against Jacobian contraction and other implementations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.cases.tangent_kernel_wide import jacobian_contraction, mlp, nngeometry_kernel, theodolite_kernel

TITLE = "NTK of an MLP 784-512³-10, all 100 pairs of outputs, N = 64, float64"
TOLERANCE = 1e-9


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, torch.func's Jacobian contraction, nngeometry."""
    model = mlp(512, 10)
    x = torch.randn(16 if quick else 64, 784, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return {
        "theodolite": lambda: theodolite_kernel(model, x),
        "torch.func Jacobian contraction": lambda: jacobian_contraction(model, x),
        "nngeometry": lambda: nngeometry_kernel(model, x, 10),
    }

"""Jacobian spectra of all depths against the bare matrix products plus one decomposition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

TITLE = "Mean field: Jacobian spectrum, depth 200 × width 400 (goal: within 30 % of the products and one SVD)"
TOLERANCE = 1e-6


def contenders(quick: bool = False) -> dict[str, Callable[[], Any]]:
    """Log singular values of the whole product: the leading half, which float64 resolves."""
    from theodolite.theory.meanfield import jacobian_products

    depth, width = (60, 150) if quick else (200, 400)
    g = torch.Generator().manual_seed(0)
    # Orthogonal weights and mild slopes: a spectrum that float64 resolves at this depth.
    weights = [torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=g))[0].contiguous() for _ in range(depth)]
    slopes = [1 - 0.02 * torch.rand(width, dtype=torch.float64, generator=g) for _ in range(depth)]

    def theodolite() -> np.ndarray:
        *_, last = jacobian_products(zip(weights, slopes, strict=True), at=[depth])
        return (torch.linalg.svdvals(last.matrix).log() + last.log_scale).numpy()

    def products_and_one_svd() -> np.ndarray:
        product = weights[0] * slopes[0][:, None]
        for weight, slope in zip(weights[1:], slopes[1:], strict=True):
            product = (weight @ product) * slope[:, None]
        return torch.linalg.svdvals(product).log().numpy()

    return {"theodolite": theodolite, "products and one SVD": products_and_one_svd}

"""Jacobian spectra of all depths against the bare matrix products plus one decomposition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.machine import Work
from benchmarks.scaling import Curve

TITLE = "Mean field: Jacobian spectrum, depth 200 × width 400, with the products of all depths on the way"
TOLERANCE = 1e-6
GOALS = {"products and one SVD": 1 / 1.3}


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

    def by_jacrev() -> np.ndarray:
        from torch.func import jacrev

        def network(h: torch.Tensor) -> torch.Tensor:
            for weight, slope in zip(weights, slopes, strict=True):
                h = slope * (weight @ h)
            return h

        return torch.linalg.svdvals(jacrev(network)(torch.ones(width, dtype=torch.float64))).log().numpy()

    return {"theodolite": theodolite, "products and one SVD": products_and_one_svd, "jacrev and one SVD": by_jacrev}


def floor(quick: bool) -> Work:
    """The matrix products alone."""
    depth, width = (60, 150) if quick else (200, 400)
    return Work(flops=2.0 * (depth - 1) * width**3)


def curves(quick: bool) -> list[Curve]:
    from theodolite.theory.meanfield import jacobian_products

    def products(depth: int, width: int) -> Callable[[], Any]:
        g = torch.Generator().manual_seed(0)
        layer = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=g))[0].contiguous()
        slope = torch.ones(width, dtype=torch.float64)
        return lambda: list(jacobian_products(((layer, slope) for _ in range(depth)), at=[depth]))

    depths, widths = ((10, 20, 40), (50, 100, 200)) if quick else ((25, 50, 100, 200), (100, 200, 400, 800))
    return [
        Curve("Jacobian products, width 200", "depth", depths, 1, lambda d: products(d, 200)),
        Curve("Jacobian products, depth 10", "width", widths, 3, lambda n: products(10, n)),
    ]

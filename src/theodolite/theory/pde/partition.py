"""Partitions of unity on a box cut into equal cells: indicator functions, and smooth functions with overlap.

In the local coordinate z = (x − c_i)/r_i of a cell (centre c_i, half-width r_i per axis), the cell is [−1, 1]. The smooth
partition is the tensor product of ψ(z) = 1 for |z| ≤ 3/4, 0 for |z| ≥ 5/4, and a ramp between them that mirrors its neighbour's,
so that the sum is one everywhere. The ramp is the smoothstep of degree 7, which makes ψ three times continuously differentiable
(the sine ramp ψ_b of Chen et al. 2022 has the same support, but one continuous derivative only, and an operator of second order
sees its jumps). On the outer side of the outermost cells ψ stays one up to the boundary.
"""

from __future__ import annotations

import math

import torch

__all__ = ["OVERLAP", "bump"]

#: Half-width of a ramp in local coordinates.
OVERLAP = 0.25

#: Coefficients of 1 − S(t), t ∈ [0, 1], by ascending powers: S = 35 t⁴ − 84 t⁵ + 70 t⁶ − 20 t⁷.
FALLING = (1.0, 0.0, 0.0, 0.0, -35.0, 84.0, -70.0, 20.0)


def bump(z: torch.Tensor, first: torch.Tensor, last: torch.Tensor, order: int = 0) -> torch.Tensor:
    """The ``order``-th derivative with respect to z of the one-dimensional ψ(z).

    Args:
        z: local coordinates, any shape.
        first: whether the cell is the first one of its axis, so that ψ = 1 on its left; broadcast with ``z``.
        last: whether it is the last one, likewise on its right.
        order: number of derivatives; the third is the last continuous one.

    Returns:
        Values of the shape of ``z``, differentiable by `torch.func` as often as the polynomial allows.

    Example:
        >>> z, no = torch.tensor([-0.9, 0.0, 1.0, 1.1]), torch.tensor(False)
        >>> (bump(z, no, no) + bump(z - 2, no, no)).round(decimals=6).tolist()[1:]
        [1.0, 1.0, 1.0]
    """
    side = torch.where(z < 0, -1.0, 1.0).to(z.dtype)
    open_end = torch.where(z < 0, first, last)
    t = ((side * z - (1.0 - OVERLAP)) / (2.0 * OVERLAP)).clamp(0.0, 1.0)
    coefficients = [c * math.perm(k, order) for k, c in enumerate(FALLING)][order:]
    value = torch.zeros_like(t)
    for c in reversed(coefficients):
        value = value * t + c
    if order:
        # Outside the ramp the polynomial's own derivative at t = 0 or 1 vanishes up to the third; higher ones must be cut.
        inside = (t > 0.0) & (t < 1.0)
        value = torch.where(inside, value * (side / (2.0 * OVERLAP)) ** order, 0.0)
    return torch.where(open_end, 0.0 if order else 1.0, value)

"""A two-layer ReLU network with 2n + d weights that takes any values on any n points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError
from theodolite.core.seed import generator
from theodolite.theory.generalization.predict.labelled import as_matrix

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Memorizer", "memorize"]

#: Directions tried; the one whose projections are best separated is kept.
DIRECTIONS = 64


class Memorizer(nn.Module):
    """The network c(x) = Σ_j w_j max(a·x − b_j, 0): one shared direction a, n biases b, n output weights w per output.

    Attributes:
        a: ``(d,)``.
        b: ``(n,)``.
        w: ``(n,)`` or ``(n, K)``.
    """

    def __init__(self, a: Tensor, b: Tensor, w: Tensor):
        super().__init__()
        self.a, self.b, self.w = nn.Parameter(a), nn.Parameter(b), nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, d)`` → ``(N,)`` or ``(N, K)``, in the shape of the targets."""
        z = (x.to(self.a.dtype) * self.a).sum(dim=-1)  # a sum per row: the same whatever else is in the batch
        return torch.relu(z[..., None] - self.b) @ self.w


def memorize(x: Any, y: Any) -> Memorizer:
    """A two-layer ReLU network with 2n + d weights with c(x_i) = y_i for all i, whatever the labels.

    Project the points on one direction a with distinct a·x_i, sort them, z_1 < … < z_n, and interleave the biases,
    b_1 < z_1 ≤ b_2 < z_2 ≤ … < z_n. Then max(z_i − b_j, 0) is lower triangular with a positive diagonal, and w solves a
    triangular system. With b_{j+1} = z_j, the choice made here, the network is the piecewise linear interpolant along a, the
    system is solved in O(n) by w_j = slope_j − slope_{j−1}, and no error is carried from one point to the next; biases strictly
    between the points, as in the paper's proof, would let it grow with n.

    The equality is exact in exact arithmetic. In float64 the error is at most about eps·Σ_j |w_j||z_i − b_j|, of order
    eps·n²·|y| for n random points on the best of 64 directions; labels are recovered exactly by rounding.

    Args:
        x: ``(n, d)`` points.
        y: ``(n,)`` or ``(n, K)`` values. With K outputs the count is n + d + nK.

    Returns:
        A `Memorizer` in float64. Points that occur twice with the same value count once.

    Raises:
        ArgumentError: a point that occurs twice with different values, shapes that do not match, or points that are distinct
            but so close that no direction of 64 tells them apart in float64.

    Cost: O(64 n d) to choose the direction, O(n log n) to sort.

    Reference: zhang2017 Thm 1, App. C.

    Example:
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> y = (torch.arange(50) % 7).double()
        >>> net = memorize(x, y)
        >>> sum(p.numel() for p in net.parameters()), bool(torch.equal(net(x).round(), y))
        (104, True)
    """
    points = as_matrix(x, "x")
    values = np.asarray(on_host(y))
    if values.ndim not in (1, 2) or len(values) != len(points):
        raise ArgumentError(f"y must have shape (n,) or (n, K) with n = {len(points)} points, got {values.shape}")
    values = as_matrix(values, "y", ndim=values.ndim)
    kept = _distinct(points, values)
    points, values = points[kept], values[kept]
    a, z = _direction(points)
    order = np.argsort(z)
    z, targets = z[order], values[order].reshape(len(z), -1)
    before = z[0] - max(float(z[-1] - z[0]), 1.0)
    b = np.concatenate([[before], z[:-1]])
    slopes = np.diff(targets, axis=0, prepend=0.0) / np.diff(z, prepend=before)[:, None]  # (n, K)
    w = np.diff(slopes, axis=0, prepend=0.0)
    device = x.device if isinstance(x, torch.Tensor) else "cpu"
    return Memorizer(*(torch.as_tensor(t, device=device) for t in (a, b, w.reshape(len(w), *values.shape[1:]))))


def _distinct(points: np.ndarray, values: np.ndarray) -> list[int]:
    """Indices of the first occurrence of every point; equal points must have equal values."""
    first: dict[bytes, int] = {}
    kept = []
    for i, row in enumerate(points + 0.0):  # −0 and 0 are the same point
        j = first.setdefault(row.tobytes(), i)
        if j == i:
            kept.append(i)
        elif not np.array_equal(values[i], values[j]):
            raise ArgumentError(
                f"x must not hold one point with two values, but points {j} and {i} are equal and y is "
                f"{values[j].tolist()} and {values[i].tolist()}; drop or average one of them"
            )
    return kept


def _direction(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The direction, of 64 random ones, whose projections have the largest least gap relative to their range."""
    n, d = points.shape
    candidates = torch.randn(DIRECTIONS, d, generator=generator(0, "memorize"), dtype=torch.float64)
    candidates = candidates / candidates.norm(dim=1, keepdim=True)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    x = torch.as_tensor(points)
    for candidate in candidates:
        z = (x * candidate).sum(dim=-1).numpy()
        ordered = np.sort(z)
        gap = float(np.diff(ordered).min() / max(ordered[-1] - ordered[0], 1e-300)) if n > 1 else 1.0
        if best is None or gap > best[0]:
            best = (gap, candidate.numpy(), z)
    assert best is not None
    _, a, z = best
    least = float(np.diff(np.sort(z)).min(initial=np.inf))
    rounding = 4 * np.finfo(float).eps * float(np.abs(points).max()) * d**0.5
    if least <= rounding:
        raise ArgumentError(
            f"x must hold points that float64 tells apart on a line, but on the best of {DIRECTIONS} directions two projections "
            f"are {least:.1e} apart, within their rounding error {rounding:.1e}; drop near-duplicates"
        )
    return a, z

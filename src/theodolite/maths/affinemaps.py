"""Batches of affine maps through a ReLU with given patterns, in one pass over memory."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled

__all__ = ["masked_gather", "masked_product"]


@compiled
def masked_gather(maps, parents, bits):
    """Row r of the result is maps[parents[r]] where bits[r] is 1, and zero where it is 0.

    Args:
        maps: (P, k, n) float64.
        parents: (R,) int64.
        bits: (R, n) uint8.

    Returns:
        (R, k, n).
    """
    count, k, n = len(parents), maps.shape[1], maps.shape[2]
    out = np.empty((count, k, n))
    for r in range(count):
        p = parents[r]
        for i in range(k):
            for j in range(n):
                out[r, i, j] = maps[p, i, j] if bits[r, j] else 0.0
    return out


@compiled
def masked_product(maps, parents, bits, weight):
    """The same, multiplied by a weight with few rows: Σ_j weight[o, j] bits[r, j] maps[parents[r], i, j].

    Args:
        maps: (P, k, n) float64.
        parents: (R,) int64.
        bits: (R, n) uint8.
        weight: (m, n) float64.

    Returns:
        (R, k, m).
    """
    count, k, n, m = len(parents), maps.shape[1], maps.shape[2], weight.shape[0]
    out = np.empty((count, k, m))
    row = np.empty(n)
    for r in range(count):
        p = parents[r]
        for o in range(m):
            for j in range(n):
                row[j] = weight[o, j] if bits[r, j] else 0.0
            for i in range(k):
                # four partial sums: the additions need not wait for one another
                a, b, c, d = 0.0, 0.0, 0.0, 0.0
                whole = n - n % 4
                for j in range(0, whole, 4):
                    a += row[j] * maps[p, i, j]
                    b += row[j + 1] * maps[p, i, j + 1]
                    c += row[j + 2] * maps[p, i, j + 2]
                    d += row[j + 3] * maps[p, i, j + 3]
                for j in range(whole, n):
                    a += row[j] * maps[p, i, j]
                out[r, i, o] = (a + b) + (c + d)
    return out

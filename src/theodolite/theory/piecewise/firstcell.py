"""A box or a convex polygon as a batch of one cell, in compiled code: every enumeration begins with it."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inner
from theodolite.theory.piecewise.cells import UNIT

__all__ = ["facet_rows", "first_cell"]


@compiled
def facet_rows(vertices, is_box):
    """Rows (a, c) with a·t + c ≥ 0 inside, (F, d + 1).

    Args:
        vertices: of a box the two extreme corners (2, d), else those of a polygon, (k, 2), counter-clockwise.
        is_box: which of the two.

    Returns:
        For a box the lower and the upper bound of coordinate 0, of coordinate 1, …; for a polygon the edge from vertex i to the next.
    """
    n, d = vertices.shape
    rows = np.zeros((2 * d if is_box else n, d + 1))
    if is_box:
        for k in range(d):
            rows[2 * k, k], rows[2 * k, d] = 1.0, -vertices[0, k]
            rows[2 * k + 1, k], rows[2 * k + 1, d] = -1.0, vertices[1, k]
        return rows
    for i in range(n):
        k = i + 1 if i + 1 < n else 0
        a, b = vertices[i, 1] - vertices[k, 1], vertices[k, 0] - vertices[i, 0]
        rows[i, 0], rows[i, 1], rows[i, 2] = a, b, -(a * vertices[i, 0] + b * vertices[i, 1])
    return rows


@inner
def _corners(vertices, is_box):
    """All corners with their error radius, (k, d + 1): counter-clockwise for d = 2, in binary order else."""
    n, d = vertices.shape
    points = np.zeros((1 << d if is_box else n, d + 1))
    for i in range(len(points)):
        for k in range(d):
            upper = ((i ^ (i >> 1)) >> k) & 1 if d == 2 else (i >> (d - 1 - k)) & 1
            points[i, k] = vertices[upper if is_box else i, k]
    return points


@compiled
def first_cell(vertices, is_box):
    """The arrays of `theodolite.theory.piecewise.cells.Cells` of a box or polygon, given as for `facet_rows`."""
    points, rows = _corners(vertices, is_box), facet_rows(vertices, is_box)
    count, d = len(rows), rows.shape[1] - 1
    size = 0.0
    for i in range(len(vertices)):
        for k in range(d):
            size = max(size, abs(vertices[i, k]))
    facets, labels = np.empty((count, d + 2)), np.empty(count, np.int64)
    for f in range(count):
        row = f
        if d == 2 and is_box:  # edge f joins corner f to the next one: lower y, upper x, upper y, lower x
            row = 2 if f == 0 else 3 if f == 2 else 0 if f == 3 else 1
        total = abs(rows[row, d])
        for k in range(d + 1):
            facets[f, k] = rows[row, k]
        for k in range(d):
            total += abs(rows[row, k]) * size
        # a polygon's row is rounded itself: the differences, their products, the sum
        facets[f, d + 1], labels[f] = (4 if is_box else 8) * UNIT * total, -1 - row
    starts, facet_starts = np.zeros(2, np.int64), np.zeros(2, np.int64)
    starts[1], facet_starts[1] = len(points), count
    return points, starts, facets, labels, facet_starts, _masks(len(points), d)


@inner
def _masks(count, d):
    """Facets through the corners of a box, (count, 1), for d ≥ 3; no columns otherwise."""
    masks = np.zeros((count, 1 if d >= 3 else 0), np.uint64)
    if d >= 3:
        for i in range(count):
            for k in range(d):
                masks[i, 0] |= np.uint64(1) << np.uint64(2 * k + ((i >> (d - 1 - k)) & 1))
    return masks

"""Which side of its facets a region lies on, and which of its half-spaces are facets at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.theory.piecewise.cells import label_columns
from theodolite.theory.piecewise.program import Array

if TYPE_CHECKING:
    from theodolite.maths.linprog import HalfspaceStack
    from theodolite.theory.piecewise.regions import Regions

__all__ = ["halfspace_stack", "needed", "oriented"]


def oriented(regions: Regions) -> Array:
    """Facet rows (F, d + 1) of all regions, ≤ 0 inside.

    The patterns tell the sides, which for a region thinner than float64 resolves no point would: a switch that is on is positive
    inside, and so are a domain's facets and winners minus losers as they stand.
    """
    cells = regions.cells
    rows = cells.facets[:, : regions.dim + 1]
    if not regions.has_vertices:
        return rows
    owner = np.repeat(np.arange(regions.count), np.diff(cells.facet_starts))
    column, partner = label_columns(cells.labels)
    single = np.flatnonzero((column >= 0) & (partner < 0))
    positive = np.ones(len(rows), dtype=bool)
    positive[single] = regions.patterns[owner[single], column[single]]
    return np.where(positive[:, None], -rows, rows)


def needed(regions: Regions, i: int) -> list[int]:
    """Which half-spaces of region i are facets: a linear program each."""
    return halfspace_stack(regions, i).needed()


def halfspace_stack(regions: Regions, i: int) -> HalfspaceStack:
    """Region i for linear programs."""
    from theodolite.maths.linprog import HalfspaceStack

    low, high = (None, None) if regions.domain is None else regions.domain.charts[0].vertices
    stack = HalfspaceStack(regions.dim, low, high)
    for row in regions._oriented[regions.cells.facet_starts[i] : regions.cells.facet_starts[i + 1]]:
        stack.push(row[:-1], float(row[-1]))
    return stack

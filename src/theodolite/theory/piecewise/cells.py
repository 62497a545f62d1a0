"""Batches of convex cells with their facets, and the compiled cutters that split them, one per dimension.

A cell of a batch owns a range of vertices and a range of facets. For d = 1 facet 0 is the lower end and facet 1 the upper end; for
d = 2 facet i joins vertex i to the next one; for d ≥ 3 bit f of a vertex's mask says that it lies on facet f of its cell.

A facet's label says where it comes from: −1 − k for facet k of the domain, otherwise the pattern column of the switch that flips
across it, plus, between two candidates of a maximum, (1 + column of the other candidate) · 2³².
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from theodolite.maths.cutters import Cutters

Array: TypeAlias = np.ndarray[Any, Any]

__all__ = ["PAIR", "Cells", "Cut", "label_columns", "split_cells"]

#: Factor of the second column in a label.
PAIR = 1 << 32

#: Unit roundoff of float64.
UNIT = 2.0**-53


@dataclass(eq=False)
class Cells:
    """A batch of R convex cells.

    Attributes:
        points: (V, d + 1): vertices and their error radius.
        starts: (R + 1,): vertex ranges.
        facets: (F, d + 2): a·t + c on the facet's hyperplane, and the bound on its error.
        labels: (F,).
        facet_starts: (R + 1,): facet ranges.
        masks: (V, words): facets through a vertex, 64 to a word (d ≥ 3; no columns otherwise).
    """

    points: Array
    starts: Array
    facets: Array
    labels: Array
    facet_starts: Array
    masks: Array

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """d."""
        return self.points.shape[1] - 1

    def part(self, low: int, high: int) -> Cells:
        """Cells ``low`` to ``high``."""
        v, w = self.starts[low], self.starts[high]
        f, g = self.facet_starts[low], self.facet_starts[high]
        return Cells(
            self.points[v:w],
            self.starts[low : high + 1] - v,
            self.facets[f:g],
            self.labels[f:g],
            self.facet_starts[low : high + 1] - f,
            self.masks[v:w],
        )

    def select(self, index: Array) -> Cells:
        """Cells ``index``, in that order."""
        v, starts = _ranges(self.starts, index)
        f, facet_starts = _ranges(self.facet_starts, index)
        return Cells(self.points[v], starts, self.facets[f], self.labels[f], facet_starts, self.masks[v])

    @classmethod
    def join(cls, batches: Sequence[Cells]) -> Cells:
        """One batch of several."""
        if len(batches) == 1:
            return batches[0]
        arrays = {}
        words = max(b.masks.shape[1] for b in batches)
        for name in (f.name for f in fields(cls)):
            parts = [getattr(b, name) for b in batches]
            if name.endswith("starts"):
                ends = np.cumsum([0] + [p[-1] for p in parts])
                arrays[name] = np.concatenate([[0], *(p[1:] + e for p, e in zip(parts, ends, strict=False))])
            elif name == "masks" and any(p.shape[1] < words for p in parts):
                arrays[name] = np.concatenate([np.pad(p, ((0, 0), (0, words - p.shape[1]))) for p in parts])
            else:
                arrays[name] = np.concatenate(parts)
        return cls(**arrays)


def _ranges(starts: Array, index: Array) -> tuple[Array, Array]:
    """Positions of the ranges ``index`` one after the other, and their new starts."""
    lengths = np.diff(starts)[index]
    fresh = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(starts[:-1][index] - fresh[:-1], lengths) + np.arange(fresh[-1]), fresh


def label_columns(labels: Array) -> tuple[Array, Array]:
    """The pattern columns of labels: (first, second), −1 where there is none."""
    own = labels >= 0
    return np.where(own, labels % PAIR, -1), np.where(own, labels // PAIR - 1, -1)


@dataclass(eq=False)
class Cut:
    """What came of a batch: the parts, their parents, the side of every line on which they lie, and what stayed undecided.

    Attributes:
        cells: the parts.
        parents: (parts,).
        bits: (parts, m): 1 where a·t + c > 0 inside.
        undecided: (R,): parents for which some sign was below the resolution (only where certificates are wanted).
    """

    cells: Cells
    parents: Array
    bits: Array
    undecided: Array


def split_cells(cells: Cells, cutters: Cutters, certified: bool) -> Cut:
    """Cut every cell by its own hyperplanes, in order.

    Args:
        cells: the batch.
        cutters: the hyperplanes.
        certified: report parents with an undecided sign instead of taking it for zero.
    """
    subdivide: Callable[..., Any]
    if cells.dim == 1:
        from theodolite.maths.intervals import subdivide_intervals as subdivide
    elif cells.dim == 2:
        from theodolite.maths.polygons import subdivide_polygons as subdivide
    else:
        from theodolite.maths.polytopes import subdivide_polytopes as subdivide
    cutters = cutters._replace(rows=np.ascontiguousarray(cutters.rows))
    arrays = (cells.points, cells.starts, cells.facets, cells.labels, cells.facet_starts, cells.masks)
    parts, parents, bits, undecided = subdivide(arrays, cutters, certified)
    return Cut(Cells(*parts), parents, bits, undecided)

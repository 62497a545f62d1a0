"""Cells in exact arithmetic: a float cell's true vertices from its facets, exact cutting, and the way back to floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.maths.polyhedra import Point, Polytope, as_float, independent, meet, order_polygon, subdivide
from theodolite.theory.piecewise.cells import PAIR, UNIT, Cells
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program
from theodolite.theory.piecewise.rational import RationalProgram, Value, chart_rows, chart_start, constant_only

__all__ = ["ExactChart", "exact_vertices", "float_cells"]

#: Prefix patterns whose exact maps are kept; neighbouring cells share them.
REMEMBERED = 64


@dataclass(eq=False)
class ExactChart:
    """One chart of a domain under one program, in exact arithmetic."""

    program: Program
    chart: Chart
    _maps: dict[tuple[int, bytes], dict[int, Value]] = field(default_factory=dict)

    @cached_property
    def rational(self) -> RationalProgram:
        """The program in exact arithmetic."""
        return RationalProgram(self.program)

    @cached_property
    def start(self) -> Value:
        """The exact input map."""
        return chart_start(self.chart)

    @cached_property
    def facet_rows(self) -> list[tuple[int, ...]]:
        """The chart's own facets."""
        return chart_rows(self.chart)

    def maps(self, bits: Array, stop: int | None = None) -> dict[int, Value]:
        """Exact maps of the values up to step ``stop`` under a pattern, remembered for a while."""
        key = (len(self.program.steps) if stop is None else stop, bits.tobytes())
        if key not in self._maps:
            if len(self._maps) >= REMEMBERED:
                self._maps.pop(next(iter(self._maps)))
            self._maps[key] = self.rational.maps(self.start, bits, stop)
        return self._maps[key]

    def facet_row(self, label: int, values: dict[int, Value]) -> tuple[int, ...]:
        """The exact row of any facet label."""
        return self.facet_rows[-1 - label] if label < 0 else self.rational.label_row(label, values)

    def polytope(self, cells: Cells, index: int, values: dict[int, Value]) -> Polytope:
        """Cell ``index`` with its true vertices."""
        part = cells.part(index, index + 1)
        rows = [self.facet_row(int(label), values) for label in part.labels]
        vertices, masks = exact_vertices(part, rows)
        return Polytope(vertices, masks, [int(label) for label in part.labels])

    def split(
        self, polytope: Polytope, index: int, values: dict[int, Value], span: tuple[int, int]
    ) -> list[tuple[Polytope, list[int]]]:
        """The parts of a cell under the switches ``span`` of step ``index`` (all of them, of a maximum), with their bits."""
        step = self.program.steps[index]
        assert not isinstance(step, Affine)
        low = self.program.columns[index][0]
        if isinstance(step, Maximum):
            return _split_maximum(polytope, step, values[step.source][0], low)
        first, stop = span
        rows = self.rational.rows(index, values[step.source], constant_only(polytope.dim + 1))[first:stop]
        return subdivide(polytope, rows, range(low + first, low + stop), [0] * (stop - first))


def _split_maximum(polytope: Polytope, step: Maximum, array: Array, base: int) -> list[tuple[Polytope, list[int]]]:
    width = step.groups.shape[1]
    parts: list[tuple[Polytope, list[int]]] = [(polytope, [])]
    for i, group in enumerate(step.groups):
        slots = [s for s in range(width) if group[s] >= 0]
        fresh = []
        for part, bits in parts:
            for slot in slots:
                others = [s for s in slots if s != slot]
                one_hot = [int(s == slot) for s in range(width)]
                if not others:
                    fresh.append((part, bits + one_hot))
                    continue
                rows = np.array([array[group[slot]] - array[group[s]] for s in others], dtype=object)
                labels = [base + i * width + slot + PAIR * (base + i * width + s + 1) for s in others]
                keep = [1 if slot < s else 2 for s in others]
                fresh += [(won, bits + one_hot) for won, _ in subdivide(part, rows, labels, keep)]
        parts = fresh
    return parts


def exact_vertices(part: Cells, rows: Sequence[Sequence[int]]) -> tuple[list[Point], list[int]]:
    """True vertices and masks of a batch of one cell, from the exact rows of its facets.

    Raises:
        NumericalError: facets that should meet in a vertex do not: the float enumeration went wrong there.
    """
    count = len(part.points)
    if part.dim == 1:
        through = [[0], [1]]
    elif part.dim == 2:
        through = [[i - 1 if i else count - 1, i] for i in range(count)]
    else:
        facets = range(len(part.labels))
        through = [[f for f in facets if int(m[f // 64]) >> (f % 64) & 1] for m in part.masks]
    vertices, masks = [], []
    for facets_here in through:
        here = [rows[f] for f in facets_here]
        if len(here) > part.dim:
            here = [here[k] for k in independent(here, part.dim)]
        vertex = meet(here) if len(here) == part.dim else None
        if vertex is None:
            raise NumericalError(
                "degenerate arrangement: facets that float64 lets meet in a vertex do not meet in one point in exact arithmetic; "
                'enumerate with certify="filtered" or certify="exact"'
            )
        vertices.append(vertex)
        masks.append(sum(1 << f for f in facets_here))
    return vertices, masks


def float_cells(polytopes: Sequence[Polytope], lines: dict[int, Array], words: int) -> Cells:
    """Exact polytopes as a batch of float cells; ``lines`` gives a facet's float row and error by its label."""
    points: list[list[float]] = []
    labels: list[int] = []
    facets: list[Any] = []
    masks: list[list[int]] = []
    starts, facet_starts = [0], [0]
    for polytope in polytopes:
        order, own = _ordered(polytope)
        for k in order:
            vertex = as_float(polytope.vertices[k])
            points.append([*vertex, 2 * UNIT * sum(map(abs, vertex))])
            masks.append([polytope.masks[k] >> (64 * w) & (1 << 64) - 1 for w in range(words)])
        labels += own
        facets += [lines[label] for label in own]
        starts.append(len(points))
        facet_starts.append(len(labels))
    dim = polytopes[0].dim if polytopes else 1
    return Cells(
        np.array(points, dtype=np.float64).reshape(-1, dim + 1),
        np.array(starts),
        np.array(facets, dtype=np.float64).reshape(-1, dim + 2),
        np.array(labels, dtype=np.int64),
        np.array(facet_starts),
        np.array(masks, dtype=np.uint64).reshape(len(points), words),
    )


def _ordered(polytope: Polytope) -> tuple[list[int], list[int]]:
    """Vertex order and facet labels as `Cells` wants them."""
    if polytope.dim == 2:
        order, edges = order_polygon(polytope.masks)
        return order, [polytope.labels[e] for e in edges]
    if polytope.dim == 1:
        order = sorted((0, 1), key=lambda k: as_float(polytope.vertices[k])[0])
        return order, [polytope.labels[polytope.masks[k].bit_length() - 1] for k in order]
    return list(range(len(polytope.vertices))), list(polytope.labels)

"""All of ℝᵈ by cutting: a box and the sectors around it, each in coordinates in which it is bounded.

In the sector of points τ whose largest coordinate is ±τ_k ≥ 1, the ratios v_i = τ_i / |τ_k| of the others and u = 1 / |τ_k| lie in a
box, and u · (τ, 1) is affine in them: the homogeneous program is cut there as any other on a box. Regions that reach across borders
are put together by their patterns. The axes are turned by angles of no meaning and the box has a size of none, so that no border lies
along a boundary of the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from theodolite.theory.piecewise.cells import PAIR, Cells, label_columns
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.enumeration import Task, enumerate_cells, pack_patterns, unpack_patterns
from theodolite.theory.piecewise.homogeneous import homogeneous
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching
from theodolite.theory.piecewise.regions import Regions

__all__ = ["regions_everywhere"]

#: Size of the box over that of the picture.
SIZE = 2.5198420997897464

#: Regions whose boundaries are worked out at a time.
SLICE = 4096


@dataclass(frozen=True, eq=False)
class _Piece:
    """Cells of one chart: patterns (R, switches), points of their interiors (R, d), and the labels of their facets.

    Facets that are not the network's own are left out; ``owner`` tells whose they are.
    """

    patterns: Array
    witnesses: Array
    owner: Array
    labels: Array


def regions_everywhere(program: Program, certify: str = "none") -> Regions:
    """All regions of a program with switches on ℝᵈ.

    Charts are exact whatever their axes: floats are rational numbers, and any that are independent span the space.

    Args:
        program: the network.
        certify: as for `theodolite.theory.piecewise.measure.regions`.

    Cost: 2 d + 1 boxes are cut; about 7 µs per region for d = 2, 12 µs for d = 3.
    """
    lifted, columns = homogeneous(program)
    pieces = [piece for sector in _charts(program) for piece in _cut(lifted, columns, sector, certify)]
    patterns = np.concatenate([piece.patterns for piece in pieces])
    bits, first, which = np.unique(pack_patterns(program, patterns), axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    starts = np.cumsum([0] + [len(piece.patterns) for piece in pieces])
    owner = np.concatenate([which[piece.owner + start] for piece, start in zip(pieces, starts, strict=False)])
    labels = np.concatenate([piece.labels for piece in pieces])
    facets = np.unique(np.stack([owner, labels], axis=1), axis=0)
    witnesses = np.concatenate([piece.witnesses for piece in pieces])[first]
    return replace(_assembled(program, patterns[first], bits, facets, witnesses), certify=certify)


@dataclass(frozen=True, eq=False)
class _Sector:
    """A chart, and how its coordinates become inputs: x = (axes · (t, 1)) / u, with u = t_last, or 1 in the box."""

    chart: Chart
    axes: Array
    bounded: bool

    def inputs(self, points: Array) -> Array:
        """Points (R, d) of the chart as inputs (R, d)."""
        values = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ self.axes
        return values if self.bounded else values / points[:, -1:]


def _charts(program: Program) -> Iterator[_Sector]:
    """The box, then the sectors, with coordinates (v, u); all of length one, whatever the size of the picture."""
    d = program.input_size
    axes = _size(program) * np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    yield _sector(np.concatenate([axes, np.zeros((1, d))]), np.full(d, -1.0), bounded=True)
    for k in range(d):
        for sign in (1.0, -1.0):
            rows = np.concatenate([np.delete(axes, k, axis=0), np.zeros((1, d)), sign * axes[k : k + 1]])
            yield _sector(rows, np.append(np.full(d - 1, -1.0), 0.0), bounded=False)


def _sector(axes: Array, low: Array, bounded: bool) -> _Sector:
    d = len(low)
    one = np.zeros((d + 1, 1))
    one[d if bounded else d - 1] = 1.0
    return _Sector(Chart(np.concatenate([axes, one], axis=1)[None], np.stack([low, np.ones(d)]), True), axes, bounded)


def _size(program: Program) -> float:
    """The distance at which the first boundaries lie, as a power of two times a number of no meaning."""
    values = {0: _identity(program.input_size)}
    rows = np.zeros((2, 0))
    for i, step in enumerate(program.steps):
        if not isinstance(step, Affine):
            rows = step.rows(values[step.source])[0] if isinstance(step, Switching) else rows
            break
        values[i + 1] = step.maps(values)
    norms = np.linalg.norm(rows[:-1], axis=0)
    far = np.abs(rows[-1])[norms > 0] / norms[norms > 0]
    typical = float(np.median(far[far > 0])) if (far > 0).any() else 1.0
    return SIZE * 2.0 ** min(max(round(math.log2(typical)), -100), 100)


def _identity(d: int) -> Array:
    return np.concatenate([np.eye(d), np.zeros((1, d))])[None]


def _cut(lifted: Program, columns: Array, sector: _Sector, certify: str) -> Iterator[_Piece]:
    """The cells of one chart, without what is said of u."""
    for found in enumerate_cells(Task(lifted, sector.chart, certify)):
        cells = found.cells
        first, second = label_columns(cells.labels)
        labels = columns[first] + np.where(second >= 0, PAIR * (columns[second] + 1), 0)
        own = first >= 0
        owner = np.repeat(np.arange(len(cells)), np.diff(cells.facet_starts))
        patterns = unpack_patterns(lifted, found.bits)[:, columns >= 0]
        yield _Piece(patterns, sector.inputs(_middles(cells)), owner[own], labels[own])


def _middles(cells: Cells) -> Array:
    """Means of the vertices, (R, d)."""
    totals = np.add.reduceat(cells.points[:, :-1], cells.starts[:-1], axis=0)
    return np.asarray(totals / np.diff(cells.starts)[:, None])


def _assembled(program: Program, patterns: Array, bits: Array, facets: Array, witnesses: Array) -> Regions:
    """Regions from their patterns and their facets, (region, label) in order."""
    d, count = program.input_size, len(patterns)
    rows, maps = np.zeros((len(facets), d + 2)), []
    for low in range(0, count, SLICE):
        here = slice(*np.searchsorted(facets[:, 0], (low, low + SLICE)))
        some = patterns[low : low + SLICE]
        region, (first, second) = facets[here, 0] - low, label_columns(facets[here, 1])
        for i, step, values in program.affine_values(_identity(d), some):
            last = values[i + 1]
            if isinstance(step, Affine):
                continue
            start, stop = program.columns[i]
            mine = np.flatnonzero((first >= start) & (first < stop))
            table, j = values[step.source], first[mine] - start
            if isinstance(step, Maximum):
                entries, other = step.groups.ravel(), second[mine] - start
                rows[here][mine, :-1] = table[region[mine], :, entries[other]] - table[region[mine], :, entries[j]]
            else:
                sign = np.where(some[region[mine], first[mine]] > 0, -1.0, 1.0)
                rows[here][mine, :-1] = sign[:, None] * step.rows(table)[region[mine], :, j]
        maps.append(last)
    starts = np.searchsorted(facets[:, 0], np.arange(count + 1))
    nothing = np.zeros(count + 1, dtype=int)
    cells = Cells(np.zeros((0, d + 1)), nothing, rows, facets[:, 1], starts, np.zeros((0, 1), dtype=np.uint64))
    charts, known = np.zeros(count, int), {"all needed": True}
    return Regions(program, None, cells, charts, bits, np.concatenate(maps), witnesses, True, "none", known)

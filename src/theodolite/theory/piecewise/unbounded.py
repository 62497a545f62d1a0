"""All of ℝᵈ by cutting: a box and the sectors around it, each in coordinates in which it is bounded.

In the sector of points τ whose largest coordinate is ±τ_k ≥ 1, the ratios v_i = τ_i / |τ_k| of the others and u = 1 / |τ_k| lie in a
box, and u · (τ, 1) is affine in them: the homogeneous program is cut there as any other on a box. Regions that reach across borders
are put together by their patterns. The axes are turned and the box has a size such that no border lies along a boundary of the
network, unless that is contrived. Where a sign is below its error exact arithmetic decides, always: a sector squeezes what is far, and
no one resolution fits it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.draw.progress import progress
from theodolite.maths.linprog import HalfspaceStack
from theodolite.theory.piecewise.cells import Cells, label_columns
from theodolite.theory.piecewise.domains import Chart, identity_map
from theodolite.theory.piecewise.enumeration import Task, enumerate_cells, pack_patterns, unpack_patterns
from theodolite.theory.piecewise.homogeneous import homogeneous
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching
from theodolite.theory.piecewise.regions import Regions

__all__ = ["regions_everywhere"]

#: Size of the box over the distance of the first boundaries; not a number that networks hold.
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

    Raises:
        UnsupportedError: a certificate where the pieces of an activation meet only up to rounding.
        NumericalError: weights so large that their products are no floats.

    Cost: 2 d + 1 boxes are cut; 2 to 4 ms and 5 to 25 µs per region for d = 2 to 4, and a hundred times that for d = 5.
    """
    lifted = homogeneous(program, exact=certify != "none")
    careful = "exact" if certify == "exact" else "filtered"
    pieces = [piece for patch in _patches(program) for piece in progress(_cut(lifted, patch, careful), "cutting regions")]
    patterns = np.concatenate([piece.patterns for piece in pieces])
    bits, first, which = np.unique(pack_patterns(program, patterns), axis=0, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    starts = np.cumsum([0] + [len(piece.patterns) for piece in pieces])
    owner = np.concatenate([which[piece.owner + start] for piece, start in zip(pieces, starts, strict=False)])
    labels = np.concatenate([piece.labels for piece in pieces])
    facets = np.unique(np.stack([owner, labels], axis=1), axis=0)
    cells, maps = _assembled(program, patterns[first], facets)
    witnesses = _repaired(program, patterns[first], cells, np.concatenate([piece.witnesses for piece in pieces])[first])
    charts = np.zeros(len(bits), dtype=int)
    return Regions(program, None, cells, charts, bits, maps, witnesses, True, certify, irredundant=True)


@dataclass(frozen=True, eq=False)
class _Patch:
    """A chart, and how its coordinates become inputs: x = (axes · (t, 1)) / u, with u = t_last, or 1 in the box."""

    chart: Chart
    axes: Array
    bounded: bool

    def inputs(self, points: Array) -> Array:
        """Points (R, d) of the chart as inputs (R, d)."""
        values = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ self.axes
        return values if self.bounded else values / points[:, -1:]


def _patches(program: Program) -> Iterator[_Patch]:
    """The box, then the sectors, with coordinates (v, u); all of length one, whatever the size of the picture."""
    d = program.input_size
    axes = _size(program) * np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    yield _patch(np.concatenate([axes, np.zeros((1, d))]), np.full(d, -1.0), bounded=True)
    for k in range(d):
        for sign in (1.0, -1.0):
            rows = np.concatenate([np.delete(axes, k, axis=0), np.zeros((1, d)), sign * axes[k : k + 1]])
            yield _patch(rows, np.append(np.full(d - 1, -1.0), 0.0), bounded=False)


def _patch(axes: Array, low: Array, bounded: bool) -> _Patch:
    d = len(low)
    one = np.zeros((d + 1, 1))
    one[d if bounded else d - 1] = 1.0
    return _Patch(Chart(np.concatenate([axes, one], axis=1)[None], np.stack([low, np.ones(d)]), True), axes, bounded)


def _size(program: Program) -> float:
    """`SIZE` times the distance at which the first boundaries lie, rounded to a power of two."""
    values = {0: identity_map(program.input_size)}
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


def _cut(lifted: Program, patch: _Patch, certify: str) -> Iterator[_Piece]:
    """The cells of one chart."""
    task = Task(lifted, patch.chart, certify)
    if certify != "exact" and not all(np.isfinite(bounds).all() for bounds in task.errors.values()):
        raise NumericalError(
            'the weights multiply up beyond the range of floats, where no sign can be trusted; use certify="exact", or a bounded domain'
        )
    for found in enumerate_cells(task):
        cells = found.cells
        own = cells.labels >= 0
        owner = np.repeat(np.arange(len(cells)), np.diff(cells.facet_starts))
        yield _Piece(unpack_patterns(lifted, found.bits), patch.inputs(_middles(cells)), owner[own], cells.labels[own])


def _middles(cells: Cells) -> Array:
    """Means of the vertices, (R, d)."""
    totals = np.add.reduceat(cells.points[:, :-1], cells.starts[:-1], axis=0)
    return np.asarray(totals / np.diff(cells.starts)[:, None])


def _assembled(program: Program, patterns: Array, facets: Array) -> tuple[Cells, Array]:
    """Half-spaces and maps of regions from their patterns and their facets, (region, label) in order."""
    d, count = program.input_size, len(patterns)
    rows, maps = np.zeros((len(facets), d + 2)), []
    for low in range(0, count, SLICE):
        here = slice(*np.searchsorted(facets[:, 0], (low, low + SLICE)))
        some, last = patterns[low : low + SLICE], np.zeros(0)
        for i, step, values in program.affine_values(identity_map(d), some):
            last = values[i + 1]
            if not isinstance(step, Affine):
                at, found = _facet_rows(step, values[step.source], some, facets[here] - (low, 0), program.columns[i])
                rows[here][at, :-1] = found
        maps.append(last)
    starts = np.searchsorted(facets[:, 0], np.arange(count + 1))
    nothing = np.zeros(count + 1, dtype=int)
    none = np.zeros((0, d + 1)), np.zeros((0, 1), dtype=np.uint64)
    return Cells(none[0], nothing, rows, facets[:, 1], starts, none[1]), np.concatenate(maps)


def _facet_rows(
    step: Switching | Maximum, maps: Array, patterns: Array, facets: Array, columns: tuple[int, int]
) -> tuple[Array, Array]:
    """Which facets are those of a step, and their rows a·t + c ≤ 0."""
    first, second = label_columns(facets[:, 1])
    mine = np.flatnonzero((first >= columns[0]) & (first < columns[1]))
    region, j = facets[mine, 0], first[mine] - columns[0]
    if isinstance(step, Maximum):
        entries, other = step.groups.ravel(), second[mine] - columns[0]
        return mine, maps[region, :, entries[other]] - maps[region, :, entries[j]]
    sign = np.where(patterns[region, first[mine]] > 0, -1.0, 1.0)
    return mine, sign[:, None] * step.rows(maps)[region, :, j]


def _repaired(program: Program, patterns: Array, cells: Cells, witnesses: Array) -> Array:
    """Witnesses; by a linear program where rounding took one out of its region, which is far off or very small then."""
    for i in np.flatnonzero((program.patterns(witnesses) != patterns).any(axis=1)):
        stack = HalfspaceStack(program.input_size)
        for row in cells.facets[cells.facet_starts[i] : cells.facet_starts[i + 1], :-1]:
            stack.push(row[:-1], float(row[-1]))
        inside = stack.inside()
        if inside is not None:
            witnesses[i] = inside[0]
    return witnesses

"""A plain chain of dense ReLU layers on a small job: layer after layer, and the layer of outputs, in one compiled call.

The steps are those of `theodolite.theory.piecewise.enumeration`, which takes them one by one from Python, for any program: the error
bounds, the maps of a layer, the cut by its switches, the maps behind it. Here a layer costs no more than its work, which is what
counts for a few hundred regions. What does not fit, or has an undecided sign to be decided exactly, is left to the enumeration.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np
from numba.extending import overload

from theodolite.maths.affinemaps import sloped_affine
from theodolite.maths.compiled import compiled, inner
from theodolite.maths.cutters import Cutters
from theodolite.maths.intervals import subdivide_intervals
from theodolite.maths.polygons import subdivide_polygons
from theodolite.theory.piecewise.chainerrors import chain_errors
from theodolite.theory.piecewise.firstcell import first_cell

__all__ = ["carry"]


@inner
def _layer(parameters, n, maps, parents, sides):
    """Maps behind a ReLU with the patterns ``sides``, through the layer whose W (m, n) and b are ``parameters``: (R, d + 1, m)."""
    m, slopes = len(parameters) // (n + 1), np.zeros((2, n))
    for j in range(n):
        slopes[1, j] = 1.0
    return sloped_affine(maps, parents, sides, slopes, parameters[: m * n].reshape(m, n).T.copy(), parameters[m * n :])


@inner
def _extent(vertices):
    """The largest side of the box around some points."""
    largest = 0.0
    for k in range(vertices.shape[1]):
        low, high = vertices[0, k], vertices[0, k]
        for i in range(len(vertices)):
            low, high = min(low, vertices[i, k]), max(high, vertices[i, k])
        largest = max(largest, high - low)
    return largest


@inner
def _packed(bits, parents, sides):
    """Packed patterns of the parents' layers, and behind them the sides, on bytes of their own."""
    before, m = bits.shape[1], sides.shape[1]
    out = np.zeros((len(parents), before + (m + 7) // 8), np.uint8)
    for r in range(len(parents)):
        for k in range(before):
            out[r, k] = bits[parents[r], k]
        for j in range(m):
            if sides[r, j]:
                out[r, before + (j >> 3)] |= np.uint8(128 >> (j & 7))
    return out


def _subdivide(shape, cells, lines, certified):
    """The cutter of d = len(shape) dimensions; compiled, the choice falls with the tuple's type."""
    return (subdivide_intervals if len(shape) == 1 else subdivide_polygons)(cells, lines, certified)


@overload(_subdivide)
def _subdivide_by_shape(shape, cells, lines, certified):
    if len(shape) == 1:
        return lambda shape, cells, lines, certified: subdivide_intervals(cells, lines, certified)
    return lambda shape, cells, lines, certified: subdivide_polygons(cells, lines, certified)


@compiled
def carry(shape, chart, layers, coarse, limits):
    """Cut an interval, a box or a polygon by one layer after the other.

    Args:
        shape: d numbers, for d = 1 or 2.
        chart: (vertices, is_box, start), as `theodolite.theory.piecewise.domains.Chart` has them.
        layers: as `theodolite.theory.piecewise.program.Program.relu_layers` has them.
        coarse: for `chain_errors`; infinite for certificates, which stop before a layer that leaves a sign undecided.
        limits: most numbers in the maps of a layer's cells; most neurons of a layer that cuts.

    Returns:
        How many layers were done; the parts, (points, starts, facets, labels), with a facet per vertex; the maps of the outputs, or of
        the parents behind the last of these layers, before its ReLU, (P, d + 1, n); the parents (R,), rows of these, and the sides of
        the last layer (R, n), or None and None once all layers are done; packed patterns (R, bytes).
    """
    (vertices, is_box, start), (parameters, sizes, relus), (room, neurons) = chart, layers, limits
    hidden = len(relus) if relus[-1] else len(relus) - 1
    cells = first_cell(vertices, is_box)
    errors = chain_errors(layers, chart, cells[0], coarse)
    maps, done, at, column = start, np.int64(0), np.int64(0), np.int64(0)
    parents, sides, bits = np.zeros(1, np.int64), np.ones((1, sizes[0]), np.uint8), np.empty((1, 0), np.uint8)
    while done < hidden and (not len(errors) or errors[0] < np.inf) and (sizes[done + 1] <= neurons or not relus[done]):
        n, m = sizes[done], sizes[done + 1]
        if len(parents) * maps.shape[1] * n > room and done:
            break
        made = _layer(parameters[at : at + m * (n + 1)], n, maps, parents, sides)
        owners, above = np.arange(len(made)), np.ones((len(made), m), np.uint8)
        if relus[done]:
            labels, both = column + np.arange(m), np.zeros(m, np.int8)
            lines = Cutters(made, owners, np.int64(0), errors[column : column + m], labels, both, _extent(vertices))
            parts, owners, above, undecided = _subdivide(shape, cells, lines, coarse == np.inf)
            if undecided.any():
                break
            bits, cells, column = _packed(bits, owners, above), parts, column + m
        maps, parents, sides = made, owners, above
        done, at = done + 1, at + m * (n + 1)
    if done == hidden < len(relus):
        done, maps = done + 1, _layer(parameters[at:], sizes[done], maps, parents, sides)
    if done == len(relus) > hidden:
        return done, cells[:4], maps, None, None, bits
    return done, cells[:4], maps, parents, sides, bits

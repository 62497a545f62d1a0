"""A plain chain of dense ReLU layers on a small job: layer after layer in one compiled call.

The steps are those of `theodolite.theory.piecewise.enumeration`, which takes them one by one from Python, for any program: the maps
of a layer, the cut by its switches, the maps behind it. Here a layer costs no more than its work, which is what counts for a few
hundred regions. What does not fit, or has an undecided sign to be decided exactly, is left to the enumeration.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import overload

from theodolite.maths.affinemaps import masked_gather
from theodolite.maths.cutters import Cutters
from theodolite.maths.intervals import subdivide_intervals
from theodolite.maths.polygons import subdivide_polygons

__all__ = ["Layers", "carry"]

#: Typed as Any: the checker knows no compiled call with unpacked arguments.
_jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy")


class Layers(NamedTuple):
    """Hidden layers n_0 → n_1 → … → n_L, v ↦ relu(W_l v + b_l).

    Attributes:
        parameters: W_1, b_1, W_2, b_2, … one after the other.
        sizes: (L + 1,): n_0, …, n_L.
        errors: (n_1 + … + n_L,): bounds on the errors of the pre-activations.
    """

    parameters: Any
    sizes: Any
    errors: Any


@_jit
def _pre_activations(values, parameters, size):
    """Maps (R, d + 1, n) through W v + b with m rows, which stand in ``parameters``: (R, d + 1, m)."""
    count, rows, n = values.shape
    weight, bias = parameters[: size * n].reshape(size, n), parameters[size * n :]
    out = np.dot(values.reshape(count * rows, n), weight.T).reshape(count, rows, size)
    for r in range(count):
        for j in range(size):
            out[r, rows - 1, j] += bias[j]
    return out


@_jit
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


@_jit
def carry(shape, cells, start, layers, certified, limits):
    """Cut an interval or a polygon by one layer after the other.

    Args:
        shape: d numbers, for d = 1 or 2.
        cells: one cell, (points, starts, facets, labels, facet_starts, masks).
        start: (1, d + 1, n_0): the input as an affine map.
        layers: `Layers`.
        certified: stop before a layer that leaves a sign undecided.
        limits: most numbers in the maps of a layer's cells; most neurons of a layer.

    Returns:
        How many layers were cut; the parts, likewise; maps of the parents before the last of these layers (P, d + 1, n); the parents
        (R,), rows of these; the sides of the last layer (R, n); packed patterns (R, bytes).
    """
    room, widest = limits
    parameters, sizes, errors = layers
    values, pre, done, at, column = start, start, np.int64(0), np.int64(0), np.int64(0)
    parents, sides, bits = np.zeros(1, np.int64), np.empty((1, 0), np.uint8), np.empty((1, 0), np.uint8)
    while done < len(sizes) - 1 and sizes[done + 1] <= widest:
        n, m = sizes[done], sizes[done + 1]
        if done:
            if len(parents) * values.shape[1] * n > room:
                break
            values = masked_gather(pre, parents, sides)
        maps = _pre_activations(values, parameters[at : at + m * (n + 1)], m)
        labels, both = column + np.arange(m), np.zeros(m, np.int8)
        lines = Cutters(maps, np.arange(len(maps)), np.int64(0), errors[column : column + m], labels, both)
        parts, owners, above, undecided = _subdivide(shape, cells, lines, certified)
        if undecided.any():
            break
        bits = _packed(bits, owners, above)
        cells, pre, parents, sides = parts, maps, owners, above
        done, at, column = done + 1, at + m * (n + 1), column + m
    return done, cells, pre, parents, sides, bits

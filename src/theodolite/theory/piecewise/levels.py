"""Level sets and decision boundaries of a network from its pieces, for d = 1 and d = 2."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.theory.piecewise.arguments import number
from theodolite.theory.piecewise.cells import Cells
from theodolite.theory.piecewise.program import Array

if TYPE_CHECKING:
    from theodolite.theory.piecewise.regions import Regions

__all__ = ["decision_boundary", "level_set"]


def level_set(regions: Regions, value: float) -> Array:
    """{t : f(t) = value}: points (m, 1) or segments (m, 2, 2), each once."""
    if regions.maps.shape[2] != 1:
        raise UnsupportedError(
            f"a level set needs one output, got {regions.maps.shape[2]}; enumerate with output=k, or use decision_boundary()"
        )
    if not math.isfinite(number(value, "value")):
        raise ArgumentError(f"value must be finite, got {value!r}")
    value = float(value)
    maps = regions.maps[:, :, 0].copy()
    maps[:, -1] -= value
    tolerance = float(regions._map_tolerance[0]) + 2.0**-52 * abs(value)
    _need_plane(regions)
    found, _ = _zeros(regions.cells, maps, tolerance)
    return _distinct(found, regions)


def decision_boundary(regions: Regions) -> Array:
    """f = 0 for one output; where two outputs tie and no third is larger, for several."""
    outputs = regions.maps.shape[2]
    if outputs == 1:
        return level_set(regions, 0.0)
    _need_plane(regions)
    tolerance, leading = regions._map_tolerance, _leading(regions)
    parts = [np.zeros((0, regions.dim, regions.dim))]
    for i, j in itertools.combinations(np.flatnonzero(leading.any(axis=0)), 2):
        both = np.flatnonzero(leading[:, i] & leading[:, j])
        maps = regions.maps[both]
        pieces, owner = _zeros(regions.cells.select(both), maps[:, :, i] - maps[:, :, j], tolerance[i] + tolerance[j])
        for k in np.flatnonzero(leading[both].any(axis=0)):
            if k not in (i, j) and len(pieces):
                pieces, owner = _clipped(pieces, owner, (maps[:, :, i] - maps[:, :, k])[owner], tolerance[i] + tolerance[k])
        parts.append(pieces)
    return _distinct(np.concatenate(parts), regions)


def _leading(regions: Regions) -> Array:
    """Outputs that may be the largest somewhere in a region, (R, outputs): they reach the least value of every other one."""
    points, starts = regions.cells.points[:, :-1], regions.cells.starts
    owner = np.repeat(np.arange(regions.count), np.diff(starts))
    values = np.einsum("vi,vio->vo", points, regions.maps[owner, :-1]) + regions.maps[owner, -1]
    highest, lowest = np.maximum.reduceat(values, starts[:-1]), np.minimum.reduceat(values, starts[:-1])
    tolerance = regions._map_tolerance
    return np.asarray(highest + tolerance >= (lowest - tolerance).max(axis=1, keepdims=True))


def _zeros(cells: Cells, maps: Array, tolerance: float) -> tuple[Array, Array]:
    """Zero sets of one affine function per cell: pieces (m, ends, d), and the cells they lie in."""
    return (_zero_points if cells.dim == 1 else _zero_segments)(cells, maps, tolerance)


def _need_plane(regions: Regions) -> None:
    if regions.dim > 2:
        raise UnsupportedError(
            f"level sets are extracted for d = 1 and d = 2, got d = {regions.dim}; take a slice2d of the input space"
        )
    regions._need_vertices("level sets")


def _vertex_values(cells: Cells, maps: Array, tolerance: float) -> tuple[Array, Array, Array]:
    points = cells.points[:, :-1]
    owner = np.repeat(np.arange(len(cells)), np.diff(cells.starts))
    values = (points * maps[owner, :-1]).sum(axis=1) + maps[owner, -1]
    return points, owner, np.where(np.abs(values) <= tolerance, 0.0, values)


def _zero_points(cells: Cells, maps: Array, tolerance: float) -> tuple[Array, Array]:
    points, owner, values = _vertex_values(cells, maps, tolerance)
    low, high = values[::2], values[1::2]
    inside = np.flatnonzero(low * high < 0)
    t = low[inside] / (low[inside] - high[inside])
    roots = points[::2][inside] + t[:, None] * (points[1::2] - points[::2])[inside]
    ends = np.flatnonzero(values == 0)
    found = np.concatenate([roots, points[ends]])
    return found[:, None, :], np.concatenate([inside, owner[ends]])


def _zero_segments(cells: Cells, maps: Array, tolerance: float) -> tuple[Array, Array]:
    points, owner, values = _vertex_values(cells, maps, tolerance)
    starts = cells.starts
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    after = values[following]
    # edges that lie in the level set
    on_edge = np.flatnonzero((values == 0) & (after == 0))
    edges = np.stack([points[on_edge], points[following[on_edge]]], axis=1)
    # where the level set crosses the interior, from the first to the last along it: two of (crossed edges, vertices on it), or more
    # where several vertices are within the tolerance
    crossed = np.flatnonzero(values * after < 0)
    t = values[crossed] / (values[crossed] - after[crossed])
    crossings = points[crossed] + t[:, None] * (points[following[crossed]] - points[crossed])
    touched = np.flatnonzero(values == 0)
    above, below = np.zeros(len(cells), dtype=bool), np.zeros(len(cells), dtype=bool)
    above[owner[values > 0]] = True
    below[owner[values < 0]] = True
    touched = touched[(above & below)[owner[touched]]]
    where = np.concatenate([owner[crossed], owner[touched]])
    ends = np.concatenate([crossings, points[touched]])
    order = np.lexsort((ends[:, 1] * maps[where, 0] - ends[:, 0] * maps[where, 1], where))
    where, ends = where[order], ends[order]
    cell, first, count = np.unique(where, return_index=True, return_counts=True)
    cell, first, count = (array[count > 1] for array in (cell, first, count))
    inner = np.stack([ends[first], ends[first + count - 1]], axis=1)
    return np.concatenate([edges, inner]).reshape(-1, 2, 2), np.concatenate([owner[on_edge], cell])


def _clipped(pieces: Array, owner: Array, maps: Array, tolerance: float) -> tuple[Array, Array]:
    """The parts of pieces on which an affine function is not negative."""
    values = (pieces * maps[:, None, :-1]).sum(axis=2) + maps[:, None, -1]
    values = np.where(np.abs(values) <= tolerance, 0.0, values)
    keep = (values >= 0).any(axis=1)
    pieces, owner, values = pieces[keep], owner[keep], values[keep]
    if pieces.shape[1] == 1:
        return pieces, owner
    out = pieces.copy()
    for end in (0, 1):
        cut = values[:, end] < 0
        t = values[cut, 1 - end] / (values[cut, 1 - end] - values[cut, end])
        out[cut, end] = pieces[cut, 1 - end] + t[:, None] * (pieces[cut, end] - pieces[cut, 1 - end])
    whole = (out[:, 0] != out[:, 1]).any(axis=1)
    return out[whole], owner[whole]


def _distinct(pieces: Array, regions: Regions) -> Array:
    """Each piece once: neighbouring regions find the pieces on their common boundary twice."""
    if not len(pieces):
        return pieces.reshape(0, 1) if regions.dim == 1 else pieces.reshape(0, 2, 2)
    step = 1e-10 * regions._extent
    keys = np.round((pieces - regions.cells.points[:, :-1].min(axis=0)) / step).astype(np.int64)
    if regions.dim == 1:
        flat = keys.reshape(len(keys), -1)
    else:  # the two ends in lexicographic order
        swap = (keys[:, 0, 0] > keys[:, 1, 0]) | ((keys[:, 0, 0] == keys[:, 1, 0]) & (keys[:, 0, 1] > keys[:, 1, 1]))
        keys[swap] = keys[swap][:, ::-1]
        flat = keys.reshape(len(keys), -1)
        proper = (flat[:, :2] != flat[:, 2:]).any(axis=1)
        pieces, flat = pieces[proper], flat[proper]
    _, first = np.unique(flat, axis=0, return_index=True)
    chosen = pieces[np.sort(first)]
    if regions.dim == 1:
        chosen = chosen.reshape(-1, 1)
        return chosen[np.argsort(chosen[:, 0])]
    return chosen

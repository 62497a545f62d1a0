"""Volumes, centroids and second moments of many convex polytopes given by their vertices."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from theodolite.maths.compiled import compiled, inner

Array: TypeAlias = np.ndarray[Any, Any]

__all__ = ["cell_moments"]


def cell_moments(vertices: Array, starts: Array, masks: Array) -> tuple[Array, Array, Array]:
    """Volume, centroid and ∫ (t − centroid)(t − centroid)ᵀ dt of every cell.

    Args:
        vertices: (V, d); in order around the cell for d = 2.
        starts: (R + 1,): cell r owns vertices starts[r] to starts[r + 1].
        masks: (V, words) uint64: facets through a vertex (read for d ≥ 3 only).

    Returns:
        volumes (R,), centroids (R, d), moments (R, d, d).

    Example:
        >>> square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
        >>> volume, centroid, moment = cell_moments(square, np.array([0, 4]), np.zeros((4, 0), np.uint64))
        >>> float(volume[0]), centroid[0].tolist(), bool(np.allclose(moment[0], np.eye(2) * 4 / 3))
        (4.0, [1.0, 1.0], True)
    """
    return _MOMENTS[min(vertices.shape[1], 3)](vertices, starts, masks)


@inner
def _centre(vertices, starts, volume, first, second):
    """Moments about the first vertices, ∫ u and ∫ u uᵀ, to what `cell_moments` returns; the second ones in place."""
    count, d = first.shape
    centroids = np.empty((count, d))
    for r in range(count):
        for k in range(d):
            shift = first[r, k] / volume[r] if volume[r] > 0 else 0.0
            centroids[r, k] = vertices[starts[r], k] + shift
            for m in range(d):
                second[r, k, m] -= shift * first[r, m]
    return volume, centroids, second


@compiled
def _interval_moments(vertices, starts, masks):
    count = len(starts) - 1
    volume, first, second = np.empty(count), np.empty((count, 1)), np.empty((count, 1, 1))
    for r in range(count):
        length = vertices[starts[r] + 1, 0] - vertices[starts[r], 0]
        volume[r], first[r, 0], second[r, 0, 0] = length, length * length / 2, length * length * length / 3
    return _centre(vertices, starts, volume, first, second)


@compiled
def _polygon_moments(vertices, starts, masks):
    """By the fan of triangles from the first vertex."""
    count = len(starts) - 1
    volume, first, second = np.zeros(count), np.zeros((count, 2)), np.zeros((count, 2, 2))
    for r in range(count):
        base, total = starts[r], 0.0
        for v in range(base + 1, starts[r + 1] - 1):
            ux, uy = vertices[v, 0] - vertices[base, 0], vertices[v, 1] - vertices[base, 1]
            wx, wy = vertices[v + 1, 0] - vertices[base, 0], vertices[v + 1, 1] - vertices[base, 1]
            area = (ux * wy - wx * uy) / 2
            total += area
            first[r, 0] += area * (ux + wx) / 3
            first[r, 1] += area * (uy + wy) / 3
            second[r, 0, 0] += area * (ux * ux + wx * wx + (ux + wx) * (ux + wx)) / 12
            second[r, 1, 1] += area * (uy * uy + wy * wy + (uy + wy) * (uy + wy)) / 12
            second[r, 0, 1] += area * (ux * uy + wx * wy + (ux + wx) * (uy + wy)) / 12
        sign = -1.0 if total < 0 else 1.0
        volume[r] = sign * total
        for i in range(2):
            first[r, i] *= sign
            second[r, i, i] *= sign
        second[r, 0, 1] *= sign
        second[r, 1, 0] = second[r, 0, 1]
    return _centre(vertices, starts, volume, first, second)


@inner
def _has(masks, v, f):
    return (masks[v, f >> 6] >> np.uint64(f & 63)) & np.uint64(1) == np.uint64(1)


@inner
def _next_face(members, inc, nv, nf, begin, apex, left, out):
    """The next facet from ``begin`` that cuts a proper maximal face, without the apex, from a face; its members go to ``out``."""
    for f in range(begin, nf):
        if inc[f, apex]:
            continue
        size = 0
        for v in range(nv):
            out[v] = members[v] and inc[f, v]
            size += out[v]
        if size < left:
            continue
        maximal = True
        for g in range(nf):
            if g == f:
                continue
            subset, equal, whole = True, True, True
            for v in range(nv):
                if not members[v]:
                    continue
                if out[v] and not inc[g, v]:
                    subset = False
                    break
                if inc[g, v] and not out[v]:
                    equal = False
                if not inc[g, v]:
                    whole = False
            if subset and not whole and (not equal or g < f):
                maximal = False
                break
        if maximal:
            return f
    return nf


@compiled
def _polytope_moments(vertices, starts, masks):
    """By a decomposition into simplices, face after face: the first vertex of a face, and the maximal faces without it."""
    count, d, words = starts.shape[0] - 1, vertices.shape[1], masks.shape[1]
    volume, first, second = np.zeros(count), np.zeros((count, d)), np.zeros((count, d, d))
    factorial = 1.0
    for k in range(2, d + 1):
        factorial *= k
    for r in range(count):
        base, nv = starts[r], starts[r + 1] - starts[r]
        nf = 64 * words
        inc = np.zeros((nf, nv), np.bool_)
        top = 0
        for v in range(nv):
            for f in range(nf):
                if _has(masks, base + v, f):
                    inc[f, v] = True
                    top = max(top, f + 1)
        nf = top
        members = np.zeros((d + 1, nv), np.bool_)
        members[0, :] = True
        pointer, apexes = np.zeros(d + 1, np.int64), np.zeros(d + 1, np.int64)
        edges = np.empty((d, d))
        level = 0
        while level >= 0:
            if level == d - 1:  # an edge: its two ends complete a simplex
                last = level
                for v in range(nv):
                    if members[level, v]:
                        apexes[last] = v
                        last += 1
                        if last > d:
                            break
                for i in range(d):
                    for k in range(d):
                        edges[i, k] = vertices[base + apexes[i + 1], k] - vertices[base + apexes[0], k]
                size = abs(np.linalg.det(edges)) / factorial
                volume[r] += size
                _add_simplex(vertices, base, apexes, d, size, first[r], second[r])
                level -= 1
                continue
            if pointer[level] == 0:
                for v in range(nv):
                    if members[level, v]:
                        apexes[level] = v
                        break
            f = _next_face(members[level], inc, nv, nf, pointer[level], apexes[level], d - level, members[level + 1])
            if f == nf:
                pointer[level] = 0
                level -= 1
                continue
            pointer[level] = f + 1
            pointer[level + 1] = 0
            level += 1
    return _centre(vertices, starts, volume, first, second)


@inner
def _add_simplex(vertices, base, corners, d, size, first, second):
    """Add ∫ u and ∫ u uᵀ over a simplex, u = t − first vertex of the cell."""
    total = np.zeros(d)
    for i in range(d + 1):
        for k in range(d):
            total[k] += vertices[base + corners[i], k] - vertices[base, k]
    for k in range(d):
        first[k] += size * total[k] / (d + 1)
    for k in range(d):
        for m in range(d):
            products = total[k] * total[m]
            for i in range(d + 1):
                products += (vertices[base + corners[i], k] - vertices[base, k]) * (
                    vertices[base + corners[i], m] - vertices[base, m]
                )
            second[k, m] += size * products / ((d + 1) * (d + 2))


#: By dimension, up to 3 and more.
_MOMENTS = {1: _interval_moments, 2: _polygon_moments, 3: _polytope_moments}

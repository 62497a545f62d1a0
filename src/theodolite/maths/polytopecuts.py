"""One cut of one polytope by one hyperplane, in compiled code: signs, new vertices, the two parts.

A polytope is its vertices (with error radii), its facets (with error bounds), and for every vertex the bit mask of the facets through
it. Two vertices span an edge when they share d − 1 facets and no third vertex lies on all of these, so that nothing is assumed about
general position. A new vertex solves d facet equations, and carries the bound on its error that follows from theirs.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["FINE", "MORE_ROOM", "MORE_WORDS", "assemble", "crossings", "signs"]

#: Typed as Any: the checker knows no compiled call with unpacked arguments.
_jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy")

#: What a cut reports when the buffers are too small.
FINE, MORE_WORDS, MORE_ROOM = 0, 1, 2


@_jit
def _popcount(word):
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_jit
def _has(masks, v, f):
    return (masks[v, f >> 6] >> np.uint64(f & 63)) & np.uint64(1)


@_jit
def _set(masks, v, f):
    masks[v, f >> 6] |= np.uint64(1) << np.uint64(f & 63)


@_jit
def signs(n, points, row, error, values):
    """Signs at the vertices (0: undecided); returns (any negative, any positive, any undecided)."""
    d = points.shape[1] - 1
    g = 0.0
    for k in range(d):
        g += abs(row[k])
    negative, positive, unsure = False, False, False
    for i in range(n):
        h = row[d]
        for k in range(d):
            h += row[k] * points[i, k]
        tolerance = error + g * points[i, d]
        if h > tolerance:
            values[i] = 1
            positive = True
        elif h < -tolerance:
            values[i] = -1
            negative = True
        else:
            values[i] = 0
            unsure = True
    return negative, positive, unsure


@_jit
def _insert(work, have, row, error, d):
    """Add an equation to a reduced system [G | c | inverse | errors]; False when its normal depends on those before."""
    size = 0.0
    for k in range(d):
        size = max(size, abs(row[k]))
    for k in range(2 * d + 2):
        work[have, k] = 0.0
    for k in range(d + 1):
        work[have, k] = row[k]
    work[have, d + 1 + have] = 1.0
    for r in range(have):
        pivot = int(work[r, 2 * d + 1])
        factor = work[have, pivot]
        for k in range(2 * d + 1):
            work[have, k] -= factor * work[r, k]
    pivot = 0
    for k in range(1, d):
        if abs(work[have, k]) > abs(work[have, pivot]):
            pivot = k
    head = work[have, pivot]
    if abs(head) <= 1e-12 * size or size == 0.0:
        return False
    for k in range(2 * d + 1):
        work[have, k] /= head
    work[have, 2 * d + 1] = pivot
    for r in range(have):
        factor = work[r, pivot]
        for k in range(2 * d + 1):
            work[r, k] -= factor * work[have, k]
    work[d, have] = error
    return True


@_jit
def _crossing(points, i, j, masks_new, at, facets, nf, row, error, work, out):
    """The vertex where the edge from i to j meets a hyperplane, with its error radius, to row ``at`` of ``out``."""
    d = points.shape[1] - 1
    have = 0
    if _insert(work, 0, row, error, d):
        have = 1
        for f in range(nf):
            if have == d:
                break
            if _has(masks_new, at, f) and _insert(work, have, facets[f], facets[f, d + 1], d):
                have += 1
    length = max(points[i, d], points[j, d])
    reach = 0.0
    for k in range(d):
        reach = max(reach, abs(points[i, k] - points[j, k]))
    length += reach
    radius = 0.0
    if have == d:
        for r in range(d):
            total = 0.0
            for k in range(d):
                total += abs(work[r, d + 1 + k]) * work[d, k]
            radius = max(radius, 2.0 * total)
    if have == d and radius <= length:
        for r in range(d):
            out[at, int(work[r, 2 * d + 1])] = -work[r, d]
        out[at, d] = radius
        return
    hp, hq = row[d], row[d]
    for k in range(d):
        hp += row[k] * points[i, k]
        hq += row[k] * points[j, k]
    t = hp / (hp - hq)
    for k in range(d):
        out[at, k] = points[i, k] + t * (points[j, k] - points[i, k])
    out[at, d] = length


@_jit
def crossings(n, points, masks, nf, facets, values, row, error, work, new_points, new_masks):
    """All new vertices of a cut; −1 when there is no room for them."""
    d = points.shape[1] - 1
    words = masks.shape[1]
    made = 0
    for i in range(n):
        if values[i] <= 0:
            continue
        for j in range(n):
            if values[j] >= 0:
                continue
            shared = 0
            for w in range(words):
                shared += _popcount(masks[i, w] & masks[j, w])
            if shared < d - 1:
                continue
            edge = True
            for v in range(n):
                if v in (i, j):
                    continue
                inside = True
                for w in range(words):
                    common = masks[i, w] & masks[j, w]
                    if masks[v, w] & common != common:
                        inside = False
                        break
                if inside:
                    edge = False
                    break
            if not edge:
                continue
            if made == new_points.shape[0]:
                return -1
            for w in range(words):
                new_masks[made, w] = masks[i, w] & masks[j, w]
            _crossing(points, i, j, new_masks, made, facets, nf, row, error, work, new_points)
            made += 1
    return made


@_jit
def assemble(
    side,
    n,
    points,
    masks,
    nf,
    facets,
    labels,
    values,
    made,
    new_points,
    new_masks,
    row,
    error,
    label,
    degenerate,
    to_points,
    to_masks,
    to_facets,
    to_labels,
    place,
):
    """The part on one side of a cut; returns its numbers of vertices and facets, or (−1, status) when it does not fit."""
    d = points.shape[1] - 1
    words = masks.shape[1]
    nv = 0
    for i in range(n + made):
        old = i < n
        if old and values[i] * side < 0:
            continue
        if nv == to_points.shape[0]:
            return -1, MORE_ROOM
        for k in range(d + 1):
            to_points[nv, k] = points[i, k] if old else new_points[i - n, k]
        nv += 1
    # which facets keep d vertices; facet nf is the new one
    kept = 0
    for f in range(nf + 1):
        members = np.int64(0)
        for i in range(n + made):
            if i < n and values[i] * side < 0:
                continue
            if f == nf:
                members += 1 if i >= n or values[i] == 0 else 0
            else:
                members += np.int64(_has(masks, i, f)) if i < n else np.int64(_has(new_masks, i - n, f))
        place[f] = -1
        if members >= d:
            place[f] = kept
            kept += 1
    if kept > 64 * words:
        return -1, MORE_WORDS
    if kept > to_labels.shape[0]:
        return -1, MORE_ROOM
    for f in range(nf + 1):
        g = place[f]
        if g < 0:
            continue
        for k in range(d + 1):
            to_facets[g, k] = row[k] if f == nf else facets[f, k]
        to_facets[g, d + 1] = error if f == nf else facets[f, d + 1]
        to_labels[g] = label if f == nf else labels[f]
    nv = 0
    for i in range(n + made):
        if i < n and values[i] * side < 0:
            continue
        for w in range(words):
            to_masks[nv, w] = np.uint64(0)
        for f in range(nf):
            if place[f] >= 0 and (_has(masks, i, f) if i < n else _has(new_masks, i - n, f)):
                _set(to_masks, nv, place[f])
        if (i >= n or values[i] == 0) and place[nf] >= 0:
            _set(to_masks, nv, place[nf])
        nv += 1
    if degenerate and d > 3:
        kept = _prune(nv, to_masks, kept, to_facets, to_labels, d)
    return nv, kept


@_jit
def _prune(nv, masks, nf, facets, labels, d):
    """Drop facets all of whose vertices lie on another facet: they only touch the polytope."""
    kept = 0
    for f in range(nf):
        redundant = False
        for g in range(nf):
            if g == f or redundant:
                continue
            subset, equal = True, True
            for v in range(nv):
                a, b = _has(masks, v, f), _has(masks, v, g)
                if a and not b:
                    subset = False
                    break
                if b and not a:
                    equal = False
            redundant = subset and (not equal or g < f)
        if redundant:
            for v in range(nv):
                masks[v, f >> 6] &= ~(np.uint64(1) << np.uint64(f & 63))
    for f in range(nf):
        used = False
        for v in range(nv):
            used |= _has(masks, v, f) == 1
        if not used:
            continue
        if kept != f:
            for v in range(nv):
                if _has(masks, v, f):
                    masks[v, f >> 6] &= ~(np.uint64(1) << np.uint64(f & 63))
                    _set(masks, v, kept)
            for k in range(d + 2):
                facets[kept, k] = facets[f, k]
            labels[kept] = labels[f]
        kept += 1
    return kept

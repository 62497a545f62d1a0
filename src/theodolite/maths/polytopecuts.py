"""One cut of one polytope by one hyperplane, in compiled code: signs, new vertices, the two parts.

A polytope is its vertices (with error radii), its facets (as numbers in a table of hyperplanes), and for every vertex the bit mask of
the facets through it. Two vertices span an edge when they share d − 1 facets and no third vertex lies on all of these, so that nothing
is assumed about general position. A new vertex solves d facet equations, and carries the bound on its error that follows from theirs.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from theodolite.maths.compiled import inner
from theodolite.maths.cutters import hides

__all__ = ["FINE", "MORE_ROOM", "MORE_WORDS", "Polytopes", "assemble", "crossings", "facets_through", "signs"]


#: Largest error of a vertex, relative to the edge on which it lies.
FAR = 1e-3

#: What a cut reports when the slots are too small.
FINE, MORE_WORDS, MORE_ROOM = 0, 1, 2


class Polytopes(NamedTuple):
    """Slots for polytopes, and a stack of those that are left to cut.

    The current one is on top, and what a cut makes of it, the part above and the part below, goes to the two free slots behind.

    Attributes:
        points: (slots, room, d + 1): vertices and their error radius.
        masks: (slots, room, words): facets through a vertex, 64 to a word.
        facets: (slots, room): numbers.
        waiting: (slots, 4): the stack: slot, next line, vertices, facets.
    """

    points: Any
    masks: Any
    facets: Any
    waiting: Any


@inner
def _popcount(word):
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inner
def facets_through(masks, v):
    """How many facets vertex v lies on."""
    total = np.int64(0)
    for w in range(masks.shape[1]):
        total += _popcount(masks[v, w])
    return total


@inner
def _has(masks, v, f):
    return (masks[v, f >> 6] >> np.uint64(f & 63)) & np.uint64(1)


@inner
def _set(masks, v, f):
    masks[v, f >> 6] |= np.uint64(1) << np.uint64(f & 63)


@inner
def signs(points, slot, n, table, line, extent, values):
    """Signs at the vertices (0: undecided); returns (any negative, any positive, any undecided, any that must not count as zero)."""
    d = points.shape[2] - 1
    g = 0.0
    for k in range(d):
        g += abs(table[k, line])
    negative, positive, unsure, lost = False, False, False, False
    for i in range(n):
        h = table[d, line]
        for k in range(d):
            h += table[k, line] * points[slot, i, k]
        tolerance = table[d + 1, line] + g * points[slot, i, d]
        if h > tolerance:
            values[i] = 1
            positive = True
        elif h < -tolerance:
            values[i] = -1
            negative = True
        else:
            values[i] = 0
            unsure = True
            lost |= hides(h, tolerance, table[d + 1, line], g, extent)
    return negative, positive, unsure, lost


@inner
def _insert(work, have, table, line):
    """Add an equation to a reduced system [G | c | inverse | errors]; False when its normal depends on those before."""
    d = len(work) - 1
    size = 0.0
    for k in range(d):
        size = max(size, abs(table[k, line]))
    for k in range(2 * d + 2):
        work[have, k] = 0.0
    for k in range(d + 1):
        work[have, k] = table[k, line]
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
    work[d, have] = table[d + 1, line]
    return True


@inner
def _solve(masks, at, facets, table, line, work):
    """Solve for the point on a hyperplane and the facets of mask ``at``; its error radius, infinite where there is none."""
    d = len(work) - 1
    have = np.int64(0)
    if _insert(work, have, table, line):
        have += 1
        for f in range(len(facets)):
            if have == d:
                break
            if _has(masks, at, f) and _insert(work, have, table, facets[f]):
                have += 1
    if have < d:
        return np.inf
    radius = 0.0
    for r in range(d):
        total = 0.0
        for k in range(d):
            total += abs(work[r, d + 1 + k]) * work[d, k]
        radius = max(radius, 2.0 * total)
    return radius


@inner
def _between(points, i, j, at, table, line):
    """The zero of a hyperplane's function on the segment from vertex i to vertex j, to row ``at``."""
    d = points.shape[1] - 1
    hp, hq = table[d, line], table[d, line]
    for k in range(d):
        hp += table[k, line] * points[i, k]
        hq += table[k, line] * points[j, k]
    t = hp / (hp - hq)
    for k in range(d):
        points[at, k] = points[i, k] + t * (points[j, k] - points[i, k])


@inner
def _length(points, i, j):
    """Distance of two vertices, with their error."""
    d = points.shape[1] - 1
    reach = 0.0
    for k in range(d):
        reach = max(reach, abs(points[i, k] - points[j, k]))
    return max(points[i, d], points[j, d]) + reach


@inner
def _adjacent(masks, n, i, j, least):
    """Whether two of the first n vertices span an edge, which lies on at least so many facets."""
    words = masks.shape[1]
    shared = 0
    for w in range(words):
        shared += _popcount(masks[i, w] & masks[j, w])
    if shared < least:
        return False
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
            return False
    return True


@inner
def crossings(cells, depth, table, line, values, work):
    """Put the new vertices of a cut behind the polytope's own, with sign 0.

    Returns (how many there are then, −1: no room; whether the error of one is not small beside the edge on which it lies).
    """
    slot, n, nf = cells.waiting[depth, 0], cells.waiting[depth, 2], cells.waiting[depth, 3]
    points, masks, facets = cells.points[slot], cells.masks[slot], cells.facets[slot, :nf]
    d, room, made, lost = points.shape[1] - 1, len(points), n, False
    if nf == room:
        return -1, lost
    for i in range(n):
        if values[i] <= 0:
            continue
        for j in range(n):
            if values[j] >= 0 or not _adjacent(masks, n, i, j, d - 1):
                continue
            if made == room:
                return -1, lost
            values[made] = 0
            for w in range(masks.shape[1]):
                masks[made, w] = masks[i, w] & masks[j, w]
            length, radius = _length(points, i, j), _solve(masks, made, facets, table, line, work)
            lost |= radius > FAR * length
            if radius <= length:
                for r in range(d):
                    points[made, int(work[r, 2 * d + 1])] = -work[r, d]
                points[made, d] = radius
            else:
                _between(points, i, j, made, table, line)
                points[made, d] = length
            made += 1
    return made, lost


@inner
def assemble(cells, depth, to, side, line, values, place):
    """Put the part on one side of a cut to another place of the stack; False where its facets need more words.

    ``values`` are the signs of all vertices, the new ones included.
    """
    here, n, nf = cells.waiting[depth, 0], cells.waiting[depth, 2], cells.waiting[depth, 3]
    slot = cells.waiting[to, 0]
    old_points, old_masks, old_facets = cells.points[here], cells.masks[here], cells.facets[here]
    points, masks, facets = cells.points[slot], cells.masks[slot], cells.facets[slot]
    d, words = points.shape[1] - 1, masks.shape[1]
    kept = np.int64(0)
    for f in range(nf + 1):  # facet nf is the new one
        members = np.int64(0)
        for i in range(len(values)):
            if values[i] * side >= 0:
                members += np.int64(values[i] == 0) if f == nf else np.int64(_has(old_masks, i, f))
        place[f] = -1
        if members >= d:
            place[f] = kept
            kept += 1
    if kept > 64 * words:
        return False
    for f in range(nf + 1):
        if place[f] >= 0:
            facets[place[f]] = line if f == nf else old_facets[f]
    nv, degenerate = np.int64(0), False
    for i in range(len(values)):
        if values[i] * side < 0:
            continue
        degenerate |= i < n and values[i] == 0
        for k in range(d + 1):
            points[nv, k] = old_points[i, k]
        for w in range(words):
            masks[nv, w] = np.uint64(0)
        for f in range(nf):
            if place[f] >= 0 and _has(old_masks, i, f):
                _set(masks, nv, place[f])
        if values[i] == 0 and place[nf] >= 0:
            _set(masks, nv, place[nf])
        nv += 1
    cells.waiting[to, 2], cells.waiting[to, 3] = nv, kept
    if degenerate and d > 3:
        cells.waiting[to, 3] = _prune(masks, nv, facets, kept)
    return True


@inner
def _redundant(masks, nv, nf, f):
    """Whether all vertices of facet f lie on another facet; of equal ones all but the first are."""
    for g in range(nf):
        if g == f:
            continue
        subset, equal = True, True
        for v in range(nv):
            a, b = _has(masks, v, f), _has(masks, v, g)
            if a and not b:
                subset = False
                break
            if b and not a:
                equal = False
        if subset and (not equal or g < f):
            return True
    return False


@inner
def _clear(masks, v, f):
    masks[v, f >> 6] &= ~(np.uint64(1) << np.uint64(f & 63))


@inner
def _prune(masks, nv, facets, nf):
    """Drop facets all of whose vertices lie on another facet: they only touch the polytope."""
    for f in range(nf):
        if _redundant(masks, nv, nf, f):
            for v in range(nv):
                _clear(masks, v, f)
    kept = np.int64(0)
    for f in range(nf):
        used = False
        for v in range(nv):
            used |= _has(masks, v, f) == 1
        if not used:
            continue
        if kept != f:
            for v in range(nv):
                if _has(masks, v, f):
                    _clear(masks, v, f)
                    _set(masks, v, kept)
            facets[kept] = facets[f]
        kept += 1
    return kept

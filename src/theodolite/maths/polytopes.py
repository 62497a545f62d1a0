"""Cutting many convex polytopes of dimension 3 and more, each by its own hyperplanes, depth first in compiled code.

A polytope is its vertices, its facets, and for every vertex the bit mask of the facets through it. A hyperplane splits the edges
between its two sides; two vertices span an edge when they share d − 1 facets and no third vertex lies on all of these, so that
nothing is assumed about general position. A new vertex solves d facet equations, and carries the bound on its error that follows
from the bounds on the facets' equations. A sign is *decided* when a value exceeds the errors of function and vertex together.
Undecided signs count as zero, or, where certificates are wanted, send the whole parent back.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["subdivide_polytopes"]

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")

#: What a kernel reports when its buffers are too small.
FINE, MORE_WORDS, MORE_ROOM = 0, 1, 2


@_jit
def _popcount(word):  # noqa: ANN001, ANN202
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_jit
def _has(masks, v, f):  # noqa: ANN001, ANN202
    return (masks[v, f >> 6] >> np.uint64(f & 63)) & np.uint64(1)


@_jit
def _set(masks, v, f):  # noqa: ANN001, ANN202
    masks[v, f >> 6] |= np.uint64(1) << np.uint64(f & 63)


@_jit
def _signs(n, points, row, error, values):  # noqa: ANN001, ANN202
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
def _insert(work, have, row, error, d):  # noqa: ANN001, ANN202
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
def _crossing(points, i, j, masks_new, at, facets, nf, row, error, work, out):  # noqa: ANN001, ANN202
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
def _crossings(n, points, masks, nf, facets, values, row, error, work, new_points, new_masks):  # noqa: ANN001, ANN202
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
                if v == i or v == j:
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
def _assemble(side, n, points, masks, nf, facets, labels, values, made, new_points, new_masks, row, error, label, degenerate, to_points, to_masks, to_facets, to_labels, place):  # noqa: ANN001, ANN202, E501
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
        members = 0
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
def _prune(nv, masks, nf, facets, labels, d):  # noqa: ANN001, ANN202
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


@_jit
def _copy(points, masks, v, nv, facets, labels, f, nf, to_points, to_masks, to_v, to_facets, to_labels, to_f):  # noqa: ANN001, ANN202
    for i in range(nv):
        for k in range(points.shape[1]):
            to_points[to_v + i, k] = points[v + i, k]
        for w in range(masks.shape[1]):
            to_masks[to_v + i, w] = masks[v + i, w]
    for i in range(nf):
        for k in range(facets.shape[1]):
            to_facets[to_f + i, k] = facets[f + i, k]
        to_labels[to_f + i] = labels[f + i]


@_jit
def _room(points, masks, v, need_v, facets, labels, f, need_f):  # noqa: ANN001, ANN202
    """The same data with room for at least need_v vertices and need_f facets."""
    if need_v > points.shape[0] or need_f > labels.shape[0]:
        size_v, size_f = max(need_v, 2 * points.shape[0]), max(need_f, 2 * labels.shape[0])
        more_points, more_masks = np.empty((size_v, points.shape[1])), np.empty((size_v, masks.shape[1]), np.uint64)
        more_facets, more_labels = np.empty((size_f, facets.shape[1])), np.empty(size_f, np.int64)
        _copy(points, masks, 0, v, facets, labels, 0, f, more_points, more_masks, 0, more_facets, more_labels, 0)
        return more_points, more_masks, more_facets, more_labels
    return points, masks, facets, labels


@_jit
def _more_parts(parents, bits, starts, facet_starts, made):  # noqa: ANN001, ANN202
    more, more_bits = np.empty(2 * made, np.int64), np.empty((2 * made, bits.shape[1]), np.uint8)
    more_starts, more_facet_starts = np.empty(2 * made + 1, np.int64), np.empty(2 * made + 1, np.int64)
    for i in range(made):
        more[i] = parents[i]
        for k in range(bits.shape[1]):
            more_bits[i, k] = bits[i, k]
    for i in range(made + 1):
        more_starts[i] = starts[i]
        more_facet_starts[i] = facet_starts[i]
    return more, more_bits, more_starts, more_facet_starts


@_jit
def _subdivide(points, masks, starts, facets, labels, facet_starts, rows, errors, row_labels, keep, certified, room):  # noqa: ANN001, ANN202
    count, m, d, words = starts.shape[0] - 1, rows.shape[2], points.shape[1] - 1, masks.shape[1]
    out_points, out_masks = np.empty((2 * points.shape[0] + 64, d + 1)), np.empty((2 * points.shape[0] + 64, words), np.uint64)
    out_facets, out_labels = np.empty((2 * labels.shape[0] + 64, d + 2)), np.empty(2 * labels.shape[0] + 64, np.int64)
    parts = 2 * count + 16
    out_starts, out_facet_starts = np.zeros(parts + 1, np.int64), np.zeros(parts + 1, np.int64)
    parents, bits = np.empty(parts, np.int64), np.empty((parts, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    stack_points, stack_masks = np.empty((4 * room, d + 1)), np.empty((4 * room, words), np.uint64)
    stack_facets, stack_labels = np.empty((4 * room, d + 2)), np.empty(4 * room, np.int64)
    stack = np.empty((m + 2, 3), np.int64)  # first vertex, first facet, next line
    stack_bits = np.empty((m + 2, m), np.uint8)
    here_p, here_m, here_f, here_l = np.empty((room, d + 1)), np.empty((room, words), np.uint64), np.empty((room, d + 2)), np.empty(room, np.int64)  # noqa: E501
    low_p, low_m, low_f, low_l = np.empty((room, d + 1)), np.empty((room, words), np.uint64), np.empty((room, d + 2)), np.empty(room, np.int64)  # noqa: E501
    high_p, high_m, high_f, high_l = np.empty((room, d + 1)), np.empty((room, words), np.uint64), np.empty((room, d + 2)), np.empty(room, np.int64)  # noqa: E501
    new_points, new_masks = np.empty((room, d + 1)), np.empty((room, words), np.uint64)
    values, place = np.empty(room, np.int64), np.empty(room + 1, np.int64)
    work = np.empty((d + 1, 2 * d + 2))
    lines, cutters, current = np.empty((m, d + 1)), np.empty(m, np.int64), np.zeros(m, np.uint8)
    used, used_f, made, status = 0, 0, 0, FINE
    for r in range(count):
        n, nf = starts[r + 1] - starts[r], facet_starts[r + 1] - facet_starts[r]
        if n > room or nf > room:
            status = MORE_ROOM
            break
        _copy(points, masks, starts[r], n, facets, labels, facet_starts[r], nf, here_p, here_m, 0, here_f, here_l, 0)
        cutting, alive = 0, True
        for j in range(m):
            for k in range(d + 1):
                lines[cutting, k] = rows[r, k, j]
            negative, positive, zero = _signs(n, here_p, lines[cutting], errors[j], values)
            if certified and zero:
                undecided[r] = True
                break
            current[j] = positive
            if keep[j] and not positive and (negative or keep[j] == 2):
                alive = False
            if negative and positive:
                cutters[cutting] = j
                cutting += 1
        if undecided[r] or not alive:
            continue
        used_before, used_f_before, made_before = used, used_f, made
        depth, position, top, top_f = 0, 0, 0, 0
        while True:
            while position < cutting and alive:
                j = cutters[position]
                negative, positive, zero = _signs(n, here_p, lines[position], errors[j], values)
                if certified and zero:
                    undecided[r] = True
                    break
                current[j] = positive
                if negative and positive:
                    new = _crossings(n, here_p, here_m, nf, here_f, values, lines[position], errors[j], work, new_points, new_masks)
                    if new < 0:
                        status = MORE_ROOM
                        break
                    nh, nhf = _assemble(1, n, here_p, here_m, nf, here_f, here_l, values, new, new_points, new_masks, lines[position], errors[j], row_labels[j], zero, high_p, high_m, high_f, high_l, place)  # noqa: E501
                    nl, nlf = n, nf
                    if keep[j] == 0:
                        nl, nlf = _assemble(-1, n, here_p, here_m, nf, here_f, here_l, values, new, new_points, new_masks, lines[position], errors[j], row_labels[j], zero, low_p, low_m, low_f, low_l, place)  # noqa: E501
                    if nh < 0 or nl < 0:
                        status = max(nhf if nh < 0 else FINE, nlf if nl < 0 else FINE)
                        break
                    if keep[j] == 0:
                        stack_points, stack_masks, stack_facets, stack_labels = _room(stack_points, stack_masks, top, top + nh, stack_facets, stack_labels, top_f, top_f + nhf)  # noqa: E501
                        _copy(high_p, high_m, 0, nh, high_f, high_l, 0, nhf, stack_points, stack_masks, top, stack_facets, stack_labels, top_f)  # noqa: E501
                        stack[depth, 0], stack[depth, 1], stack[depth, 2] = top, top_f, position + 1
                        for k in range(m):
                            stack_bits[depth, k] = current[k]
                        top, top_f, depth = top + nh, top_f + nhf, depth + 1
                        here_p, low_p, here_m, low_m = low_p, here_p, low_m, here_m
                        here_f, low_f, here_l, low_l = low_f, here_f, low_l, here_l
                        n, nf = nl, nlf
                        current[j] = 0
                    else:
                        here_p, high_p, here_m, high_m = high_p, here_p, high_m, here_m
                        here_f, high_f, here_l, high_l = high_f, here_f, high_l, here_l
                        n, nf = nh, nhf
                elif keep[j] and not positive and (negative or keep[j] == 2):
                    alive = False
                position += 1
            if undecided[r] or status != FINE:
                used, used_f, made = used_before, used_f_before, made_before
                break
            if alive:
                out_points, out_masks, out_facets, out_labels = _room(out_points, out_masks, used, used + n, out_facets, out_labels, used_f, used_f + nf)  # noqa: E501
                if made == parents.shape[0]:
                    parents, bits, out_starts, out_facet_starts = _more_parts(parents, bits, out_starts, out_facet_starts, made)
                _copy(here_p, here_m, 0, n, here_f, here_l, 0, nf, out_points, out_masks, used, out_facets, out_labels, used_f)
                for k in range(m):
                    bits[made, k] = current[k]
                parents[made] = r
                used, used_f, made = used + n, used_f + nf, made + 1
                out_starts[made], out_facet_starts[made] = used, used_f
            if depth == 0:
                break
            depth -= 1
            alive = True
            n, nf = top - stack[depth, 0], top_f - stack[depth, 1]
            top, top_f, position = stack[depth, 0], stack[depth, 1], stack[depth, 2]
            _copy(stack_points, stack_masks, top, n, stack_facets, stack_labels, top_f, nf, here_p, here_m, 0, here_f, here_l, 0)
            for k in range(m):
                current[k] = stack_bits[depth, k]
        if status != FINE:
            break
    return (
        status, out_points[:used], out_masks[:used], out_starts[: made + 1], out_facets[:used_f], out_labels[:used_f],
        out_facet_starts[: made + 1], parents[:made], bits[:made], undecided,
    )  # fmt: skip


def subdivide_polytopes(points, masks, starts, facets, labels, facet_starts, rows, errors, row_labels, keep, certified):  # noqa: ANN001, ANN201
    """Cut polytope r by all hyperplanes rows[r], in order.

    Args:
        points: (V, d + 1): vertices of all polytopes and their error radius.
        masks: (V, words) uint64: facets of its polytope through a vertex, 64 to a word.
        starts: (R + 1,): vertex ranges.
        facets: (F, d + 2): a, c and error of the facets' hyperplanes.
        labels: (F,).
        facet_starts: (R + 1,): facet ranges.
        rows: (R, d + 1, m): a and c of the cutting hyperplanes.
        errors: (m,): bound on the error of a hyperplane's values on the domain.
        row_labels: (m,).
        keep: (m,): 0 keeps both sides; 1 keeps a·x + c ≥ 0, whole where it vanishes; 2 keeps a·x + c ≥ 0, nothing where it vanishes.
        certified: send a polytope back as undecided rather than take an undecided sign for zero.

    Returns:
        points, masks, starts, facets, labels, facet_starts of the parts; their parents; their bits (parts, m); undecided (R,).
    """
    room = 256
    while True:
        status, *result = _subdivide(
            points, masks, starts, facets, labels, facet_starts, rows, errors, row_labels, keep, certified, room
        )
        if status == FINE:
            return tuple(result)
        if status == MORE_WORDS:
            masks = np.concatenate([masks, np.zeros((len(masks), 1), dtype=np.uint64)], axis=1)
        else:
            room *= 4

"""Cutting many convex polytopes of dimension 3 and more, each by its own hyperplanes, depth first in compiled code.

A sign is *decided* when a value exceeds the errors of function and vertex together. Undecided signs count as zero, or, where
certificates are wanted, send the whole parent back.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from theodolite.maths.polytopecuts import FINE, MORE_ROOM, MORE_WORDS, assemble, crossings, signs

__all__ = ["subdivide_polytopes"]

#: Typed as Any: the checker knows no compiled call with unpacked arguments.
_jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _copy(points, masks, v, nv, facets, labels, f, nf, to_points, to_masks, to_v, to_facets, to_labels, to_f):
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
def _room(points, masks, v, need_v, facets, labels, f, need_f):
    """The same data with room for at least need_v vertices and need_f facets."""
    if need_v > points.shape[0] or need_f > labels.shape[0]:
        size_v, size_f = max(need_v, 2 * points.shape[0]), max(need_f, 2 * labels.shape[0])
        more_points, more_masks = np.empty((size_v, points.shape[1])), np.empty((size_v, masks.shape[1]), np.uint64)
        more_facets, more_labels = np.empty((size_f, facets.shape[1])), np.empty(size_f, np.int64)
        _copy(points, masks, 0, v, facets, labels, 0, f, more_points, more_masks, 0, more_facets, more_labels, 0)
        return more_points, more_masks, more_facets, more_labels
    return points, masks, facets, labels


@_jit
def _more_parts(parents, bits, starts, facet_starts, made):
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
def _subdivide(
    points, masks, starts, facets, labels, facet_starts, rows, owners, first, errors, row_labels, keep, certified, room
):
    count, m, d, words = starts.shape[0] - 1, len(errors), points.shape[1] - 1, masks.shape[1]
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
    here_p, here_m, here_f, here_l = (
        np.empty((room, d + 1)),
        np.empty((room, words), np.uint64),
        np.empty((room, d + 2)),
        np.empty(room, np.int64),
    )
    low_p, low_m, low_f, low_l = (
        np.empty((room, d + 1)),
        np.empty((room, words), np.uint64),
        np.empty((room, d + 2)),
        np.empty(room, np.int64),
    )
    high_p, high_m, high_f, high_l = (
        np.empty((room, d + 1)),
        np.empty((room, words), np.uint64),
        np.empty((room, d + 2)),
        np.empty(room, np.int64),
    )
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
                lines[cutting, k] = rows[owners[r], k, first + j]
            negative, positive, zero = signs(n, here_p, lines[cutting], errors[j], values)
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
                negative, positive, zero = signs(n, here_p, lines[position], errors[j], values)
                if certified and zero:
                    undecided[r] = True
                    break
                current[j] = positive
                if negative and positive:
                    new = crossings(
                        n, here_p, here_m, nf, here_f, values, lines[position], errors[j], work, new_points, new_masks
                    )
                    if new < 0:
                        status = MORE_ROOM
                        break
                    nh, nhf = assemble(
                        1,
                        n,
                        here_p,
                        here_m,
                        nf,
                        here_f,
                        here_l,
                        values,
                        new,
                        new_points,
                        new_masks,
                        lines[position],
                        errors[j],
                        row_labels[j],
                        zero,
                        high_p,
                        high_m,
                        high_f,
                        high_l,
                        place,
                    )
                    nl, nlf = n, nf
                    if keep[j] == 0:
                        nl, nlf = assemble(
                            -1,
                            n,
                            here_p,
                            here_m,
                            nf,
                            here_f,
                            here_l,
                            values,
                            new,
                            new_points,
                            new_masks,
                            lines[position],
                            errors[j],
                            row_labels[j],
                            zero,
                            low_p,
                            low_m,
                            low_f,
                            low_l,
                            place,
                        )
                    if nh < 0 or nl < 0:
                        status = max(nhf if nh < 0 else FINE, nlf if nl < 0 else FINE)
                        break
                    if keep[j] == 0:
                        stack_points, stack_masks, stack_facets, stack_labels = _room(
                            stack_points, stack_masks, top, top + nh, stack_facets, stack_labels, top_f, top_f + nhf
                        )
                        _copy(
                            high_p,
                            high_m,
                            0,
                            nh,
                            high_f,
                            high_l,
                            0,
                            nhf,
                            stack_points,
                            stack_masks,
                            top,
                            stack_facets,
                            stack_labels,
                            top_f,
                        )
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
                out_points, out_masks, out_facets, out_labels = _room(
                    out_points, out_masks, used, used + n, out_facets, out_labels, used_f, used_f + nf
                )
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


def subdivide_polytopes(points, masks, starts, facets, labels, facet_starts, lines, certified):
    """Cut polytope r by its hyperplanes, in order.

    Args:
        points: (V, d + 1): vertices of all polytopes and their error radius.
        masks: (V, words) uint64: facets of its polytope through a vertex, 64 to a word.
        starts: (R + 1,): vertex ranges.
        facets: (F, d + 2): a, c and error of the facets' hyperplanes.
        labels: (F,).
        facet_starts: (R + 1,): facet ranges.
        lines: (rows, owners, first, errors, labels, keep), as for `theodolite.maths.polygons.subdivide_polygons`; rows (P, d + 1, M).
        certified: send a polytope back as undecided rather than take an undecided sign for zero.

    Returns:
        points, masks, starts, facets, labels, facet_starts of the parts; their parents; their bits (parts, m); undecided (R,).
    """
    room = 256
    while True:
        status, *result = _subdivide(points, masks, starts, facets, labels, facet_starts, *lines, certified, room)
        if status == FINE:
            return tuple(result)
        if status == MORE_WORDS:
            masks = np.concatenate([masks, np.zeros((len(masks), 1), dtype=np.uint64)], axis=1)
        else:
            room *= 4

"""Cutting many convex polytopes of dimension 3 and more, each by its own hyperplanes, depth first in compiled code.

A sign is *decided* when a value exceeds the errors of function and vertex together. Undecided signs count as zero, or, where
certificates are wanted, send the whole parent back. Where they would count as zero and that need not fit together (a vertex is ill
determined, its error is not small beside the edge on which it lies, or it lies on fewer than d facets), the parent is sent back too.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inner
from theodolite.maths.cutters import (
    CUTTER,
    KEEP,
    SIDE,
    Parts,
    drops,
    empty_parts,
    finished,
    gather,
    keep_above,
    keep_both,
    line_states,
    record,
    widest,
    with_room,
)
from theodolite.maths.polytopecuts import FINE, MORE_ROOM, MORE_WORDS, Polytopes, assemble, crossings, facets_through, signs

__all__ = ["subdivide_polytopes"]


@inner
def _slots(count, room, dim, words):
    """So many slots with room for so many vertices and as many facets."""
    waiting = np.zeros((count, 4), np.int64)
    for slot in range(count):
        waiting[slot, 0] = slot
    return Polytopes(
        np.empty((count, room, dim + 1)), np.empty((count, room, words), np.uint64), np.empty((count, room), np.int64), waiting
    )


@inner
def _wider(parts):
    """The same parts with another word to every mask."""
    rows, words = parts.masks.shape
    masks = np.zeros((rows, words + 1), np.uint64)
    for i in range(rows):
        for w in range(words):
            masks[i, w] = parts.masks[i, w]
    return Parts(parts.points, masks, parts.facets, parts.spans, parts.bits)


@inner
def _load(cells, r, m, polytopes, table):
    """Parent r as the first polytope of the stack, its facets to the table behind its m lines."""
    old_points, starts, old_facets, _, facet_starts, old_masks = cells
    points, masks, facets, waiting = polytopes
    start, facet_start, slot = starts[r], facet_starts[r], waiting[0, 0]
    n, nf = starts[r + 1] - start, facet_starts[r + 1] - facet_start
    waiting[0, 1], waiting[0, 2], waiting[0, 3] = 0, n, nf
    for i in range(n):
        for k in range(points.shape[2]):
            points[slot, i, k] = old_points[start + i, k]
        for w in range(masks.shape[2]):
            masks[slot, i, w] = old_masks[start + i, w] if w < old_masks.shape[1] else np.uint64(0)
    for f in range(nf):
        facets[slot, f] = m + f
        for k in range(len(table)):
            table[k, m + f] = old_facets[facet_start + f, k]


@inner
def _choose(polytopes, table, states, extent, values):
    """Which lines cut the first polytope of the stack; returns (how many, dropped, unsure, lost)."""
    slot, n = polytopes.waiting[0, 0], polytopes.waiting[0, 2]
    cutting, dropped, unsure, lost = 0, False, False, False
    for j in range(states.shape[1]):
        below, above, zero, far = signs(polytopes.points, slot, n, table, j, extent, values)
        unsure |= zero
        lost |= far
        states[SIDE, j] = above
        dropped |= drops(states[KEEP, j], below, above)
        if below and above:
            states[CUTTER, cutting] = j
            cutting += 1
    return cutting, dropped, unsure, lost


@inner
def _descend(polytopes, depth, table, states, cutting, extent, scratch):
    """Carry the polytope on top of the stack through the lines that are left; parts above wait, where both are kept.

    Returns (depth, whether anything is left of it, whether a sign was undecided, whether a vertex was lost, status).
    """
    waiting = polytopes.waiting
    values, place, work = scratch
    position, alive, unsure, lost = waiting[depth, 1], True, False, False
    while position < cutting and alive:
        line = states[CUTTER, position]
        position += 1
        below, above, zero, ill = signs(polytopes.points, waiting[depth, 0], waiting[depth, 2], table, line, extent, values)
        unsure |= zero
        lost |= ill
        states[SIDE, line] = above
        if below and above:
            (total, far), both = crossings(polytopes, depth, table, line, values, work), states[KEEP, line] == 0
            lost |= far
            if total < 0:
                return depth, alive, unsure, lost, MORE_ROOM
            fits = assemble(polytopes, depth, depth + 1, np.int64(1), line, values[:total], place)
            fits &= not both or assemble(polytopes, depth, depth + 2, np.int64(-1), line, values[:total], place)
            if not fits:
                return depth, alive, unsure, lost, MORE_WORDS
            if both:
                keep_both(waiting, depth, 4)
                waiting[depth, 1] = position
                states[SIDE, line] = 0
                depth += 1
            else:
                keep_above(waiting, depth, 4)
        else:
            alive = not drops(states[KEEP, line], below, above)
    return depth, alive, unsure, lost, FINE


@inner
def _write(polytopes, depth, parts, made, parent, states):
    """The polytope on top of the stack as part ``made``; whether all its vertices lie on d facets at least."""
    slot, n, nf = polytopes.waiting[depth, 0], polytopes.waiting[depth, 2], polytopes.waiting[depth, 3]
    points, masks, facets, spans, bits = parts
    at, facet_at, whole = spans[made, 0], spans[made, 1], True
    for i in range(n):
        whole &= facets_through(polytopes.masks[slot], i) >= points.shape[1] - 1
        for k in range(points.shape[1]):
            points[at + i, k] = polytopes.points[slot, i, k]
        for w in range(masks.shape[1]):
            masks[at + i, w] = polytopes.masks[slot, i, w]
    for f in range(nf):
        facets[facet_at + f] = polytopes.facets[slot, f]
    record(spans, bits, made, n, nf, parent, states)
    return whole


@compiled
def subdivide_polytopes(cells, lines, certified):
    """Cut polytope r by its hyperplanes, in order.

    Args:
        cells: (points, starts, facets, labels, facet_starts, masks) of R polytopes, as `theodolite.maths.cutters.Parts` has them, with
            the rows of the facets (F, d + 2), (a, c, error), and their labels (F,).
        lines: `theodolite.maths.cutters.Cutters`.
        certified: send a polytope back as undecided rather than take an undecided sign for zero; otherwise only if that fails, see the
            module's text.

    Returns:
        The parts, likewise; their parents; their bits (parts, m); undecided (R,).
    """
    points, starts, facets, facet_starts = cells[0], cells[1], cells[2], cells[4]
    count, m, d, words = len(starts) - 1, len(lines.errors), points.shape[1] - 1, cells[5].shape[1]
    room = 2 * max(widest(starts), widest(facet_starts)) + 16
    polytopes, states, table = _slots(m + 3, room, d, words), line_states(lines.keep), np.empty((d + 2, m + room))
    scratch = np.empty(room, np.int64), np.empty(room + 1, np.int64), np.empty((d + 1, 2 * d + 2))
    for j in range(m):
        table[d + 1, j] = lines.errors[j]
    parts = empty_parts(2 * count + 16, 2 * len(points) + 64, 2 * len(facets) + 64, words, (d, m))
    r, made, undecided = np.int64(0), np.int64(0), np.zeros(count, np.bool_)
    while r < count:
        gather(lines.rows, lines.owners[r], lines.first, m, table)
        _load(cells, r, m, polytopes, table)
        cutting, dropped, unsure, lost = _choose(polytopes, table, states, lines.extent, scratch[0])
        undecided[r] = unsure if certified else lost
        depth, first, status = -1 if dropped or undecided[r] else 0, made, FINE
        while depth >= 0:
            depth, alive, unsure, lost, status = _descend(polytopes, depth, table, states, cutting, lines.extent, scratch)
            undecided[r] = unsure if certified else lost
            if alive and status == FINE:
                parts = with_room(parts, made, 1, polytopes.waiting[depth, 2], polytopes.waiting[depth, 3])
                undecided[r] |= not _write(polytopes, depth, parts, made, r, states)
                made += 1
            if undecided[r] or status != FINE:
                made = first
                break
            depth -= 1
            if depth >= 0:  # the sides of the lines before still hold: only later ones have been visited since
                states[SIDE, states[CUTTER, polytopes.waiting[depth, 1] - 1]] = 1
        if undecided[r] or status == FINE:
            r += 1
            continue
        if status == MORE_WORDS:
            words, parts = words + 1, _wider(parts)
        else:
            room *= 2
            scratch = np.empty(room, np.int64), np.empty(room + 1, np.int64), scratch[2]
        polytopes = _slots(m + 3, room, d, words)
    return *finished(parts, made, cells, lines), undecided

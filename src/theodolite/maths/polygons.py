"""Cutting many convex polygons, each by its own lines, depth first in compiled code.

Every vertex is the intersection of two lines and carries a bound on its error; every line carries a bound on the error of its
values. A sign is *decided* when the value exceeds both together. Undecided signs count as zero (the vertex is taken to lie on the
line), or, where certificates are wanted or the vertex is ill determined, send the whole parent back to be cut in exact arithmetic.

While a parent is cut, a polygon is a slot of rows, for every vertex x, y, error radius and the number of the line to the next vertex.
A stack holds the polygons that are left to cut, (slot, vertices, begin, end), with the lines that are left for each from ``begin`` to
``end`` of a queue; the current one is on top, and what a cut makes of it, the part above and the part below, goes to the two free slots
behind. Parts share the queue of the whole. Where that is long, a part first sorts out the lines that do not cut it, which do not cut
its own parts either: the k-th of m lines in general position is then tried on a few polygons per cut, instead of on all of them.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inlined, inner
from theodolite.maths.cutters import (
    KEEP,
    SIDE,
    drops,
    empty_parts,
    finished,
    gather,
    hides,
    keep_above,
    keep_both,
    line_states,
    record,
    widest,
    with_room,
)

__all__ = ["subdivide_polygons"]

#: Sizes of a line's coefficients whose products are far from both ends of the range of floats.
LEAST, MOST = 1e-140, 1e140

#: What is known of the signs at a polygon's vertices: all; not all; not one that must not count as zero.
SURE, ZERO, HIDDEN = 0, 1, 2

#: Lines left above which those that do not cut a polygon are sorted out, for all its parts.
MANY = 12


@inlined
def _screen(points, start, stop, table, screen):
    """Over a parent's vertices, for every line: the most decided value above, below, and the least margin of decision."""
    highest, lowest, nearest, spread = screen[0], screen[1], screen[2], screen[3]
    a, b, c, errors = table[0], table[1], table[2], table[3]
    m = len(highest)
    for j in range(m):
        highest[j], lowest[j], nearest[j] = -1.0, 1.0, np.inf
        spread[j] = abs(a[j]) + abs(b[j])
    for i in range(start, stop):
        x, y, radius = points[i, 0], points[i, 1], points[i, 2]
        for j in range(m):
            h = a[j] * x + b[j] * y + c[j]
            tolerance = errors[j] + spread[j] * radius
            up, down, near = h - tolerance, h + tolerance, abs(h) - tolerance
            highest[j] = up if up > highest[j] else highest[j]
            lowest[j] = down if down < lowest[j] else lowest[j]
            nearest[j] = near if near < nearest[j] else nearest[j]


@inlined
def _choose(screen, states, queue):
    """Which lines cut a parent, to the queue; returns (how many, dropped, unsure)."""
    cutting, dropped, unsure = 0, False, False
    for j in range(states.shape[1]):
        above, below = screen[0, j] > 0.0, screen[1, j] < 0.0
        unsure |= screen[2, j] <= 0.0
        states[SIDE, j] = 1 if above else 0
        dropped |= drops(states[KEEP, j], below, above)
        if below and above:
            queue[cutting] = j
            cutting += 1
    return cutting, dropped, unsure


@inner
def _doubt(points, n, table, line, extent):
    """Whether there is an undecided sign at n vertices (`ZERO`), and one that must not count as zero (`HIDDEN`)."""
    a, b, c, e = table[0, line], table[1, line], table[2, line], table[3, line]
    g, doubt = abs(a) + abs(b), SURE
    for i in range(n):
        h, tolerance = a * points[i, 0] + b * points[i, 1] + c, e + g * points[i, 2]
        if abs(h) <= tolerance:
            doubt = max(doubt, HIDDEN if hides(h, tolerance, e, g, extent) else ZERO)
    return doubt


@inlined
def _load(points, facets, span, m, cutting, polygons, waiting, table):
    """A parent as the first polygon of the stack, its edges to the table behind its m lines."""
    start, slot = span[0], waiting[0, 0]
    n = span[1] - start
    waiting[0, 1], waiting[0, 2], waiting[0, 3] = n, 0, cutting
    for i in range(n):
        _put(polygons, slot, i, points[start + i, 0], points[start + i, 1], points[start + i, 2], m + i)
        for k in range(4):
            table[k, m + i] = facets[start + i, k]


@inlined
def _sides(points, slot, n, table, line, signs):
    """Signs at the vertices (0: undecided) to ``signs``; returns how many lie below and above."""
    a, b, c, e = table[0, line], table[1, line], table[2, line], table[3, line]
    g = abs(a) + abs(b)
    above = np.int64(0)
    below = np.int64(0)
    for i in range(n):  # no branches: the signs are as good as random
        h = a * points[slot, i, 0] + b * points[slot, i, 1] + c
        tolerance = e + g * points[slot, i, 2]
        up = np.int64(h > tolerance)
        down = np.int64(h < -tolerance)
        signs[i] = up - down
        above += up
        below += down
    return below, above


@inlined
def _line(table, j):
    """(a, b, c, error), scaled where products of two would leave the range of floats."""
    a, b, c, e = table[0, j], table[1, j], table[2, j], table[3, j]
    size = abs(a) + abs(b)
    if LEAST < size < MOST:
        return a, b, c, e
    return a / size, b / size, c / size, e / size


@inner
def _crossing(points, slot, i, k, table, line):
    """Where the edge from vertex i to vertex k meets a line: x, y, error radius."""
    a1, b1, c1, e1 = _line(table, np.int64(points[slot, i, 3]))
    a2, b2, c2, e2 = _line(table, line)
    px, py, qx, qy = points[slot, i, 0], points[slot, i, 1], points[slot, k, 0], points[slot, k, 1]
    det = a1 * b2 - a2 * b1
    g1 = abs(a1) + abs(b1)
    g2 = abs(a2) + abs(b2)
    # |h_1(v*)| ≤ e_1 and |h_2(v*)| ≤ e_2 at the true vertex v*; two-by-two inverse, with room for the rounding of this step
    radius = 2.0 * (g2 * e1 + g1 * e2) / max(abs(det) - 1e-15 * g1 * g2, 1e-300)
    length = abs(qx - px) + abs(qy - py) + max(points[slot, i, 2], points[slot, k, 2])
    if radius <= length:
        inverse = 1.0 / det
        x, y = (b1 * c2 - b2 * c1) * inverse, (c1 * a2 - c2 * a1) * inverse
        # once more for what is left: nearly parallel lines would else meet in a point off both
        left1, left2 = a1 * x + b1 * y + c1, a2 * x + b2 * y + c2
        return x - (left1 * b2 - left2 * b1) * inverse, y - (a1 * left2 - a2 * left1) * inverse, radius
    # nearly parallel, or an edge as short as the error: anywhere between its ends is as good
    hp = a2 * px + b2 * py + c2
    hq = a2 * qx + b2 * qy + c2
    t = hp / (hp - hq)
    return px + t * (qx - px), py + t * (qy - py), length


@inner
def _put(points, slot, at, x, y, radius, edge):
    points[slot, at, 0], points[slot, at, 1], points[slot, at, 2], points[slot, at, 3] = x, y, radius, edge


@inlined
def _cut(points, waiting, depth, signs, table, line):
    """Split the polygon at ``depth`` of the stack by a line; the part above goes to depth + 1, the part below to depth + 2."""
    here, high, low = waiting[depth, 0], waiting[depth + 1, 0], waiting[depth + 2, 0]
    n, nl, nh = waiting[depth, 1], 0, 0
    for i in range(n):
        k = i + 1 if i + 1 < n else 0
        s, t, edge = signs[i], signs[k], points[here, i, 3]
        x, y, radius = points[here, i, 0], points[here, i, 1], points[here, i, 2]
        if s <= 0:
            _put(points, low, nl, x, y, radius, line if s == 0 and t > 0 else edge)
            nl += 1
        if s >= 0:
            _put(points, high, nh, x, y, radius, line if s == 0 and t < 0 else edge)
            nh += 1
        if s * t < 0:
            x, y, radius = _crossing(points, here, i, k, table, line)
            _put(points, low, nl, x, y, radius, line if t > 0 else edge)
            _put(points, high, nh, x, y, radius, line if t < 0 else edge)
            nl += 1
            nh += 1
    waiting[depth + 1, 1], waiting[depth + 2, 1] = nh, nl


@inlined
def _narrow(polygons, waiting, depth, signs, table, states, queue, extent):
    """Sort out which of the lines that are left cut the polygon on top of the stack, for all its parts; returns the worst doubt."""
    slot, n, worst = waiting[depth, 0], waiting[depth, 1], SURE
    begin = end = (depth + 1) * states.shape[1]
    for at in range(waiting[depth, 2], waiting[depth, 3]):
        line = queue[at]
        below, above = _sides(polygons, slot, n, table, line, signs)
        if below + above < n:
            worst = max(worst, _doubt(polygons[slot], n, table, line, extent))
        states[SIDE, line] = 1 if above else 0
        if (below and above) or states[KEEP, line] > 0:
            queue[end] = line
            end += 1
    waiting[depth, 2], waiting[depth, 3] = begin, end
    return worst


@inlined
def _descend(polygons, waiting, depth, signs, table, states, queue, extent):
    """Carry the polygon on top of the stack through the lines that are left, or until it is cut with many left.

    Parts above wait, where both are kept. Returns (depth, whether anything is left of it, the worst doubt).
    """
    at, end, few, alive, worst = waiting[depth, 2], waiting[depth, 3], True, True, SURE
    while at < end and alive and few:
        line = queue[at]
        at += 1
        n = waiting[depth, 1]
        below, above = _sides(polygons, waiting[depth, 0], n, table, line, signs)
        if below + above < n:
            worst = max(worst, _doubt(polygons[waiting[depth, 0]], n, table, line, extent))
        states[SIDE, line] = 1 if above else 0
        if below and above:
            _cut(polygons, waiting, depth, signs, table, line)
            if states[KEEP, line] == 0:
                keep_both(waiting, depth, 2)
                waiting[depth, 2], waiting[depth, 3] = at, end
                states[SIDE, line] = 0
                depth += 1
                few = end - at <= MANY
            else:
                keep_above(waiting, depth, 2)
        else:
            alive = not drops(states[KEEP, line], below > 0, above > 0)
    waiting[depth, 2], waiting[depth, 3] = at, end
    return depth, alive, worst


@inlined
def _write(polygons, slot, n, points, facets, at):
    """A finished polygon to the rows from ``at`` on."""
    for i in range(n):
        for k in range(3):
            points[at + i, k] = polygons[slot, i, k]
        facets[at + i] = np.int64(polygons[slot, i, 3])


@compiled
def subdivide_polygons(cells, lines, certified):
    """Cut polygon r by its lines, in order.

    Args:
        cells: (points, starts, facets, labels, facet_starts, masks) of R polygons, as `theodolite.maths.cutters.Parts` has them, with
            the rows of the facets (F, 4), (a, b, c, error), and their labels (F,). Vertices are in order around a polygon; facet i
            is the edge from vertex i to the next one.
        lines: `theodolite.maths.cutters.Cutters`.
        certified: send a polygon back as undecided rather than take an undecided sign for zero; otherwise only where it must
            not count as zero.

    Returns:
        The parts, likewise; their parents; their bits (parts, m); undecided (R,).
    """
    old, starts, old_facets, owners = cells[0], cells[1], cells[2], lines.owners
    count, m, edges = len(starts) - 1, len(lines.errors), widest(starts)
    states, table, screen = line_states(lines.keep), np.empty((4, m + edges)), np.empty((4, m))
    for j in range(m):
        table[3, j] = lines.errors[j]
    polygons, signs = np.empty((m + 3, edges + m + 2, 4)), np.empty(edges + m + 2, np.int64)
    waiting, queue = np.empty((m + 3, 4), np.int64), np.empty((m + 4) * m, np.int64)
    for slot in range(m + 3):
        waiting[slot, 0] = slot
    allowed, room, made, undecided = SURE if certified else ZERO, 4 * count + 64, np.int64(0), np.zeros(count, np.bool_)
    vertices = 6 * room + len(old)
    parts = empty_parts(room, vertices, vertices, 0, (2, m))
    points, _, facets, spans, bits = parts
    for r in range(count):
        gather(lines.rows, owners[r], lines.first, m, table)
        _screen(old, starts[r], starts[r + 1], table, screen)
        cutting, dropped, unsure = _choose(screen, states, queue)
        worst, first, depth = SURE, made, np.int64(0)
        if unsure:
            for j in range(m):
                worst = max(worst, _doubt(old[starts[r] : starts[r + 1]], starts[r + 1] - starts[r], table, j, lines.extent))
        undecided[r] = worst > allowed
        if dropped or undecided[r]:
            continue
        _load(old, old_facets, (starts[r], starts[r + 1]), m, cutting, polygons, waiting, table)
        while depth >= 0:
            if waiting[depth, 3] - waiting[depth, 2] > MANY:
                worst = max(worst, _narrow(polygons, waiting, depth, signs, table, states, queue, lines.extent))
            depth, alive, doubt = _descend(polygons, waiting, depth, signs, table, states, queue, lines.extent)
            worst = max(worst, doubt)
            if worst > allowed:
                undecided[r], made = True, first
                break
            if alive and waiting[depth, 2] < waiting[depth, 3]:
                continue
            if alive:
                slot, n = waiting[depth, 0], waiting[depth, 1]
                if made == len(bits) or spans[made, 0] + n > len(points):
                    parts = with_room(parts, made, 1, n, n)
                    points, _, facets, spans, bits = parts
                _write(polygons, slot, n, points, facets, spans[made, 0])
                record(spans, bits, made, n, n, r, states)
                made += 1
            depth -= 1
            if depth >= 0:  # the sides of the lines before still hold: only later ones have been visited since
                states[SIDE, queue[waiting[depth, 2] - 1]] = 1
    return *finished(parts, made, cells, lines), undecided

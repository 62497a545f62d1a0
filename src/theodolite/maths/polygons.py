"""Cutting many convex polygons, each by its own lines, depth first in compiled code.

Every vertex is the intersection of two lines and carries a bound on its error; every line carries a bound on the error of its
values. A sign is *decided* when the value exceeds both together. Undecided signs count as zero (the vertex is taken to lie on the
line), or, where certificates are wanted, send the whole parent back to be cut in exact arithmetic.

While a parent is cut, its parts hold vertices and the numbers of the lines between them; the lines themselves stand once in a table:
the parent's own edges, then its cutters. Compiled functions take their arrays one by one: grouped in tuples they run
half as fast, since every access then counts references.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["subdivide_polygons"]

#: Typed as Any: the checker knows no compiled call with unpacked arguments.
_jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy")

#: What became of a parent.
DONE, NO_ROOM, UNDECIDED = 0, 1, 2

#: A polygon in its slot: x, y, error radius, and the line to the next vertex as its number in the table, for every vertex. Slots 0 to 2
#: hold the current polygon and the two parts of a cut, those from here on the parts that wait.
OPEN = 3


@_jit
def _crossing(points, slot, i, k, table, line):
    """Where the edge from vertex i to vertex k meets a line: x, y, error radius."""
    edge = np.int64(points[slot, i, 3])
    a1, b1, c1, e1 = table[edge, 0], table[edge, 1], table[edge, 2], table[edge, 3]
    a2, b2, c2, e2 = table[line, 0], table[line, 1], table[line, 2], table[line, 3]
    px, py, qx, qy = points[slot, i, 0], points[slot, i, 1], points[slot, k, 0], points[slot, k, 1]
    det = a1 * b2 - a2 * b1
    g1 = abs(a1) + abs(b1)
    g2 = abs(a2) + abs(b2)
    # |h_1(v*)| ≤ e_1 and |h_2(v*)| ≤ e_2 at the true vertex v*; two-by-two inverse, with room for the rounding of this step
    radius = 2.0 * (g2 * e1 + g1 * e2) / max(abs(det) - 1e-15 * g1 * g2, 1e-300)
    length = abs(qx - px) + abs(qy - py) + max(points[slot, i, 2], points[slot, k, 2])
    if radius <= length:
        return (b1 * c2 - b2 * c1) / det, (c1 * a2 - c2 * a1) / det, radius
    # nearly parallel, or an edge as short as the error: anywhere between its ends is as good
    hp = a2 * px + b2 * py + c2
    hq = a2 * qx + b2 * qy + c2
    t = hp / (hp - hq)
    return px + t * (qx - px), py + t * (qy - py), length


@_jit
def _put(points, slot, at, x, y, radius, edge):
    points[slot, at, 0], points[slot, at, 1], points[slot, at, 2], points[slot, at, 3] = x, y, radius, edge


@_jit
def _cut(n, points, here, low, high, signs, table, line):
    """Split the polygon in slot ``here`` by a line into slots ``low`` and ``high``; returns their numbers of vertices."""
    nl = 0
    nh = 0
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
    return nl, nh


@_jit
def _sides(n, points, slot, table, line, signs):
    """Signs at the vertices (0: undecided) to ``signs``; returns how many lie below and above."""
    a, b, c, e = table[line, 0], table[line, 1], table[line, 2], table[line, 3]
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


@_jit
def _copy(points, source, target, n):
    for i in range(n):
        for k in range(4):
            points[target, i, k] = points[source, i, k]


@_jit
def _screen(points, start, stop, rows, owner, first, errors, screen):
    """Over a parent's vertices, for every line: the most decided value above, below, and the least margin of decision."""
    m = len(errors)
    highest, lowest, nearest, spread = screen[0], screen[1], screen[2], screen[3]
    a, b, c = rows[owner, 0, first : first + m], rows[owner, 1, first : first + m], rows[owner, 2, first : first + m]
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


@_jit
def _choose(rows, owner, first, errors, labels, keep, screen, own, table, table_labels, cutters, current):
    """Which lines cut a parent, put behind its ``own`` edges in the table; returns (how many, dropped, unsure)."""
    cutting, dropped, unsure = 0, False, False
    for j in range(len(errors)):
        above, below = screen[0, j] > 0.0, screen[1, j] < 0.0
        unsure |= screen[2, j] <= 0.0
        current[j] = 1 if above else 0
        dropped |= keep[j] > 0 and not above and (below or keep[j] == 2)
        if below and above:
            for k in range(3):
                table[own + cutting, k] = rows[owner, k, first + j]
            table[own + cutting, 3] = errors[j]
            table_labels[own + cutting] = labels[j]
            cutters[cutting] = j
            cutting += 1
    return cutting, dropped, unsure


@_jit
def _load(points, facets, labels, start, n, work, table, table_labels):
    """A parent's polygon to slot 0, its edges to the beginning of the table."""
    for i in range(n):
        for k in range(3):
            work[0, i, k] = points[start + i, k]
        for k in range(4):
            table[i, k] = facets[start + i, k]
        work[0, i, 3] = i
        table_labels[i] = labels[start + i]


@_jit
def _emit(n, work, here, current, out, out_starts, out_bits, made):
    """Write down the current polygon; False when there is no room for it."""
    used = out_starts[made]
    if used + n > len(out) or made == len(out_bits):
        return False
    for i in range(n):
        for k in range(4):
            out[used + i, k] = work[here, i, k]
    for j in range(len(current)):
        out_bits[made, j] = current[j]
    out_starts[made + 1] = used + n
    return True


@_jit
def _cut_parent(
    n, own, cutting, cutters, keep, certified, work, signs, table, current, stack, stack_bits, out, out_starts, out_bits, made
):
    """All parts of one parent, whose polygon stands in slot 0; returns (status, parts made so far).

    Slots 0 to 2 hold the current polygon and the two parts of a cut, slots from `OPEN` on the parts that wait.
    """
    here, low, high = 0, 1, 2
    depth, position = 0, 0
    while True:
        alive = True
        while position < cutting and alive:
            j = cutters[position]
            below, above = _sides(n, work, here, table, own + position, signs)
            if certified and below + above < n:
                return UNDECIDED, made
            current[j] = 1 if above else 0
            if below and above:
                nl, nh = _cut(n, work, here, low, high, signs, table, own + position)
                if keep[j] == 0:  # the part above waits
                    _copy(work, high, OPEN + depth, nh)
                    stack[depth, 0], stack[depth, 1] = nh, position + 1
                    for k in range(len(current)):
                        stack_bits[depth, k] = current[k]
                    depth += 1
                    current[j] = 0
                    here, low, n = low, here, nl
                else:
                    here, high, n = high, here, nh
            elif keep[j] and not above and (below or keep[j] == 2):
                alive = False
            position += 1
        if alive:
            if not _emit(n, work, here, current, out, out_starts, out_bits, made):
                return NO_ROOM, made
            made += 1
        if depth == 0:
            return DONE, made
        depth -= 1
        n, position = stack[depth, 0], stack[depth, 1]
        _copy(work, OPEN + depth, here, n)
        for k in range(len(current)):
            current[k] = stack_bits[depth, k]


@_jit
def _unload(out, start, stop, table, table_labels, facets, labels):
    """The lines of finished parts, from their numbers in the table."""
    for i in range(start, stop):
        edge = np.int64(out[i, 3])
        for k in range(4):
            facets[i, k] = table[edge, k]
        labels[i] = table_labels[edge]


@_jit
def _subdivide(points, facets, labels, starts, rows, owners, first, errors, row_labels, keep, certified, begin, room):
    """As `subdivide_polygons` for the parents from ``begin`` on, until there are ``room`` parts; returns the next parent too."""
    count, m = len(starts) - 1, len(errors)
    vertices = 6 * room + starts[count] - starts[begin]
    out, out_facets, out_labels = np.empty((vertices, 4)), np.empty((vertices, 4)), np.empty(vertices, np.int64)
    out_starts, parents, bits = np.zeros(room + 1, np.int64), np.empty(room, np.int64), np.empty((room, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    longest = 0
    for r in range(begin, count):
        longest = max(longest, starts[r + 1] - starts[r])
    width = longest + m + 2
    work, signs, screen = np.empty((m + OPEN + 1, width, 4)), np.empty(width, np.int64), np.empty((4, m))
    table, table_labels, cutters = np.empty((longest + m, 4)), np.empty(longest + m, np.int64), np.empty(m, np.int64)
    stack, stack_bits, current = np.empty((m + 1, 2), np.int64), np.empty((m + 1, m), np.uint8), np.zeros(m, np.uint8)
    made, r = 0, begin
    while r < count:
        start, n = starts[r], starts[r + 1] - starts[r]
        _screen(points, start, start + n, rows, owners[r], first, errors, screen)
        cutting, dropped, unsure = _choose(
            rows, owners[r], first, errors, row_labels, keep, screen, n, table, table_labels, cutters, current
        )
        undecided[r] = certified and unsure
        if not dropped and not undecided[r]:
            _load(points, facets, labels, start, n, work, table, table_labels)
            status, now = _cut_parent(
                n,
                n,
                cutting,
                cutters,
                keep,
                certified,
                work,
                signs,
                table,
                current,
                stack,
                stack_bits,
                out,
                out_starts,
                bits,
                made,
            )
            if status == NO_ROOM:
                break
            undecided[r] = status == UNDECIDED
            if status == DONE:
                _unload(out, out_starts[made], out_starts[now], table, table_labels, out_facets, out_labels)
                parents[made:now] = r
                made = now
        r += 1
    used = out_starts[made]
    return (
        r, out[:used, :3].copy(), out_facets[:used].copy(), out_labels[:used].copy(), out_starts[: made + 1].copy(),
        parents[:made].copy(), bits[:made].copy(), undecided,
    )  # fmt: skip  # copies, since the buffers behind are larger


def subdivide_polygons(points, facets, labels, starts, lines, certified):
    """Cut polygon r by its lines, in order.

    Args:
        points: (V, 3): x, y and error radius of the vertices of all polygons, in order around each.
        facets: (V, 4): a, b, c and error of the line through vertex i and the next one.
        labels: (V,): labels of these lines.
        starts: (R + 1,): polygon r owns vertices starts[r] to starts[r + 1].
        lines: (rows, owners, first, errors, labels, keep): polygon r is cut by rows[owners[r], :, first + j], j < m, where rows
            (P, 3, M) hold a, b, c; errors (m,) bound the errors of a line's values on the domain; keep (m,): 0 keeps both sides,
            1 keeps a·x + c ≥ 0, whole where it vanishes, 2 keeps a·x + c ≥ 0, nothing where it vanishes.
        certified: send a polygon back as undecided rather than take an undecided sign for zero.

    Returns:
        points, facets, labels, starts of the parts; their parents; their bits (parts, m): 1 above; undecided (R,).
    """
    count, m = len(starts) - 1, len(lines[3])
    # one parent alone has at most 1 + m + m(m − 1)/2 parts; many have a few each
    room = 4 * count + 64 if count > 1 else min(1 + m + m * (m - 1) // 2, 4096)
    batches = []
    begin, undecided = 0, np.zeros(count, dtype=bool)
    while True:
        begin_next, *batch, flags = _subdivide(points, facets, labels, starts, *lines, certified, begin, room)
        undecided |= flags
        batches.append(batch)
        if begin_next == count:
            break
        room = 4 * room if begin_next == begin else 2 * room  # one parent alone did not fit, or a batch is full
        begin = begin_next
    if len(batches) == 1:
        return (*batches[0], undecided)
    ends = np.cumsum([0] + [b[3][-1] for b in batches])
    joined_starts = np.concatenate([[0], *(b[3][1:] + end for b, end in zip(batches, ends, strict=False))])
    first, second, third, _, parents, bits = (np.concatenate([b[k] for b in batches]) for k in range(6))
    return first, second, third, joined_starts, parents, bits, undecided

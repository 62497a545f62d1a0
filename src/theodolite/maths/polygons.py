"""Cutting many convex polygons, each by its own lines, depth first in compiled code.

Every vertex is the intersection of two lines and carries a bound on its error; every line carries a bound on the error of its
values. A sign is *decided* when the value exceeds both together. Undecided signs count as zero (the vertex is taken to lie on the
line), or, where certificates are wanted, send the whole parent back to be cut in exact arithmetic.

While a parent is cut, its parts hold vertices and the numbers of the lines between them; the lines themselves stand once in a table:
the parent's own edges, then its cutters.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numba
import numpy as np

__all__ = ["subdivide_polygons"]

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")

#: What became of a parent.
DONE, NO_ROOM, UNDECIDED = 0, 1, 2


@_jit
def _crossing(points, slot, i, k, table, edge, line, to, at):
    """Where the edge from vertex i to vertex k meets a line: its point and error radius, to points[to, at]."""
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
        points[to, at, 0] = (b1 * c2 - b2 * c1) / det
        points[to, at, 1] = (c1 * a2 - c2 * a1) / det
        points[to, at, 2] = radius
    else:  # nearly parallel, or an edge as short as the error: anywhere between its ends is as good
        hp = a2 * px + b2 * py + c2
        hq = a2 * qx + b2 * qy + c2
        t = hp / (hp - hq)
        points[to, at, 0] = px + t * (qx - px)
        points[to, at, 1] = py + t * (qy - py)
        points[to, at, 2] = length


@_jit
def _cut(n, points, edges, slot, low, high, signs, table, line):
    """Split the polygon in ``slot`` by a line into slots ``low`` and ``high``; returns their numbers of vertices."""
    nl = 0
    nh = 0
    for i in range(n):
        k = i + 1 if i + 1 < n else 0
        s, t, edge = signs[i], signs[k], edges[slot, i]
        if s <= 0:
            for c in range(3):
                points[low, nl, c] = points[slot, i, c]
            edges[low, nl] = line if s == 0 and t > 0 else edge
            nl += 1
        if s >= 0:
            for c in range(3):
                points[high, nh, c] = points[slot, i, c]
            edges[high, nh] = line if s == 0 and t < 0 else edge
            nh += 1
        if s * t < 0:
            _crossing(points, slot, i, k, table, edge, line, low, nl)
            for c in range(3):
                points[high, nh, c] = points[low, nl, c]
            edges[low, nl] = line if t > 0 else edge
            edges[high, nh] = line if t < 0 else edge
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
def _screen(start, stop, points, rows, r, errors, highest, lowest, nearest, spread):
    """Over a parent's vertices, for every line: the most decided value above, below, and the least margin of decision."""
    m = rows.shape[2]
    for j in range(m):
        highest[j], lowest[j], nearest[j] = -1.0, 1.0, np.inf
        spread[j] = abs(rows[r, 0, j]) + abs(rows[r, 1, j])
    for i in range(start, stop):
        x, y, radius = points[i, 0], points[i, 1], points[i, 2]
        for j in range(m):
            h = rows[r, 0, j] * x + rows[r, 1, j] * y + rows[r, 2, j]
            tolerance = errors[j] + spread[j] * radius
            up, down, near = h - tolerance, h + tolerance, abs(h) - tolerance
            highest[j] = up if up > highest[j] else highest[j]
            lowest[j] = down if down < lowest[j] else lowest[j]
            nearest[j] = near if near < nearest[j] else nearest[j]


@_jit
def _cut_parent(
    n,
    points,
    edges,
    signs,
    table,
    cutters,
    cutting,
    keep,
    certified,
    current,
    stack,
    stack_bits,
    used,
    made,
    out_points,
    out_edges,
    out_starts,
    out_bits,
):
    """All parts of one parent, whose polygon stands in slot 0; returns (status, used, made).

    Slots 0 to 2 hold the current polygon and the two parts of a cut, slots from 3 on the parts that wait.
    """
    m = current.shape[0]
    first = table.shape[0] - m  # the cutters stand at the end of the table
    here, low, high = 0, 1, 2
    depth = 0
    position = 0
    while True:
        alive = True
        while position < cutting:
            j = cutters[position]
            below, above = _sides(n, points, here, table, first + position, signs)
            if certified and below + above < n:
                return UNDECIDED, used, made
            if below and above:
                nl, nh = _cut(n, points, edges, here, low, high, signs, table, first + position)
                if keep[j] == 0:
                    for i in range(nh):
                        for c in range(3):
                            points[3 + depth, i, c] = points[high, i, c]
                        edges[3 + depth, i] = edges[high, i]
                    stack[depth, 0], stack[depth, 1] = nh, position + 1
                    for i in range(m):
                        stack_bits[depth, i] = current[i]
                    stack_bits[depth, j] = 1
                    depth += 1
                    here, low, n = low, here, nl
                    current[j] = 0
                else:
                    here, high, n = high, here, nh
                    current[j] = 1
            else:
                current[j] = 1 if above else 0
                if keep[j] and not above and (below or keep[j] == 2):
                    alive = False
                    break
            position += 1
        if alive:
            if used + n > out_edges.shape[0] or made == out_bits.shape[0]:
                return NO_ROOM, used, made
            for i in range(n):
                for c in range(3):
                    out_points[used + i, c] = points[here, i, c]
                out_edges[used + i] = edges[here, i]
            for i in range(m):
                out_bits[made, i] = current[i]
            used += n
            made += 1
            out_starts[made] = used
        if depth == 0:
            return DONE, used, made
        depth -= 1
        n, position = stack[depth, 0], stack[depth, 1]
        for i in range(n):
            for c in range(3):
                points[here, i, c] = points[3 + depth, i, c]
            edges[here, i] = edges[3 + depth, i]
        for i in range(m):
            current[i] = stack_bits[depth, i]


@_jit
def _subdivide(points, facets, labels, starts, rows, errors, row_labels, keep, certified, begin, room, parts):
    """As `subdivide_polygons` for the parents from ``begin`` on, until the room given is used up; returns the next parent too."""
    count, m = starts.shape[0] - 1, rows.shape[2]
    out_points, out_edges = np.empty((room, 3)), np.empty(room, np.int64)
    out_facets, out_labels = np.empty((room, 4)), np.empty(room, np.int64)
    out_starts, parents, bits = np.zeros(parts + 1, np.int64), np.empty(parts, np.int64), np.empty((parts, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    longest = 0
    for r in range(begin, count):
        longest = max(longest, starts[r + 1] - starts[r])
    width = longest + m + 2
    work, edges, signs = np.empty((m + 4, width, 3)), np.empty((m + 4, width), np.int64), np.empty(width, np.int64)
    stack, stack_bits = np.empty((m + 1, 2), np.int64), np.empty((m + 1, m), np.uint8)
    highest, lowest, nearest, spread = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    table, table_labels = np.empty((longest + m, 4)), np.empty(longest + m, np.int64)
    cutters, current = np.empty(m, np.int64), np.zeros(m, np.uint8)
    used, made, r = 0, 0, begin
    while r < count:
        start, n = starts[r], starts[r + 1] - starts[r]
        _screen(start, start + n, points, rows, r, errors, highest, lowest, nearest, spread)
        cutting, dropped, unsure = 0, False, False
        for j in range(m):
            below, above = lowest[j] < 0.0, highest[j] > 0.0
            unsure |= nearest[j] <= 0.0
            current[j] = 1 if above else 0
            dropped |= keep[j] > 0 and not above and (below or keep[j] == 2)
            if below and above:
                for k in range(3):
                    table[longest + cutting, k] = rows[r, k, j]
                table[longest + cutting, 3] = errors[j]
                table_labels[longest + cutting] = row_labels[j]
                cutters[cutting] = j
                cutting += 1
        undecided[r] = certified and unsure
        if not dropped and not undecided[r]:
            for i in range(n):
                for k in range(3):
                    work[0, i, k] = points[start + i, k]
                for k in range(4):
                    table[i, k] = facets[start + i, k]
                table_labels[i] = labels[start + i]
                edges[0, i] = i
            status, new_used, new_made = _cut_parent(
                n, work, edges, signs, table, cutters, cutting, keep, certified, current, stack, stack_bits, used, made,
                out_points, out_edges, out_starts, bits,
            )  # fmt: skip
            if status == NO_ROOM:
                break
            undecided[r] = status == UNDECIDED
            if status == DONE:
                for i in range(used, new_used):
                    for k in range(4):
                        out_facets[i, k] = table[out_edges[i], k]
                    out_labels[i] = table_labels[out_edges[i]]
                for i in range(made, new_made):
                    parents[i] = r
                used, made = new_used, new_made
        r += 1
    return (
        r, out_points[:used], out_facets[:used], out_labels[:used], out_starts[: made + 1], parents[:made], bits[:made], undecided,
    )  # fmt: skip


def subdivide_polygons(points, facets, labels, starts, rows, errors, row_labels, keep, certified):
    """Cut polygon r by all lines rows[r], in order.

    Args:
        points: (V, 3): x, y and error radius of the vertices of all polygons, in order around each.
        facets: (V, 4): a, b, c and error of the line through vertex i and the next one.
        labels: (V,): labels of these lines.
        starts: (R + 1,): polygon r owns vertices starts[r] to starts[r + 1].
        rows: (R, 3, m): a, b, c of the cutting lines.
        errors: (m,): bound on the error of a line's values on the domain.
        row_labels: (m,).
        keep: (m,): 0 keeps both sides; 1 keeps a·x + c ≥ 0, whole where it vanishes; 2 keeps a·x + c ≥ 0, nothing where it vanishes.
        certified: send a polygon back as undecided rather than take an undecided sign for zero.

    Returns:
        points, facets, labels, starts of the parts; their parents; their bits (parts, m): 1 above; undecided (R,).
    """
    count = len(starts) - 1
    lines = rows.shape[2]
    # one parent alone has at most 1 + m + m(m − 1)/2 parts; many have a few each
    parts = 4 * count + 64 if count > 1 else min(1 + lines + lines * (lines - 1) // 2, 4096)
    batches = []
    begin, undecided = 0, np.zeros(count, dtype=bool)
    while True:
        room = 6 * parts + int(starts[-1] - starts[begin])
        begin_next, *batch, flags = _subdivide(
            points, facets, labels, starts, rows, errors, row_labels, keep, certified, begin, room, parts
        )
        undecided |= flags
        batches.append(batch)
        if begin_next == count:
            break
        parts = 4 * parts if begin_next == begin else 2 * parts  # one parent alone did not fit, or a batch is full
        begin = begin_next
    if len(batches) == 1:  # copies, since the buffers behind are larger
        return (*(array.copy() for array in batches[0]), undecided)
    ends = np.cumsum([0] + [b[3][-1] for b in batches])
    joined_starts = np.concatenate([[0], *(b[3][1:] + end for b, end in zip(batches, ends, strict=False))])
    first, second, third, _, parents, bits = (np.concatenate([b[k] for b in batches]) for k in range(6))
    return first, second, third, joined_starts, parents, bits, undecided

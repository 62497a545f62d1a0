"""Cutting many convex polygons, each by its own lines, depth first in compiled code.

Every vertex is the intersection of two lines and carries a bound on its error; every line carries a bound on the error of its
values. A sign is *decided* when the value exceeds both together. Undecided signs count as zero (the vertex is taken to lie on the
line), or, where certificates are wanted, send the whole parent back to be cut in exact arithmetic.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["subdivide_polygons"]

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _move(points, facets, labels, begin, n, to_points, to_facets, to_labels, to):  # noqa: ANN001, ANN202
    """Copy n vertices with their lines; plain loops, which compile ten times faster than slices."""
    for i in range(n):
        for k in range(3):
            to_points[to + i, k] = points[begin + i, k]
        for k in range(4):
            to_facets[to + i, k] = facets[begin + i, k]
        to_labels[to + i] = labels[begin + i]


@_jit
def _room(points, facets, labels, used, size):  # noqa: ANN001, ANN202
    """The same ``used`` vertices with room for at least ``size``."""
    if size <= labels.shape[0]:
        return points, facets, labels
    size = max(size, 2 * labels.shape[0])
    larger, larger_facets, larger_labels = np.empty((size, 3)), np.empty((size, 4)), np.empty(size, np.int64)
    _move(points, facets, labels, 0, used, larger, larger_facets, larger_labels, 0)
    return larger, larger_facets, larger_labels


@_jit
def _more_parts(parents, bits, starts, made):  # noqa: ANN001, ANN202
    more, more_bits = np.empty(2 * made, np.int64), np.empty((2 * made, bits.shape[1]), np.uint8)
    more_starts = np.empty(2 * made + 1, np.int64)
    for i in range(made):
        more[i] = parents[i]
        for k in range(bits.shape[1]):
            more_bits[i, k] = bits[i, k]
    for i in range(made + 1):
        more_starts[i] = starts[i]
    return more, more_bits, more_starts


@_jit
def _crossing(edge, line, p, q, out):  # noqa: ANN001, ANN202
    """Intersection of an edge's line with a cutting line, with its error radius, between vertices p and q (x, y, radius)."""
    a1, b1, c1, e1 = edge[0], edge[1], edge[2], edge[3]
    a2, b2, c2, e2 = line[0], line[1], line[2], line[3]
    det = a1 * b2 - a2 * b1
    g1 = abs(a1) + abs(b1)
    g2 = abs(a2) + abs(b2)
    # |h_1(v*)| ≤ e_1 and |h_2(v*)| ≤ e_2 at the true vertex v*; two-by-two inverse, with room for the rounding of this step
    radius = 2.0 * (g2 * e1 + g1 * e2) / max(abs(det) - 1e-15 * g1 * g2, 1e-300)
    length = abs(q[0] - p[0]) + abs(q[1] - p[1]) + max(p[2], q[2])
    if radius <= length:
        out[0] = (b1 * c2 - b2 * c1) / det
        out[1] = (c1 * a2 - c2 * a1) / det
        out[2] = radius
    else:  # nearly parallel, or an edge as short as the error: anywhere between its ends is as good
        hp = a2 * p[0] + b2 * p[1] + c2
        hq = a2 * q[0] + b2 * q[1] + c2
        t = hp / (hp - hq)
        out[0] = p[0] + t * (q[0] - p[0])
        out[1] = p[1] + t * (q[1] - p[1])
        out[2] = length


@_jit
def _put(point, facet, label, line, line_label, leaves, to_points, to_facets, to_labels, to):  # noqa: ANN001, ANN202
    """One vertex, followed by the cutting line where the polygon leaves along it, else by its old line."""
    for k in range(3):
        to_points[to, k] = point[k]
    for k in range(4):
        to_facets[to, k] = line[k] if leaves else facet[k]
    to_labels[to] = line_label if leaves else label


@_jit
def _cut(n, points, facets, labels, values, cross, line, label, low, low_facets, low_labels, high, high_facets, high_labels):  # noqa: ANN001, ANN202
    """Split one polygon by a line with vertex signs ``values``; returns the numbers of vertices below and above."""
    nl = 0
    nh = 0
    for i in range(n):
        k = i + 1 if i + 1 < n else 0
        s = values[i]
        t = values[k]
        if s <= 0:
            _put(points[i], facets[i], labels[i], line, label, s == 0 and t > 0, low, low_facets, low_labels, nl)
            nl += 1
        if s >= 0:
            _put(points[i], facets[i], labels[i], line, label, s == 0 and t < 0, high, high_facets, high_labels, nh)
            nh += 1
        if s * t < 0:
            _crossing(facets[i], line, points[i], points[k], cross)
            _put(cross, facets[i], labels[i], line, label, t > 0, low, low_facets, low_labels, nl)
            _put(cross, facets[i], labels[i], line, label, t < 0, high, high_facets, high_labels, nh)
            nl += 1
            nh += 1
    return nl, nh


@_jit
def _signs(n, points, line, values):  # noqa: ANN001, ANN202
    """Signs at the vertices (0: undecided); returns (any negative, any positive, any undecided)."""
    negative = False
    positive = False
    unsure = False
    a, b, c, e = line[0], line[1], line[2], line[3]
    g = abs(a) + abs(b)
    for i in range(n):
        h = a * points[i, 0] + b * points[i, 1] + c
        tolerance = e + g * points[i, 2]
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
def _screen(start, stop, points, rows, errors, state, spread):  # noqa: ANN001, ANN202
    """For every line: bit 0 some vertex decidedly below, bit 1 above, bit 2 some undecided."""
    m = rows.shape[1]
    for j in range(m):
        state[j] = 0
        spread[j] = abs(rows[0, j]) + abs(rows[1, j])
    for i in range(start, stop):
        x, y, r = points[i, 0], points[i, 1], points[i, 2]
        for j in range(m):
            h = rows[0, j] * x + rows[1, j] * y + rows[2, j]
            tolerance = errors[j] + spread[j] * r
            state[j] |= (h < -tolerance) | ((h > tolerance) << 1) | ((abs(h) <= tolerance) << 2)


@_jit
def subdivide_polygons(points, facets, labels, starts, rows, errors, row_labels, keep, certified):  # noqa: ANN001, ANN201
    """Cut polygon r by all lines rows[r], in order.

    Args:
        points: (V, 3): x, y and error radius of the vertices of all polygons, counter-clockwise or clockwise.
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
    count = starts.shape[0] - 1
    m = rows.shape[2]
    capacity = 2 * points.shape[0] + 64
    out_points = np.empty((capacity, 3))
    out_facets = np.empty((capacity, 4))
    out_labels = np.empty(capacity, np.int64)
    parts = 2 * count + 16
    out_starts = np.zeros(parts + 1, np.int64)
    parents = np.empty(parts, np.int64)
    bits = np.empty((parts, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    used = 0
    made = 0
    longest = 0
    for r in range(count):
        longest = max(longest, starts[r + 1] - starts[r])
    width = longest + m + 2
    stack_points = np.empty((width * 4, 3))
    stack_facets = np.empty((width * 4, 4))
    stack_labels = np.empty(width * 4, np.int64)
    stack_begin = np.empty(m + 2, np.int64)
    stack_next = np.empty(m + 2, np.int64)
    stack_bits = np.empty((m + 2, m), np.uint8)
    here, here_facets, here_labels = np.empty((width, 3)), np.empty((width, 4)), np.empty(width, np.int64)
    low, low_facets, low_labels = np.empty((width, 3)), np.empty((width, 4)), np.empty(width, np.int64)
    high, high_facets, high_labels = np.empty((width, 3)), np.empty((width, 4)), np.empty(width, np.int64)
    values = np.empty(width, np.int64)
    state = np.empty(m, np.uint8)
    spread = np.empty(m)
    cutters = np.empty(m, np.int64)
    cross = np.empty(3)
    lines = np.empty((m, 4))
    current = np.zeros(m, np.uint8)
    for r in range(count):
        begin, end = starts[r], starts[r + 1]
        _screen(begin, end, points, rows[r], errors, state, spread)
        cutting = 0
        dropped = False
        unsure = False
        for j in range(m):
            below, above = state[j] & 1, state[j] >> 1 & 1
            unsure |= (state[j] >> 2 & 1) == 1
            current[j] = above
            if keep[j] and not above and (below or keep[j] == 2):
                dropped = True
            if below and above:
                for k in range(3):
                    lines[cutting, k] = rows[r, k, j]
                lines[cutting, 3] = errors[j]
                cutters[cutting] = j
                cutting += 1
        if certified and unsure:
            undecided[r] = True
            continue
        if dropped:
            continue
        used_before, made_before = used, made
        n = end - begin
        _move(points, facets, labels, begin, n, here, here_facets, here_labels, 0)
        depth = 0
        position = 0
        top = 0
        alive = True
        while True:
            while position < cutting and alive:
                j = cutters[position]
                negative, positive, zero = _signs(n, here, lines[position], values)
                if certified and zero:
                    undecided[r] = True
                    break
                if negative and positive:
                    nl, nh = _cut(
                        n, here, here_facets, here_labels, values, cross, lines[position], row_labels[j],
                        low, low_facets, low_labels, high, high_facets, high_labels,
                    )  # fmt: skip
                    if keep[j] == 0:
                        stack_points, stack_facets, stack_labels = _room(stack_points, stack_facets, stack_labels, top, top + nh)
                        _move(high, high_facets, high_labels, 0, nh, stack_points, stack_facets, stack_labels, top)
                        stack_begin[depth] = top
                        stack_next[depth] = position + 1
                        for k in range(m):
                            stack_bits[depth, k] = current[k]
                        stack_bits[depth, j] = 1
                        top += nh
                        depth += 1
                        here, low = low, here
                        here_facets, low_facets = low_facets, here_facets
                        here_labels, low_labels = low_labels, here_labels
                        n = nl
                        current[j] = 0
                    else:
                        here, high = high, here
                        here_facets, high_facets = high_facets, here_facets
                        here_labels, high_labels = high_labels, here_labels
                        n = nh
                        current[j] = 1
                else:
                    current[j] = positive
                    if keep[j] and not positive and (negative or keep[j] == 2):
                        alive = False
                position += 1
            if undecided[r]:
                used, made = used_before, made_before
                break
            if alive:
                out_points, out_facets, out_labels = _room(out_points, out_facets, out_labels, used, used + n)
                if made == parents.shape[0]:
                    parents, bits, out_starts = _more_parts(parents, bits, out_starts, made)
                _move(here, here_facets, here_labels, 0, n, out_points, out_facets, out_labels, used)
                for k in range(m):
                    bits[made, k] = current[k]
                parents[made] = r
                used += n
                made += 1
                out_starts[made] = used
            if depth == 0:
                break
            depth -= 1
            alive = True
            begin = stack_begin[depth]
            n = top - begin
            _move(stack_points, stack_facets, stack_labels, begin, n, here, here_facets, here_labels, 0)
            top = begin
            position = stack_next[depth]
            for k in range(m):
                current[k] = stack_bits[depth, k]
    return (
        out_points[:used],
        out_facets[:used],
        out_labels[:used],
        out_starts[: made + 1],
        parents[:made],
        bits[:made],
        undecided,
    )  # fmt: skip

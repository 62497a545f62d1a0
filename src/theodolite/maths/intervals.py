"""Cutting many intervals, each at the zeros of its own affine functions, in compiled code.

An end of an interval carries a bound on its error, a function a bound on the error of its values; a sign is *decided* when the
value exceeds both together. Undecided signs count as zero, or, where certificates are wanted or the distance is too large, send the
whole parent back.
An end and a zero are a row (t, error radius, number of the function that vanishes there).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inlined, inner
from theodolite.maths.cutters import (
    KEEP,
    RESOLUTION,
    SIDE,
    drops,
    empty_parts,
    finished,
    gather,
    hides,
    line_states,
    record,
    with_room,
)

__all__ = ["subdivide_intervals"]


@inlined
def _signs(table, t, radius, signs):
    """Signs of all functions at an end; 0 where one is undecided."""
    a, c, errors = table[0], table[1], table[2]
    for j in range(len(signs)):  # no branches: several at a time
        h, tolerance = a[j] * t + c[j], errors[j] + abs(a[j]) * radius
        signs[j] = np.int64(h > tolerance) - np.int64(h < -tolerance)


@inner
def _screen(table, ends, signs, sides):
    """Signs at both ends and their products, (3, m); sides: those at the lower end, or, undecided, at the upper one."""
    left, right, both = signs[0], signs[1], signs[2]
    _signs(table, ends[0, 0], ends[0, 1], left)
    _signs(table, ends[1, 0], ends[1, 1], right)
    for j in range(len(sides)):
        both[j] = left[j] * right[j]
        sides[j] = np.int64(2 * left[j] + right[j] > 0)


@inner
def _put(rows, i, t, radius, number):
    rows[i, 0], rows[i, 1], rows[i, 2] = t, radius, number


@inner
def _hidden(table, j, ends, extent):
    """Whether function j has an undecided sign at an end that must not count as zero."""
    for i in range(2):
        h, slope = table[0, j] * ends[i, 0] + table[1, j], abs(table[0, j])
        tolerance = table[2, j] + slope * ends[i, 1]
        if abs(h) <= tolerance and hides(h, tolerance, tolerance, slope, extent):
            return True
    return False


@inner
def _zeros(table, states, signs, ends, zeros, extent):
    """Zeros inside the interval ``ends``, ascending; functions that keep one side move an end instead.

    Returns (how many, dropped, unsure, whether an undecided sign must not count as zero).
    """
    found, dropped, unsure, lost = np.int64(0), False, False, False
    left, right, both, keep, sides = signs[0], signs[1], signs[2], states[KEEP], states[SIDE]
    _screen(table, ends, signs, sides)
    for j in range(len(zeros)):
        if both[j] > 0 and keep[j] == 0:  # most of them
            continue
        if both[j] == 0:
            unsure, lost = True, lost or _hidden(table, j, ends, extent)
        if both[j] < 0:
            root, radius = -table[1, j] / table[0, j], 2.0 * table[2, j] / abs(table[0, j])
            if keep[j] == 0:  # insertion keeps the zeros in order
                k = found
                while k > 0 and zeros[k - 1, 0] > root:
                    _put(zeros, k, zeros[k - 1, 0], zeros[k - 1, 1], zeros[k - 1, 2])
                    k -= 1
                _put(zeros, k, root, radius, j)
                found += 1
            else:  # keep the side on which the function is positive
                _put(ends, 0 if left[j] < 0 else 1, root, radius, j)
                _screen(table, ends, signs, sides)
                sides[j] = 1
        else:
            dropped |= drops(keep[j], left[j] < 0 or right[j] < 0, left[j] > 0 or right[j] > 0)
    for i in range(1, found):
        gap, radius = zeros[i, 0] - zeros[i - 1, 0], zeros[i, 1] + zeros[i - 1, 1]
        unsure |= gap <= radius
        lost |= 0 < gap <= radius and radius > RESOLUTION * extent
    return found, dropped, unsure, lost


@inner
def _flip(zeros, k, found, states):
    """Cross zero k and those that cannot be told apart from it; returns the next one."""
    reach = zeros[k, 0] + zeros[k, 1]
    while k < found and zeros[k, 0] - zeros[k, 1] <= reach:
        j = np.int64(zeros[k, 2])
        states[SIDE, j] = 1 - states[SIDE, j]
        reach = max(reach, zeros[k, 0] + zeros[k, 1])
        k += 1
    return k


@inner
def _write(points, facets, at, rows, i):
    """Row i as an end of a part."""
    points[at, 0], points[at, 1], facets[at] = rows[i, 0], rows[i, 1], np.int64(rows[i, 2])


@compiled
def subdivide_intervals(cells, lines, certified):
    """Cut interval r at the zeros of its functions a·t + c.

    Args:
        cells: (points, starts, facets, labels, facet_starts, masks) of R intervals, as `theodolite.maths.cutters.Parts` has them, with
            the rows of the facets (F, 3), (a, c, error), and their labels (F,). Vertex and facet 0 of an interval are its lower end.
        lines: `theodolite.maths.cutters.Cutters`.
        certified: send an interval back as undecided rather than take an undecided sign for zero.

    Returns:
        The parts, likewise; their parents; their bits (parts, m); undecided (R,).
    """
    old, owners, count, m = cells[0], lines.owners, len(cells[1]) - 1, len(lines.errors)
    states, table, signs = line_states(lines.keep), np.empty((3, m)), np.empty((3, m), np.int64)
    ends, zeros = np.empty((2, 3)), np.empty((m, 3))
    for j in range(m):
        table[2, j] = lines.errors[j]
    room, made, undecided = 2 * count + m + 16, np.int64(0), np.zeros(count, np.bool_)
    parts = empty_parts(room, 2 * room, 2 * room, 0, (1, m))
    points, _, facets, spans, bits = parts
    for r in range(count):
        gather(lines.rows, owners[r], lines.first, m, table)
        for i in range(2):
            _put(ends, i, old[2 * r + i, 0], old[2 * r + i, 1], m + i)
        found, dropped, unsure, lost = _zeros(table, states, signs, ends, zeros, lines.extent)
        undecided[r] = unsure if certified else lost
        if dropped or undecided[r]:
            continue
        if made + found + 1 > len(bits):
            parts = with_room(parts, made, found + 1, 2 * found + 2, 2 * found + 2)
            points, _, facets, spans, bits = parts
        k = np.int64(0)
        _write(points, facets, 2 * made, ends, 0)
        while k < found:
            _write(points, facets, 2 * made + 1, zeros, k)
            _write(points, facets, 2 * made + 2, zeros, k)
            record(spans, bits, made, 2, 2, r, states)
            made, k = made + 1, _flip(zeros, k, found, states)
        _write(points, facets, 2 * made + 1, ends, 1)
        record(spans, bits, made, 2, 2, r, states)
        made += 1
    return *finished(parts, made, cells, lines), undecided

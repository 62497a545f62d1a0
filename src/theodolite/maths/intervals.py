"""Cutting many intervals, each at the zeros of its own affine functions, in compiled code.

An end of an interval carries a bound on its error, a function a bound on the error of its values; a sign is *decided* when the
value exceeds both together. Undecided signs count as zero, or, where certificates are wanted, send the whole parent back.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["subdivide_intervals"]

#: Typed as Any: the checker knows no compiled call with unpacked arguments.
_jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy")

#: What an end is when it is not the zero of a function: the parent's lower or upper end.
LOWER, UPPER = -1, -2


@_jit
def _side(slope, constant, error, end, radius):
    h = slope * end + constant
    tolerance = error + abs(slope) * radius
    return np.int64(h > tolerance) - np.int64(h < -tolerance)


@_jit
def _zeros(rows, owner, first, errors, keep, ends, sources, roots, radii, flippers, current):
    """Zeros inside the interval ``ends``, ascending; functions that keep one side move an end instead.

    Returns (how many, dropped, unsure); the zeros stand in ``roots`` and ``radii``, the functions in ``flippers``.
    """
    found, dropped, unsure = 0, False, False
    for j in range(len(errors)):
        a, c, e = rows[owner, 0, first + j], rows[owner, 1, first + j], errors[j]
        left, right = _side(a, c, e, ends[0, 0], ends[0, 1]), _side(a, c, e, ends[1, 0], ends[1, 1])
        unsure |= left == 0 or right == 0
        current[j] = 1 if left > 0 or (left == 0 and right > 0) else 0
        if left * right < 0:
            root, radius = -c / a, 2.0 * e / abs(a)
            if keep[j] == 0:  # insertion keeps the zeros in order
                k = found
                while k > 0 and roots[k - 1] > root:
                    roots[k], radii[k], flippers[k] = roots[k - 1], radii[k - 1], flippers[k - 1]
                    k -= 1
                roots[k], radii[k], flippers[k] = root, radius, j
                found += 1
            else:  # keep the side on which the function is positive
                current[j] = 1
                end = 0 if left < 0 else 1
                ends[end, 0], ends[end, 1], sources[end] = root, radius, j
        elif keep[j] > 0 and left <= 0 and right <= 0 and (left < 0 or right < 0 or keep[j] == 2):
            dropped = True
    for k in range(1, found):
        unsure |= roots[k] - roots[k - 1] <= radii[k] + radii[k - 1]
    return found, dropped, unsure


@_jit
def _emit(found, roots, radii, flippers, ends, sources, current, out, out_sources, out_bits, made):
    """The parts between the zeros, one after the other; returns how many parts there are then."""
    low, radius, source = ends[0, 0], ends[0, 1], sources[0]
    k = 0
    while True:
        for j in range(len(current)):
            out_bits[made, j] = current[j]
        out[2 * made, 0], out[2 * made, 1], out_sources[2 * made] = low, radius, source
        if k == found:
            out[2 * made + 1, 0], out[2 * made + 1, 1], out_sources[2 * made + 1] = ends[1, 0], ends[1, 1], sources[1]
            return made + 1
        low, radius, source = roots[k], radii[k], flippers[k]
        out[2 * made + 1, 0], out[2 * made + 1, 1], out_sources[2 * made + 1] = low, radius, source
        made += 1
        reach = low + radius
        while k < found and roots[k] - radii[k] <= reach:  # zeros that cannot be told apart are one
            current[flippers[k]] = 1 - current[flippers[k]]
            reach = max(reach, roots[k] + radii[k])
            k += 1


@_jit
def _trace(start, stop, sources, facets, labels, r, rows, owner, first, errors, row_labels, out_facets, out_labels):
    """Function and label of the ends ``start`` to ``stop``, from what they are."""
    for i in range(start, stop):
        source = sources[i]
        if source < 0:
            old = 2 * r + (0 if source == LOWER else 1)
            for k in range(3):
                out_facets[i, k] = facets[old, k]
            out_labels[i] = labels[old]
        else:
            out_facets[i, 0], out_facets[i, 1] = rows[owner, 0, first + source], rows[owner, 1, first + source]
            out_facets[i, 2], out_labels[i] = errors[source], row_labels[source]


@_jit
def _subdivide(points, facets, labels, rows, owners, first, errors, row_labels, keep, certified, begin, room):
    """Parts of the parents from ``begin`` on, until there is no room for another; returns the next parent too."""
    count, m = len(owners), len(errors)
    out, out_facets, out_labels = np.empty((2 * room, 2)), np.empty((2 * room, 3)), np.empty(2 * room, np.int64)
    out_sources, parents, bits = np.empty(2 * room, np.int64), np.empty(room, np.int64), np.empty((room, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    roots, radii, flippers, current = np.empty(m), np.empty(m), np.empty(m, np.int64), np.empty(m, np.uint8)
    ends, sources = np.empty((2, 2)), np.empty(2, np.int64)
    made, r = 0, begin
    while r < count:
        for i in range(2):
            ends[i, 0], ends[i, 1], sources[i] = points[2 * r + i, 0], points[2 * r + i, 1], LOWER - i
        found, dropped, unsure = _zeros(rows, owners[r], first, errors, keep, ends, sources, roots, radii, flippers, current)
        undecided[r] = certified and unsure
        if not dropped and not undecided[r]:
            if made + found + 1 > room:
                break
            now = _emit(found, roots, radii, flippers, ends, sources, current, out, out_sources, bits, made)
            _trace(
                2 * made,
                2 * now,
                out_sources,
                facets,
                labels,
                r,
                rows,
                owners[r],
                first,
                errors,
                row_labels,
                out_facets,
                out_labels,
            )
            for k in range(made, now):
                parents[k] = r
            made = now
        r += 1
    return (
        r, out[: 2 * made].copy(), out_facets[: 2 * made].copy(), out_labels[: 2 * made].copy(), parents[:made].copy(),
        bits[:made].copy(), undecided,
    )  # fmt: skip


def subdivide_intervals(points, facets, labels, lines, certified):
    """Cut interval r at the zeros of its functions a·t + c.

    Args:
        points: (2R, 2): lower and upper ends, with their error radius.
        facets: (2R, 3): slope, constant and error of the function that vanishes at the end.
        labels: (2R,).
        lines: (rows, owners, first, errors, labels, keep), as for `theodolite.maths.polygons.subdivide_polygons`; rows (P, 2, M).
        certified: send an interval back as undecided rather than take an undecided sign for zero.

    Returns:
        points, facets, labels of the parts; their parents; their bits (parts, m); undecided (R,).
    """
    count, m = len(points) // 2, len(lines[3])
    batches: list[list[np.ndarray]] = []
    begin, undecided = 0, np.zeros(count, dtype=bool)
    room = 2 * count + m + 16
    while begin < count or not batches:
        begin, *batch, flags = _subdivide(points, facets, labels, *lines, certified, begin, room)
        undecided |= flags
        batches.append(batch)
    if len(batches) == 1:
        return (*batches[0], undecided)
    return (*(np.concatenate([b[k] for b in batches]) for k in range(5)), undecided)

"""Cutting many intervals, each at the zeros of its own affine functions, in compiled code.

An end of an interval carries a bound on its error, a function a bound on the error of its values; a sign is *decided* when the
value exceeds both together. Undecided signs count as zero, or, where certificates are wanted, send the whole parent back.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numba
import numpy as np

__all__ = ["subdivide_intervals"]

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")

#: What an end is when it is not the zero of a function: the parent's lower or upper end.
LOWER, UPPER = -1, -2


@_jit
def _side(slope, constant, error, end, radius):
    h = slope * end + constant
    tolerance = error + abs(slope) * radius
    return np.int64(h > tolerance) - np.int64(h < -tolerance)


@_jit
def _subdivide(points, rows, errors, keep, certified, begin, parts):
    """Parts of the parents from ``begin`` on, until there is no room for another; returns the next parent too."""
    count, m = rows.shape[0], rows.shape[2]
    ends, source = np.empty((2 * parts, 2)), np.empty(2 * parts, np.int64)
    parents, bits = np.empty(parts, np.int64), np.empty((parts, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    roots, radii, owner, current = np.empty(m), np.empty(m), np.empty(m, np.int64), np.empty(m, np.uint8)
    made, r = 0, begin
    while r < count:
        low, low_radius, low_source = points[2 * r, 0], points[2 * r, 1], LOWER
        high, high_radius, high_source = points[2 * r + 1, 0], points[2 * r + 1, 1], UPPER
        found, alive, unsure = 0, True, False
        for j in range(m):
            a, c, e = rows[r, 0, j], rows[r, 1, j], errors[j]
            left, right = _side(a, c, e, low, low_radius), _side(a, c, e, high, high_radius)
            unsure |= left == 0 or right == 0
            current[j] = 1 if left > 0 or (left == 0 and right > 0) else 0
            if left * right < 0:
                root, radius = -c / a, 2.0 * e / abs(a)
                if keep[j] == 0:  # insertion keeps the roots in order
                    k = found
                    while k > 0 and roots[k - 1] > root:
                        roots[k], radii[k], owner[k] = roots[k - 1], radii[k - 1], owner[k - 1]
                        k -= 1
                    roots[k], radii[k], owner[k] = root, radius, j
                    found += 1
                else:  # keep the side on which the function is positive
                    current[j] = 1
                    if left < 0:
                        low, low_radius, low_source = root, radius, j
                    else:
                        high, high_radius, high_source = root, radius, j
            elif keep[j] > 0 and left <= 0 and right <= 0 and (left < 0 or right < 0 or keep[j] == 2):
                alive = False
        for k in range(1, found):
            unsure |= roots[k] - roots[k - 1] <= radii[k] + radii[k - 1]
        undecided[r] = certified and unsure
        if alive and not undecided[r]:
            if made + found + 1 > parts:
                break
            k = 0
            while True:
                parents[made] = r
                for j in range(m):
                    bits[made, j] = current[j]
                ends[2 * made, 0], ends[2 * made, 1], source[2 * made] = low, low_radius, low_source
                if k == found:
                    ends[2 * made + 1, 0], ends[2 * made + 1, 1], source[2 * made + 1] = high, high_radius, high_source
                    made += 1
                    break
                low, low_radius, low_source = roots[k], radii[k], owner[k]
                ends[2 * made + 1, 0], ends[2 * made + 1, 1], source[2 * made + 1] = low, low_radius, low_source
                made += 1
                reach = roots[k] + radii[k]
                while k < found and roots[k] - radii[k] <= reach:  # roots that cannot be told apart are one
                    current[owner[k]] = 1 - current[owner[k]]
                    reach = max(reach, roots[k] + radii[k])
                    k += 1
        r += 1
    return r, ends[: 2 * made], source[: 2 * made], parents[:made], bits[:made], undecided


def subdivide_intervals(points, facets, labels, rows, errors, row_labels, keep, certified):
    """Cut interval r at the zeros of a·t + c for all rows[r].

    Args:
        points: (2R, 2): lower and upper ends, with their error radius.
        facets: (2R, 3): slope, constant and error of the function that vanishes at the end.
        labels: (2R,).
        rows: (R, 2, m).
        errors: (m,).
        row_labels: (m,).
        keep: (m,): 0 keeps both sides; 1 keeps the side ≥ 0, whole where the function vanishes; 2 nothing there.
        certified: send an interval back as undecided rather than take an undecided sign for zero.

    Returns:
        points, facets, labels of the parts; their parents; their bits (parts, m); undecided (R,).
    """
    count, lines = rows.shape[0], rows.shape[2]
    batches: list[list[np.ndarray]] = []
    begin, undecided = 0, np.zeros(count, dtype=bool)
    parts = 2 * count + lines + 16
    while begin < count or not batches:
        begin, *batch, flags = _subdivide(points, rows, errors, keep, certified, begin, parts)
        undecided |= flags
        batches.append(batch)
    ends, source, parents, bits = (np.concatenate([b[k] for b in batches]) for k in range(4))
    owner = np.repeat(parents, 2)
    old = source < 0
    inherited = np.where(old, 2 * owner + (source == UPPER), 0)
    fresh = np.where(old, 0, source)
    own = np.concatenate([rows[owner, :, fresh], errors[fresh][:, None]], axis=1)
    out_facets = np.where(old[:, None], facets[inherited], own)
    return ends, out_facets, np.where(old, labels[inherited], row_labels[fresh]), parents, bits, undecided

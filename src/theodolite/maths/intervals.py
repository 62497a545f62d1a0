"""Cutting many intervals, each at the zeros of its own affine functions, in compiled code.

An end of an interval carries a bound on its error, a function a bound on the error of its values; a sign is *decided* when the
value exceeds both together. Undecided signs count as zero, or, where certificates are wanted, send the whole parent back.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["subdivide_intervals"]

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _sign(slope, constant, error, end):  # noqa: ANN001, ANN202
    h = slope * end[0] + constant
    tolerance = error + abs(slope) * end[1]
    return 1 if h > tolerance else (-1 if h < -tolerance else 0)


@_jit
def subdivide_intervals(points, facets, labels, rows, errors, row_labels, keep, certified):  # noqa: ANN001, ANN201
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
    count = rows.shape[0]
    m = rows.shape[2]
    capacity = 4 * count + 16
    out_points = np.empty((2 * capacity, 2))
    out_facets = np.empty((2 * capacity, 3))
    out_labels = np.empty(2 * capacity, np.int64)
    parents = np.empty(capacity, np.int64)
    bits = np.empty((capacity, m), np.uint8)
    undecided = np.zeros(count, np.bool_)
    made = 0
    roots = np.empty(m)
    radii = np.empty(m)
    owner = np.empty(m, np.int64)
    ends = np.empty((2, 2))
    end_facets = np.empty((2, 3))
    end_labels = np.empty(2, np.int64)
    current = np.empty(m, np.uint8)
    for r in range(count):
        ends[:] = points[2 * r : 2 * r + 2]
        end_facets[:] = facets[2 * r : 2 * r + 2]
        end_labels[:] = labels[2 * r : 2 * r + 2]
        found = 0
        alive = True
        for j in range(m):
            a, c, e = rows[r, 0, j], rows[r, 1, j], errors[j]
            left = _sign(a, c, e, ends[0])
            right = _sign(a, c, e, ends[1])
            if certified and (left == 0 or right == 0):
                undecided[r] = True
                break
            current[j] = left > 0 or (left == 0 and right > 0)
            if left * right < 0:
                root, radius = -c / a, 2.0 * e / abs(a)
                if keep[j] == 0:
                    roots[found] = root
                    radii[found] = radius
                    owner[found] = j
                    found += 1
                else:  # keep the side on which the function is positive
                    side = 0 if left < 0 else 1
                    ends[side, 0] = root
                    ends[side, 1] = radius
                    end_facets[side, 0], end_facets[side, 1], end_facets[side, 2] = a, c, e
                    end_labels[side] = row_labels[j]
                    current[j] = 1
            elif keep[j] and left <= 0 and right <= 0 and (left < 0 or right < 0 or keep[j] == 2):
                alive = False
        if undecided[r] or not alive:
            continue
        order = np.argsort(roots[:found])
        if certified:
            for k in range(1, found):
                p, q = order[k - 1], order[k]
                if roots[q] - roots[p] <= radii[p] + radii[q]:
                    undecided[r] = True
        if undecided[r]:
            continue
        k = 0
        while True:
            # ends[0] is the lower end of the next part; its upper end is the next root that is decidedly beyond it
            last = k == found
            if made == parents.shape[0]:
                larger = 2 * made
                fresh_points, fresh_facets = np.empty((2 * larger, 2)), np.empty((2 * larger, 3))
                fresh_labels, fresh_parents = np.empty(2 * larger, np.int64), np.empty(larger, np.int64)
                fresh_bits = np.empty((larger, m), np.uint8)
                fresh_points[: 2 * made], fresh_facets[: 2 * made] = out_points, out_facets
                fresh_labels[: 2 * made], fresh_parents[:made], fresh_bits[:made] = out_labels, parents, bits
                out_points, out_facets, out_labels, parents, bits = (
                    fresh_points, fresh_facets, fresh_labels, fresh_parents, fresh_bits,
                )  # fmt: skip
            out_points[2 * made], out_facets[2 * made], out_labels[2 * made] = ends[0], end_facets[0], end_labels[0]
            parents[made] = r
            bits[made] = current
            if last:
                out_points[2 * made + 1] = ends[1]
                out_facets[2 * made + 1] = end_facets[1]
                out_labels[2 * made + 1] = end_labels[1]
                made += 1
                break
            q = order[k]
            j = owner[q]
            end = 2 * made + 1
            out_points[end, 0], out_points[end, 1] = roots[q], radii[q]
            out_facets[end, 0], out_facets[end, 1], out_facets[end, 2] = rows[r, 0, j], rows[r, 1, j], errors[j]
            out_labels[end] = row_labels[j]
            made += 1
            ends[0] = out_points[end]
            end_facets[0] = out_facets[end]
            end_labels[0] = row_labels[j]
            reach = roots[q] + radii[q]
            while k < found and roots[order[k]] - radii[order[k]] <= reach:
                j = owner[order[k]]
                current[j] = 1 - current[j]
                reach = max(reach, roots[order[k]] + radii[order[k]])
                k += 1
    return (
        out_points[: 2 * made],
        out_facets[: 2 * made],
        out_labels[: 2 * made],
        parents[:made],
        bits[:made],
        undecided,
    )  # fmt: skip

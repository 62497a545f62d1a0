"""Batches of affine maps through a ReLU or LeakyReLU with given patterns, and through the dense layer behind it.

A cut leaves parts that stand one after the other as they lie: the patterns of consecutive parts of one parent differ in about two
places, whatever the width. The layer's map of a part is therefore that of the part before, corrected by a multiple of one column of
the weights for every switch that differs; only the first part of a parent takes a matrix product, and one more after every n/2
corrections, so that a value has no more than 2 n + 1 roundings in all, and one where what has gone off outweighs what stays on, since
its rounding would stay behind.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inlined, inner, relaxed

__all__ = ["sloped_affine", "sloped_gather"]


@compiled
def sloped_gather(maps, parents, bits, slopes):
    """Row r of the result is maps[parents[r]], each column j of it times slopes[bits[r, j], j].

    Args:
        maps: (P, k, n) float64.
        parents: (R,) int64.
        bits: (R, n) uint8.
        slopes: (2, n) float64: below and above zero; 0 and 1 for a ReLU.

    Returns:
        (R, k, n).
    """
    count, k, n = len(parents), maps.shape[1], maps.shape[2]
    below, above, out = slopes[0], slopes[1], np.empty((count, k, n))
    for r in range(count):
        p = parents[r]
        for i in range(k):
            for j in range(n):
                out[r, i, j] = maps[p, i, j] * (above[j] if bits[r, j] else below[j])
    return out


#: Entries of a pattern that are compared at a time.
BLOCK = 32

#: Up to this width a product is as fast as corrections are.
FEW = 24


#: How many times more what has gone off may weigh than what stays on: what is taken away leaves its rounding behind.
STEEP = 32.0


@inner
def _largest(columns):
    """The largest entry of every column of the weights, in magnitude."""
    out = np.zeros(len(columns))
    for j in range(len(columns)):
        largest = 0.0
        for o in range(columns.shape[1]):
            largest = max(largest, abs(columns[j, o]))
        out[j] = largest
    return out


@inlined
def _weight(maps, parent, largest, j):
    """How much column j weighs in a parent's maps, at most."""
    size = 0.0
    for i in range(maps.shape[1]):
        size = max(size, abs(maps[parent, i, j]))
    return size * largest[j]


@inner
def _differences(bits, r, positions, found):
    """Where row r of the patterns differs from the row before, to ``positions`` from ``found`` on; returns their end."""
    n = bits.shape[1]
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        different = np.uint8(0)
        for j in range(low, high):
            different |= bits[r, j] ^ bits[r - 1, j]
        if different:
            for j in range(low, high):
                positions[found] = j
                found += bits[r, j] ^ bits[r - 1, j]
    return found


@inlined
def _gone(maps, parent, largest, bits, r, changed):
    """The heaviest column that goes off in row r, of those that change."""
    heaviest = 0.0
    for j in changed:
        if not bits[r, j]:
            heaviest = max(heaviest, _weight(maps, parent, largest, j))
    return heaviest


@inlined
def _staying(maps, parent, largest, bits, r):
    """What columns weigh that are on in row r, as a rule: the median of the first three, or the least of fewer."""
    least, middle, found = np.inf, np.inf, 0
    for j in range(bits.shape[1]):
        if bits[r, j]:
            weight = _weight(maps, parent, largest, j)
            least, middle = min(least, weight), min(max(least, weight), middle)
            found += 1
            if found == 3:
                return middle
    return least if found else 0.0


@inner
def _flips(maps, parents, bits, columns):
    """Where the pattern of every row differs from that of the row before.

    Returns:
        The positions (F,), row by row; where each row's begin (R + 1,); which rows are multiplied anew (R,), see the module's text.
    """
    count, n = bits.shape
    starts, fresh, largest = np.zeros(count + 1, np.int64), np.ones(count, np.bool_), _largest(columns)
    positions, since, gone = np.empty(4 * count + n, np.int64), np.int64(0), 0.0
    for r in range(1, count):
        found = starts[r]
        if found + n > len(positions):
            positions = np.concatenate((positions, np.empty_like(positions)))
        if parents[r] == parents[r - 1]:
            found = _differences(bits, r, positions, found)
            gone = max(gone, _gone(maps, parents[r], largest, bits, r, positions[starts[r] : found]))
            fresh[r] = since + found - starts[r] > n // 2
            fresh[r] |= gone > 0.0 and gone > STEEP * _staying(maps, parents[r], largest, bits, r)
        since, gone = (np.int64(0), 0.0) if fresh[r] else (since + found - starts[r], gone)
        starts[r + 1] = starts[r] if fresh[r] else found
    return positions, starts, fresh


@inner
def _shifted(products, bias, k):
    """Products (R k, m) as maps (R, k, m), with the bias in every last row."""
    out = products.reshape(len(products) // k, k, len(bias))
    for r in range(len(out)):
        for o in range(len(bias)):
            out[r, k - 1, o] += bias[o]
    return out


@relaxed
def sloped_affine(maps, parents, bits, slopes, columns, bias):
    """Σ_j slopes[bits[r, j], j] maps[parents[r], i, j] columns[j], plus the bias in the last row i = k − 1.

    Args:
        maps: (P, k, n) float64: slopes, then the constant.
        parents: (R,) int64.
        bits: (R, n) uint8.
        slopes: (2, n) float64: of the switches, below and above zero; 0 and 1 for a ReLU.
        columns: (n, m) float64, C-contiguous: the layer's weights, transposed.
        bias: (m,) float64.

    Returns:
        (R, k, m).

    Cost: k m per switch in which a row differs from the one before, and a product of k n m per parent and per n/2 such switches.
    """
    count, k, n, m = len(parents), maps.shape[1], maps.shape[2], len(bias)
    if n <= FEW:
        return _shifted(np.dot(sloped_gather(maps, parents, bits, slopes).reshape(count * k, n), columns), bias, k)
    positions, starts, fresh = _flips(maps, parents, bits, columns)
    anew = np.flatnonzero(fresh)
    made = _shifted(np.dot(sloped_gather(maps, parents[anew], bits[anew], slopes).reshape(len(anew) * k, n), columns), bias, k)
    out, done = np.empty((count, k, m)), 0
    for r in range(count):
        for i in range(k):
            for o in range(m):
                out[r, i, o] = made[done, i, o] if fresh[r] else out[r - 1, i, o]
            for f in range(starts[r], starts[r + 1]):
                j = positions[f]
                jump = slopes[1, j] - slopes[0, j]
                change = maps[parents[r], i, j] * (jump if bits[r, j] else -jump)
                for o in range(m):
                    out[r, i, o] += change * columns[j, o]
        done += fresh[r]
    return out

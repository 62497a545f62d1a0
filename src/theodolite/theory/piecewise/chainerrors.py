"""The bounds of `theodolite.theory.piecewise.errors` for a plain chain of dense layers, in compiled code.

Loops over numbers: array expressions would add seconds to the first call, when all is compiled.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inner, summed
from theodolite.theory.piecewise.cells import UNIT
from theodolite.theory.piecewise.errors import SAFETY, rounding_bound

__all__ = ["chain_errors"]


_rounding_bound = inner(rounding_bound)


@compiled
def chain_errors(layers, chart, points, coarse):
    """Bounds on the errors of the pre-activations of all layers with ReLU, one after the other.

    Args:
        layers: as `theodolite.theory.piecewise.program.Program.relu_layers` has them.
        chart: (vertices, is_box, start), as `theodolite.theory.piecewise.domains.Chart` has them.
        points: (k, d + 1): the chart's corners, in their first d columns.
        coarse: where a bound in the worst case is larger, likely errors stand in its place.

    Returns:
        (n,), what `error_bounds` finds, or else `likely_errors`.
    """
    _, sizes, relus = layers
    total, start = np.int64(0), chart[2]
    for k in range(len(relus)):
        total += sizes[k + 1] if relus[k] else 0
    errors, samples = np.empty(total), _samples(points)
    if _worst(layers, start, samples, errors) > coarse:
        _likely(layers, start, samples, errors)
    return errors


@inner
def _samples(points):
    """Bounds of |t_i|, the corners, their centre: rows (t, 1)."""
    count, d = len(points), points.shape[1] - 1
    rows = np.empty((count + 2, d + 1))
    for i in range(d):
        largest, total = 0.0, 0.0
        for s in range(count):
            rows[s + 1, i] = points[s, i]
            largest, total = max(largest, abs(points[s, i])), total + points[s, i]
        rows[0, i], rows[count + 1, i] = largest, total / count
    for s in range(count + 2):
        rows[s, d] = 1.0
    return rows


@summed
def _product(values, entries, at, m):
    """Rows (S, n) times a weight (m, n) whose entries begin at ``at``: (S, m)."""
    count, n = values.shape
    out = np.empty((count, m))
    for j in range(m):
        row = entries[at + j * n : at + (j + 1) * n]  # an index that might be negative would keep the sum from several at a time
        for s in range(count):
            total = 0.0
            for k in range(n):
                total += values[s, k] * row[k]
            out[s, j] = total
    return out


@inner
def _magnitudes(maps, samples, count):
    """Bounds of |M t| on the domain from absolute values, of ``count`` maps (S (d + 1), n): (S, n)."""
    rows, n = samples.shape[1], maps.shape[1]
    out = np.zeros((count, n))
    for s in range(count):
        for i in range(rows):
            for j in range(n):
                out[s, j] += samples[0, i] * abs(maps[s * rows + i, j])
    return out


@inner
def _absolute(parameters):
    out = np.empty(len(parameters))
    for k in range(len(parameters)):
        out[k] = abs(parameters[k])
    return out


@inner
def _repeated(start, count):
    """The input's map for every sample, one after the other: (S (d + 1), n)."""
    rows, n = start.shape[1], start.shape[2]
    maps = np.empty((count * rows, n))
    for r in range(len(maps)):
        for j in range(n):
            maps[r, j] = start[0, r % rows, j]
    return maps


@inner
def _worst(layers, start, samples, errors):
    """`error_bounds` to ``errors``; returns the largest."""
    parameters, sizes, relus = layers
    absolute, d, one = _absolute(parameters), samples.shape[1] - 1, np.int64(1)
    values, largest = _magnitudes(_repeated(start, one), samples, one), 0.0
    column, at, roundings = np.int64(0), np.int64(0), d + 2
    for k in range(len(relus)):
        n, m = sizes[k], sizes[k + 1]
        values, roundings = _product(values, absolute, at, m), roundings + n + 2
        for j in range(m):
            values[0, j] += absolute[at + m * n + j]
            if relus[k]:
                errors[column + j] = _rounding_bound(roundings, d, values[0, j])
                largest = max(largest, errors[column + j])
        at += m * (n + 1)
        if relus[k]:
            column, roundings = column + m, roundings + 2
    return largest


@inner
def _likely(layers, start, samples, errors):
    """`likely_errors`, where they are smaller than what stands in ``errors``."""
    parameters, sizes, relus = layers
    count, d = len(samples) - 1, samples.shape[1] - 1
    absolute, squared, maps = _absolute(parameters), parameters * parameters, _repeated(start, count)
    magnitudes = _magnitudes(maps, samples, count)
    squares = (UNIT * magnitudes) ** 2
    column, at = np.int64(0), np.int64(0)
    for k in range(len(relus)):
        n, m = sizes[k], sizes[k + 1]
        terms, bias = _product(magnitudes, absolute, at, m), at + m * n
        squares, maps = _product(squares, squared, at, m), _product(maps, parameters, at, m)
        for s in range(count):
            for j in range(m):
                squares[s, j] += (n + 1) * (UNIT * (terms[s, j] + absolute[bias + j])) ** 2
                maps[s * (d + 1) + d, j] += parameters[bias + j]
        magnitudes, at = _magnitudes(maps, samples, count), bias + m
        if relus[k]:
            _lower(errors, column, squares, magnitudes, d + 2)
            _rectify(maps, magnitudes, samples)
            column += m


@inner
def _lower(errors, column, squares, magnitudes, roundings):
    """Errors to `SAFETY` standard errors at the worst sample, with the rounding of the evaluation, where these are smaller."""
    for j in range(squares.shape[1]):
        largest = 0.0
        for s in range(len(squares)):
            largest = max(largest, np.sqrt(squares[s, j]) + UNIT * roundings * magnitudes[s, j])
        errors[column + j] = min(errors[column + j], SAFETY * largest)


@inner
def _rectify(maps, magnitudes, samples):
    """The maps behind a ReLU with the pattern at each sample, and their magnitudes."""
    rows = samples.shape[1]
    for s in range(len(magnitudes)):
        for j in range(maps.shape[1]):
            value = 0.0
            for i in range(rows):
                value += maps[s * rows + i, j] * samples[s + 1, i]
            if value <= 0:
                magnitudes[s, j] = 0.0
                for i in range(rows):
                    maps[s * rows + i, j] = 0.0

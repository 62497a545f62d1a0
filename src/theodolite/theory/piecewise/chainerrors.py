"""The bounds of `theodolite.theory.piecewise.errors` for a plain chain of dense layers, in compiled code.

Loops over numbers: array expressions would add seconds to the first call, when all is compiled.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

import numpy as np

from theodolite.maths.compiled import compiled, inner
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
        (n,), what `error_bounds` finds, or else `likely_errors`; NaN where they leave the range of floats.
    """
    _, sizes, relus = layers
    total, start, room = np.int64(0), chart[2], _room(sizes)
    for k in range(len(relus)):
        total += sizes[k + 1] if relus[k] else 0
    errors, samples = np.empty(total), _samples(points)
    worst, finite = _worst(layers, start, samples, errors, room)
    if not finite:
        return np.full(total, np.nan)
    if worst > coarse:
        _likely(layers, start, samples, errors, room)
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


@inner
def _product(values, parameters, at, m, power, room):
    """Rows (S, n) times a weight (m, n) whose entries begin at ``at``, or, written to ``room``, their |·|^power: (S, m)."""
    n = values.shape[1]
    entries = parameters[at : at + m * n]
    if power > 0:
        for k in range(m * n):
            room[k] = abs(entries[k]) if power == 1 else entries[k] * entries[k]
        entries = room[: m * n]
    return np.dot(values, entries.reshape(m, n).T)


@inner
def _room(sizes):
    """Numbers for the largest weight, once: large arrays cost more to come by than to fill."""
    largest = np.int64(0)
    for k in range(len(sizes) - 1):
        largest = max(largest, sizes[k] * sizes[k + 1])
    return np.empty(largest)


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
def _repeated(start, count):
    """The input's map for every sample, one after the other: (S (d + 1), n)."""
    rows, n = start.shape[1], start.shape[2]
    maps = np.empty((count * rows, n))
    for r in range(len(maps)):
        for j in range(n):
            maps[r, j] = start[0, r % rows, j]
    return maps


@inner
def _worst(layers, start, samples, errors, room):
    """`error_bounds` to ``errors``; returns the largest, and whether all are numbers."""
    parameters, sizes, relus = layers
    d, one = samples.shape[1] - 1, np.int64(1)
    values, largest, finite = _magnitudes(_repeated(start, one), samples, one), 0.0, True
    column, at, roundings = np.int64(0), np.int64(0), d + 2
    for k in range(len(relus)):
        n, m = sizes[k], sizes[k + 1]
        values, roundings = _product(values, parameters, at, m, 1, room), roundings + 2 * n + 2
        for j in range(m):
            values[0, j] += abs(parameters[at + m * n + j])
            if relus[k]:
                errors[column + j] = _rounding_bound(roundings, d, values[0, j])
                largest, finite = max(largest, errors[column + j]), finite and errors[column + j] < np.inf
        at += m * (n + 1)
        if relus[k]:
            column, roundings = column + m, roundings + 2
    return largest, finite


@inner
def _likely(layers, start, samples, errors, room):
    """`likely_errors`, where they are smaller than what stands in ``errors``."""
    parameters, sizes, relus = layers
    count, d = len(samples) - 1, samples.shape[1] - 1
    maps = _repeated(start, count)
    magnitudes = _magnitudes(maps, samples, count)
    squares = (UNIT * magnitudes) ** 2
    column, at = np.int64(0), np.int64(0)
    for k in range(len(relus)):
        n, m = sizes[k], sizes[k + 1]
        terms, bias = _product(magnitudes, parameters, at, m, 1, room), at + m * n
        squares, maps = _product(squares, parameters, at, m, 2, room), _product(maps, parameters, at, m, 0, room)
        for s in range(count):
            for j in range(m):
                squares[s, j] += (2 * n + 1) * (UNIT * (terms[s, j] + abs(parameters[bias + j]))) ** 2
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

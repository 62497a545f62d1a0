"""How far the computed values of a program on a chart may be from the true ones: in the worst case, and in all likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.theory.piecewise.cells import UNIT
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.program import Affine, Array, Program, Switching

__all__ = ["error_bounds", "likely_errors", "rounding_bound"]

#: Standard errors that a likely error stands for.
SAFETY = 64.0


def rounding_bound(roundings: int, dim: int, magnitude: Any) -> Any:
    """A bound on the error of an affine function of ``dim`` coordinates at a point.

    Args:
        roundings: of the products and sums that made its coefficients.
        dim: d.
        magnitude: the same chain of products and sums on absolute values.
    """
    return 2 * UNIT * (roundings + dim + 4) * magnitude


def error_bounds(program: Program, chart: Chart) -> dict[int, Array]:
    """A bound on |computed − true| for the values of every switch's function on the chart, by step.

    A chain of products and sums with N roundings errs by at most N u (1 + O(u)) times the same chain on absolute values
    (Higham, Accuracy and Stability of Numerical Algorithms, §3.5), whatever the order of summation. Twice that is used, which
    covers the evaluation at a point. A step of fan-in n has up to 2 n + 1 roundings, see `theodolite.maths.affinemaps`. Index
    ``len(program.steps)`` holds the bound for the output.
    """
    values = {0: chart.magnitudes}
    roundings = {0: chart.dim + 2}
    bounds = {}
    for i, step in enumerate(program.steps):
        if isinstance(step, Affine):
            values[i + 1] = step.magnitudes(values)
            roundings[i + 1] = max(roundings[s] for s in step.sources) + 2 * step.fan_in + 2
            continue
        source, count = values[step.source], roundings[step.source]
        if isinstance(step, Switching):
            magnitude = step.row_magnitudes(source)
        else:  # a difference of two candidates
            magnitude = 2 * np.repeat(step.magnitudes(source), step.groups.shape[1])
        bounds[i] = rounding_bound(count, chart.dim, magnitude)
        values[i + 1] = step.magnitudes(source)
        roundings[i + 1] = count + 2
    last = len(program.steps)
    bounds[last] = rounding_bound(roundings[last], chart.dim, values[last])
    return bounds


def likely_errors(program: Program, chart: Chart, bounds: dict[int, Array]) -> dict[int, Array]:
    """What `error_bounds` bounds, as it is found in practice: `SAFETY` standard errors, never more than ``bounds``.

    Worst cases multiply up through the absolute weights of all layers, by about √n per layer of width n, which no rounding error
    does: roundings are as good as independent (higham2019), so that they add up in squares, √(2 n) · u · Σ |W| |v| at a
    step of fan-in n, with the maps v as they are at the chart's corners and centre.
    """
    size = np.append(chart.reach, 1.0)
    points = np.concatenate([chart.corners, chart.corners.mean(axis=0, keepdims=True)])
    bits = program.patterns(points @ chart.embedding.T + chart.origin).astype(np.uint8)
    start = np.repeat(chart.start, len(points), axis=0)
    errors = {0: (UNIT * size @ np.abs(start)) ** 2}  # (S, n), in squares
    found = {}
    for i, step, values in program.affine_values(start, bits):
        if isinstance(step, Affine):
            terms = np.broadcast_to(np.abs(step.bias), (len(points), step.size))
            squares = np.zeros((len(points), step.size))
            for source, weight in zip(step.sources, step.weights, strict=True):
                magnitude = size @ np.abs(values[source])
                if weight is None:
                    terms, squares = terms + magnitude, squares + errors[source]
                else:
                    power = weight**2 if isinstance(weight, np.ndarray) else weight.multiply(weight)
                    terms = terms + (abs(weight) @ magnitude.T).T
                    squares = squares + (power @ errors[source].T).T
            errors[i + 1] = squares + (2 * step.fan_in + 1) * (UNIT * terms) ** 2
            continue
        squares, magnitude = errors[step.source], size @ np.abs(values[step.source])
        here = np.sqrt(squares) + UNIT * (chart.dim + 2) * magnitude
        if isinstance(step, Switching):
            likely = (here[:, :, None] + UNIT * np.abs(step.knots)).reshape(len(points), -1)
            errors[i + 1] = squares * np.abs(step.slopes).max(axis=1) ** 2
        else:
            largest = np.where(step.groups >= 0, here[:, step.groups], 0.0).max(axis=2)
            likely = 2 * np.repeat(largest, step.groups.shape[1], axis=1)
            errors[i + 1] = np.where(step.groups >= 0, squares[:, step.groups], 0.0).max(axis=2)
        found[i] = np.minimum(SAFETY * likely.max(axis=0), bounds[i])
    return found

"""How far the computed values of a program on a chart may be from the true ones: in the worst case, and in all likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.theory.piecewise.cells import UNIT
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching

__all__ = ["COARSE", "error_bounds", "likely_errors", "rounding_bound", "switch_errors"]

#: Standard errors that a likely error stands for.
SAFETY = 64.0

#: Above this, bounds on errors in the worst case blur the picture: they grow like the product of all |W|, the errors do not.
COARSE = 1e-12

#: Up to this dimension all 2^d corners of a box are tried.
MANY = 6


def rounding_bound(roundings: int, dim: int, magnitude: Any) -> Any:
    """A bound on the error of an affine function of ``dim`` coordinates at a point.

    Args:
        roundings: of the products and sums that made its coefficients.
        dim: d.
        magnitude: the same chain of products and sums on absolute values.
    """
    return 2 * UNIT * (roundings + dim + 4) * magnitude


def switch_errors(program: Program, chart: Chart, certify: str) -> dict[int, Array]:
    """Errors of the switches on a chart, by step: bounds, or where nothing is certified, likely errors where the bounds are useless.

    Raises:
        NumericalError: values beyond the range of floats, unless all is exact.
    """
    from theodolite.theory.piecewise.chainerrors import chain_errors

    layers, certain = program.relu_layers, certify in ("filtered", "exact")
    if 0 < layers[1][1:][layers[2]].sum() == program.switches:
        found = chain_errors(layers, (chart.vertices, chart.is_box, chart.start), chart.cell[0], np.inf if certain else COARSE)
        if np.isfinite(found).all():
            return {i: found[low:high] for i, (low, high) in program.columns.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = error_bounds(program, chart)
        if _finite(bounds) and (certain or all(bounds[i].max(initial=0.0) <= COARSE for i in program.nonlinear)):
            return bounds
        likely = likely_errors(program, chart, bounds)
    if certify != "exact" and not _finite(likely):
        raise NumericalError("the network's values on the domain are beyond the range of floats; scale its layers")
    return bounds if certain else likely


def _finite(errors: dict[int, Array]) -> bool:
    return all(np.isfinite(e).all() for e in errors.values())


def error_bounds(program: Program, chart: Chart) -> dict[int, Array]:
    """A bound on |computed − true| for the values of every switch's function on the chart, by step.

    A chain of products and sums with N roundings errs by at most N u (1 + O(u)) times the same chain on absolute values
    (Higham, Accuracy and Stability of Numerical Algorithms, §3.5), whatever the order of summation. A step of fan-in n has up to
    2 n + 1 roundings, see `theodolite.maths.affinemaps`; where terms are taken away again, every partial sum is that of some
    pattern, and no larger than the sum of all absolute values, which is what counts here. Twice that is used, which covers the
    evaluation at a point. Index ``len(program.steps)`` holds the bound for the output.
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
    does: roundings are as good as independent (higham2019), so that they add up in squares, √(2 n) · u · Σ |W| |v| at a step of
    fan-in n, with the maps v as they are at the chart's corners and centre; the errors of what is off there count nevertheless.

    Returns:
        The errors, by step, with that of the output at ``len(program.steps)``.
    """
    size = np.append(chart.reach, 1.0)
    corners = chart.corners if chart.dim <= MANY else chart.vertices  # of a box with too many, two
    points = np.concatenate([corners, corners.mean(axis=0, keepdims=True)])
    bits = program.patterns(points @ chart.embedding.T + chart.origin).astype(np.uint8)
    start = np.repeat(chart.start, len(points), axis=0)
    errors = {0: (UNIT * size @ np.abs(start)) ** 2}  # (S, n), in squares
    found, last = {}, len(program.steps)
    for i, step, values in program.affine_values(start, bits):
        if isinstance(step, Affine):
            errors[i + 1] = _affine_squares(step, size, values, errors)
        else:
            likely, errors[i + 1] = _switch_errors(step, size, values[step.source], errors[step.source])
            found[i] = np.minimum(SAFETY * likely.max(axis=0), bounds[i])
        if i + 1 == last:
            output = np.sqrt(errors[last]) + UNIT * (chart.dim + 2) * (size @ np.abs(values[last]))
            found[last] = np.minimum(SAFETY * output.max(axis=0), bounds[last])
    return found


def _affine_squares(step: Affine, size: Array, values: dict[int, Array], errors: dict[int, Array]) -> Array:
    """Squares of the errors behind an affine step, (S, n)."""
    terms, squares = np.abs(step.bias)[None], np.zeros((1, step.size))
    for source, weight in zip(step.sources, step.weights, strict=True):
        magnitude = size @ np.abs(values[source])
        if weight is None:
            terms, squares = terms + magnitude, squares + errors[source]
        else:
            power = weight**2 if isinstance(weight, np.ndarray) else weight.multiply(weight)
            terms = terms + (abs(weight) @ magnitude.T).T
            squares = squares + (power @ errors[source].T).T
    return np.asarray(squares + (2 * step.fan_in + 1) * (UNIT * terms) ** 2)


def _switch_errors(step: Switching | Maximum, size: Array, value: Array, squares: Array) -> tuple[Array, Array]:
    """Standard errors of a step's switches, (S, switches), and squares of the errors behind it."""
    here = np.sqrt(squares) + UNIT * (len(size) + 1) * (size @ np.abs(value))
    if isinstance(step, Switching):
        likely = here[:, :, None] + UNIT * np.abs(step.knots)
        return likely.reshape(len(value), -1), squares * np.abs(step.slopes).max(axis=1) ** 2
    group, width = step.groups, step.groups.shape[1]
    largest, after = (np.where(group >= 0, array[:, group], 0.0).max(axis=2) for array in (here, squares))
    return 2 * np.repeat(largest, width, axis=1), after

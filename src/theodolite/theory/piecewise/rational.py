"""A program in exact arithmetic: every float is a dyadic rational, so maps, signs and values are Python integers.

A value is a pair (integers, e) standing for integers / 2^e; the integers of an affine map form an object array (n, d + 1), slopes
first and the constant last. At N points X_k / S_k (homogeneous integers) it is an array (n, N), column k over 2^e S_k. Nothing is
rounded. A constant enters either of them times a row of *units*: (0, …, 0, 1) for maps, (S_1, …, S_N) at points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from theodolite.maths.polyhedra import Point, dyadic
from theodolite.theory.piecewise.cells import PAIR
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching

__all__ = ["RationalProgram", "Value", "chart_rows", "chart_start", "constant_only"]

Value: TypeAlias = tuple[Array, int]


def chart_start(chart: Chart) -> Value:
    """The input as an exact affine map of the chart's coordinates, (D, d + 1)."""
    return dyadic(chart.start[0].T)


def chart_rows(chart: Chart) -> list[tuple[int, ...]]:
    """The chart's facets as exact rows (a, c), a·t + c ≥ 0 inside; those of a polygon run through its vertices exactly."""
    if chart.is_box or chart.dim != 2:
        return [tuple(int(x) for x in dyadic(row)[0]) for row in chart.halfspaces]
    rows: list[tuple[int, ...]] = []
    for p, q in zip(chart.vertices, np.roll(chart.vertices, -1, axis=0), strict=True):
        (px, py, qx, qy), e = dyadic([*p, *q])
        # counter-clockwise: the inside is on the left of p → q; all terms over 2^{2e}
        rows.append((-(qy - py) << e, (qx - px) << e, (qy - py) * px - (qx - px) * py))
    return rows


@dataclass(frozen=True, eq=False)
class RationalProgram:
    """The steps of a program on exact values.

    Attributes:
        program: the program.
    """

    program: Program

    @cached_property
    def _constants(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for step in self.program.steps:
            if isinstance(step, Affine):
                found.append((tuple(_exact_weight(w) for w in step.weights), dyadic(step.bias)))
            elif isinstance(step, Switching):
                found.append((dyadic(step.knots), dyadic(step.slopes), dyadic(step.offsets)))
            else:
                found.append(())
        return found

    def affine(self, index: int, values: dict[int, Value], units: Array) -> Value:
        """An affine step on exact values."""
        step = self.program.steps[index]
        assert isinstance(step, Affine)
        weights, (bias, bias_exponent) = self._constants[index]
        terms = [_product(w, values[s]) for s, w in zip(step.sources, weights, strict=True)]
        exponent = max([bias_exponent, *(e for _, e in terms)])
        total = np.zeros((step.size, terms[0][0].shape[1]), dtype=object)
        for term, e in terms:
            total = total + (term * (1 << (exponent - e)) if exponent > e else term)
        return total + np.multiply.outer(bias, units * (1 << (exponent - bias_exponent))), exponent

    def rows(self, index: int, value: Value, units: Array) -> Array:
        """Integers with the signs of all switches of a `Switching` step: (n·K, columns), one row per switch."""
        step = self.program.steps[index]
        assert isinstance(step, Switching)
        knots, knot_exponent = self._constants[index][0]
        array, exponent = value
        if not step.knots.any():
            return np.repeat(array, step.knots.shape[1], axis=0)
        common = max(exponent, knot_exponent)
        rows = np.repeat(array * (1 << (common - exponent)), step.knots.shape[1], axis=0)
        return np.asarray(rows - np.multiply.outer(knots.ravel(), units * (1 << (common - knot_exponent))))

    def nonlinear(self, index: int, value: Value, bits: Any, units: Array) -> Value:
        """A `Switching` or `Maximum` step on an exact value under a pattern (switches,), or one per column (switches, N)."""
        step = self.program.steps[index]
        array, exponent = value
        pattern = np.asarray(bits, dtype=np.int64)
        pattern = pattern.reshape(len(pattern), -1)  # (switches, 1 or N)
        if isinstance(step, Maximum):
            winners = step.winners(pattern.T).T
            return (array[winners[:, 0]] if winners.shape[1] == 1 else np.take_along_axis(array, winners, axis=0)), exponent
        assert isinstance(step, Switching)
        if step.is_relu:
            return np.where(pattern > 0, array, 0), exponent
        _, (slopes, slope_exponent), (offsets, offset_exponent) = self._constants[index]
        piece = pattern.reshape(*step.knots.shape, -1).sum(axis=1)
        entry = np.arange(step.size)[:, None]
        common = max(exponent + slope_exponent, offset_exponent)
        out = array * slopes[entry, piece] * (1 << (common - exponent - slope_exponent))
        return out + offsets[entry, piece] * (units * (1 << (common - offset_exponent))), common

    def maps(self, start: Value, bits: Any, stop: int | None = None) -> dict[int, Value]:
        """Exact maps of all values up to step ``stop`` (all, if None) under a pattern over all columns before it."""
        values: dict[int, Value] = {0: start}
        units = constant_only(start[0].shape[1])
        for i, step in enumerate(self.program.steps[:stop]):
            if isinstance(step, Affine):
                values[i + 1] = self.affine(i, values, units)
            else:
                low, high = self.program.columns[i]
                values[i + 1] = self.nonlinear(i, values[step.source], bits[low:high], units)
        return values

    def label_row(self, label: int, values: dict[int, Value]) -> tuple[int, ...]:
        """The exact row of a switch's label, given the exact maps of the values before it."""
        first, second = label % PAIR, label // PAIR - 1
        index = next(i for i, (low, high) in self.program.columns.items() if low <= first < high)
        low = self.program.columns[index][0]
        step = self.program.steps[index]
        assert not isinstance(step, Affine)
        array, _ = values[step.source]
        if isinstance(step, Maximum):
            entries = step.groups.ravel()
            return tuple(array[entries[first - low]] - array[entries[second - low]])
        entry, part = divmod(first - low, step.knots.shape[1])
        if not step.knots[entry, part]:
            return tuple(array[entry])
        return tuple(self.rows(index, values[step.source], constant_only(array.shape[1]))[first - low])

    def forward(self, point: Sequence[Any]) -> tuple[list[Fraction], list[int]]:
        """The network at a rational input: (outputs, pattern), with nothing rounded.

        Args:
            point: D numbers, each an int, float (exact as it stands), Fraction or flint.fmpq.
        """
        fractions = [_fraction(x) for x in point]
        unit = int(np.lcm.reduce(np.array([f.denominator for f in fractions], dtype=object)))
        start = np.array([[int(f * unit)] for f in fractions], dtype=object)
        (array, exponent), pattern = self.evaluate(start, np.array([unit], dtype=object))
        return [Fraction(int(v), unit << exponent) for v in array[:, 0]], [int(b) for b in pattern[:, 0]]

    def evaluate(self, start: Array, units: Array) -> tuple[Value, Array]:
        """The outputs at N inputs, columns of ``start`` (D, N) over ``units`` (N,), and the patterns there, (switches, N)."""
        values: dict[int, Value] = {0: (start, 0)}
        patterns = [np.zeros((0, len(units)), dtype=np.uint8)]
        for i, step in enumerate(self.program.steps):
            if isinstance(step, Affine):
                values[i + 1] = self.affine(i, values, units)
                continue
            if isinstance(step, Switching):
                bits = (self.rows(i, values[step.source], units) > 0).astype(np.uint8)
            else:
                bits = _winners(step, values[step.source][0])
            values[i + 1] = self.nonlinear(i, values[step.source], bits, units)
            patterns.append(bits)
        return values[len(self.program.steps)], np.concatenate(patterns)

    def at(self, start: Value, points: Sequence[Point]) -> tuple[Array, Array]:
        """Points of a chart as inputs: integers (D, N) and their units (N,), from the chart's exact start."""
        array, exponent = start
        columns = np.array(points, dtype=object).T
        return array @ columns, columns[-1] * (1 << exponent)


def constant_only(columns: int) -> Array:
    """The units of maps: only their last column is a constant."""
    units = np.zeros(columns, dtype=object)
    units[-1] = 1
    return units


def _winners(step: Maximum, values: Array) -> Array:
    """Patterns of a maximum at points, (switches, N): ties go to the first candidate."""
    bits = np.zeros((*step.groups.shape, values.shape[1]), dtype=np.uint8)
    for group, row in zip(step.groups, bits, strict=True):
        candidates = values[group[group >= 0]]
        row[candidates.argmax(axis=0), np.arange(values.shape[1])] = 1
    return bits.reshape(-1, values.shape[1])


def _fraction(x: Any) -> Fraction:
    if hasattr(x, "p") and hasattr(x, "q"):  # flint.fmpq
        return Fraction(int(x.p), int(x.q))
    return Fraction(x) if isinstance(x, (int, Fraction)) else Fraction(float(x))


def _exact_weight(weight: Any) -> Any:
    if weight is None:
        return None
    if isinstance(weight, np.ndarray):
        return dyadic(weight)
    data, exponent = dyadic(weight.data)
    return data, exponent, weight.indices, weight.indptr


def _product(weight: Any, value: Value) -> Value:
    array, exponent = value
    if weight is None:
        return array, exponent
    if len(weight) == 2:
        matrix, e = weight
        live = np.array([any(row) for row in array], dtype=bool)  # most maps vanish after a ReLU
        if not live.any():
            return np.zeros((len(matrix), array.shape[1]), dtype=object), e + exponent
        return matrix[:, live] @ array[live], e + exponent
    data, e, indices, indptr = weight
    out = np.zeros((len(indptr) - 1, array.shape[1]), dtype=object)
    terms = data[:, None] * array[indices]
    for i in range(len(out)):
        if indptr[i] < indptr[i + 1]:
            out[i] = terms[indptr[i] : indptr[i + 1]].sum(axis=0)
    return out, e + exponent

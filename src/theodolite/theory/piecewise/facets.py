"""The half-spaces of a partition, each once, and which of them bound which region; in float64 and in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.maths.moments import cell_moments
from theodolite.theory.piecewise.cells import PAIR, UNIT
from theodolite.theory.piecewise.errors import error_bounds
from theodolite.theory.piecewise.exactcells import ExactChart
from theodolite.theory.piecewise.program import Array
from theodolite.theory.piecewise.regions import Regions

__all__ = ["FacetTable"]

#: Points that are evaluated at a time over ℚ.
BATCH = 256

#: Width relative to the domain below which a region is thin; roundings that a violation may be made of, and without certificates
#: the distance of boundaries that may count as one.
THIN, ROUNDINGS, RESOLUTION = 1e-10, 16, 1e-12

#: Labels of the ends of a piece of a path.
LOWER, UPPER = -1, -2


@dataclass(frozen=True, eq=False)
class FacetTable:
    """Half-spaces a·x + c of the regions' facets inside the domain, the corners of a path included.

    Attributes:
        regions: the partition.
        rows: (h, d + 1), distinct.
        region: (E,): for every pair of a region and one of its half-spaces, the region …
        row: (E,): … and the half-space.
        required: (E,): 1 where the region needs a·x + c > 0, −1 where it needs a·x + c ≤ 0.
        sources: (h,): a facet of the regions' cells from which each half-space comes.
        turned: (h,): −1 where the half-space is that facet's row with its sign changed, else 1.
    """

    regions: Regions
    rows: Array
    region: Array
    row: Array
    required: Array
    sources: Array
    turned: Array
    _exact: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, regions: Regions, oriented: bool) -> FacetTable:
        """The table of a partition.

        Args:
            regions: a complete partition.
            oriented: turn every half-space so that its regions satisfy a·x + c ≤ 0 (a hyperplane used from both sides then
                appears twice); otherwise each hyperplane stands once, as the deep network computes it.
        """
        cells = regions.cells
        owners = np.repeat(np.arange(regions.count), np.diff(cells.facet_starts))
        corner = _corners(regions, owners)
        inner = np.flatnonzero((cells.labels >= 0) | (corner >= 0))
        if not regions.has_vertices:
            kept = np.concatenate([np.asarray(regions._needed(i), int) + cells.facet_starts[i] for i in range(regions.count)])
            inner = np.intersect1d(inner, kept)
        owner, corner = owners[inner], corner[inner]
        raw = cells.facets[inner, : regions.dim + 1]
        facing = regions._oriented[inner]
        above = np.where((facing == -raw).all(axis=1) & (raw != 0).any(axis=1), 1, -1)  # a·x + c ≥ 0 inside
        # a maximum's facet is stored as winner minus loser by its winner, and the other way round across it
        column, partner = cells.labels[inner] % PAIR, cells.labels[inner] // PAIR - 1
        swap = (partner >= 0) & (partner < column)
        # a corner of a path is the upper end of one piece and the lower end of the next
        swap[corner >= 0] = cells.labels[inner][corner >= 0] == UPPER
        base = np.where(swap[:, None], -raw, raw)
        above = np.where(swap, -above, above)
        chosen = np.where(above[:, None] > 0, -base, base) if oriented else base
        first, second = np.where(swap, partner, column), np.where(swap, column, partner)
        first[corner >= 0], second[corner >= 0] = -1, -1
        chart = np.where(corner >= 0, -1 - corner, regions.charts[owner])
        key = np.concatenate([chosen + 0.0, first[:, None], second[:, None], chart[:, None]], axis=1)
        _, source, row = np.unique(key, axis=0, return_index=True, return_inverse=True)
        row = row.reshape(-1)
        turned = np.where((chosen[source] == raw[source]).all(axis=1), 1, -1)
        order = np.lexsort((row, owner))
        return cls(regions, chosen[source], owner[order], row[order], above[order].astype(np.float64), inner[source], turned)

    @property
    def dim(self) -> int:
        """d."""
        return self.regions.dim

    @property
    def count(self) -> int:
        """Number of regions."""
        return self.regions.count

    @property
    def affine(self) -> tuple[Array, Array]:
        """A (R, outputs, d) and b (R, outputs)."""
        return self.regions.affine

    @cached_property
    def margin(self) -> float:
        """A power of two above |A_i x + b_i| for all regions i and all x of the domain."""
        domain = self.regions.domain
        if domain is None:
            return math.inf
        reach = np.max([chart.reach for chart in domain.charts], axis=0)
        weight, bias = self.affine
        largest = (np.abs(weight) @ reach + np.abs(bias)).max()
        return float(2.0 ** np.ceil(np.log2(max(float(largest), 2.0**-40)) + 1))

    @cached_property
    def handicap(self) -> Array:
        """What a thin region's violation is charged when the least one is looked for, (R,): as much as rounding may make of none.

        Nearly parallel facets of a sliver pass near points that are far from it, at which its violation rounds to nothing.
        """
        regions = self.regions
        if regions.domain is None or not regions.has_vertices or not len(self.rows):
            return np.zeros(self.count)
        reach = np.append(np.max([chart.reach for chart in regions.domain.charts], axis=0), 1.0)
        points, starts = regions.cells.points[:, :-1] / regions._extent, regions.cells.starts
        span = np.maximum.reduceat(points, starts[:-1], axis=0) - np.minimum.reduceat(points, starts[:-1], axis=0)
        width = cell_moments(points, starts, regions.cells.masks)[0] / np.maximum(span.max(axis=1), 1e-300) ** (self.dim - 1)
        resolution = RESOLUTION if regions.certify == "none" else ROUNDINGS * UNIT
        return np.where(width < THIN, resolution * (np.abs(self.rows) @ reach).max(), 0.0)

    @cached_property
    def names(self) -> list[str]:
        """What each half-space is, in words."""
        labels = self.regions.cells.labels[self.sources]
        name = self.regions.program.column_name
        return [name(int(label % PAIR)) if label >= 0 else "a corner of the path" for label in labels]

    # exact arithmetic --------------------------------------------------------------------------------------------------------

    def _charts(self) -> list[ExactChart]:
        if "charts" not in self._exact:
            domain = self.regions.domain
            if domain is None:
                raise ArgumentError("exact evaluation needs a bounded domain; pass a box instead of None")
            self._exact["charts"] = [ExactChart(self.regions.program, chart) for chart in domain.charts]
        return self._exact["charts"]

    def _exact_row(self, k: int) -> tuple[int, ...]:
        """Half-space k over ℤ, up to a positive factor."""
        if ("row", k) not in self._exact:
            facet = self.sources[k]
            owner = int(np.searchsorted(self.regions.cells.facet_starts, facet, side="right") - 1)
            values = self._region_maps(owner)
            row = self._charts()[self.regions.charts[owner]].facet_row(int(self.regions.cells.labels[facet]), values)
            self._exact["row", k] = tuple(int(self.turned[k]) * int(x) for x in row)
        return self._exact["row", k]

    @cached_property
    def _row_errors(self) -> Array:
        """Bounds on the errors of the half-spaces' values on the domain, (h,)."""
        program = self.regions.program
        labels = self.regions.cells.labels[self.sources]
        bounds = [error_bounds(program, chart.chart) for chart in self._charts()]
        table = [np.concatenate([*(found[i] for i in program.nonlinear), np.zeros(1)]) for found in bounds]
        return np.asarray(np.max(table, axis=0)[np.where(labels >= 0, labels % PAIR, -1)])  # a corner t − k has no error

    def _region_maps(self, i: int) -> Any:
        return self._charts()[self.regions.charts[i]].maps(self.regions.patterns[i].astype(np.uint8))

    def evaluate(self, points: Sequence[Sequence[Any]], mode: str) -> list[list[Fraction]]:
        """The three-layer network over ℚ; see `Shallow.rational`."""
        given = _points(points, self.dim)
        found = [[Fraction(0)] * self.regions.maps.shape[2] for _ in given]
        for low in range(0, len(given), BATCH):
            batch = given[low : low + BATCH]
            regions, which = np.nonzero(self._matching(batch, mode))  # region after region: their exact maps are worked out once
            for i in np.unique(regions):
                array, exponent = self._region_maps(int(i))[len(self.regions.program.steps)]
                mine = which[regions == i]
                corners = np.array([_homogeneous(batch[k]) for k in mine], dtype=object)
                values = array @ corners.T
                for k, corner, column in zip(mine, corners, values.T, strict=True):
                    terms = (Fraction(int(v), int(corner[-1]) << exponent) for v in column)
                    found[low + k] = [total + term for total, term in zip(found[low + k], terms, strict=True)]
        return found

    def evaluate_deep(self, points: Sequence[Sequence[Any]]) -> list[list[Fraction]]:
        """The deep network over ℚ at the same points of the domain."""
        given = _points(points, self.dim)
        found: list[list[Fraction]] = [[] for _ in given]
        owners = np.array([self._chart_of(point) for point in given])
        for c, chart in enumerate(self._charts()):
            mine = np.flatnonzero(owners == c)
            for low in range(0, len(mine), BATCH):
                batch = mine[low : low + BATCH]
                start, units = chart.rational.at(chart.start, [_homogeneous(given[k]) for k in batch])
                (array, exponent), _ = chart.rational.evaluate(start, units)
                for k, unit, column in zip(batch, units, array.T, strict=True):
                    found[k] = [Fraction(int(v), int(unit) << exponent) for v in column]
        return found

    def _chart_of(self, point: list[Fraction]) -> int:
        return min(max(math.floor(point[0]), 0), len(self._charts()) - 1) if len(self._charts()) > 1 else 0

    def _signs(self, points: list[list[Fraction]]) -> Array:
        """Exact signs of all half-spaces at N points, (h, N): from floats where their error bound allows, else over ℤ."""
        p = np.array([[float(f) for f in point] for point in points]).T
        values = self.rows[:, :-1] @ p + self.rows[:, -1:]
        sizes = np.abs(self.rows[:, :-1]) @ np.abs(p) + np.abs(self.rows[:, -1:])
        errors = self._row_errors[:, None] + 1e-14 * sizes
        signs = np.sign(values).astype(int)
        for k, n in zip(*np.nonzero(np.abs(values) <= errors), strict=True):
            total = sum(a * x for a, x in zip(self._exact_row(int(k)), _homogeneous(points[n]), strict=True))
            signs[k, n] = (total > 0) - (total < 0)
        return signs

    def _matching(self, points: list[list[Fraction]], mode: str) -> Array:
        """Which regions answer at which of N points, (R, N): all whose half-spaces hold; of these the first in mode ``exact``."""
        from scipy.sparse import csr_matrix

        signs = self._signs(points)
        above, below = (signs > 0).astype(np.int64), (signs <= 0).astype(np.int64)

        def selector(entries: Array) -> Any:
            ones = np.ones(int(entries.sum()), dtype=np.int64)
            return csr_matrix((ones, (self.region[entries], self.row[entries])), shape=(self.count, len(self.rows)))

        if mode == "finite":  # half-open, as the deep network switches
            violated = selector(self.required > 0) @ below + selector(self.required < 0) @ above
        else:
            violated = selector(self.required != 0) @ above
        good = violated == 0
        if mode == "exact":
            good &= np.cumsum(good, axis=0) == 1
        return np.asarray(good)


def _corners(regions: Regions, owners: Array) -> Array:
    """For every facet of the regions, the inner corner k of a path that it is, t = k; −1 where it is none."""
    last = 0 if regions.domain is None else len(regions.domain.charts) - 1
    charts, labels = regions.charts[owners], regions.cells.labels
    lower, upper = (labels == LOWER) & (charts > 0), (labels == UPPER) & (charts < last)
    return np.where(lower, charts, np.where(upper, charts + 1, -1))


def _homogeneous(point: Sequence[Fraction]) -> tuple[int, ...]:
    """A rational point as integers X and the unit S, X / S."""
    unit = math.lcm(*(f.denominator for f in point))
    return (*(int(f * unit) for f in point), unit)


def _points(points: Any, dim: int) -> list[list[Fraction]]:
    if isinstance(points, str) or not isinstance(points, Iterable):
        raise ArgumentError(f"points must have shape (N, {dim}), a list of points, got {points!r}")
    return [_fractions(point, dim) for point in points]


def _fractions(point: Sequence[Any], dim: int) -> list[Fraction]:
    if isinstance(point, str) or not hasattr(point, "__len__"):
        raise ArgumentError(f"points must have shape (N, {dim}), a list of points, got {point!r} for a point")
    if len(point) != dim:
        raise ArgumentError(f"points must have {dim} coordinates, got {len(point)}")
    return [_fraction(x) for x in point]


def _fraction(x: Any) -> Fraction:
    if hasattr(x, "p"):  # flint.fmpq
        return Fraction(int(x.p), int(x.q))
    try:
        return Fraction(x) if isinstance(x, (int, Fraction)) else Fraction(float(x))
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"points must hold finite numbers, got {x!r}") from error

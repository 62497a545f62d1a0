"""Proofs in exact arithmetic, after the fact: whatever found the regions, these checks stand on their own.

A list of regions with patterns is proved to be the network's partition of a box or polygon by three facts over ℚ: on the true
vertices of every region each switch has the side that the pattern says (hence, by convexity, everywhere inside it, so that the
network is the pattern's affine map there); different regions have different patterns (hence disjoint interiors); and their volumes
add up to the domain's exactly (hence they leave nothing out).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from theodolite.maths.polyhedra import Polytope, volume
from theodolite.theory.piecewise.domains import Chart, identity_map
from theodolite.theory.piecewise.exactcells import ExactChart
from theodolite.theory.piecewise.program import Affine, Array, Switching
from theodolite.theory.piecewise.rational import constant_only

if TYPE_CHECKING:
    from theodolite.theory.piecewise.regions import Regions

__all__ = ["Certificate", "certify_regions", "exact_polytopes", "exact_total_volume", "refine_classes"]


@dataclass(frozen=True)
class Certificate:
    """What was proved over the rationals.

    Attributes:
        regions: number of regions checked.
        vertices: number of region vertices at which both networks were evaluated.
        patterns_hold: every switch has the side of the region's pattern at all its vertices, and no two regions share a pattern.
        area_exact: the volumes add up to the domain's, exactly.
        equal_at_all_vertices: both networks agree at every vertex, exactly.
    """

    regions: int
    vertices: int
    patterns_hold: bool
    area_exact: bool
    equal_at_all_vertices: bool

    def __bool__(self) -> bool:
        """Whether equality on the whole domain is proved."""
        return self.patterns_hold and self.area_exact and self.equal_at_all_vertices

    @property
    def vertices_checked(self) -> int:
        """The same as ``vertices``."""
        return self.vertices


def _charts(regions: Regions) -> list[ExactChart]:
    if "exact charts" not in regions._cache:
        unit = np.stack([-np.ones(regions.dim), np.ones(regions.dim)])  # all of ℝᵈ has the coordinates of any box
        charts = (Chart(identity_map(regions.dim), unit, True),) if regions.domain is None else regions.domain.charts
        regions._cache["exact charts"] = [ExactChart(regions.program, chart) for chart in charts]
    return regions._cache["exact charts"]


def exact_polytopes(regions: Regions, i: int) -> Polytope:
    """Region i with its true vertices."""
    exact = _charts(regions)[regions.charts[i]]
    values = exact.maps(regions.patterns[i].astype(np.uint8))
    return exact.polytope(regions.cells, i, values)


def exact_total_volume(regions: Regions) -> Fraction:
    """Σ of the exact volumes."""
    return sum((volume(exact_polytopes(regions, i)) for i in range(regions.count)), start=Fraction(0))


def _domain_volume(regions: Regions) -> Fraction:
    assert regions.domain is not None
    total = Fraction(0)
    for chart in regions.domain.charts:
        if chart.is_box:
            sides = [Fraction(float(h)) - Fraction(float(low)) for low, h in zip(*chart.vertices, strict=True)]
            total += np.prod(np.array(sides, dtype=object))
        else:
            corners = [tuple(Fraction(float(x)) for x in v) for v in chart.vertices]
            cyclic = zip(corners, corners[1:] + corners[:1], strict=True)
            total += abs(sum((p[0] * q[1] - q[0] * p[1] for p, q in cyclic), start=Fraction(0))) / 2
    return total


def certify_regions(regions: Regions) -> Certificate:
    """Check all regions over ℚ, and the deep network against each region's affine map at all its vertices."""
    vertices = 0
    total = Fraction(0)
    patterns_hold = len({(int(c), b.tobytes()) for c, b in zip(regions.charts, regions.bits, strict=True)}) == regions.count
    equal = True
    for i in range(regions.count):
        exact = _charts(regions)[regions.charts[i]]
        pattern = regions.patterns[i].astype(np.uint8)
        values = exact.maps(pattern)
        polytope = exact.polytope(regions.cells, i, values)
        total += volume(polytope)
        vertices += len(polytope.vertices)
        patterns_hold = patterns_hold and _pattern_holds(exact, polytope, pattern, values)
        equal = equal and _agrees(exact, polytope, values)
    return Certificate(regions.count, vertices, patterns_hold, total == _domain_volume(regions), equal)


def _pattern_holds(exact: ExactChart, polytope: Polytope, pattern: Array, values: dict[int, tuple[Array, int]]) -> bool:
    points = np.array(polytope.vertices, dtype=object).T  # (d + 1, k)
    for index, (low, high) in exact.program.columns.items():
        step = exact.program.steps[index]
        assert not isinstance(step, Affine)
        bits = pattern[low:high]
        if isinstance(step, Switching):
            sides = exact.rational.rows(index, values[step.source], constant_only(polytope.dim + 1)) @ points
            if not ((np.where(bits[:, None] > 0, sides, -sides) >= 0).all() and _some_side(sides, bits)):
                return False
        else:
            table = values[step.source][0] @ points
            winners = table[step.winners(bits[None])[0]]
            if any((winners < np.where(slot[:, None] >= 0, table[slot], winners)).any() for slot in step.groups.T):
                return False
    return True


def _some_side(sides: Array, bits: Array) -> bool:
    """A switch that is on must be positive somewhere: one that vanishes on the region is off."""
    return bool((sides[bits > 0] > 0).any(axis=1).all()) if (bits > 0).any() else True


def _agrees(exact: ExactChart, polytope: Polytope, values: dict[int, tuple[Array, int]]) -> bool:
    array, exponent = values[len(exact.program.steps)]
    start, units = exact.rational.at(exact.start, polytope.vertices)
    (deep, deep_exponent), _ = exact.rational.evaluate(start, units)
    corners = np.array(polytope.vertices, dtype=object).T
    shallow = array @ corners  # over corners[-1] 2^exponent
    return bool((deep * (corners[-1] * (1 << exponent)) == shallow * (units * (1 << deep_exponent))).all())


def refine_classes(regions: Regions, classes: Array) -> Array:
    """Split classes of maps that agree within rounding into those that agree exactly."""
    out = classes.copy()
    fresh = int(classes.max(initial=-1)) + 1
    values, counts = np.unique(classes, return_counts=True)
    for value in values[counts > 1]:
        seen: dict[tuple[object, ...], int] = {}
        for i in np.flatnonzero(classes == value):
            exact = _charts(regions)[regions.charts[i]]
            array, exponent = exact.maps(regions.patterns[i].astype(np.uint8))[len(regions.program.steps)]
            key = tuple(Fraction(int(x), 1 << exponent) for x in array.ravel())
            if key not in seen:
                seen[key] = value if not seen else fresh
                fresh += int(seen[key] == fresh)
            out[i] = seen[key]
    return np.unique(out, return_inverse=True)[1].reshape(-1)

"""The linear regions of a network on a domain, with all that follows exactly from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.arrays import as_float64, on_host
from theodolite.core.errors import ArgumentError, NumericalError, UnsupportedError
from theodolite.theory.piecewise.adjacency import PatternIndex, containing, facet_neighbours, same_maps
from theodolite.theory.piecewise.analysis import extreme, integral, lipschitz, moments, variance
from theodolite.theory.piecewise.arguments import integer, plain_path
from theodolite.theory.piecewise.cells import Cells
from theodolite.theory.piecewise.domains import Domain
from theodolite.theory.piecewise.enumeration import unpack_patterns
from theodolite.theory.piecewise.errors import error_bounds, likely_errors
from theodolite.theory.piecewise.orientation import needed, oriented
from theodolite.theory.piecewise.program import Array, Program

if TYPE_CHECKING:
    from fractions import Fraction

    from matplotlib.axes import Axes

__all__ = ["Regions"]


@dataclass(eq=False, repr=False)
class Regions:
    """All activation regions of a network on a domain; made by `theodolite.piecewise.regions`.

    An *activation region* is a maximal set on which every switch (z > 0 of a ReLU, z > knot in general, the winner of a maximum)
    keeps its state, with non-empty interior. Coordinates, affine maps and volumes are the domain's own.

    Attributes:
        program: the network.
        domain: where; None for all of ℝᵈ.
        cells: geometry of the regions. Those on all of ℝᵈ or found by linear programming have facets, but no vertices.
        charts: (R,): which convex piece of the domain a region lies in.
        bits: (R, bytes): packed patterns.
        maps: (R, d + 1, outputs): slopes and constant.
        witnesses: (R, d): a point in the interior of each region without vertices; else empty.
        complete: whether all regions were found (``max_regions`` may have stopped the search).
        certify: ``none``, ``filtered`` or ``exact``.
        irredundant: whether the half-spaces of regions without vertices are known to be facets, all of them.
        whole: whether these are regions of the whole domain, not of a tile.
    """

    program: Program
    domain: Domain | None
    cells: Cells
    charts: Array
    bits: Array
    maps: Array
    witnesses: Array
    complete: bool
    certify: str
    irredundant: bool = False
    whole: bool = True

    # what there is -----------------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Number of activation regions with interior."""
        return len(self.bits)

    def __len__(self) -> int:
        return self.count

    @property
    def dim(self) -> int:
        """d, the number of the domain's coordinates."""
        return self.maps.shape[1] - 1

    @property
    def has_vertices(self) -> bool:
        """Whether regions were enumerated with their vertices (bounded domain, d ≤ 6)."""
        return len(self.witnesses) == 0

    @cached_property
    def patterns(self) -> Array:
        """(R, switches) booleans: for ReLU networks one column per hidden neuron, layer by layer, true where it is active."""
        return unpack_patterns(self.program, self.bits).astype(bool)

    @property
    def affine(self) -> tuple[Array, Array]:
        """The network on each region, f(t) = A t + b: A (R, outputs, d) and b (R, outputs)."""
        return np.ascontiguousarray(self.maps[:, :-1, :].transpose(0, 2, 1)), self.maps[:, -1, :].copy()

    @cached_property
    def vertices(self) -> list[Array]:
        """Vertices of each region, (k_i, d); in order around it for d = 2.

        Raises:
            UnsupportedError: the regions have none (unbounded domain, or d > 6).
        """
        self._need_vertices("vertices")
        points = self.cells.points[:, :-1]
        return [points[a:b] for a, b in zip(self.cells.starts[:-1], self.cells.starts[1:], strict=True)]

    @property
    def volumes(self) -> Array:
        """Length, area or volume of each region, (R,)."""
        return self._moments[0]

    @property
    def centroids(self) -> Array:
        """Centre of mass of each region, (R, d)."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Array, Array, Array]:
        self._need_vertices("volumes and integrals")
        return moments(self)

    @cached_property
    def pieces(self) -> int:
        """Number of distinct affine maps; never more than ``count``.

        Maps are the same when they agree within the rounding of their computation; in a certified enumeration those that do are
        compared in exact arithmetic.
        """
        return int(self.map_classes.max(initial=-1)) + 1

    @cached_property
    def map_classes(self) -> Array:
        """(R,): regions with equal numbers have equal affine maps."""
        flat = self.maps.reshape(self.count, -1)
        classes = same_maps(flat * self._map_scale, np.tile(self._map_tolerance, self.maps.shape[1]))
        if self.certify == "none":
            return classes
        from theodolite.theory.piecewise.certificate import refine_classes

        return refine_classes(self, classes)

    @cached_property
    def _map_scale(self) -> Array:
        """Sizes of the domain's coordinates, so that errors of coefficients compare with errors of values."""
        size = np.ones(self.dim + 1)
        if self.domain is not None:
            size[:-1] = np.max([chart.reach for chart in self.domain.charts], axis=0)
        return np.repeat(size, self.maps.shape[2])

    @cached_property
    def _map_tolerance(self) -> Array:
        """Twice the likely error of the outputs on the domain, (outputs,): two maps that are one differ by no more."""
        if self.domain is None:
            return 1e-11 * np.maximum(np.abs(self.maps).max(axis=(0, 1)), 1e-300)
        program, last = self.program, len(self.program.steps)
        found = [likely_errors(program, chart, error_bounds(program, chart))[last] for chart in self.domain.charts]
        return 2 * np.max(found, axis=0)

    def halfspaces(self, i: int) -> tuple[Array, Array]:
        """Region i as {t : H t + c ≤ 0}, one row per facet.

        Rows are the pre-activation maps of the switches that flip there, with their sign, and the domain's own facets.

        Returns:
            H (F, d) and c (F,).
        """
        if integer(i, "i", least=-self.count) >= self.count:
            raise ArgumentError(
                f"i must be from {-self.count} to {self.count - 1}, the number of regions being {self.count}, got {i}"
            )
        i = int(i) % self.count
        rows = self._oriented[self.cells.facet_starts[i] : self.cells.facet_starts[i + 1]]
        if not self.has_vertices:
            rows = rows[self._needed(i)]
        return rows[:, :-1].copy(), rows[:, -1].copy()

    @cached_property
    def _oriented(self) -> Array:
        """Facet rows (F, d + 1), ≤ 0 inside."""
        return oriented(self)

    def _needed(self, i: int) -> list[int]:
        """Facets among the kept half-spaces of a region without vertices."""
        if self.irredundant:
            return list(range(self.cells.facet_starts[i + 1] - self.cells.facet_starts[i]))
        key = f"needed {i}"
        if key not in self._cache:
            self._cache[key] = needed(self, i)
        return self._cache[key]

    @cached_property
    def _cache(self) -> dict[str, Any]:
        """What has been worked out."""
        return {}

    @property
    def dead(self) -> Array:
        """Pattern columns that are off everywhere on the domain."""
        self._need_all("a statement about the whole domain")
        return np.flatnonzero(~self.patterns.any(axis=0))

    @property
    def always_on(self) -> Array:
        """Pattern columns that are on everywhere on the domain."""
        self._need_all("a statement about the whole domain")
        return np.flatnonzero(self.patterns.all(axis=0))

    # where things are --------------------------------------------------------------------------------------------------------

    @cached_property
    def index(self) -> PatternIndex:
        """Regions by pattern."""
        return PatternIndex(self.patterns, self.charts)

    @cached_property
    def neighbours(self) -> Array:
        """Pairs (i, j), i < j, of regions that share a facet, (P, 2)."""
        cells = self.cells
        if not self.has_vertices:
            kept = [self._needed(i) for i in range(self.count)]
            rows = np.concatenate([np.asarray(k, dtype=int) + s for k, s in zip(kept, cells.facet_starts, strict=False)])
            starts = np.concatenate([[0], np.cumsum([len(k) for k in kept])])
            cells = Cells(cells.points, cells.starts, cells.facets[rows], cells.labels[rows], starts, cells.masks)
        return facet_neighbours(cells, self.index, 1e-9 * self._extent)

    @cached_property
    def _extent(self) -> Array:
        """Sizes of the domain along the coordinates, (d,)."""
        if self.domain is None:
            return np.ones(self.dim)
        return np.asarray(np.ptp(np.concatenate([chart.vertices for chart in self.domain.charts]), axis=0))

    def locate(self, x: Any) -> Any:
        """The region of points of the domain: an index, or an array of them; −1 outside the domain (or of what was found).

        A point on a boundary belongs to the region with its own pattern (z > 0), or, where that pattern has no interior, to the
        lowest-numbered region whose closure holds it.

        Args:
            x: (d,) or (N, d), in the domain's coordinates.
        """
        points, single = self._points(x)
        found = np.full(len(points), -1)
        inside = np.ones(len(points), dtype=bool) if self.domain is None else self.domain.contains(points, 1e-12)
        if inside.any() and self.count:
            found[inside] = containing(self, points[inside])
        return int(found[0]) if single else found

    def _points(self, x: Any) -> tuple[Array, bool]:
        points = on_host(as_float64(x, "x"))
        single = points.ndim == 0 or (points.ndim == 1 and (self.dim > 1 or len(points) == 1))
        points = points.reshape(1, -1) if single else points.reshape(-1, 1) if points.ndim == 1 else points
        if points.ndim != 2 or points.shape[1] != self.dim:
            raise ArgumentError(f"x must have shape ({self.dim},) or (N, {self.dim}), got {np.shape(x)}")
        return points, single

    def __call__(self, x: Any) -> Array:
        """The network from its pieces: A_i x + b_i in the region i of x; (outputs,) or (N, outputs), NaN outside."""
        points, single = self._points(x)
        where = self.locate(points)
        chosen = self.maps[where]
        values = np.einsum("ni,nio->no", points, chosen[:, :-1]) + chosen[:, -1]
        values[where < 0] = np.nan
        return values[0] if single else values

    def to_input(self, points: Any) -> Array:
        """Points of the domain, (..., d), as inputs of the network, (..., D)."""
        if self.domain is None:
            return on_host(as_float64(points, "points"))
        return self.domain.to_input(points)

    # what follows ------------------------------------------------------------------------------------------------------------

    def maximum(self) -> tuple[Any, Array]:
        """The largest value on the closed domain and where it is taken: (value, argument).

        With several outputs: values (outputs,) and arguments (outputs, d).

        Raises:
            NumericalError: the network is unbounded on an unbounded domain.
        """
        return extreme(self, 1.0)

    def minimum(self) -> tuple[Any, Array]:
        """The smallest value on the closed domain and where it is taken, as `maximum`."""
        return extreme(self, -1.0)

    def lipschitz(self, p: float = 2) -> float:
        """The smallest L with |f(s) − f(t)| ≤ L ‖s − t‖_p on the domain (on each convex piece of it).

        One output: the largest dual norm ‖∇f‖_q, 1/p + 1/q = 1, over the regions. Several outputs: the largest induced norm
        ‖A_i‖_{p→p}, for p = 1, 2 or ∞.

        Args:
            p: the norm on the domain's coordinates, 1 ≤ p ≤ ∞ (``numpy.inf``).
        """
        return lipschitz(self, p)

    def integral(self) -> Any:
        """∫ f over the domain, in its own coordinates; a number, or (outputs,).

        Raises:
            UnsupportedError: an unbounded domain, or regions without vertices (d > 6).
        """
        return integral(self)

    def mean(self) -> Any:
        """Mean of f over the domain, ∫ f / volume."""
        return self.integral() / float(self.volumes.sum())

    def variance(self) -> Any:
        """Variance of f over the domain, ∫ (f − mean)² / volume."""
        return variance(self)

    def level_set(self, value: float) -> Array:
        """{t : f(t) = value} of a network with one output.

        Returns:
            Points (m, 1) for d = 1, segments (m, 2, 2) for d = 2. A region on which f ≡ value contributes its boundary.
        """
        from theodolite.theory.piecewise.levels import level_set

        self._need_all("a level set")
        return level_set(self, value)

    def decision_boundary(self) -> Array:
        """Where the decision changes: f = 0 for one output, a tie of the two largest outputs for several.

        Returns:
            As `level_set`.
        """
        from theodolite.theory.piecewise.levels import decision_boundary

        self._need_all("a decision boundary")
        return decision_boundary(self)

    def exact_volume(self) -> Fraction:
        """The sum of all volumes in exact arithmetic, from the true vertices of all regions; equals the domain's when complete."""
        from theodolite.theory.piecewise.certificate import exact_total_volume

        self._need_vertices("exact volumes")
        return exact_total_volume(self)

    # showing and keeping -----------------------------------------------------------------------------------------------------

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the partition (d = 2) or the graph of the network with its breakpoints (d = 1).

        Args:
            ax: where to draw; a new figure if None.
            options: see `theodolite.theory.piecewise.figures.draw_regions`.
        """
        from theodolite.core.registry import sibling

        figures = sibling("theodolite.theory.piecewise.measure", "figures")
        return figures.draw_regions(self, ax=ax, **options)  # type: ignore[union-attr]

    def save(self, path: str | Path) -> Path:
        """Write everything to an ``.npz`` file, the network included."""
        from theodolite.theory.piecewise.storage import save_regions

        return save_regions(self, plain_path(path, "path"))

    @classmethod
    def load(cls, path: str | Path) -> Regions:
        """Read what `save` wrote."""
        from theodolite.theory.piecewise.storage import load_regions

        return load_regions(plain_path(path, "path"))

    def _need_vertices(self, what: str) -> None:
        if not self.has_vertices:
            reason = "the domain is unbounded" if self.domain is None else f"d = {self.dim} is above 6"
            raise UnsupportedError(f"{what} need the regions' vertices, but {reason}; enumerate on a bounded domain with d ≤ 6")

    def _need_all(self, what: str) -> None:
        if not self.complete:
            raise NumericalError(
                f"{what} needs all regions, but max_regions stopped the search after {self.count}; raise max_regions, or take a "
                "smaller domain"
            )
        if not np.isfinite(self.maps).all():
            raise NumericalError(
                f"{what} needs numbers, but the network's outputs are beyond the range of floats; scale its layers"
            )

    def __repr__(self) -> str:
        where = "all of ℝ^" + str(self.dim) if self.domain is None else repr(self.domain)
        part = "" if self.complete else " (stopped early: a lower bound)"
        return f"{self.count} activation regions{part} on {where}, certify={self.certify!r}"

    def summary(self) -> Mapping[str, Any]:
        """The main numbers: count, pieces, neurons that switch, and whether the search was complete."""
        varying = int((self.patterns.any(axis=0) & ~self.patterns.all(axis=0)).sum())
        return {"count": self.count, "pieces": self.pieces, "switching": varying, "complete": self.complete}

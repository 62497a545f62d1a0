"""Domains on which a piecewise-linear network is taken apart: boxes, segments, polylines, planar slices, polygons.

A domain has its own coordinates t ∈ ℝᵈ and consists of *charts*: convex polytopes on which the input is affine, x = E t + o.
Only a polyline has more than one chart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from theodolite.core.arrays import as_float64, on_host
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.theory.piecewise.arguments import LARGEST, SMALLEST, integer, number, numbers

Array: TypeAlias = np.ndarray[Any, Any]

__all__ = ["Chart", "Domain", "box", "identity_map", "polygon", "polyline", "segment", "slice2d"]


#: Most coordinates of an input for which its map is written down, 2 GiB.
LARGEST_MAP = 1 << 14


@dataclass(eq=False)
class Chart:
    """A convex piece of a domain.

    Attributes:
        start: the input as an affine map of t, (1, d + 1, D), C-contiguous: d rows of slopes, then the constant.
        vertices: (k, d); counter-clockwise for d = 2; a box keeps only its two extreme corners, see ``is_box``.
        is_box: whether the piece is the box between ``vertices[0]`` and ``vertices[1]``.
    """

    start: Array
    vertices: Array
    is_box: bool

    @property
    def dim(self) -> int:
        """d."""
        return self.vertices.shape[1]

    @property
    def embedding(self) -> Array:
        """E, (D, d)."""
        return self.start[0, :-1].T

    @property
    def origin(self) -> Array:
        """o, (D,)."""
        return self.start[0, -1]

    @cached_property
    def halfspaces(self) -> Array:
        """(F, d + 1): rows (a, c) with a·t + c ≥ 0 inside."""
        from theodolite.theory.piecewise.firstcell import facet_rows

        return facet_rows(self.vertices, self.is_box)

    @property
    def reach(self) -> Array:
        """Bounds of |t_i|, (d,)."""
        return np.abs(self.vertices).max(axis=0)

    @cached_property
    def magnitudes(self) -> Array:
        """Bounds of |x_i| from the map's absolute values, (D,)."""
        return np.asarray(np.append(self.reach, 1.0) @ np.abs(self.start[0]))

    @cached_property
    def cell(self) -> tuple[Array, ...]:
        """The arrays of a batch of one cell, see `theodolite.theory.piecewise.cells.Cells`."""
        from theodolite.theory.piecewise.firstcell import first_cell

        return first_cell(self.vertices, self.is_box)

    @property
    def corners(self) -> Array:
        """All vertices, (k, d); counter-clockwise for d = 2, in binary order else."""
        return self.cell[0][:, :-1]

    def contains(self, points: Array, slack: float = 0.0) -> Array:
        """Which of ``points`` (N, d) lie in the closed piece, (N,), up to ``slack`` of its size."""
        normals, constants = self.halfspaces[:, :-1], self.halfspaces[:, -1]
        sizes = np.abs(normals) @ np.ptp(self.vertices, axis=0)
        return np.asarray((points @ normals.T + constants >= -slack * sizes).all(axis=1))


@dataclass(frozen=True, eq=False)
class Domain:
    """A domain of exact enumeration; made by `box`, `segment`, `polyline`, `slice2d` and `polygon`.

    Attributes:
        kind: how it was made.
        charts: its convex pieces.
        input_shape: shape of one input as the network takes it, or None where only the number of coordinates is known.
    """

    kind: str
    charts: tuple[Chart, ...]
    input_shape: tuple[int, ...]

    @property
    def dim(self) -> int:
        """Number of the domain's own coordinates."""
        return self.charts[0].dim

    @property
    def input_size(self) -> int:
        """Number of coordinates of the input space."""
        return self.charts[0].start.shape[2]

    @property
    def volume(self) -> float:
        """Length, area or volume in the domain's own coordinates."""
        return float(sum(_volume(chart) for chart in self.charts))

    @property
    def bounds(self) -> Array:
        """The least box of the input space that holds the domain, (D, 2): a pair (low, high) per coordinate."""
        pairs = np.array([_bounds(chart) for chart in self.charts])
        return np.stack([pairs[:, 0].min(axis=0), pairs[:, 1].max(axis=0)], axis=1)

    def to_input(self, points: Any) -> Array:
        """Points of the domain, (..., d), as inputs, (..., D)."""
        t = on_host(as_float64(points, "points", at_least=1))
        if t.shape[-1] != self.dim:
            raise ArgumentError(f"points must have {self.dim} coordinates in the last dimension, got shape {t.shape}")
        flat = t.reshape(-1, self.dim)
        out = np.empty((len(flat), self.input_size))
        for chart, mine in zip(self.charts, self.split(flat), strict=True):
            out[mine] = flat[mine] @ chart.embedding.T + chart.origin
        return out.reshape(*t.shape[:-1], self.input_size)

    def split(self, points: Array) -> list[Array]:
        """For each chart, which of ``points`` (N, d) belong to it; each point to one (outside ones to the nearest by order)."""
        if len(self.charts) == 1:
            return [np.ones(len(points), dtype=bool)]
        which = np.clip(np.floor(points[:, 0]).astype(int), 0, len(self.charts) - 1)
        return [which == k for k in range(len(self.charts))]

    def contains(self, points: Array, slack: float = 0.0) -> Array:
        """Which of ``points`` (N, d) lie in the closed domain, up to ``slack`` of its size."""
        inside = np.zeros(len(points), dtype=bool)
        for chart in self.charts:
            inside |= chart.contains(points, slack)
        return inside

    def __repr__(self) -> str:
        return f"{self.kind} (d = {self.dim}, input shape {self.input_shape})"


def _bounds(chart: Chart) -> tuple[Array, Array]:
    """The least and the largest input, coordinate by coordinate, without the 2^d corners of a box."""
    if not chart.is_box:
        inputs = chart.vertices @ chart.embedding.T + chart.origin
        return inputs.min(axis=0), inputs.max(axis=0)
    first, second = chart.vertices[:, :, None] * chart.start[0, :-1]  # (d, D) each
    return np.minimum(first, second).sum(axis=0) + chart.origin, np.maximum(first, second).sum(axis=0) + chart.origin


def _volume(chart: Chart) -> float:
    if chart.is_box:
        return float(np.prod(chart.vertices[1] - chart.vertices[0]))
    x, y = chart.vertices.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _vector(value: Any, name: str) -> tuple[Array, tuple[int, ...]]:
    array = numbers(value, name, at_least=1)
    return array.reshape(-1), array.shape


def _in_range(low: float, high: float) -> bool:
    return -LARGEST <= low < high <= LARGEST and high - low >= SMALLEST


def _cube(low: float, high: float, dim: int) -> Domain:
    """The commonest box, of numbers that need no conversion."""
    start, ends = identity_map(dim), np.empty((2, dim))
    ends[0], ends[1] = low, high
    return Domain("box", (Chart(start, ends, True),), (dim,))


def identity_map(size: int) -> Array:
    """The input itself as a chart's map.

    Raises:
        UnsupportedError: more coordinates than a dense map can hold.
    """
    if size > LARGEST_MAP:
        raise UnsupportedError(
            f"maps of inputs with {size} coordinates are too large (the limit is {LARGEST_MAP}); take a line or a plane of the input "
            "space, td.segment or td.slice2d"
        )
    start = np.zeros((1, size + 1, size))
    start.reshape(-1)[: size * size : size + 1] = 1.0
    return start


def box(low: Any, high: Any, dim: int | None = None) -> Domain:
    """The box {x : low ≤ x ≤ high} of the input space itself.

    Args:
        low: a number, or an array of the input's shape.
        high: likewise.
        dim: number of coordinates, needed where ``low`` and ``high`` are numbers.

    Raises:
        ArgumentError: low ≥ high somewhere, shapes that differ, or a missing or contradicting ``dim``.

    Example:
        >>> box(-1, 1, dim=2).volume
        4.0
        >>> box([0, 0, 0], [1, 2, 3]).volume
        6.0
    """
    if type(dim) is int and dim > 0 and {type(low), type(high)} <= {int, float} and _in_range(low, high):
        return _cube(low, high, dim)
    lows, highs = numbers(low, "low"), numbers(high, "high")
    scalar = not lows.ndim and not highs.ndim
    if scalar and dim is None:
        raise ArgumentError("dim must be given when low and high are numbers, e.g. box(-1, 1, dim=2)")
    dim = None if dim is None else integer(dim, "dim")
    if lows.shape != highs.shape and lows.ndim and highs.ndim:
        raise ArgumentError(f"low and high must have one shape, or be numbers, got shapes {lows.shape} and {highs.shape}")
    shape = (dim,) if scalar and dim is not None else lows.shape or highs.shape
    size = math.prod(shape)
    if not size:
        raise ArgumentError(f"low and high must have at least one coordinate, got shape {shape}")
    if dim is not None and size != dim:
        raise ArgumentError(f"dim must agree with low and high, got dim={dim} for {size} coordinates")
    start, ends = identity_map(size), np.empty((2, size))  # too large a map is refused before anything is written
    ends[0], ends[1] = lows.reshape(-1), highs.reshape(-1)
    inside = ends[0] < ends[1]
    if not inside.all():
        k = int(inside.argmin())
        raise ArgumentError(f"low must be below high in every coordinate, got [{ends[0, k]:g}, {ends[1, k]:g}] in coordinate {k}")
    sides = ends[1] - ends[0]
    if sides.min() < SMALLEST:
        raise ArgumentError(f"the sides of a box must be at least {SMALLEST:g} long, got {sides.min():g}; scale the inputs")
    return Domain("box", (Chart(start, ends, True),), shape)


def segment(a: Any, b: Any) -> Domain:
    """The straight segment a + t (b − a), t ∈ [0, 1], in any input space.

    Args:
        a: one input (of the shape that the network takes).
        b: another, of the same shape.

    Raises:
        ArgumentError: shapes that differ, or a = b.

    Example:
        >>> segment([0.0, 0.0], [3.0, 4.0]).to_input([[0.5]])
        array([[1.5, 2. ]])
    """
    return _polyline([a, b], "segment")


def polyline(points: Any) -> Domain:
    """The polygonal path through m inputs: coordinate t ∈ [0, m − 1], with point k at t = k.

    A region that the path leaves at one of the points counts once per straight piece, since its map of t differs.

    Args:
        points: m inputs, an array (m, …) or a list.

    Example:
        >>> polyline([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]).to_input([[1.5]])
        array([[1., 1.]])
    """
    inputs = list(points) if isinstance(points, Iterable) else [points]
    if len(inputs) < 2:
        raise ArgumentError(f"points must hold at least 2 inputs, got {len(inputs)}")
    return _polyline(inputs, "polyline")


def _polyline(points: list[Any], kind: str) -> Domain:
    vectors = [_vector(p, "points" if kind == "polyline" else "a and b") for p in points]
    shapes = {shape for _, shape in vectors}
    if len(shapes) > 1:
        raise ArgumentError(f"the inputs of a {kind} must have one shape, got {sorted(shapes)}")
    charts = []
    for k, ((p, _), (q, _)) in enumerate(itertools.pairwise(vectors)):
        start = np.empty((1, 2, len(p)))
        step = np.subtract(q, p, out=start[0, 0])
        if not step.any():
            raise ArgumentError(f"consecutive inputs of a {kind} must differ, got the same input at positions {k} and {k + 1}")
        start[0, 1] = p - k * step
        charts.append(Chart(start, np.array([[k], [k + 1.0]]), True))
    return Domain(kind, tuple(charts), shapes.pop())


def slice2d(origin: Any, u: Any, v: Any, extent: float = 1.0) -> Domain:
    """The planar slice {origin + s·u + t·v : |s|, |t| ≤ extent} of any input space.

    Areas and gradients are in the coordinates (s, t); they are those of the plane itself when u and v are orthonormal.

    Args:
        origin: the input at the centre.
        u: first direction, of the same shape.
        v: second direction.
        extent: half the side of the square of coordinates.

    Raises:
        ArgumentError: shapes that differ, parallel directions, or extent ≤ 0.

    Example:
        >>> slice2d([0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], extent=2.0).volume
        16.0
    """
    (o, shape), (first, shape_u), (second, shape_v) = (_vector(w, n) for w, n in ((origin, "origin"), (u, "u"), (v, "v")))
    if not shape == shape_u == shape_v:
        raise ArgumentError(f"origin, u and v must have one shape, got {shape}, {shape_u} and {shape_v}")
    if not SMALLEST <= number(extent, "extent") <= LARGEST:
        raise ArgumentError(f"extent must be positive, from {SMALLEST:g} to {LARGEST:g}, got {extent!r}; scale u and v")
    if len(o) < 2 or np.linalg.matrix_rank(np.stack([first, second])) < 2:
        raise ArgumentError("u and v must be linearly independent; they span no plane")
    square = float(extent) * np.array([[-1.0, -1.0], [1.0, 1.0]])
    return Domain("slice2d", (Chart(np.array([[first, second, o]]), square, True),), shape)


def polygon(vertices: Any) -> Domain:
    """A convex polygon in a two-dimensional input space.

    Args:
        vertices: (k, 2), in order around the polygon, in either sense; no three consecutive ones on a line.

    Raises:
        ArgumentError: fewer than three vertices, or vertices that do not go around a convex polygon once.

    Example:
        >>> polygon([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]).volume
        2.0
    """
    corners = numbers(vertices, "vertices", ndim=2)
    if len(corners) < 3 or corners.shape[1] != 2:
        raise ArgumentError(f"vertices must have shape (k, 2) with k ≥ 3, got {corners.shape}")
    if (thinnest := np.ptp(corners, axis=0).min()) < SMALLEST:
        raise ArgumentError(f"vertices must span at least {SMALLEST:g} in both directions, got {thinnest:g}; scale the inputs")
    edges = np.roll(corners, -1, axis=0) - corners
    after = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    if turns.sum() < 0:
        corners = corners[::-1].copy()
        edges = np.roll(corners, -1, axis=0) - corners
        after = np.roll(edges, -1, axis=0)
        turns = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    angles = np.arctan2(turns, (edges * after).sum(axis=1))
    if not (turns > 0).all() or angles.sum() > 2 * np.pi + 1e-6:
        raise ArgumentError("vertices must go once around a strictly convex polygon; split a non-convex one into convex pieces")
    return Domain("polygon", (Chart(identity_map(2), np.ascontiguousarray(corners), False),), (2,))

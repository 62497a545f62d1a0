"""Convex polytopes in exact arithmetic: cutting by hyperplanes, facets, triangulation, volume.

Floats are dyadic rationals, and cutting needs only signs, so everything is done on Python integers. A point of ℝᵈ is a tuple
(X_1, …, X_d, S) with S > 0 and no common divisor, standing for X / S; a hyperplane is a tuple (a_1, …, a_d, c), standing for
a·x + c = 0. A polytope is the double description of Motzkin et al.: its vertices, and for every vertex the facets through it.
Nothing is assumed about general position.

Rational numbers are ``flint.fmpq`` where python-flint is installed and ``fractions.Fraction`` otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from theodolite.core.errors import ArgumentError

Point: TypeAlias = tuple[int, ...]
Row: TypeAlias = Sequence[int]

__all__ = ["Polytope", "as_float", "box_polytope", "dyadic", "meet", "order_polygon", "rational", "simplices", "volume"]


@dataclass(frozen=True)
class Polytope:
    """A full-dimensional convex polytope in homogeneous integers.

    Attributes:
        vertices: homogeneous points.
        masks: for every vertex, the facets through it: bit f stands for ``labels[f]``.
        labels: one label per facet; what they mean is the caller's business.
    """

    vertices: list[Point]
    masks: list[int]
    labels: list[Any]

    @property
    def dim(self) -> int:
        """d."""
        return len(self.vertices[0]) - 1

    def signs(self, row: Row) -> list[int]:
        """Sign of a·x + c at every vertex."""
        values = (sum(a * x for a, x in zip(row, v, strict=True)) for v in self.vertices)
        return [(value > 0) - (value < 0) for value in values]

    def cut(self, row: Row, label: Any) -> tuple[Polytope | None, Polytope | None]:
        """The two full-dimensional parts on the sides a·x + c ≤ 0 and a·x + c ≥ 0; None for a part without interior.

        Where the hyperplane contains the polytope the first part is the polytope.

        Example:
            >>> square = box_polytope([0, 0], [1, 1])
            >>> low, high = square.cut((2, 2, -1), "diagonal")     # 2x + 2y = 1
            >>> volume(low), volume(high)
            (Fraction(1, 8), Fraction(7, 8))
        """
        values = [sum(a * x for a, x in zip(row, v, strict=True)) for v in self.vertices]
        if max(values) <= 0:
            return self, None
        if min(values) >= 0:
            return None, self
        crossings = self._crossings(values)
        return self._side(values, -1, crossings, label), self._side(values, 1, crossings, label)

    def _crossings(self, values: list[int]) -> list[tuple[Point, int]]:
        """New vertices: where edges between the two sides meet the hyperplane, with the facets through them."""
        need = self.dim - 1
        found = []
        above = [i for i, value in enumerate(values) if value > 0]
        below = [i for i, value in enumerate(values) if value < 0]
        for i, j in product(above, below):
            common = self.masks[i] & self.masks[j]
            if common.bit_count() < need:
                continue
            # two vertices span an edge exactly when no third one lies on all of their common facets
            if sum(mask & common == common for mask in self.masks) > 2:
                continue
            p, q, hp, hq = self.vertices[i], self.vertices[j], values[i], -values[j]
            found.append((_reduced([hp * b + hq * a for a, b in zip(p, q, strict=True)]), common))
        return found

    def _side(self, values: list[int], side: int, crossings: list[tuple[Point, int]], label: Any) -> Polytope:
        new = 1 << len(self.labels)
        kept = [i for i, value in enumerate(values) if value * side >= 0]
        vertices = [self.vertices[i] for i in kept] + [point for point, _ in crossings]
        masks = [self.masks[i] | (0 if values[i] else new) for i in kept] + [common | new for _, common in crossings]
        return _pruned(vertices, masks, [*self.labels, label])


def _reduced(point: list[int]) -> Point:
    divisor = math.gcd(*point)
    return tuple(x // divisor for x in point)


def _pruned(vertices: list[Point], masks: list[int], labels: list[Any]) -> Polytope:
    """Drop facets that became redundant: those whose vertices all lie on another facet."""
    members = [0] * len(labels)
    for k, mask in enumerate(masks):
        while mask:
            low = mask & -mask
            members[low.bit_length() - 1] |= 1 << k
            mask ^= low
    need = len(vertices[0]) - 1
    large = [f for f, m in enumerate(members) if m.bit_count() >= need]
    kept = [
        f
        for f in large
        if not any(members[f] & members[g] == members[f] and (members[f] != members[g] or g < f) for g in large if g != f)
    ]
    renumbered = [0] * len(masks)
    for position, f in enumerate(kept):
        for k in range(len(masks)):
            if masks[k] >> f & 1:
                renumbered[k] |= 1 << position
    return Polytope(vertices, renumbered, [labels[f] for f in kept])


def box_polytope(low: Sequence[float], high: Sequence[float]) -> Polytope:
    """The box low ≤ x ≤ high; facet 2k is x_k = low_k, facet 2k + 1 is x_k = high_k, labelled −1, −2, ….

    Example:
        >>> volume(box_polytope([0, 0, 0], [1, 2, 0.5]))
        Fraction(1, 1)
    """
    vertices, masks = [], []
    for choice in product((0, 1), repeat=len(low)):
        ends = [Fraction(float(h if c else b)) for c, b, h in zip(choice, low, high, strict=True)]
        scale = math.lcm(*(e.denominator for e in ends))
        vertices.append(_reduced([*(int(e * scale) for e in ends), scale]))
        masks.append(sum(1 << (2 * k + c) for k, c in enumerate(choice)))
    return Polytope(vertices, masks, [-1 - f for f in range(2 * len(low))])


def meet(rows: Sequence[Row]) -> Point | None:
    """The point in which d hyperplanes meet, by fraction-free elimination; None when they do not meet in one point.

    Example:
        >>> meet([(1, 0, -2), (1, 1, -5)])       # x = 2, x + y = 5
        (2, 3, 1)
        >>> meet([(1, 1, 0), (2, 2, -1)]) is None
        True
    """
    matrix = [list(row) for row in rows]
    dim = len(matrix)
    previous = 1
    for k in range(dim):  # Bareiss: every division is exact
        pivot = next((r for r in range(k, dim) if matrix[r][k]), None)
        if pivot is None:
            return None
        matrix[k], matrix[pivot] = matrix[pivot], matrix[k]
        head = matrix[k][k]
        for r in range(dim):
            if r != k:
                factor = matrix[r][k]
                matrix[r] = [(head * x - factor * y) // previous for x, y in zip(matrix[r], matrix[k], strict=True)]
        previous = head
    scale = matrix[0][0]
    sign = -1 if scale > 0 else 1
    return _reduced([*(sign * matrix[k][dim] for k in range(dim)), abs(scale)])


def dyadic(values: Any) -> tuple[np.ndarray[Any, Any], int]:
    """Floats as integers over one power of two: (integers as an object array, e) with values = integers / 2^e.

    Example:
        >>> integers, exponent = dyadic([0.5, -3.0, 0.375])
        >>> integers.tolist(), exponent
        ([4, -24, 3], 3)
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ArgumentError("values must be finite to be rational, got NaN or infinity; look for a diverged training run")
    ratios = [float(v).as_integer_ratio() for v in array.ravel()]
    exponent = max((d.bit_length() - 1 for _, d in ratios), default=0)
    flat = np.empty(len(ratios), dtype=object)
    for k, (numerator, denominator) in enumerate(ratios):
        flat[k] = numerator << (exponent - denominator.bit_length() + 1)
    return flat.reshape(array.shape), exponent


def as_float(point: Point) -> list[float]:
    """A homogeneous point as correctly rounded floats."""
    return [x / point[-1] for x in point[:-1]]


def rational(numerator: int, denominator: int = 1) -> Any:
    """numerator / denominator as ``flint.fmpq``, or as `fractions.Fraction` where python-flint is not installed."""
    try:
        from flint import fmpq
    except ImportError:
        return Fraction(numerator, denominator)
    return fmpq(numerator, denominator)


def simplices(masks: Sequence[int], dim: int) -> list[tuple[int, ...]]:
    """A triangulation of a polytope without new vertices (Cohen and Hickey): tuples of d + 1 vertex indices.

    Args:
        masks: the facets through every vertex, as in `Polytope`.
        dim: d.
    """
    facets = 0
    for mask in masks:
        facets |= mask

    def split(face: int, members: list[int], left: int) -> list[tuple[int, ...]]:
        if left == 0:
            return [(members[0],)]
        apex = members[0]
        parts: dict[tuple[int, ...], int] = {}
        rest = facets & ~face
        while rest:
            facet = rest & -rest
            rest ^= facet
            inside = tuple(v for v in members if masks[v] & facet)
            if left <= len(inside) < len(members):
                parts[inside] = face | facet
        opposite = [p for p in parts if apex not in p]
        maximal = [p for p in opposite if not any(set(p) < set(q) for q in parts)]
        return [(apex, *s) for p in maximal for s in split(parts[p], list(p), left - 1)]

    return split(0, list(range(len(masks))), dim)


def volume(polytope: Polytope) -> Fraction:
    """The exact volume, Σ |det(v_1 − v_0, …, v_d − v_0)| / d! over a triangulation."""
    dim = polytope.dim
    total = rational(0)
    for simplex in simplices(polytope.masks, dim):
        corners = [polytope.vertices[k] for k in simplex]
        total += rational(abs(_determinant(corners)), math.prod(c[-1] for c in corners))
    total /= math.factorial(dim)
    return (
        Fraction(int(total.numerator), int(total.denominator))
        if isinstance(total, Fraction)
        else Fraction(int(total.p), int(total.q))
    )


def _determinant(rows: Iterable[Row]) -> int:
    """Determinant of a square integer matrix, by Bareiss's fraction-free elimination."""
    matrix = [list(row) for row in rows]
    size, previous, sign = len(matrix), 1, 1
    for k in range(size - 1):
        pivot = next((r for r in range(k, size) if matrix[r][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            matrix[k], matrix[pivot], sign = matrix[pivot], matrix[k], -sign
        for r in range(k + 1, size):
            matrix[r] = [(matrix[k][k] * matrix[r][c] - matrix[r][k] * matrix[k][c]) // previous for c in range(size)]
        previous = matrix[k][k]
    return sign * matrix[-1][-1]


def order_polygon(masks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Vertices of a polygon in order around it, and the facet from each to the next.

    Example:
        >>> square = box_polytope([0, 0], [1, 1])
        >>> len(order_polygon(square.masks)[0])
        4
    """
    ends: dict[int, list[int]] = {}
    for k, mask in enumerate(masks):
        while mask:
            low = mask & -mask
            ends.setdefault(low.bit_length() - 1, []).append(k)
            mask ^= low
    order, edges = [0], []
    edge = next(f for f, pair in ends.items() if 0 in pair)
    while True:
        first, second = ends[edge]
        after = second if order[-1] == first else first
        edges.append(edge)
        if after == order[0]:
            return order, edges
        edge = next(f for f, pair in ends.items() if f != edge and after in pair)
        order.append(after)


def independent(rows: Sequence[Row], dim: int) -> list[int]:
    """Indices of the first d linearly independent normals among ``rows``; none if there are fewer.

    Example:
        >>> independent([(1, 0, -1), (2, 0, 5), (3, 1, 0)], 2)
        [0, 2]
    """
    basis: list[tuple[int, list[int]]] = []
    chosen = []
    for k, row in enumerate(rows):
        left = [int(x) for x in row[:dim]]
        for pivot, other in basis:
            head, factor = other[pivot], left[pivot]
            left = [head * x - factor * y for x, y in zip(left, other, strict=True)]
        if any(left):
            divisor = math.gcd(*left)
            basis.append((next(i for i, x in enumerate(left) if x), [x // divisor for x in left]))
            chosen.append(k)
            if len(chosen) == dim:
                return chosen
    return []


def subdivide(
    polytope: Polytope, rows: np.ndarray[Any, Any], labels: Sequence[Any], keep: Sequence[int]
) -> list[tuple[Polytope, list[int]]]:
    """Cut a polytope by hyperplanes in order: its full-dimensional parts, each with its sides (1: a·x + c > 0 inside).

    Args:
        polytope: what is cut.
        rows: (m, d + 1) integers as an object array.
        labels: (m,).
        keep: (m,): 0 keeps both sides; 1 keeps the side ≥ 0, and all where the function vanishes; 2 keeps the side ≥ 0, nothing
            where it vanishes.

    Example:
        >>> square = box_polytope([0, 0], [1, 1])
        >>> rows = np.array([[1, -1, 0], [2, 0, -1]], dtype=object)       # x = y, x = 1/2
        >>> sorted(sides for _, sides in subdivide(square, rows, [0, 1], [0, 0]))
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    values = np.array(polytope.vertices, dtype=object) @ rows.T  # (k, m)
    sides = [0] * len(labels)
    cutters = []
    for j in range(len(labels)):
        above, below = max(values[:, j]) > 0, min(values[:, j]) < 0
        sides[j] = int(above)
        if keep[j] and not above and (below or keep[j] == 2):
            return []
        if above and below:
            cutters.append(j)
    done = []
    open_parts = [(polytope, sides, 0)]
    while open_parts:
        part, sides, position = open_parts.pop()
        if position == len(cutters):
            done.append((part, sides))
            continue
        j = cutters[position]
        low, high = part.cut(rows[j], labels[j])
        if high is not None:
            open_parts.append((high, [*sides[:j], 1, *sides[j + 1 :]], position + 1))
        if low is not None and keep[j] == 0:
            open_parts.append((low, [*sides[:j], 0, *sides[j + 1 :]], position + 1))
        if low is not None and high is None and keep[j] == 1 and not any(part.signs(rows[j])):
            open_parts.append((low, [*sides[:j], 0, *sides[j + 1 :]], position + 1))
    return done

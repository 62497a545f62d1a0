"""Which region holds a point, which regions share a facet, and which affine maps are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.theory.piecewise.cells import Cells, label_columns
from theodolite.theory.piecewise.program import Array

if TYPE_CHECKING:
    from theodolite.theory.piecewise.regions import Regions

__all__ = ["PatternIndex", "containing", "facet_neighbours", "same_maps"]


class PatternIndex:
    """Finds regions by pattern: a 64-bit sum of one random key per switch that is on, checked against the pattern itself.

    Args:
        patterns: (R, switches).
        charts: (R,): patterns of different charts differ.
    """

    def __init__(self, patterns: Array, charts: Array) -> None:
        rng = np.random.Generator(np.random.Philox(key=20230611))
        self.keys = rng.integers(0, 2**64, size=patterns.shape[1], dtype=np.uint64)
        self.chart_keys = rng.integers(0, 2**64, size=int(charts.max(initial=0)) + 1, dtype=np.uint64)
        self.patterns = patterns
        self.charts = charts
        self.hashes = self.hash(patterns, charts)
        self.order = np.argsort(self.hashes, kind="stable")
        self.sorted = self.hashes[self.order]

    def hash(self, patterns: Array, charts: Array) -> Array:
        """Keys of patterns, (N,)."""
        total = self.chart_keys[charts].copy()
        for low in range(0, len(patterns), 4096):  # bounded memory: booleans become 8-byte words
            part = patterns[low : low + 4096].astype(np.uint64)
            total[low : low + 4096] += part @ self.keys
        return total

    def find(self, hashes: Array) -> Array:
        """Positions of hashes among the regions, −1 where there is none."""
        if not len(self.sorted):
            return np.full(len(hashes), -1)
        place = np.minimum(np.searchsorted(self.sorted, hashes), len(self.sorted) - 1)
        return np.where(self.sorted[place] == hashes, self.order[place], -1)

    def lookup(self, patterns: Array, charts: Array) -> Array:
        """Regions with these patterns, −1 where there is none."""
        found = self.find(self.hash(patterns, charts))
        good = found >= 0
        good[good] = (self.patterns[found[good]].astype(bool) == patterns[good].astype(bool)).all(axis=1)
        return np.where(good, found, -1)


def containing(regions: Regions, points: Array) -> Array:
    """The region of each point inside the domain, (N,): the one with its pattern, else the first whose closure holds it, else −1."""
    charts = np.zeros(len(points), dtype=int)
    inputs = points
    if regions.domain is not None:
        inputs = regions.domain.to_input(points)
        for k, mine in enumerate(regions.domain.split(points)):
            charts[mine] = k
    found = regions.index.lookup(regions.program.patterns(inputs), charts)
    left = np.flatnonzero(found < 0)
    if not len(left):
        return found
    facing, size = regions._oriented * np.append(regions._extent, 1.0), regions._extent
    rows = facing / np.maximum(np.linalg.norm(facing[:, :-1], axis=1), 1e-300)[:, None]
    low, high = _boxes(regions)
    for k in map(int, left):
        place = points[k] / size
        beyond = np.maximum.reduceat(rows[:, :-1] @ place + rows[:, -1], regions.cells.facet_starts[:-1])
        beyond[regions.charts != charts[k]] = np.inf
        close = np.flatnonzero(beyond <= 1e-11)
        # nearly parallel facets of a sliver pass near points that are far from it
        here = close[((low[close] <= place) & (place <= high[close])).all(axis=1)]
        if len(close):
            found[k] = here[0] if len(here) else close[0]
    return found


def _boxes(regions: Regions) -> tuple[Array, Array]:
    """The least boxes around all regions, with room for rounding, in units of the domain: (R, d) twice."""
    if not regions.has_vertices:
        return np.full((regions.count, regions.dim), -np.inf), np.full((regions.count, regions.dim), np.inf)
    points, starts = regions.cells.points[:, :-1] / regions._extent, regions.cells.starts[:-1]
    return np.minimum.reduceat(points, starts, axis=0) - 1e-9, np.maximum.reduceat(points, starts, axis=0) + 1e-9


def facet_neighbours(cells: Cells, index: PatternIndex, resolution: Array) -> Array:
    """Pairs (i, j), i < j, of cells that share a facet, (P, 2).

    Across a facet its switch flips, generically nothing else: the neighbour is looked up by pattern. What is left (several
    switches flip at once, or the domain has several charts) is matched by the facets' centres, or, for cells without vertices, by who
    holds a point of the facet.
    """
    owner = np.repeat(np.arange(len(cells)), np.diff(cells.facet_starts))
    first, second = label_columns(cells.labels)
    inner = np.flatnonzero(first >= 0)
    change = _toggled(index, owner[inner], first[inner])
    pair = second[inner] >= 0
    change[pair] = _toggled_pair(index, owner[inner][pair], first[inner][pair], second[inner][pair])
    found = index.find(change)
    matched = found >= 0
    pairs = [np.stack([owner[inner][matched], found[matched]], axis=1)]
    left = inner[~matched]
    ends = np.flatnonzero(cells.labels < 0) if index.charts.max(initial=0) > 0 else np.zeros(0, dtype=int)
    left = np.concatenate([left, ends])
    if len(left):
        pairs.append(_by_centre(cells, owner, left, resolution) if len(cells.points) else _by_point(cells, owner, left))
    both = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(both[both[:, 0] != both[:, 1]], axis=0)


def _toggled(index: PatternIndex, regions: Array, columns: Array) -> Array:
    on = index.patterns[regions, columns].astype(bool)
    return np.where(on, index.hashes[regions] - index.keys[columns], index.hashes[regions] + index.keys[columns])


def _toggled_pair(index: PatternIndex, regions: Array, first: Array, second: Array) -> Array:
    once = _toggled(index, regions, first)
    on = index.patterns[regions, second].astype(bool)
    return np.where(on, once - index.keys[second], once + index.keys[second])


def _by_centre(cells: Cells, owner: Array, facets: Array, resolution: Array) -> Array:
    """Pairs of facets of different cells with one centre."""
    from scipy.spatial import cKDTree

    tree = cKDTree(_facet_centres(cells, facets) / resolution)
    close = tree.query_pairs(1.0, output_type="ndarray")
    pairs = owner[facets][close]
    return pairs.reshape(-1, 2)


def _by_point(cells: Cells, owner: Array, facets: Array) -> Array:
    """Cells whose closures hold a point from within a facet, with the facet's own."""
    rows = cells.facets[:, :-1] / np.linalg.norm(cells.facets[:, :-2], axis=1)[:, None]
    size = float(np.median(np.abs(rows[:, -1])))  # of the picture: how far facets lie from the origin
    pairs: list[tuple[int, int]] = []
    for f in map(int, facets):
        low, high = cells.facet_starts[owner[f] : owner[f] + 2]
        point = _facet_point(rows[f], np.delete(rows[low:high], f - low, axis=0))
        if point is None:
            continue
        beyond = np.maximum.reduceat(rows[:, :-1] @ point + rows[:, -1], cells.facet_starts[:-1])
        pairs += [(int(owner[f]), int(other)) for other in np.flatnonzero(beyond <= 1e-9 * max(size, float(np.abs(point).max())))]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _facet_point(row: Array, others: Array) -> Array | None:
    """A point of a·t + c = 0 inside all other half-spaces; None where there is none."""
    from theodolite.maths.linprog import HalfspaceStack

    foot, d = -row[-1] * row[:-1], len(row) - 1
    if d == 1:
        return np.asarray(foot)
    basis = np.linalg.svd(row[None, :-1])[2][1:]  # rows: directions within the hyperplane
    stack = HalfspaceStack(d - 1)
    for other in others:
        normal = basis @ other[:-1]
        if np.linalg.norm(normal) > 1e-12:
            stack.push(normal, float(other[:-1] @ foot + other[-1]))
    found = stack.inside()
    return None if found is None else foot + found[0] @ basis


def _facet_centres(cells: Cells, facets: Array) -> Array:
    points = cells.points[:, :-1]
    if cells.dim == 1:
        return points[facets]
    owner = np.searchsorted(cells.facet_starts, facets, side="right") - 1
    if cells.dim == 2:
        following = facets + 1
        wraps = following == cells.starts[owner + 1]
        following = np.where(wraps, cells.starts[owner], following)
        return (points[facets] + points[following]) / 2
    centres = np.empty((len(facets), cells.dim))
    for k, (facet, cell) in enumerate(zip(facets, owner, strict=True)):
        local = int(facet - cells.facet_starts[cell])
        span = slice(cells.starts[cell], cells.starts[cell + 1])
        on = (cells.masks[span, local // 64] >> np.uint64(local % 64)) & np.uint64(1) == 1
        centres[k] = points[span][on].mean(axis=0)
    return centres


def same_maps(maps: Array, tolerance: Array) -> Array:
    """Number the distinct affine maps: a class for each of R maps, equal within two to three tolerances.

    Args:
        maps: (R, columns), scaled so that one tolerance fits all entries of a column.
        tolerance: (columns,).

    Returns:
        (R,) class numbers.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    # rows that round to the same numbers are within the tolerance: they are one before any pairs are formed
    rounded = np.round(maps / np.where(tolerance > 0, tolerance, 1.0))
    unique, inverse = np.unique(rounded, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    if len(unique) < 2:
        return inverse
    columns = unique.shape[1]
    # near rows stay near in any mean of their columns; a few means make the search fast, the rows themselves decide
    mixing = np.eye(columns) if columns <= 4 else np.random.Generator(np.random.Philox(key=7)).dirichlet(np.ones(columns), 4).T
    pairs = cKDTree(unique @ mixing).query_pairs(2.0, p=np.inf, output_type="ndarray")
    close = pairs[(np.abs(unique[pairs[:, 0]] - unique[pairs[:, 1]]) <= 2.0).all(axis=1)]
    graph = coo_matrix((np.ones(len(close)), (close[:, 0], close[:, 1])), shape=(len(unique),) * 2)
    _, classes = connected_components(graph, directed=False)
    return classes[inverse]

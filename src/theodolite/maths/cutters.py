"""What the compiled cutters of intervals, polygons and polytopes share: the lines that cut, the parts that come of it.

While a parent is cut, its facets are numbers: j for its line j, m + i for its own facet i, and its lines stand in a table of its own.
Only the finished parts are traced back to rows and labels, all at once.

Compiled functions take named tuples once per parent or part, and arrays in the loops inside, where every access to a tuple's
array would count references. What counts up is begun as ``np.int64(0)``: numba compiles what takes a literal 0 once for the literal
and once more for the number.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (compiled by numba, which takes its types from the calls)

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from theodolite.maths.compiled import inlined, inner

__all__ = [
    "Cutters",
    "Parts",
    "drops",
    "empty_parts",
    "finished",
    "gather",
    "hides",
    "keep_above",
    "keep_both",
    "record",
    "widest",
    "with_room",
]


#: Rows of the lines' states: the lines that cut, in order; what a line keeps, see `Cutters`; 1 where the current cell is above a line.
CUTTER, KEEP, SIDE = 0, 1, 2

#: How many times the error of a function its error at a vertex may be for an undecided sign to count as zero: beyond, the vertex itself
#: is ill determined (its hyperplanes are nearly parallel), and what seems to meet in it need not.
ILL = 1e4

#: Largest distance, relative to the domain, over which an undecided sign may count as zero.
RESOLUTION = 1e-7


@inlined
def hides(value, tolerance, error, slope, extent):
    """Whether an undecided sign must not count as zero: at an ill-determined vertex, or over too large a distance."""
    # what vanishes in floats vanishes in truth, as a rule: boundaries through one point, of integers or without biases. A function may
    # be as small as its error on the domain and still have a boundary here: where neurons that are off here are much larger
    return value != 0.0 and (tolerance > ILL * error or tolerance > RESOLUTION * extent * slope)


class Cutters(NamedTuple):
    """The hyperplanes that cut a batch of R cells: cell r by rows[owners[r], :, first + j], j < m.

    Attributes:
        rows: (P, d + 1, M), C-contiguous: a and c of a·t + c.
        owners: (R,).
        first: see above.
        errors: (m,): bound on the error of the values of a hyperplane's function on the domain.
        labels: (m,).
        keep: (m,): 0 keeps both sides; 1 keeps the side ≥ 0, and all where the function vanishes; 2 keeps the side ≥ 0, nothing
            where it vanishes.
        extent: size of the domain.
    """

    rows: Any
    owners: Any
    first: int
    errors: Any
    labels: Any
    keep: Any
    extent: float


class Parts(NamedTuple):
    """The parts that were found, one after the other, with room for more.

    Attributes:
        points: (V, d + 1): vertices and their error radius.
        masks: (V, words): facets through a vertex, 64 to a word.
        facets: (F,): numbers.
        spans: (parts + 1, 3): where a part's vertices begin, where its facets begin, its parent.
        bits: (parts, m): 1 above a line.
    """

    points: Any
    masks: Any
    facets: Any
    spans: Any
    bits: Any


@inner
def line_states(keep):
    """What is known of the lines while a parent is cut, (3, m), by row: `CUTTER`, `KEEP`, `SIDE`."""
    states = np.empty((3, len(keep)), np.int64)
    for j in range(len(keep)):
        states[KEEP, j] = keep[j]
    return states


@inlined
def gather(rows, owner, first, m, table):
    """A parent's lines to the first m columns of its table (d + 2, …), whose last row, their errors, stands there already."""
    for k in range(rows.shape[1]):
        for j in range(m):
            table[k, j] = rows[owner, k, first + j]


@inlined
def drops(keep, below, above):
    """Whether a line leaves nothing of a cell that it does not cut."""
    return keep > 0 and not above and (below or keep == 2)


@inlined
def keep_both(waiting, depth, own):
    """After a cut, whose parts stand above the cell in the stack: the first part waits in its place, the second is next.

    The first ``own`` columns of the stack belong to a cell, the others to the lines that are left.
    """
    for k in range(own):
        here = waiting[depth, k]
        waiting[depth, k], waiting[depth + 1, k], waiting[depth + 2, k] = waiting[depth + 1, k], waiting[depth + 2, k], here


@inlined
def keep_above(waiting, depth, own):
    """After a cut: the first part takes the cell's place."""
    for k in range(own):
        waiting[depth, k], waiting[depth + 1, k] = waiting[depth + 1, k], waiting[depth, k]


@inner
def widest(starts):
    """Length of the longest range."""
    longest = 0
    for r in range(len(starts) - 1):
        longest = max(longest, starts[r + 1] - starts[r])
    return longest


@inner
def empty_parts(parts, vertices, facets, words, shape):
    """Room for so many parts, vertices and facets; shape (d, m)."""
    return Parts(
        np.empty((vertices, shape[0] + 1)),
        np.empty((vertices, words), np.uint64),
        np.empty(facets, np.int64),
        np.zeros((parts + 1, 3), np.int64),
        np.empty((parts, shape[1]), np.uint8),
    )


@inner
def _longer(array, size):
    fresh = np.empty((size, *array.shape[1:]), array.dtype)
    old, new = array.reshape(-1), fresh.reshape(-1)  # entry by entry: assigning rows would compile the errors of broadcasting
    for i in range(len(old)):
        new[i] = old[i]
    return fresh


@inner
def with_room(parts, made, more, vertices, facets):
    """The same ``made`` parts, with room for so many more parts, with their vertices and facets."""
    points, masks, numbers, spans, bits = parts
    if spans[made, 0] + vertices > len(points):
        size = 2 * (spans[made, 0] + vertices)
        points, masks = _longer(points, size), _longer(masks, size)
    if spans[made, 1] + facets > len(numbers):
        numbers = _longer(numbers, 2 * (spans[made, 1] + facets))
    if made + more > len(bits):
        size = 2 * (made + more)
        spans, bits = _longer(spans, size + 1), _longer(bits, size)
    return Parts(points, masks, numbers, spans, bits)


@inlined
def record(spans, bits, made, vertices, facets, parent, states):
    """Close part ``made``, whose vertices and facets are written down."""
    spans[made + 1, 0], spans[made + 1, 1] = spans[made, 0] + vertices, spans[made, 1] + facets
    spans[made, 2] = parent
    for j in range(states.shape[1]):
        bits[made, j] = states[SIDE, j]


@inner
def _trace(parts, made, cells, lines):
    """Rows and labels of the parts' facets, from their numbers."""
    numbers, spans = parts.facets, parts.spans
    old_facets, old_labels, old_starts = cells[2], cells[3], cells[4]
    rows, owners, first, errors, line_labels = lines[:5]
    m, d = len(errors), rows.shape[1] - 1
    facets, labels = np.empty((spans[made, 1], d + 2)), np.empty(spans[made, 1], np.int64)
    for i in range(made):
        owner, own = owners[spans[i, 2]], old_starts[spans[i, 2]] - m
        for f in range(spans[i, 1], spans[i + 1, 1]):
            j = numbers[f]
            if j < m:
                for k in range(d + 1):
                    facets[f, k] = rows[owner, k, first + j]
                facets[f, d + 1], labels[f] = errors[j], line_labels[j]
            else:
                for k in range(d + 2):
                    facets[f, k] = old_facets[own + j, k]
                labels[f] = old_labels[own + j]
    return facets, labels


@inner
def finished(parts, made, cells, lines):
    """The first ``made`` parts as cells: (points, starts, facets, labels, facet_starts, masks), parents and bits."""
    facets, labels = _trace(parts, made, cells, lines)
    points, masks, _, spans, bits = parts
    starts, facet_starts, parents = spans[: made + 1, 0].copy(), spans[: made + 1, 1].copy(), spans[:made, 2].copy()
    points, masks = points[: starts[made]].copy(), masks[: starts[made]].copy()
    return (points, starts, facets, labels, facet_starts, masks), parents, bits[:made].copy()

"""Depth-first enumeration of all cells of a program on a chart, batch by batch, in bounded memory.

A frame is a batch of cells that have been cut by all switches before step s, with the affine maps of the values still needed. It
advances by the affine steps (behind a ReLU from one cell to the next, see `theodolite.maths.affinemaps`, else by one matrix product
for the whole batch), is cut by the next switches in compiled code, and its parts are pushed back in slices, so that at most (slice) x
(parts per cell) x (layers) cells are open at any time. A wide layer cuts in blocks of no more switches than have cut before, so that
the parts of a cell are few (about 4, for d = 2). Frames are independent: they can be carried out anywhere and in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, cast

import numpy as np

from theodolite.core.errors import NumericalError
from theodolite.theory.piecewise.cells import PAIR, Cells, Cut, split_cells
from theodolite.theory.piecewise.domains import Chart
from theodolite.theory.piecewise.errors import COARSE, switch_errors
from theodolite.theory.piecewise.exactcells import ExactChart, float_cells
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Switching

__all__ = ["DegenerateError", "Found", "Frame", "Task", "advance", "enumerate_cells", "pack_patterns", "unpack_patterns"]

#: Numbers held in the affine maps of one frame: one slice stays in the processor's second-level cache.
SLICE = 1 << 16

#: Fewest switches that cut at a time, and cells that are cut at a time by the later blocks of a layer.
BLOCK, BATCH = 128, 2048

#: Most neurons of a layer that cut intervals in one go, whose zeros are put in order one by one.
LINES = 1024


class DegenerateError(NumericalError):
    """Without certificates: signs below the resolution might not fit together if they counted as zero."""

    @classmethod
    def found(cls) -> DegenerateError:
        """With its message; an error with arguments of its own would not come back from another process."""
        return cls('degenerate arrangement: float64 does not tell how its boundaries meet; enumerate with certify="filtered"')


@dataclass(eq=False)
class Task:
    """What is enumerated.

    Attributes:
        program: the network.
        chart: where.
        certify: ``none`` (undecided signs count as zero), ``likely`` (undecided parents are cut exactly), ``filtered`` (likewise, with
            errors in the worst case) or ``exact``.
        factors: where the chart's coordinates are not the domain's, t = factors · s, see `theodolite.theory.piecewise.scaling`.
    """

    program: Program
    chart: Chart
    certify: str = "none"
    factors: Array | None = None

    @cached_property
    def errors(self) -> dict[int, Array]:
        """Errors of the switches, by step."""
        return switch_errors(self.program, self.chart, self.certify)

    @cached_property
    def extent(self) -> float:
        """Size of the chart."""
        return float(np.ptp(self.chart.vertices, axis=0).max())

    @cached_property
    def exact(self) -> ExactChart:
        """The same in exact arithmetic."""
        return ExactChart(self.program, self.chart)

    def plain(self) -> Task:
        """The same without what has been worked out here, for sending it elsewhere."""
        return replace(self)

    def begin(self) -> Frame | Found:
        """The frame to begin with, or what compiled code makes of it in one go: for chains of ReLU layers, up to one slice."""
        layers, chart = self.program.relu_layers, self.chart
        relus, dim = layers[2].tolist(), chart.dim
        if True not in relus or dim > 2 or self.certify in ("likely", "exact"):
            return self.first()
        start = chart.vertices, chart.is_box, chart.start
        limits = SLICE, BLOCK if dim == 2 else LINES
        coarse = COARSE if self.certify == "none" else np.inf
        done, (points, starts, facets, labels), maps, parents, sides, bits = _carry()((0,) * dim, start, layers, coarse, limits)
        if not done:
            return self.first()
        cells = Cells(points, starts, facets, labels, starts, np.empty((len(points), 0), np.uint64))  # d ≤ 2: a facet per vertex
        if parents is None:
            return Found(cells, bits, maps)
        step = done + sum(relus[:done])
        if relus[done - 1]:
            return Frame(step, cells, {step - 1: maps}, bits, parents, sides)
        return Frame(step, cells, {step: maps}, bits, parents, None)

    def first(self) -> Frame:
        """The frame to begin with."""
        empty = np.zeros((1, 0), dtype=np.uint8)
        return Frame(0, Cells(*self.chart.cell), {0: self.chart.start}, empty, np.zeros(1, dtype=np.int64), None)


@cache
def _carry() -> Callable[..., Any]:
    """The compiled function, imported when it is needed, and once: small jobs are done sooner than an import statement."""
    from theodolite.theory.piecewise.chains import carry

    return cast(Callable[..., Any], carry)


@dataclass(eq=False)
class Frame:
    """A batch of cells on its way.

    The affine maps are those of the cells' parents, before the last set of switches: they are put through the switches slice by
    slice, in the cache, when the frame advances.

    Attributes:
        step: the next step of the program.
        cells: R cells.
        values: value index → maps of the parents (P, d + 1, n).
        bits: (R, bytes): packed patterns of the switches so far.
        parents: (R,): rows of ``values``.
        sides: (R, m): states of the switches of step ``step − 1``; None where that step, if any, has none.
        column: how many switches of step ``step`` itself have cut already; if any, ``sides`` holds their states and ``values`` the
            maps before that step.
    """

    step: int
    cells: Cells
    values: dict[int, Array]
    bits: Array
    parents: Array
    sides: Array | None
    column: int = 0

    def part(self, low: int, high: int) -> Frame:
        """Cells ``low`` to ``high``."""
        sides = None if self.sides is None else self.sides[low:high]
        cells, bits, parents = self.cells.part(low, high), self.bits[low:high], self.parents[low:high]
        return Frame(self.step, cells, self.values, bits, parents, sides, self.column)

    def slices(self) -> Iterator[Frame]:
        """The same cells in frames whose maps fit the cache."""
        numbers = sum(v.shape[1] * v.shape[2] for v in self.values.values())
        size = BATCH if self.column else min(max(SLICE // max(numbers, 1), 64), 8192)
        total = len(self.cells)
        if total <= size:
            yield self
            return
        for low in range(0, total, size):
            yield self.part(low, min(low + size, total))

    def alone(self) -> Frame:
        """The same with no more maps than its own cells need, for sending it elsewhere."""
        used, parents = np.unique(self.parents, return_inverse=True)
        values = {k: v[used] for k, v in self.values.items()}
        return Frame(self.step, self.cells, values, self.bits, parents.reshape(-1), self.sides, self.column)


@dataclass(eq=False)
class Found:
    """Finished cells: their geometry, packed patterns, and output maps (R, d + 1, outputs)."""

    cells: Cells
    bits: Array
    maps: Array

    @classmethod
    def join(cls, batches: list[Found]) -> Found:
        """One batch of several."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            Cells.join([b.cells for b in batches]),
            np.concatenate([b.bits for b in batches]),
            np.concatenate([b.maps for b in batches]),
        )


def pack_patterns(program: Program, patterns: Array) -> Array:
    """Patterns (R, switches) as bytes, every step on a byte of its own."""
    parts = [np.packbits(patterns[:, low:high].astype(bool), axis=1) for low, high in program.columns.values()]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(patterns), 0), dtype=np.uint8)


def unpack_patterns(program: Program, bits: Array, stop: int | None = None) -> Array:
    """Inverse of `pack_patterns`, (R, switches); only the steps before ``stop`` if given."""
    parts, offset = [], 0
    for index, (low, high) in program.columns.items():
        if stop is not None and index >= stop:
            break
        width = (high - low + 7) // 8
        parts.append(np.unpackbits(bits[:, offset : offset + width], axis=1, count=high - low))
        offset += width
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(bits), 0), dtype=np.uint8)


def enumerate_cells(task: Task, frame: Frame | Found | None = None) -> Iterator[Found]:
    """All finished cells below ``frame``, batch by batch."""
    after = task.begin() if frame is None else frame
    stack: list[Frame] = []
    while True:
        if isinstance(after, Found):
            yield after
        else:
            stack.extend(reversed(list(after.slices())))
        if not stack:
            return
        after = advance(task, stack.pop())


def advance(task: Task, frame: Frame) -> Frame | Found:
    """Carry a frame through the affine steps and one block of switches, or to the end."""
    program = task.program
    values, index, owners = dict(frame.values), frame.step, frame.parents
    if not frame.column:
        values, index = _through_switches(program, frame)
        owners = np.arange(len(frame.cells))
    while index < len(program.steps) and isinstance(step := program.steps[index], Affine):
        values[index + 1] = step.maps(values)
        _drop_dead(program, values, index)
        index += 1
    if index == len(program.steps):
        maps = values[index]
        if len(maps) != len(frame.cells):  # a network without switches: one map for all
            maps = np.broadcast_to(maps, (len(frame.cells), *maps.shape[1:]))
        return Found(frame.cells, frame.bits, maps)
    step = program.steps[index]
    assert not isinstance(step, Affine)
    low, stop = frame.column, step.switches
    if isinstance(step, Switching):
        stop = min(low + max(BLOCK, program.columns[index][0] + low), stop)
    cut = _cut(task, index, frame.cells, values[step.source], owners, (low, stop))
    if cut.undecided.any():
        if task.certify == "none":
            raise DegenerateError.found()
        cut = _redo(task, index, frame, cut, values[step.source][owners], (low, stop))
    sides = cut.bits if frame.sides is None or not low else np.concatenate([frame.sides[cut.parents], cut.bits], axis=1)
    bits, parents = frame.bits[cut.parents], owners[cut.parents]
    if stop < step.switches:
        return Frame(index, cut.cells, values, bits, parents, sides, stop)
    bits = np.concatenate([bits, np.packbits(sides, axis=1)], axis=1)
    return Frame(index + 1, cut.cells, values, bits, parents, sides)


def _cut(task: Task, index: int, cells: Cells, source: Array, owners: Array, span: tuple[int, int]) -> Cut:
    """Cut cells by the switches ``span`` of a step whose source has the maps source[owners]."""
    from theodolite.maths.cutters import Cutters

    step = task.program.steps[index]
    assert not isinstance(step, Affine)
    low, stop = span
    if task.certify == "exact" or not np.isfinite(task.errors[index][low:stop]).all():  # nothing in floating point
        nothing = np.zeros((0, stop - low), dtype=np.uint8)
        return Cut(cells.part(0, 0), np.zeros(0, dtype=np.int64), nothing, np.ones(len(cells), dtype=bool))
    if isinstance(step, Maximum):
        return _cut_maximum(task, index, cells, source[owners])
    labels = task.program.columns[index][0] + np.arange(low, stop)
    keep = np.zeros(stop - low, dtype=np.int8)
    cutters = Cutters(step.rows(source), owners, low, task.errors[index][low:stop], labels, keep, task.extent)
    return split_cells(cells, cutters, task.certify != "none")


def _through_switches(program: Program, frame: Frame) -> tuple[dict[int, Array], int]:
    """Maps of a frame's own cells, after the switches by which they were cut; and the step that comes next."""
    from theodolite.maths.affinemaps import sloped_affine, sloped_gather

    if frame.sides is None:
        return {k: v[frame.parents] for k, v in frame.values.items()}, frame.step
    index = frame.step - 1
    step = program.steps[index]
    assert not isinstance(step, Affine)
    source = frame.values[step.source]
    values = {k: v[frame.parents] for k, v in frame.values.items() if program.last_use.get(k, -1) > index}
    slopes = step.halves if isinstance(step, Switching) else None
    if slopes is None:
        values[index + 1] = step.maps(source[frame.parents], frame.sides)
        return values, frame.step
    following = program.steps[frame.step] if frame.step < len(program.steps) else None
    alone = program.last_use.get(index + 1) == frame.step
    if isinstance(following, Affine) and following.is_dense and following.sources == (index + 1,) and alone:
        values[frame.step + 1] = sloped_affine(source, frame.parents, frame.sides, slopes, following.columns, following.bias)
        return values, frame.step + 1
    values[index + 1] = sloped_gather(source, frame.parents, frame.sides, slopes)
    return values, frame.step


def _drop_dead(program: Program, values: dict[int, Array], index: int) -> None:
    for k in [k for k in values if program.last_use.get(k, -1) <= index]:
        del values[k]


def _cut_maximum(task: Task, index: int, cells: Cells, source: Array) -> Cut:
    """The winner partition of every group: for every candidate, the part of the cell where it beats the others."""
    from theodolite.maths.cutters import Cutters

    step = task.program.steps[index]
    assert isinstance(step, Maximum)
    base, width = task.program.columns[index][0], step.groups.shape[1]
    certified = task.certify != "none"
    origin = np.arange(len(cells))
    bits = np.zeros((len(cells), step.switches), dtype=np.uint8)
    undecided = np.zeros(len(cells), dtype=bool)
    for i, group in enumerate(step.groups):
        slots = np.flatnonzero(group >= 0)
        columns = base + i * width + slots
        parts, parents = [], []
        for k, slot in enumerate(slots):
            others = np.delete(np.arange(len(slots)), k)
            if not len(others):
                parts.append(cells)
                parents.append(np.arange(len(cells)))
            else:
                rows = source[:, :, [group[slot]]] - source[:, :, group[slots[others]]]
                labels = columns[k] + PAIR * (columns[others] + 1)
                errors = np.repeat(task.errors[index][i * width], len(others))
                keep = np.where(k < others, 1, 2).astype(np.int8)
                cut = split_cells(cells, Cutters(rows, origin, 0, errors, labels, keep, task.extent), certified)
                undecided[origin[cut.undecided]] = True
                parts.append(cut.cells)
                parents.append(cut.parents)
        parent = np.concatenate(parents)
        cells = Cells.join(parts)
        winner = np.repeat(columns - base, [len(p) for p in parents])
        bits = bits[parent]
        bits[np.arange(len(parent)), winner] = 1
        origin = origin[parent]
    if undecided.any():
        good = np.flatnonzero(~undecided[origin])
        cells, origin, bits = cells.select(good), origin[good], bits[good]
    return Cut(cells, origin, bits, undecided)


def _redo(task: Task, index: int, frame: Frame, cut: Cut, source: Array, span: tuple[int, int]) -> Cut:
    """Cut the undecided parents by the switches ``span`` in exact arithmetic and add their parts."""
    cells, parents, bits = [cut.cells], [cut.parents], [cut.bits]
    words = frame.cells.masks.shape[1]
    for r in map(int, np.flatnonzero(cut.undecided)):
        prefix = unpack_patterns(task.program, frame.bits[r : r + 1], stop=index)[0]
        values = task.exact.maps(prefix, index)
        polytope = task.exact.polytope(frame.cells, r, values)
        parts = task.exact.split(polytope, index, values, span)
        own = frame.cells.part(r, r + 1)
        lines = {int(label): line for label, line in zip(own.labels, own.facets, strict=True)}
        lines.update(_lines(task, index, source[r], {label for p, _ in parts for label in p.labels} - lines.keys()))
        cells.append(float_cells([p for p, _ in parts], lines, words))
        parents.append(np.full(len(parts), r))
        bits.append(np.array([b for _, b in parts], dtype=np.uint8).reshape(-1, span[1] - span[0]))
    # parts of one parent stay together and parents stay in order, so that slices keep their locality
    parent = np.concatenate(parents)
    order = np.argsort(parent, kind="stable")
    joined = Cells.join(cells).select(order)
    return Cut(joined, parent[order], np.concatenate(bits)[order], np.zeros_like(cut.undecided))


def _lines(task: Task, index: int, value: Array, labels: set[int]) -> dict[int, Array]:
    """Float rows with their error for new facets of a cell whose source maps are ``value`` (d + 1, n)."""
    step = task.program.steps[index]
    low = task.program.columns[index][0]
    found = {}
    if isinstance(step, Switching):
        rows = step.rows(value[None])[0]
        for label in labels:
            found[label] = np.append(rows[:, label - low], task.errors[index][label - low])
    else:
        assert isinstance(step, Maximum)
        entries = step.groups.ravel()
        for label in labels:
            first, second = label % PAIR - low, label // PAIR - 1 - low
            row = value[:, entries[first]] - value[:, entries[second]]
            found[label] = np.append(row, task.errors[index][first])
    return found

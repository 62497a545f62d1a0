"""Looking at a few cells before a sweep begins: what they return, how long they take, and so how many make a tile."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from theodolite.core.experiment import canonical
from theodolite.lab.driver import died
from theodolite.lab.layout import Layout, Variable
from theodolite.lab.spec import Spec, shape_of
from theodolite.lab.tile import Cells, Sample, sample_cells
from theodolite.lab.values import Outcome, Value, own_attributes, shared_attributes

__all__ = ["Calibration", "calibrate"]

#: Seconds of work that a tile should hold: a hundred times what it costs to schedule and commit it.
TILE_SECONDS = 1.0
#: Bytes that a tile's chunks should not exceed.
TILE_BYTES = 8 << 20
#: Tiles that a sweep should at least have, so that many workers share it evenly.
LEAST_TILES = 32
#: Cells to look at, and seconds after which no further one is begun in this process.
SAMPLES = 5
BUDGET = 2.0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a few cells showed.

    Attributes:
        layout: how the sweep will be stored.
        known: row-major cell index -> outcome of the cells that were looked at; they need not be run again.
    """

    layout: Layout
    known: Mapping[int, Outcome]

    @property
    def failures(self) -> tuple[str, ...]:
        """Why cells failed, each reason once."""
        return tuple(dict.fromkeys(outcome.reason for outcome in self.known.values() if outcome.reason))


def calibrate(spec: Spec, executor: Executor, tile: int | None) -> Calibration:
    """Run a few cells, spread over the sweep, on ``executor``.

    Args:
        spec: the sweep.
        executor: where it will run; a cell that ends its worker is passed over here and dealt with when its tile is run.
        tile: cells per tile, or None to choose by time and size.
    """
    count = min(SAMPLES, spec.cells)
    chosen = sorted({round(k * (spec.cells - 1) / max(count - 1, 1)) for k in range(count)})
    samples = _samples(spec, executor, chosen)
    known = {index: sample.outcomes[0] for index, sample in samples.items()}
    seconds = sum(sample.seconds for sample in samples.values()) / max(len(samples), 1)
    memory = max((sample.memory for sample in samples.values()), default=0)
    if hasattr(spec.experiment, "measure_many") and 1 < len(samples) == len(chosen) and seconds * count < BUDGET:
        together = _result(executor.submit(sample_cells, cells_of(spec, chosen)))
        seconds = min(seconds, together.seconds) if together else seconds
    good = [outcome for outcome in known.values() if not outcome.reason]
    attrs = (
        shared_attributes(good) if spec.cells > 1 else {name: value for outcome in good for name, value in outcome.attrs.items()}
    )
    variables = _variables([own_attributes(outcome, attrs) for outcome in good])
    if tile is None:
        size = sum(variable.nbytes for variable in variables)
        tile = int(min(TILE_SECONDS / max(seconds, 1e-7), TILE_BYTES / max(size, 1), spec.cells / LEAST_TILES))
    coords = good[0].coords if good else {}
    layout = Layout(
        axes=spec.shape,
        order=_order(spec),
        tile=min(max(tile, 1), spec.cells),
        variables=variables,
        coords=tuple(Variable.of(name, value) for name, value in coords.items()),
        coord_values=tuple(canonical(value.array) for value in coords.values()),
        attrs=canonical(attrs),
        seconds=seconds,
        memory=memory,
    )
    return Calibration(layout, known)


def cells_of(spec: Spec, indices: Sequence[int], known: Mapping[int, Outcome] | None = None) -> Cells:
    """The cells at row-major ``indices``, as a worker needs them."""
    positions = {index: position for position, index in enumerate(indices)}
    mine = {positions[index]: outcome for index, outcome in (known or {}).items() if index in positions}
    return Cells(spec.experiment, spec.fixed, tuple(spec.over), tuple(tuple(spec.cell(i).values()) for i in indices), mine)


def _samples(spec: Spec, executor: Executor, chosen: Sequence[int]) -> dict[int, Sample]:
    """A sample per chosen cell, side by side where the executor has several workers; one after another for `BUDGET` at most."""
    begin = time.perf_counter()
    futures: dict[int, Future[Sample]] = {}
    for index in chosen:
        futures[index] = executor.submit(sample_cells, cells_of(spec, [index]))
        if time.perf_counter() - begin > BUDGET:
            break
    results = {index: _result(future) for index, future in futures.items()}
    return {index: sample for index, sample in results.items() if sample is not None}


def _result(future: Future[Sample]) -> Sample | None:
    """The sample, or None when its worker died."""
    return None if died(future.exception()) else future.result()


def _variables(outcomes: Sequence[Outcome]) -> tuple[Variable, ...]:
    """For each result the commonest shape among ``outcomes``, with a type that holds all of that shape.

    Text and empty arrays are left out: they go beside the arrays, as all that does not fit does.
    """
    found: dict[str, list[Value]] = {}
    for outcome in outcomes:
        for name, value in outcome.values.items():
            if value.array.dtype.kind != "U" and value.array.size:
                found.setdefault(name, []).append(value)
    variables = []
    for name, values in found.items():
        (dims, shape), _ = Counter((value.dims, value.array.shape) for value in values).most_common(1)[0]
        alike = [value for value in values if (value.dims, value.array.shape) == (dims, shape)]
        dtype = np.result_type(*(value.array.dtype for value in alike)).newbyteorder("<")
        variables.append(Variable(name, dtype.str, dims, shape, canonical(alike[0].attrs)))
    return tuple(variables)


def _order(spec: Spec) -> tuple[int, ...]:
    """Axes from slowest to fastest: those that change the shape of a cell first, so that a tile can be stacked."""
    axes = tuple(range(len(spec.over)))
    if not hasattr(spec.experiment, "measure_many"):
        return axes
    changing = []
    first: dict[str, Any] = {**spec.fixed, **spec.cell(0)}
    for axis, (name, values) in zip(axes, spec.over.items(), strict=True):
        try:
            ends = [shape_of(spec.experiment(**{**first, name: value})) for value in (values[0], values[-1])]
        except Exception:
            # A cell that cannot be built says nothing about shapes; it fails, with its reason, when its tile is run.
            return axes
        if ends[0] != ends[1]:
            changing.append(axis)
    return (*changing, *(axis for axis in axes if axis not in changing))

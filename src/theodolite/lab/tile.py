"""What a worker does: look whether the tile is done, compute its cells, write it, return a receipt.

The results go to the store from where they are computed; what travels back is a few bytes, so that an engine that loses or
repeats a task loses and repeats nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from theodolite.core.errors import StoreError
from theodolite.lab.spec import shape_of
from theodolite.lab.storage import Storage
from theodolite.lab.store import Manifest, Store
from theodolite.lab.values import Outcome, outcome_of, reason_of

__all__ = ["Cells", "Receipt", "Sample", "compute", "run_tile", "sample_cells"]

#: The manifest that this process works under, by its stamp (a manifest never changes).
_MANIFESTS: dict[str, Manifest] = {}
#: Experiments that this process has run.
_WARM: set[type] = set()
#: Seconds below which a first run is repeated for its time.
CHEAP = 0.5


@dataclass(frozen=True)
class Cells:
    """Some cells of a sweep, as a worker needs them.

    Attributes:
        experiment: the class.
        fixed: settings that all cells share.
        axes: names of the settings that differ.
        values: per cell, the values along the axes.
        known: position -> outcome of cells that were run already, to see how long they take.
    """

    experiment: type
    fixed: Mapping[str, Any]
    axes: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    known: Mapping[int, Outcome] = field(default_factory=dict)

    def cell(self, position: int) -> dict[str, Any]:
        """Axis -> value of one of the cells."""
        return dict(zip(self.axes, self.values[position], strict=True))

    def only(self, position: int) -> Cells:
        """The same with one cell."""
        known = {0: self.known[position]} if position in self.known else {}
        return Cells(self.experiment, self.fixed, self.axes, (self.values[position],), known)


@dataclass(frozen=True)
class Receipt:
    """What a worker returns for a tile.

    Attributes:
        tile: its number.
        cells: number of its cells.
        failed: number of them that failed.
        seconds: time spent computing.
        doubt: why stacking the cells failed although each of them runs alone; else empty.
        repeated: the tile had been committed before, so nothing was done.
    """

    tile: int
    cells: int
    failed: int = 0
    seconds: float = 0.0
    doubt: str = ""
    repeated: bool = False


def run_tile(storage: Storage, stamp: str, tile: int, cells: Cells) -> Receipt:
    """Compute a tile and commit it, unless that has been done. Idempotent.

    Raises:
        StoreError: the tile could not be written, or the store was replaced by another one meanwhile.
    """
    store = Store(storage)
    if store.is_committed(tile):
        return Receipt(tile, len(cells.values), repeated=True)
    start = time.perf_counter()
    outcomes, doubt = compute(cells)
    seconds = time.perf_counter() - start
    if not store.is_committed(tile):
        store.write_tile(_manifest(storage, stamp).layout, tile, outcomes)
    return Receipt(tile, len(outcomes), sum(bool(o.reason) for o in outcomes), seconds, doubt)


def _manifest(storage: Storage, stamp: str) -> Manifest:
    """The manifest, read once per store and process."""
    if stamp not in _MANIFESTS:
        manifest = Store(storage).manifest()
        if manifest is None or manifest.stamp != stamp:
            raise StoreError(f"the store at {storage.url} was deleted or replaced while a run was using it; start the run again")
        _MANIFESTS.clear()
        _MANIFESTS[stamp] = manifest
    return _MANIFESTS[stamp]


def compute(cells: Cells) -> tuple[list[Outcome], str]:
    """The outcomes of ``cells``, in order, and why stacking failed without a guilty cell (else empty).

    Cells of equal shape are handed to the experiment's ``measure_many`` together, if it has one. When that raises, the stack is
    halved until the guilty cell stands alone, so that only it fails.
    """
    outcomes: dict[int, Outcome] = dict(cells.known)
    experiments: dict[int, Any] = {}
    for position in range(len(cells.values)):
        if position in outcomes:
            continue
        try:
            experiments[position] = cells.experiment(**{**cells.fixed, **cells.cell(position)})
        except Exception as error:
            outcomes[position] = Outcome(reason=reason_of(error))
    doubt = ""
    for positions in _stacks(cells.experiment, experiments):
        stacked, trouble = _stacked(cells, experiments, positions)
        for position, outcome in zip(positions, stacked, strict=True):
            outcomes[position] = outcome
        if trouble and not any(outcome.reason for outcome in stacked):
            doubt = trouble
    return [outcomes[position] for position in range(len(cells.values))], doubt


def _stacks(experiment: type, experiments: Mapping[int, Any]) -> list[list[int]]:
    """Positions grouped by what is run together."""
    if not hasattr(experiment, "measure_many"):
        return [[position] for position in experiments]
    groups: dict[Any, list[int]] = {}
    for position, built in experiments.items():
        groups.setdefault(shape_of(built), []).append(position)
    return list(groups.values())


def _stacked(cells: Cells, experiments: Mapping[int, Any], positions: Sequence[int]) -> tuple[list[Outcome], str]:
    """Outcomes of one stack, and the error of ``measure_many`` if it raised; then the stack was halved until the guilty stood alone."""
    if len(positions) == 1:
        return [_alone(experiments[positions[0]], cells.cell(positions[0]))], ""
    try:
        results = list(cells.experiment.measure_many([experiments[p] for p in positions]))  # type: ignore[attr-defined]
        if len(results) != len(positions):
            raise ValueError(f"measure_many returned {len(results)} results for {len(positions)} experiments")
        return [outcome_of(result, cells.cell(p)) for result, p in zip(results, positions, strict=True)], ""
    except Exception as error:
        half = len(positions) // 2
        first, second = (_stacked(cells, experiments, part)[0] for part in (positions[:half], positions[half:]))
        return [*first, *second], reason_of(error)


def _alone(experiment: Any, cell: Mapping[str, Any]) -> Outcome:
    try:
        return outcome_of(experiment.run(), cell)
    except (Exception, SystemExit) as error:
        # A numerical failure, a wrong setting, a bug of the experiment: a result with a reason, and the sweep goes on.
        return Outcome(reason=reason_of(error))


@dataclass(frozen=True)
class Sample:
    """A few cells, timed.

    Attributes:
        outcomes: their outcomes.
        seconds: per cell, when run as a tile is run.
        memory: peak resident bytes of the process that ran them.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float
    memory: int


def sample_cells(cells: Cells) -> Sample:
    """Run ``cells`` as a tile is run, timed; in a process that has not run this experiment before, once more if that is cheap.

    What a first run imports and compiles is not what a tile costs.
    """
    start = time.perf_counter()
    outcomes, _ = compute(cells)
    seconds = time.perf_counter() - start
    if cells.experiment not in _WARM and seconds < CHEAP:
        start = time.perf_counter()
        compute(cells)
        seconds = time.perf_counter() - start
    _WARM.add(cells.experiment)
    return Sample(tuple(outcomes), seconds / len(cells.values), _peak_memory())


def _peak_memory() -> int:
    try:
        import resource
    except ImportError:  # Windows does not tell
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit

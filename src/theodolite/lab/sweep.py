"""`Sweep`: an experiment over a grid of settings, computed in tiles that are committed one by one."""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from theodolite.core.errors import ArgumentError, StoreError, TheodoliteWarning
from theodolite.core.record import provenance
from theodolite.lab.artefact import load_artefact
from theodolite.lab.calibrate import Calibration, calibrate, cells_of
from theodolite.lab.display import Display
from theodolite.lab.driver import Driver, orderly_stop
from theodolite.lab.spec import Spec
from theodolite.lab.status import Failure, Plan, Status
from theodolite.lab.storage import open_storage
from theodolite.lab.store import Manifest, Store
from theodolite.lab.tile import Cells
from theodolite.lab.workers import InProcess, Workers

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Sweep"]


class Sweep:
    """A grid of experiments that resumes, survives the death of workers, and runs here or on a cluster.

    Cells are computed in tiles; a tile is committed whole. Running again computes what is missing; two runs on one store share the
    work; a cell that raises, or kills its worker, ends as failed with its reason. An experiment class may offer ``measure_many``,
    a classmethod from experiments of equal shape to their datasets; a tile's cells are then computed together.

    Args:
        experiment: a registered name, ``"package.module:Class"``, or a frozen dataclass with ``run()`` returning a `Record` or a
            mapping of names to numbers and arrays (heavy ones as `theodolite.lab.Artefact`).
        over: axis -> values; every axis is a setting of the experiment.
        store: folder or fsspec URL. It belongs to this sweep alone; another spec is refused with the differences.
        tile: cells per tile. ``"auto"``: about a second of work, at most 8 MB, at least 32 tiles.
        **fixed: settings that are the same in all cells.

    Raises:
        ArgumentError: an axis is empty or has repeated values, a setting is missing or given twice, the class is not frozen.
        UnknownNameError: no such experiment or setting.

    Example:
        >>> import tempfile
        >>> from theodolite.lab import Sweep
        >>> sweep = Sweep("theodolite.lab.example:Parabola", over={"a": [1.0, 2.0], "b": [0.0, 1.0, 2.0]},
        ...               store=tempfile.mkdtemp(), tile=2)
        >>> print(sweep.run())
        6 of 6 cells (100.0%); 3 of 3 tiles
        >>> float(sweep.load()["minimum"].sel(a=2.0, b=1.0))
        -0.125
    """

    def __init__(
        self, experiment: Any, over: Mapping[str, Any], store: Any, tile: int | Literal["auto"] = "auto", **fixed: Any
    ) -> None:
        self.spec = Spec.of(experiment, over, fixed)
        if tile != "auto" and (isinstance(tile, bool) or not isinstance(tile, (int, np.integer)) or tile < 1):
            raise ArgumentError(f"tile must be 'auto' or a number of cells of at least 1, got {tile!r}")
        self._tile = None if tile == "auto" else min(int(tile), self.spec.cells)
        self._store = Store(open_storage(store))
        self._calibration: Calibration | None = None
        # Through JSON and back: what is compared with a store is what would be stored.
        self._saved: dict[str, Any] = json.loads(json.dumps(self.spec.as_json()))

    @classmethod
    def open(cls, store: Any) -> Sweep:
        """The sweep that is stored at ``store``.

        Raises:
            StoreError: there is none.
            UnknownNameError: its experiment cannot be imported here.
        """
        manifest = Store(open_storage(store)).manifest()
        if manifest is None:
            raise StoreError(f"no sweep at {store}; a sweep's folder holds a manifest.json")
        spec = Spec.from_json(manifest.spec)
        return cls(spec.experiment, spec.over, store, **spec.fixed)

    def __repr__(self) -> str:
        axes = " × ".join(f"{axis} ({len(values)})" for axis, values in self.spec.over.items())
        return f"<Sweep of {self.spec.experiment.__qualname__} over {axes} in {self._store.storage.url}>"

    # -- before ------------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """What the sweep will take. Writes nothing; before the first run a few cells are timed, on a worker of their own."""
        manifest = self._manifest()
        if manifest is None and self._calibration is None:
            with Workers(1) as executor:
                self._calibration = calibrate(self.spec, executor, self._tile)
        if manifest is not None:
            layout, done = manifest.layout, self._store.committed(manifest.layout)
        else:
            assert self._calibration is not None
            layout = self._calibration.layout
            done = np.zeros(layout.tiles, dtype=bool)
        remaining = layout.cells - int(_sizes(layout)[done].sum())
        per_cell = sum(variable.nbytes for variable in layout.variables)
        return Plan(
            cells=layout.cells,
            tiles=layout.tiles,
            tile=layout.tile,
            done=int(done.sum()),
            cost=remaining * layout.seconds,
            memory=layout.memory + layout.tile * per_cell,
            storage=layout.cells * per_cell,
            failing=() if self._calibration is None else self._calibration.failures,
        )

    # -- running -----------------------------------------------------------------------------------------------------

    def run(
        self,
        workers: int = 1,
        engine: Literal["local", "dask"] | Executor = "local",
        address: Any = None,
        resume: bool = True,
        shard: str | None = None,
        retry_failed: bool = False,
    ) -> Status:
        """Compute the tiles that are not committed yet.

        Ctrl-C (or SIGTERM) lets the tiles in flight finish and then raises `KeyboardInterrupt`; a second one stops at once.

        Args:
            workers: 1 computes in this process; more start that many spawned processes of one thread each. (A cell that kills its
                process can only be survived by a process of its own: give at least 2.)
            engine: ``"local"``, ``"dask"``, or any `concurrent.futures.Executor`, which is left open.
            address: for Dask: a scheduler's address, a client, a cluster, or ``"slurm"``, ``"pbs"``, ``"lsf"`` with options, as
                `theodolite.lab.dask_executor` describes; None starts workers on this machine.
            resume: False deletes all results first. No other run may be using the store then.
            shard: ``"i/N"``, 0 ≤ i < N: only every N-th tile, starting with the i-th, for job arrays without a scheduler.
            retry_failed: compute tiles with failed cells again.

        Raises:
            StoreError: the store belongs to another sweep, or cannot be written (what was committed stays).
            ArgumentError: a wrong ``workers``, ``engine`` or ``shard``, or an experiment that workers cannot import.
        """
        mine = _shard(shard)
        self._check_engine(workers, engine)
        if not resume and self._manifest() is not None:
            self._store.clear()
            self._calibration = None
        manifest = self._manifest()
        if manifest is not None:
            self._prepare(manifest)
            if retry_failed:
                self._forget_failed(manifest, mine)
            if not len(self._open_tiles(manifest, mine)):
                return self.status()
        with orderly_stop() as stop, self._executor(workers, engine, address) as (executor, window):
            if manifest is None:
                manifest = self._begin(executor)
            tiles = self._open_tiles(manifest, mine)
            done = int(self._store.committed(manifest.layout).sum())
            with Display(self.spec.experiment.__qualname__, manifest.layout.tiles, done) as display:
                driver = Driver(
                    executor,
                    self._store,
                    manifest.stamp,
                    self._cells_of_tile(manifest),
                    window=window,
                    report=display.receive,
                    stop=stop,
                )
                driver.run(_from_anywhere(tiles))
        self._tell_doubt(display.doubt)
        status = self.status()
        if stop.is_set() and len(self._open_tiles(manifest, mine)):
            raise KeyboardInterrupt(f"stopped with {status}; run again to resume")
        return status

    def _forget_failed(self, manifest: Manifest, mine: Any) -> None:
        for tile, notes in self._store.notes(self._store.committed(manifest.layout)):
            if "failed" in notes and tile in mine(manifest.layout.tiles):
                self._store.uncommit(tile)

    def _tell_doubt(self, doubt: str) -> None:
        if doubt:
            warnings.warn(
                f"measure_many of {self.spec.experiment.__qualname__} failed on cells that succeed in smaller stacks "
                f"({doubt}); the results are there, but stacking is in doubt",
                TheodoliteWarning,
                stacklevel=3,
            )

    def _begin(self, executor: Executor) -> Manifest:
        """Calibrate, create the manifest (or adopt that of a run that was quicker) and the arrays."""
        if self._calibration is None:
            self._calibration = calibrate(self.spec, executor, self._tile)
        self._store.begin(self._saved, self._calibration.layout, _versions())
        manifest = self._manifest()
        assert manifest is not None
        self._prepare(manifest)
        return manifest

    def _prepare(self, manifest: Manifest) -> None:
        self._store.prepare(manifest.layout)
        now = _versions()
        changed = [f"{p} {v} (now {now[p]})" for p, v in manifest.versions.items() if p in now and now[p] != v]
        if changed:
            warnings.warn(
                f"the store at {self._store.storage.url} was begun with {', '.join(changed)}; "
                "its results and the new ones may differ in the last digits",
                TheodoliteWarning,
                stacklevel=3,
            )

    @contextmanager
    def _executor(self, workers: int, engine: Any, address: Any) -> Iterator[tuple[Executor, int]]:
        """The executor, and how many tasks to keep in flight."""
        if isinstance(engine, Executor):
            yield engine, 2 * max(workers, os.cpu_count() or 1)
        elif engine == "dask":
            from theodolite.lab.cluster import dask_executor

            with dask_executor(workers, address) as (executor, window):
                yield executor, window
        elif workers == 1:
            with InProcess() as executor:
                yield executor, 1
        else:
            with Workers(workers) as executor:
                yield executor, 2 * workers

    def _check_engine(self, workers: int, engine: Any) -> None:
        if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)) or workers < 1:
            raise ArgumentError(f"workers must be a number of at least 1, got {workers!r}")
        if not isinstance(engine, Executor) and engine not in ("local", "dask"):
            raise ArgumentError(f"engine must be 'local', 'dask' or a concurrent.futures.Executor, got {engine!r}")
        alone = engine == "local" and workers == 1
        if not self._store.storage.shared and not alone and not isinstance(engine, Executor):
            raise ArgumentError(
                f"{self._store.storage.url} lives in this process: use workers=1, engine='local', or a real place"
            )

    def _cells_of_tile(self, manifest: Manifest) -> Any:
        layout = manifest.layout
        # Only for the run that calibrated: later runs, such as one that tries failed cells again, compute what they are asked to.
        known = self._calibration.known if self._calibration else {}
        self._calibration = None

        def cells(tile: int) -> Cells:
            return cells_of(self.spec, [layout.spec_index(stored) for stored in layout.span(tile)], known)

        return cells

    def _open_tiles(self, manifest: Manifest, mine: Any) -> NDArray[np.int64]:
        """Tiles of this shard that are not committed."""
        open_ = np.flatnonzero(~self._store.committed(manifest.layout))
        share = mine(manifest.layout.tiles)
        return open_[(open_ - share.start) % share.step == 0]

    # -- after -------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """How far the sweep has come, from one listing of its commit records."""
        manifest = self._manifest()
        if manifest is None:
            return Status(self.spec.cells, 0, 0, 0, 0)
        layout, done = manifest.layout, self._store.committed(manifest.layout)
        failed = sum(len(notes.get("failed", {})) for _, notes in self._store.notes(done))
        return Status(layout.cells, layout.tiles, int(done.sum()), int(_sizes(layout)[done].sum()), failed)

    def load(self) -> xr.Dataset:
        """The results over labelled axes, with units, spec, versions and seeds as attributes; readable while a run goes on.

        Cells that are missing or failed are masked: NaN, for which integers and booleans become floats. The coordinate
        ``cell_state`` tells missing (0), done (1) and failed (2) cells apart, so that a NaN that is a result can be told from a
        mask. A result whose shape differs between cells is padded with NaN to the largest; a result or dimension that bears an
        axis's name gets the ending ``_within``. Above 1 GiB, results are read from the
        store when they are looked at.

        Raises:
            StoreError: nothing has been run yet.
        """
        from theodolite.lab.dataset import open_dataset

        manifest = self._begun()
        attrs = {
            "experiment": manifest.spec["experiment"],
            "axes": json.dumps(list(self.spec.over)),
            "spec": json.dumps(manifest.spec),
            "versions": json.dumps(manifest.versions),
            "seeds": json.dumps(self.spec.seeds),
        }
        return open_dataset(self._store, manifest, self.spec.over, attrs)

    def failed(self) -> list[Failure]:
        """The cells that failed, each with its reason, in the order of the axes."""
        manifest = self._manifest()
        if manifest is None:
            return []
        layout, found = manifest.layout, {}
        for tile, notes in self._store.notes(self._store.committed(layout)):
            for position, reason in notes.get("failed", {}).items():
                found[layout.spec_index(layout.span(tile).start + int(position))] = reason
        return [Failure(self.spec.cell(index), found[index]) for index in sorted(found)]

    def export(self, path: str | Path) -> Path:
        """Write what `load` returns to one file: ``.nc`` whole, ``.parquet`` and ``.csv`` as a table of a row per cell.

        Raises:
            ArgumentError: another suffix.
            MissingExtraError: Parquet without pyarrow.
        """
        from theodolite.lab.export import export

        return export(self.load(), path)

    def artefact(self, key: str) -> Any:
        """The heavy result of that key, as an array or a mapping of names to arrays; its content is checked against the key."""
        return load_artefact(self._store.storage, str(key)).content

    def repair(self) -> list[int]:
        """Forget the tiles whose chunks are missing or damaged (by a power cut, say), and return their numbers."""
        layout = self._begun().layout
        damaged = [
            int(tile)
            for tile in np.flatnonzero(self._store.committed(layout))
            if any(self._store.read_chunk(layout, variable, int(tile)) is None for variable in layout.variables)
        ]
        for tile in damaged:
            self._store.uncommit(tile)
        return damaged

    def _manifest(self) -> Manifest | None:
        return self._store.matching(self._saved, self._tile)

    def _begun(self) -> Manifest:
        manifest = self._manifest()
        if manifest is None:
            raise StoreError(f"nothing has been run at {self._store.storage.url} yet; call run() first")
        return manifest


@functools.cache
def _versions() -> dict[str, str]:
    """Versions of what computes the results; looked up once, because reading package metadata takes tens of milliseconds."""
    origin = provenance()
    return {**origin["versions"], "python": origin["python"]}


def _sizes(layout: Any) -> NDArray[np.int64]:
    """Cells per tile."""
    sizes = np.full(layout.tiles, layout.tile)
    sizes[-1] = layout.cells - (layout.tiles - 1) * layout.tile
    return sizes


def _shard(shard: str | None) -> Any:
    """From the number of tiles to those of the shard, as a range."""
    if shard is None:
        return lambda tiles: range(0, tiles, 1)
    index, slash, count = str(shard).partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ArgumentError(f"shard must be 'i/N' with 0 ≤ i < N, as in '0/8', got {shard!r}")
    return lambda tiles: range(int(index), max(tiles, int(index)), int(count))


def _from_anywhere(tiles: NDArray[np.int64]) -> Iterator[int]:
    """``tiles`` in order, from a place that differs from run to run, so that two runs on one store do not do the same work."""
    start = int.from_bytes(os.urandom(4), "little") % max(len(tiles), 1)
    for position in range(len(tiles)):
        yield int(tiles[(start + position) % len(tiles)])

"""Large kernels in tiles: by any ``concurrent.futures`` executor, into memory or into a zarr group on disk that can be resumed.

A tile is done when its entry in the array ``done`` is written, which happens after all its data: a run that was killed repeats at
most the tiles in flight.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import StoreError
from theodolite.core.experiment import canonical

__all__ = ["Grid", "fingerprint", "run_tiles"]

#: Tiles in flight per run: enough to keep a cluster's workers busy, few enough to bound the memory of the parent.
_IN_FLIGHT = 16


@dataclass(frozen=True)
class Grid:
    """A kernel of ``rows`` × ``columns`` samples cut into square tiles; of a symmetric one only j ≥ i is computed."""

    rows: int
    columns: int
    tile: int
    symmetric: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of tiles."""
        return -(-self.rows // self.tile), -(-self.columns // self.tile)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for i in range(self.shape[0]):
            for j in range(i if self.symmetric else 0, self.shape[1]):
                yield i, j

    def row(self, i: int) -> slice:
        """Samples of tile row i."""
        return slice(i * self.tile, min((i + 1) * self.tile, self.rows))

    def column(self, j: int) -> slice:
        """Samples of tile column j."""
        return slice(j * self.tile, min((j + 1) * self.tile, self.columns))


def fingerprint(settings: Any, *arrays: Any) -> dict[str, Any]:
    """What a store on disk belongs to: settings in words and a hash of each array."""
    plain = settings if isinstance(settings, dict) else dataclasses.asdict(settings)
    described: dict[str, Any] = {"settings": canonical(plain)}
    for k, array in enumerate(arrays):
        if array is not None:
            contiguous = np.ascontiguousarray(array)
            digest = hashlib.blake2b(contiguous.tobytes(), digest_size=16)
            described[f"data {k}"] = f"{contiguous.dtype}{contiguous.shape} {digest.hexdigest()}"
    found: dict[str, Any] = json.loads(json.dumps(described))
    return found


class _Memory:
    """Results in numpy arrays."""

    def __init__(self, grid: Grid, names: tuple[str, ...], tail: tuple[int, ...], dtype: Any) -> None:
        self.arrays = [np.empty((grid.rows, grid.columns, *tail), dtype=dtype) for _ in names]

    def done(self, i: int, j: int) -> bool:
        return False

    def commit(self, i: int, j: int) -> None:
        pass


class _Disk:
    """Results in a zarr group, one chunk per tile."""

    def __init__(
        self, out: Any, grid: Grid, names: tuple[str, ...], tail: tuple[int, ...], dtype: Any, spec: dict[str, Any]
    ) -> None:
        import zarr

        spec = {**spec, "tile": grid.tile}
        try:
            group = out if isinstance(out, zarr.Group) else zarr.open_group(out if isinstance(out, str) else str(out), mode="a")
            found: Any = group.attrs.get("theodolite_kernel")
            if found is None:
                if list(group.keys()):
                    raise StoreError(f"out={out} holds other data: {', '.join(sorted(group.keys()))}; choose an empty folder")
                chunk = (min(grid.tile, grid.rows), min(grid.tile, grid.columns), *tail)
                for name in names:
                    group.create_array(
                        name,
                        shape=(grid.rows, grid.columns, *tail),
                        chunks=chunk,
                        dtype=dtype,
                        compressors=None,
                        fill_value=np.nan,
                    )
                group.create_array("done", shape=grid.shape, chunks=(1, 1), dtype="uint8", fill_value=0)
                group.attrs["theodolite_kernel"] = spec
            elif found != spec:
                keys = sorted(k for k in {*found, *spec} if found.get(k) != spec.get(k))
                changes = "; ".join(f"{k}: {found.get(k)} there, {spec.get(k)} asked" for k in keys)
                raise StoreError(f"out={out} holds the kernel of something else ({changes}); choose another folder or delete it")
        except OSError as error:
            raise StoreError(f"out={out} could not be written: {error}; free space or choose another folder") from error
        self.arrays: list[Any] = [group[name] for name in names]
        self._done: Any = group["done"]
        self._was_done = np.asarray(self._done)

    def done(self, i: int, j: int) -> bool:
        return bool(self._was_done[i, j])

    def commit(self, i: int, j: int) -> None:
        self._done[i, j] = 1


def run_tiles(
    grid: Grid,
    function: Callable[..., tuple[Any, ...]],
    settings: tuple[Any, ...],
    first: Any,
    second: Any,
    *,
    names: tuple[str, ...],
    executor: Executor | None,
    out: Any,
    spec: dict[str, Any],
    tail: tuple[int, ...] = (),
    dtype: Any = np.float64,
) -> list[Any]:
    """Compute all tiles of a kernel and return one array per name.

    Args:
        grid: the cut.
        function: ``function(*settings, x_rows, x_columns or None) -> one array per name``, None on the diagonal of a symmetric one.
        settings: leading arguments, picklable for a pool of processes.
        first: inputs of the rows, sliced along the first dimension.
        second: inputs of the columns; None for a symmetric kernel.
        names: names of the arrays.
        executor: carries the tiles out; None for this process.
        out: zarr group, folder or URL; None for memory.
        spec: what the result belongs to.
        tail: further dimensions of the arrays, swapped when a tile is mirrored.
        dtype: of the arrays.

    Returns:
        numpy arrays, or zarr arrays with ``out``.

    Raises:
        StoreError: the store belongs to something else or cannot be written.
    """
    target = _Memory(grid, names, tail, dtype) if out is None else _Disk(out, grid, names, tail, dtype, spec)

    def store(i: int, j: int, blocks: tuple[Any, ...]) -> None:
        try:
            for array, block in zip(target.arrays, blocks, strict=True):
                array[grid.row(i), grid.column(j)] = block
                if grid.symmetric and i != j:
                    mirrored = np.moveaxis(block, (0, 1), (1, 0))
                    array[grid.row(j), grid.column(i)] = mirrored.swapaxes(2, 3) if tail else mirrored
            target.commit(i, j)
        except OSError as error:
            raise StoreError(f"tile ({i}, {j}) could not be written: {error}; free space and run again to resume") from error

    todo = [tile for tile in grid if not target.done(*tile)]
    for (i, j), blocks in _results(grid, todo, function, settings, first, second, executor):
        store(i, j, blocks)
    return list(target.arrays)


def _part(x: Any, where: slice) -> Any:
    return tuple(part[where] for part in x) if isinstance(x, tuple) else x[where]


def _results(
    grid: Grid,
    todo: list[tuple[int, int]],
    function: Any,
    settings: tuple[Any, ...],
    first: Any,
    second: Any,
    executor: Executor | None,
) -> Iterator[tuple[tuple[int, int], tuple[Any, ...]]]:
    """(tile, blocks) as they are finished."""

    def arguments(i: int, j: int) -> tuple[Any, ...]:
        other = first if second is None else second
        same = grid.symmetric and i == j
        return (*settings, _part(first, grid.row(i)), None if same else _part(other, grid.column(j)))

    from theodolite.draw.progress import progress

    if executor is None:
        for i, j in progress(todo, "kernel tiles"):
            yield (i, j), function(*arguments(i, j))
        return
    pending: dict[Future[Any], tuple[int, int]] = {}
    waiting = iter(todo)
    try:
        for _ in progress(range(len(todo)), "kernel tiles"):
            while len(pending) < _IN_FLIGHT and (tile := next(waiting, None)) is not None:
                pending[executor.submit(function, *arguments(*tile))] = tile
            finished = next(iter(wait(pending, return_when=FIRST_COMPLETED).done))
            yield pending.pop(finished), finished.result()
    finally:
        for future in pending:
            future.cancel()

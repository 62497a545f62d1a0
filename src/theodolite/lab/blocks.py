"""Large arrays computed block by block: on any executor, out of core, resumable. For kernels that do not fit in memory.

The store of such arrays is that of a sweep in small: a manifest, one zarr v3 array per name with one chunk per block, and a ``done``
chunk per block that is written last.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, StoreError
from theodolite.core.experiment import canonical
from theodolite.lab.driver import TILE_ATTEMPTS, died, orderly_stop
from theodolite.lab.layout import DONE, array_metadata, encode_chunk
from theodolite.lab.spec import differences
from theodolite.lab.storage import LocalStorage, RemoteStorage, Storage, open_storage

__all__ = ["Grid", "check_executor", "fill_blocks", "fill_grid"]

#: Tasks in flight.
WINDOW = 16
Block = Callable[..., Any]
Index = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Arrays of one shape, cut into blocks along their first axes.

    Attributes:
        shape: of each array.
        blocks: block lengths along the first axes; the other axes are not cut.
        symmetric: value[j, i] = value[i, j]; only blocks on and above the diagonal are computed.
        dtype: numpy's name.
        names: of the arrays.
        swapped: pairs of further axes that change places as well when a block of a symmetric array is mirrored.

    Raises:
        ArgumentError: blocks and shape do not fit.
    """

    shape: tuple[int, ...]
    blocks: tuple[int, ...]
    symmetric: bool = False
    dtype: str = "<f8"
    names: tuple[str, ...] = ("values",)
    swapped: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        shape, blocks = tuple(map(int, self.shape)), tuple(map(int, self.blocks))
        if not blocks or len(blocks) > len(shape) or min(*blocks, *shape, 1) < 1:
            raise ArgumentError(f"blocks must be positive lengths along the first axes of shape {shape}, got {blocks}")
        if self.symmetric and (len(blocks) < 2 or shape[0] != shape[1] or blocks[0] != blocks[1]):
            raise ArgumentError(f"symmetric needs two axes of equal length and block, got shape {shape} and blocks {blocks}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "blocks", tuple(min(b, n) for b, n in zip(blocks, shape, strict=False)))

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return (*self.blocks, *self.shape[len(self.blocks) :])

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each cut axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.blocks, strict=False))

    def __iter__(self) -> Iterator[Index]:
        for index in itertools.product(*map(range, self.counts)):
            if not self.symmetric or index[0] <= index[1]:
                yield index

    def slices(self, index: Index) -> tuple[slice, ...]:
        """Where a block lies."""
        return tuple(slice(i * b, min((i + 1) * b, n)) for i, b, n in zip(index, self.blocks, self.shape, strict=False))

    def placed(self, index: Index, blocks: Any) -> Iterator[tuple[str, Index, np.ndarray]]:
        """(name, index, block) of everything that one computed block gives, mirror images included.

        Args:
            index: the block's.
            blocks: one array, or a tuple of one per name.

        Raises:
            ArgumentError: other names or shapes than the grid's.
        """
        slices = self.slices(index)
        expected = (*(s.stop - s.start for s in slices), *self.shape[len(slices) :])
        parts = blocks if isinstance(blocks, tuple) else (blocks,)
        if len(parts) != len(self.names):
            raise ArgumentError(f"compute must return one block per name ({', '.join(self.names)}), got {len(parts)}")
        for name, part in zip(self.names, parts, strict=True):
            array = np.asarray(on_host(part))
            if array.shape != expected:
                raise ArgumentError(f"compute must return a block of shape {expected} for {slices}, got {array.shape}")
            yield name, index, array
            if self.symmetric and index[0] != index[1]:
                mirrored = np.swapaxes(array, 0, 1)
                for one, other in self.swapped:
                    mirrored = np.swapaxes(mirrored, one, other)
                yield name, (index[1], index[0], *index[2:]), mirrored


def fill_blocks(
    compute: Block,
    shape: tuple[int, ...],
    blocks: tuple[int, ...],
    *,
    executor: Executor | None = None,
    out: Any = None,
    spec: Mapping[str, Any] | None = None,
    symmetric: bool = False,
) -> Any:
    """The float64 array whose blocks ``compute`` gives.

    Args:
        compute: ``compute(rows, columns, …)`` of one slice per cut axis, returning that block with all trailing axes. A pure
            function; with an executor of processes it must be picklable.
        shape: of the whole array.
        blocks: block lengths along the first ``len(blocks)`` axes.
        executor: any `concurrent.futures.Executor`, Dask's or `theodolite.lab.Workers` too; None computes here, block by block.
        out: None for an array in memory; else a folder, fsspec URL or zarr group on disk for a zarr v3 array, written by the tasks
            themselves, block by block. Calling again with the same ``out`` computes only what is missing.
        spec: what determines the values (settings, hashes of inputs); another spec in the same folder is refused.
        symmetric: compute only blocks on and above the diagonal and mirror them (first two axes, equal lengths and blocks).

    Returns:
        A numpy array, or the opened zarr array, which is read by slicing.

    Raises:
        ArgumentError: blocks and shape do not fit, or ``compute`` returns a block of another shape.
        StoreError: ``out`` belongs to another job or cannot be written.

    Cost: memory of `WINDOW` blocks beside the result; with ``out`` nothing else.

    Example:
        >>> import numpy as np
        >>> x = np.arange(5.0)
        >>> kernel = fill_blocks(lambda i, j: np.outer(x[i], x[j]), (5, 5), (2, 2), symmetric=True)
        >>> bool((kernel == np.outer(x, x)).all())
        True
    """
    (result,) = fill_grid(compute, Grid(shape, blocks, symmetric), executor=executor, out=out, spec=spec)
    return result


def check_executor(executor: Any) -> None:
    """Raise `ArgumentError` for what is no executor and not None.

    Example:
        >>> check_executor(None)
    """
    if executor is not None and not isinstance(executor, Executor):
        raise ArgumentError(
            f"executor must be a concurrent.futures.Executor (a pool, theodolite.lab.Workers, Dask's client.get_executor()) or None, "
            f"got {executor!r}"
        )


def fill_grid(
    compute: Block,
    grid: Grid,
    *,
    arguments: Callable[..., tuple[Any, ...]] | None = None,
    executor: Executor | None = None,
    out: Any = None,
    spec: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Several arrays of one shape, block by block: `fill_blocks` in general.

    Args:
        compute: returns one block, or a tuple of one per name of the grid.
        grid: shape, blocks, names and symmetry.
        arguments: slices of a block -> what ``compute`` is given for it, so that only this travels to a worker; None: the slices.
        executor: as for `fill_blocks`.
        out: as for `fill_blocks`; the arrays lie in it under their names.
        spec: as for `fill_blocks`.

    Returns:
        One numpy or zarr array per name.

    Raises:
        ArgumentError: ``executor`` is none, or ``compute`` returns other blocks than the grid's.
        StoreError: ``out`` belongs to another job or cannot be written.

    Example:
        >>> import numpy as np
        >>> grid, x = Grid((3, 3), (2, 2), names=("sum", "product")), np.arange(3.0)
        >>> both = fill_grid(lambda i, j: (i[:, None] + j, i[:, None] * j), grid, arguments=lambda r, c: (x[r], x[c]))
        >>> [float(array[2, 1]) for array in both]
        [3.0, 2.0]
    """

    def given(index: Index) -> tuple[Any, ...]:
        slices = grid.slices(index)
        return slices if arguments is None else arguments(*slices)

    check_executor(executor)
    if out is None:
        results = {name: np.empty(grid.shape, grid.dtype) for name in grid.names}
        for index, blocks in _results(list(grid), executor, compute, given):
            for name, place, block in grid.placed(index, blocks):
                results[name][grid.slices(place)] = block
        return list(results.values())
    storage = _place(out)
    _begin(storage, grid, spec or {})
    done = {tuple(map(int, name[2:].split("."))) for name in storage.names(DONE) if name.startswith("c.")}
    remaining = [index for index in grid if index not in done]
    for _ in _results(remaining, executor, _Write(storage, grid, compute), lambda index: (index, *given(index))):
        pass
    return [_opened(storage, name) for name in grid.names]


@dataclass(frozen=True)
class _Write:
    """A task that computes a block and writes it where it belongs, its commit record last."""

    storage: Storage
    grid: Grid
    compute: Block

    def __call__(self, index: Index, *arguments: Any) -> None:
        record = f"{DONE}/c.{'.'.join(map(str, index))}"
        if self.storage.exists(record):
            return
        zeros = ".0" * (len(self.grid.shape) - len(index))
        for name, place, block in self.grid.placed(index, self.compute(*arguments)):
            self.storage.write(f"{name}/c.{'.'.join(map(str, place))}{zeros}", encode_chunk(self._padded(block)))
        self.storage.write(record, encode_chunk(np.ones((1,) * len(index), dtype=np.uint8)))

    def _padded(self, block: np.ndarray) -> np.ndarray:
        if block.shape == self.grid.chunk:
            return np.ascontiguousarray(block, dtype=self.grid.dtype)
        whole = np.full(self.grid.chunk, np.nan, dtype=self.grid.dtype)
        whole[tuple(map(slice, block.shape))] = block
        return whole


def _results(
    indices: list[Index], executor: Executor | None, task: Block, given: Callable[[Index], tuple[Any, ...]]
) -> Iterator[tuple[Index, Any]]:
    """Index and result of each task, as they finish; a task whose worker died is tried again a few times."""
    from theodolite.draw.progress import progress

    if executor is None:
        for index in progress(indices, "blocks"):
            yield index, task(*given(index))
        return
    waiting, deaths = iter(indices), dict.fromkeys(indices, 0)
    flying: dict[Future[Any], Index] = {}
    with orderly_stop() as stop:
        while True:
            for index in itertools.islice(waiting, 0 if stop.is_set() else WINDOW - len(flying)):
                flying[executor.submit(task, *given(index))] = index
            if not flying:
                break
            finished, _ = wait(flying, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                index = flying.pop(future)
                deaths[index] += bool(died(future.exception()))
                if died(future.exception()) and deaths[index] < TILE_ATTEMPTS:
                    flying[executor.submit(task, *given(index))] = index
                else:
                    yield index, future.result()
        if stop.is_set() and next(waiting, None) is not None:
            raise KeyboardInterrupt("stopped; blocks that were written stay, call again to resume")


def _place(out: Any) -> Storage:
    """Where the arrays go: a path, a URL, a `Storage`, or a zarr group on disk."""
    held = getattr(out, "store_path", None)
    if held is None:
        return open_storage(out)
    root = getattr(held.store, "root", None)
    if root is None:
        raise ArgumentError(f"out must be a folder, a URL or a zarr group on disk, got a group in {type(held.store).__name__}")
    return LocalStorage(root / held.path)


def _begin(storage: Storage, grid: Grid, spec: Mapping[str, Any]) -> None:
    """Create the manifest and the arrays, or check that those which are there are of the same job."""
    asked = {"theodolite_blocks": 1, "grid": canonical(vars(grid)), "spec": canonical(spec)}
    asked = json.loads(json.dumps(asked))
    # An empty zarr group is as good as an empty folder.
    strangers = [name for name in storage.names("") if not name.startswith(".") and name != "zarr.json"]
    if strangers and "manifest.json" not in strangers:
        raise StoreError(f"{storage.url} holds other files ({', '.join(sorted(strangers)[:3])}); use an empty folder")
    storage.create("manifest.json", json.dumps(asked, indent=1).encode())
    found = differences(json.loads(storage.read("manifest.json") or b"{}"), asked)
    if found:
        raise StoreError(f"{storage.url} belongs to another job:\n  " + "\n  ".join(found) + "\nuse another folder")
    dims = tuple(f"axis_{k}" for k in range(len(grid.shape)))
    if not storage.exists(f"{DONE}/zarr.json"):
        cut = len(grid.blocks)
        for name in grid.names:
            storage.write(f"{name}/zarr.json", array_metadata(grid.shape, grid.chunk, grid.dtype, dims, {}), durable=True)
        storage.write("zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {}}', durable=True)
        storage.write(f"{DONE}/zarr.json", array_metadata(grid.counts, (1,) * cut, "|u1", dims[:cut], {}), durable=True)


def _opened(storage: Storage, name: str) -> Any:
    import zarr

    if isinstance(storage, LocalStorage):
        return zarr.open_array(str(storage.root / name), mode="r")
    if isinstance(storage, RemoteStorage):
        return zarr.open_array(zarr.storage.FsspecStore.from_url(f"{storage.url}/{name}"), mode="r")
    raise StoreError(f"{storage.url} is no place that zarr can open")

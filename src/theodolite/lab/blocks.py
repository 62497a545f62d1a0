"""One large array computed block by block: on any executor, out of core, resumable. For kernels that do not fit in memory.

The store of such an array is that of a sweep in small: a manifest, a zarr v3 array ``values`` with one chunk per block, and a
``done`` chunk per block that is written last.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, StoreError
from theodolite.core.experiment import canonical
from theodolite.lab.driver import TILE_ATTEMPTS, died, orderly_stop
from theodolite.lab.layout import DONE, array_metadata, encode_chunk
from theodolite.lab.spec import differences
from theodolite.lab.storage import LocalStorage, RemoteStorage, Storage, open_storage

__all__ = ["fill_blocks"]

#: Tasks in flight.
WINDOW = 16
Block = Callable[..., Any]


@dataclass(frozen=True)
class Grid:
    """An array cut into blocks along its first axes.

    Attributes:
        shape: of the array.
        blocks: block lengths along the first axes; the other axes are not cut.
        symmetric: value[j, i] = value[i, j]; only blocks on and above the diagonal are computed.
        dtype: numpy's name.
    """

    shape: tuple[int, ...]
    blocks: tuple[int, ...]
    symmetric: bool
    dtype: str

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return (*self.blocks, *self.shape[len(self.blocks) :])

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each cut axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.blocks, strict=False))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        for index in itertools.product(*map(range, self.counts)):
            if not self.symmetric or index[0] <= index[1]:
                yield index

    def slices(self, index: tuple[int, ...]) -> tuple[slice, ...]:
        """Where a block lies."""
        return tuple(slice(i * b, min((i + 1) * b, n)) for i, b, n in zip(index, self.blocks, self.shape, strict=False))


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
        out: None for an array in memory; else a folder or fsspec URL for a zarr v3 array, written by the tasks themselves, block by
            block. Calling again with the same ``out`` computes only what is missing.
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
    shape, blocks = tuple(map(int, shape)), tuple(map(int, blocks))
    if not blocks or len(blocks) > len(shape) or min(*blocks, *shape, 1) < 1:
        raise ArgumentError(f"blocks must be positive lengths along the first axes of shape {shape}, got {blocks}")
    if symmetric and (len(blocks) < 2 or shape[0] != shape[1] or blocks[0] != blocks[1]):
        raise ArgumentError(f"symmetric needs two axes of equal length and block, got shape {shape} and blocks {blocks}")
    blocks = tuple(min(b, n) for b, n in zip(blocks, shape, strict=False))
    grid = Grid(shape, blocks, symmetric, "<f8")
    if out is None:
        result = np.empty(shape)
        for index, block in _results(grid, list(grid), executor, compute):
            _put(result, grid, index, block)
        return result
    storage = open_storage(out)
    _begin(storage, grid, spec or {})
    done = {tuple(map(int, name[2:].split("."))) for name in storage.names(DONE) if name.startswith("c.")}
    remaining = [index for index in grid if index not in done]
    for _ in _results(grid, remaining, executor, _Write(storage, grid, compute)):
        pass
    return _opened(storage)


@dataclass(frozen=True)
class _Write:
    """A task that computes a block and writes it where it belongs, its commit record last."""

    storage: Storage
    grid: Grid
    compute: Block

    def __call__(self, *slices: slice) -> None:
        index = tuple(s.start // b for s, b in zip(slices, self.grid.blocks, strict=True))
        name = ".".join(map(str, index))
        if self.storage.exists(f"{DONE}/c.{name}"):
            return
        block = _checked(self.compute(*slices), self.grid, slices)
        zeros = ".0" * (len(self.grid.shape) - len(index))
        self.storage.write(f"values/c.{name}{zeros}", encode_chunk(self._padded(block)))
        if self.grid.symmetric and index[0] != index[1]:
            mirrored = ".".join(map(str, (index[1], index[0], *index[2:])))
            self.storage.write(f"values/c.{mirrored}{zeros}", encode_chunk(self._padded(np.swapaxes(block, 0, 1))))
        self.storage.write(f"{DONE}/c.{name}", encode_chunk(np.ones((1,) * len(index), dtype=np.uint8)))

    def _padded(self, block: np.ndarray) -> np.ndarray:
        if block.shape == self.grid.chunk:
            return np.ascontiguousarray(block, dtype=self.grid.dtype)
        whole = np.full(self.grid.chunk, np.nan, dtype=self.grid.dtype)
        whole[tuple(map(slice, block.shape))] = block
        return whole


def _checked(block: Any, grid: Grid, slices: tuple[slice, ...]) -> np.ndarray:
    array = block.detach().cpu().numpy() if hasattr(block, "detach") else np.asarray(block)
    expected = (*(s.stop - s.start for s in slices), *grid.shape[len(slices) :])
    if array.shape != expected:
        raise ArgumentError(f"compute must return a block of shape {expected} for {slices}, got {array.shape}")
    return array


def _put(result: np.ndarray, grid: Grid, index: tuple[int, ...], block: Any) -> None:
    slices = grid.slices(index)
    array = _checked(block, grid, slices)
    result[slices] = array
    if grid.symmetric and index[0] != index[1]:
        result[(slices[1], slices[0], *slices[2:])] = np.swapaxes(array, 0, 1)


def _results(
    grid: Grid, indices: list[tuple[int, ...]], executor: Executor | None, task: Block
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Index and result of each task, as they finish; a task whose worker died is tried again a few times."""
    from theodolite.draw.progress import progress

    if executor is None:
        for index in progress(indices, "blocks"):
            yield index, task(*grid.slices(index))
        return
    waiting, deaths = iter(indices), dict.fromkeys(indices, 0)
    flying: dict[Future[Any], tuple[int, ...]] = {}
    with orderly_stop() as stop:
        while True:
            for index in itertools.islice(waiting, 0 if stop.is_set() else WINDOW - len(flying)):
                flying[executor.submit(task, *grid.slices(index))] = index
            if not flying:
                break
            finished, _ = wait(flying, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                index = flying.pop(future)
                deaths[index] += bool(died(future.exception()))
                if died(future.exception()) and deaths[index] < TILE_ATTEMPTS:
                    flying[executor.submit(task, *grid.slices(index))] = index
                else:
                    yield index, future.result()
        if stop.is_set() and next(waiting, None) is not None:
            raise KeyboardInterrupt("stopped; blocks that were written stay, call again to resume")


def _begin(storage: Storage, grid: Grid, spec: Mapping[str, Any]) -> None:
    """Create the manifest and the arrays, or check that those which are there are of the same job."""
    asked = {"theodolite_blocks": 1, "grid": canonical(vars(grid)), "spec": canonical(spec)}
    asked = json.loads(json.dumps(asked))
    strangers = [name for name in storage.names("") if not name.startswith(".")]
    if strangers and "manifest.json" not in strangers:
        raise StoreError(f"{storage.url} holds other files ({', '.join(sorted(strangers)[:3])}); use an empty folder")
    storage.create("manifest.json", json.dumps(asked, indent=1).encode())
    found = differences(json.loads(storage.read("manifest.json") or b"{}"), asked)
    if found:
        raise StoreError(f"{storage.url} belongs to another job:\n  " + "\n  ".join(found) + "\nuse another folder")
    dims = tuple(f"axis_{k}" for k in range(len(grid.shape)))
    if not storage.exists("zarr.json"):
        cut = len(grid.blocks)
        storage.write("values/zarr.json", array_metadata(grid.shape, grid.chunk, grid.dtype, dims, {}), durable=True)
        storage.write(f"{DONE}/zarr.json", array_metadata(grid.counts, (1,) * cut, "|u1", dims[:cut], {}), durable=True)
        storage.write("zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {}}', durable=True)


def _opened(storage: Storage) -> Any:
    import zarr

    if isinstance(storage, LocalStorage):
        return zarr.open_array(str(storage.root / "values"), mode="r")
    if isinstance(storage, RemoteStorage):
        return zarr.open_array(zarr.storage.FsspecStore.from_url(f"{storage.url}/values"), mode="r")
    raise StoreError(f"{storage.url} is no place that zarr can open")

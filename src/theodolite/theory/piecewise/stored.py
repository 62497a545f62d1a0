"""Regions out of core: a zarr v3 store with one group per tile, written by the workers themselves, resumed where it stopped.

The layout, which plain zarr reads: ``network/…`` the arrays of network and domain, ``tiles/000012/points``, ``starts``, ``facets``,
``labels``, ``facet_starts``, ``masks``, ``bits`` and ``maps`` of tile 12, and ``done/000012``, its commit record, written last.
A tile is a subtree of the enumeration, the same one whenever the same network is cut.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.errors import StoreError
from theodolite.draw.progress import progress
from theodolite.theory.piecewise.analysis import check_volumes, lipschitz, second_moment
from theodolite.theory.piecewise.cells import Cells
from theodolite.theory.piecewise.cutting import as_regions, carried_out, finish, tiles
from theodolite.theory.piecewise.domains import Domain
from theodolite.theory.piecewise.enumeration import Found, Frame, Task
from theodolite.theory.piecewise.program import Array, Program
from theodolite.theory.piecewise.regions import Regions
from theodolite.theory.piecewise.scaling import task_of
from theodolite.theory.piecewise.storage import CELLS, fingerprint, pack_problem, unpack_problem

if TYPE_CHECKING:
    from theodolite.lab.storage import Storage

__all__ = ["StoredRegions", "store_regions"]

_GROUP = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'


class StoredRegions:
    """Regions in a store, read tile by tile: numbers of them need the memory of one tile.

    Iterating gives the tiles as `Regions`. Extrema, integrals and Lipschitz constants go through them one by one; whatever else
    `Regions` has (patterns, vertices, neighbours, `locate`, `plot`, …) is answered by `load`, which holds all of them in memory.

    Args:
        out: folder or fsspec URL that `regions` wrote with ``out=``.

    Raises:
        StoreError: there are no regions, or not all tiles have been written.
    """

    def __init__(self, out: Any) -> None:
        from theodolite.lab.storage import open_storage

        self._storage: Storage = open_storage(out)
        manifest = _record(self._storage, "manifest.json")
        if "theodolite_regions" not in manifest:
            raise StoreError(f"{self._storage.url} does not hold regions; they are written by regions(…, out=…)")
        self._tiles: list[int] = manifest["tiles"]  # the chart of each tile
        missing = [k for k in range(len(self._tiles)) if not self._storage.exists(_done(k))]
        if missing:
            raise StoreError(
                f"{self._storage.url} lacks {len(missing)} of {len(self._tiles)} tiles; call regions with the same network, domain "
                "and out again to resume"
            )
        names = [name for name in self._storage.names("network") if name != "zarr.json"]
        arrays = {name: _read(self._storage, f"network/{name}") for name in names}
        self.program, domain, self.certify, _ = unpack_problem(manifest["problem"], arrays)
        assert domain is not None
        self.domain: Domain = domain
        self.complete = True

    @cached_property
    def count(self) -> int:
        """Number of activation regions with interior."""
        return sum(_record(self._storage, _done(k))["regions"] for k in range(len(self._tiles)))

    def __len__(self) -> int:
        return self.count

    @property
    def dim(self) -> int:
        """d."""
        return self.domain.dim

    def __iter__(self) -> Iterator[Regions]:
        for k in range(len(self._tiles)):
            yield self._tile(k)

    def _tile(self, k: int) -> Regions:
        cells = Cells(*(_read(self._storage, f"tiles/{k:06d}/{name}") for name in CELLS))
        bits, maps = (_read(self._storage, f"tiles/{k:06d}/{name}") for name in ("bits", "maps"))
        charts = np.full(len(bits), self._tiles[k])
        part = as_regions(self.program, self.domain, self.certify, Found(cells, bits, maps), charts, True)
        return replace(part, whole=False)

    @cached_property
    def volumes(self) -> Array:
        """Length, area or volume of each region, (R,)."""
        found = np.concatenate([part.volumes for part in self])
        if self.domain.dim > 2 and self.certify == "none":
            check_volumes(found, self.domain)
        return found

    def maximum(self) -> tuple[Any, Array]:
        """As `Regions.maximum`."""
        return self._extreme(1.0)

    def minimum(self) -> tuple[Any, Array]:
        """As `Regions.minimum`."""
        return self._extreme(-1.0)

    def _extreme(self, sign: float) -> tuple[Any, Array]:
        found = [part.maximum() if sign > 0 else part.minimum() for part in self if part.count]
        values = np.array([np.atleast_1d(value) for value, _ in found])  # (tiles, outputs)
        points = np.array([np.atleast_2d(point) for _, point in found])  # (tiles, outputs, d)
        best, outputs = np.argmax(sign * values, axis=0), np.arange(values.shape[1])
        value, point = values[best, outputs], points[best, outputs]
        return (float(value[0]), point[0]) if len(value) == 1 else (value, point)

    def lipschitz(self, p: float = 2) -> float:
        """As `Regions.lipschitz`."""
        return max(lipschitz(part, p) for part in self if part.count)

    def integral(self) -> Any:
        """As `Regions.integral`."""
        return sum(part.integral() for part in self)

    def mean(self) -> Any:
        """As `Regions.mean`."""
        return self.integral() / float(self.volumes.sum())

    def variance(self) -> Any:
        """As `Regions.variance`."""
        mean = np.atleast_1d(self.mean())
        moments: Array = np.sum([second_moment(part, mean) for part in self], axis=0)
        total = moments / self.volumes.sum()
        return float(total[0]) if len(total) == 1 else total

    def load(self) -> Regions:
        """All of them in memory."""
        return self._loaded

    @cached_property
    def _loaded(self) -> Regions:
        parts = list(self)
        joined = Found.join([Found(part.cells, part.bits, part.maps) for part in parts])
        charts = np.concatenate([part.charts for part in parts])
        return as_regions(self.program, self.domain, self.certify, joined, charts, True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loaded, name)

    def __repr__(self) -> str:
        return f"{self.count} activation regions on {self.domain!r}, certify={self.certify!r}, in {self._storage.url}"


def store_regions(program: Program, domain: Domain, certify: str, executor: Executor | None, out: Any) -> StoredRegions:
    """Enumerate into a store; tiles that it has already are not computed again.

    Raises:
        StoreError: the store belongs to something else or cannot be written.
    """
    from theodolite.lab.storage import open_storage

    storage = open_storage(out)
    jobs: list[tuple[Task, Found | Frame]] = []
    charts: list[int] = []
    for k, chart in enumerate(domain.charts):
        task = task_of(program, chart, certify)
        parts = tiles(task)
        jobs += [(task.plain(), part) for part in parts]
        charts += [k] * len(parts)
    _begin(storage, program, domain, certify, charts)
    left = [(storage, k, *job) for k, job in enumerate(jobs) if not storage.exists(_done(k))]
    for _ in progress(carried_out(_write_tile, left, executor), "cutting regions", total=len(left)):
        pass
    return StoredRegions(storage)


def _begin(storage: Storage, program: Program, domain: Domain, certify: str, charts: list[int]) -> None:
    from theodolite.lab.spec import differences

    problem, arrays = pack_problem(program, domain, certify)
    asked = {"theodolite_regions": 1, "problem": problem, "weights": fingerprint(arrays), "tiles": charts}
    asked = json.loads(json.dumps(asked))
    others = [name for name in storage.names("") if not name.startswith(".")]
    if others and "manifest.json" not in others:
        raise StoreError(f"{storage.url} holds other files ({', '.join(sorted(others)[:3])}); use an empty folder")
    storage.create("manifest.json", json.dumps(asked).encode())
    found = differences(_record(storage, "manifest.json"), asked)
    if found:
        raise StoreError(f"{storage.url} belongs to another job:\n  " + "\n  ".join(found) + "\nuse another folder")
    if not storage.exists("zarr.json"):
        for name, array in arrays.items():
            _write(storage, f"network/{name}", array)
        for group in ("network/", "tiles/", ""):
            storage.write(f"{group}zarr.json", _GROUP)


def _write_tile(storage: Storage, k: int, task: Task, part: Found | Frame) -> int:
    """Compute tile k and write it, its commit record last; returns its number of regions."""
    found = finish(task, part)
    arrays = {name: getattr(found.cells, name) for name in CELLS} | {"bits": found.bits, "maps": found.maps}
    for name, array in arrays.items():
        _write(storage, f"tiles/{k:06d}/{name}", array)
    storage.write(f"tiles/{k:06d}/zarr.json", _GROUP)
    storage.write(_done(k), json.dumps({"regions": len(found.bits)}).encode())
    return len(found.bits)


def _record(storage: Storage, key: str) -> dict[str, Any]:
    """A JSON file of the store; empty where there is none."""
    try:
        found = json.loads(storage.read(key) or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"{key!r} in {storage.url} is damaged; delete the folder and enumerate again")
    return found


def _done(k: int) -> str:
    return f"done/{k:06d}"


def _write(storage: Storage, key: str, array: Array) -> None:
    """One zarr array of one chunk; an empty one has no chunk."""
    from theodolite.lab.layout import encode_chunk

    array = np.ascontiguousarray(array)
    if array.size:
        storage.write(f"{key}/c{''.join('.0' for _ in array.shape)}", encode_chunk(array))
    about = json.loads(_metadata(array.ndim, array.dtype.str))
    about["shape"] = array.shape
    about["chunk_grid"]["configuration"]["chunk_shape"] = [max(1, n) for n in array.shape]
    storage.write(f"{key}/zarr.json", json.dumps(about).encode())


@functools.lru_cache(maxsize=32)
def _metadata(ndim: int, dtype: str) -> bytes:
    """What zarr writes about an array of ones; asking it for every tile would take longer than cutting."""
    from theodolite.lab.layout import array_metadata

    ones = (1,) * ndim
    return array_metadata(ones, ones, dtype, tuple(f"axis_{k}" for k in range(ndim)), {"dtype": dtype})


def _read(storage: Storage, key: str) -> Array:
    from theodolite.lab.layout import decode_chunk

    about = _record(storage, f"{key}/zarr.json")
    if not about:
        raise StoreError(f"{storage.url} lacks {key!r}; delete the folder and enumerate again")
    shape, dtype = tuple(about["shape"]), about["attributes"]["dtype"]
    if not all(shape):
        return np.zeros(shape, dtype=dtype)
    found = decode_chunk(storage.read(f"{key}/c{''.join('.0' for _ in shape)}") or b"", dtype, shape)
    if found is None:
        raise StoreError(f"{key!r} in {storage.url} is damaged; delete the folder and enumerate again")
    return found

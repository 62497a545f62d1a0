"""How a sweep's results lie in its store: zarr v3 arrays over the cells, one tile of cells = one chunk per variable.

The cells are numbered along one dimension, in storage order, so that a tile is an interval of them whatever the axes are;
`theodolite.lab.dataset` folds that dimension back into the labelled axes. Chunks are uncompressed little-endian bytes followed by
their CRC-32C (zarr's ``bytes`` and ``crc32c`` codecs), which makes writing one a few microseconds and a torn one visible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

import numpy as np

from theodolite.core.errors import StoreError
from theodolite.core.experiment import canonical
from theodolite.lab.values import Value

__all__ = ["DONE", "Layout", "Variable", "array_metadata", "decode_chunk", "encode_chunk"]

#: Name of the array whose chunk of a tile is that tile's commit record.
DONE = "done"
RESERVED = (DONE, "artefacts", "notes", "manifest.json", "zarr.json")
CELLS = "sweep_cell"


@dataclass(frozen=True)
class Variable:
    """One result as it is stored: the same type and shape in all cells.

    Attributes:
        name: as the experiment calls it.
        dtype: numpy's name, such as ``<f8``.
        dims: names of the result's own dimensions.
        shape: their lengths.
        attrs: units, description, … as plain JSON.
    """

    name: str
    dtype: str
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, value: Value) -> Variable:
        """The variable that ``value`` is the first example of."""
        return cls(name, value.array.dtype.str, value.dims, value.array.shape, canonical(value.attrs))

    @property
    def path(self) -> str:
        """Its folder in the store: the name, with signs that a path cannot hold written as %XX."""
        path = quote(self.name, safe=" ()[]+-=,;@&'!$^{}~")
        return f"%{ord(path[0]):02X}{path[1:]}" if path in RESERVED or path.startswith((".", "__")) else path

    @property
    def nbytes(self) -> int:
        """Bytes per cell."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))

    def fits(self, value: Value) -> bool:
        """Whether ``value`` can be stored in this variable without losing anything."""
        array = value.array
        if array.shape != self.shape or value.dims != self.dims:
            return False
        if array.dtype.str == self.dtype:
            return True
        if not np.can_cast(array.dtype, self.dtype, "safe"):
            return False
        # Above 2^53 numpy calls int64 -> float64 safe although it rounds.
        rounds = array.dtype.kind in "iu" and np.dtype(self.dtype).kind in "fc"
        return not rounds or bool(np.all(np.abs(array.astype(np.float64)) <= 2**53))

    def chunk(self, tile: int, values: Mapping[int, np.ndarray]) -> np.ndarray:
        """The chunk of a tile of ``tile`` cells: position in the tile -> value; the fill value elsewhere."""
        block = np.full((tile, *self.shape), self.fill, dtype=self.dtype)
        for position, value in values.items():
            block[position] = value
        return block

    @property
    def fill(self) -> Any:
        """NaN where the type has one, else zero."""
        return np.nan if np.dtype(self.dtype).kind in "fc" else 0

    def key(self, tile: int) -> str:
        """Key of the tile's chunk in the store."""
        return f"{self.path}/c.{tile}{'.0' * len(self.shape)}"


@dataclass(frozen=True)
class Layout:
    """Numbers of cells and tiles, the order in which cells are stored, and what is stored for each.

    Attributes:
        axes: lengths of the axes, in the order of the spec.
        order: the axes from slowest to fastest in storage order.
        tile: cells per tile.
        variables: the results.
        coords: coordinates of the results' own dimensions, as they were in the first cells.
        coord_values: their values, as plain JSON.
        attrs: attributes of the experiment's result.
        seconds: measured time per cell.
        memory: measured peak memory of a worker, in bytes (0: not known).

    Example:
        >>> layout = Layout(axes=(2, 3), order=(1, 0), tile=4)
        >>> layout.cells, layout.tiles, [layout.spec_index(s) for s in range(6)], list(layout.span(1))
        (6, 2, [0, 3, 1, 4, 2, 5], [4, 5])
    """

    axes: tuple[int, ...]
    order: tuple[int, ...]
    tile: int
    variables: tuple[Variable, ...] = ()
    coords: tuple[Variable, ...] = ()
    coord_values: tuple[Any, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int = 0

    @cached_property
    def cells(self) -> int:
        """Number of cells."""
        return int(np.prod(self.axes, dtype=np.int64))

    @property
    def tiles(self) -> int:
        """Number of tiles; the last one may be shorter."""
        return -(-self.cells // self.tile)

    def span(self, tile: int) -> range:
        """Storage indices of the cells of a tile."""
        return range(tile * self.tile, min((tile + 1) * self.tile, self.cells))

    def spec_index(self, stored: int) -> int:
        """Row-major index (over the spec's axes) of the cell at storage index ``stored``."""
        position = [0] * len(self.axes)
        for axis in reversed(self.order):
            stored, position[axis] = divmod(stored, self.axes[axis])
        index = 0
        for length, k in zip(self.axes, position, strict=True):
            index = index * length + k
        return index

    @cached_property
    def by_name(self) -> Mapping[str, Variable]:
        """The variables by name."""
        return {variable.name: variable for variable in self.variables}

    @cached_property
    def coordinates(self) -> Mapping[str, Value]:
        """The coordinates of the results' own dimensions, by name."""
        return {
            variable.name: Value(np.array(values, dtype=variable.dtype).reshape(variable.shape), variable.dims, variable.attrs)
            for variable, values in zip(self.coords, self.coord_values, strict=True)
        }

    def as_json(self) -> dict[str, Any]:
        """The layout as plain JSON."""
        plain = ("axes", "order", "tile", "attrs", "seconds", "memory")
        return {
            **{name: canonical(getattr(self, name)) for name in plain},
            "variables": [canonical(vars(v)) for v in self.variables],
            "coords": [canonical(vars(v)) for v in self.coords],
            "coord_values": canonical(self.coord_values),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Layout:
        """The layout that `as_json` wrote."""

        def variables(listed: Any) -> tuple[Variable, ...]:
            return tuple(Variable(v["name"], v["dtype"], tuple(v["dims"]), tuple(v["shape"]), v["attrs"]) for v in listed)

        return cls(
            axes=tuple(saved["axes"]),
            order=tuple(saved["order"]),
            tile=saved["tile"],
            variables=variables(saved["variables"]),
            coords=variables(saved["coords"]),
            coord_values=tuple(saved["coord_values"]),
            attrs=saved["attrs"],
            seconds=saved["seconds"],
            memory=saved["memory"],
        )


def array_metadata(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, dims: tuple[str, ...], attrs: Any) -> bytes:
    """The ``zarr.json`` of an array, as zarr itself writes it; chunk files are named ``c.0.0``, flat in the array's folder."""
    import zarr
    from zarr.codecs import Crc32cCodec

    kind = np.dtype(dtype).kind
    memory: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(memory),
        shape=shape,
        chunks=chunks,
        dtype=np.dtype(dtype),
        fill_value=np.dtype(dtype).type(np.nan if kind in "fc" else 0),
        compressors=(Crc32cCodec(),),
        filters=None,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=dims,
        attributes=attrs,
        zarr_format=3,
    )
    data: bytes = memory["zarr.json"].to_bytes()
    return data


def variable_metadata(layout: Layout, variable: Variable) -> bytes:
    """The ``zarr.json`` of a variable: its chunk is a whole tile."""
    return array_metadata(
        (layout.cells, *variable.shape),
        (layout.tile, *variable.shape),
        variable.dtype,
        (CELLS, *variable.dims),
        dict(variable.attrs),
    )


def assert_aligned(layout: Layout, variable: Variable, metadata: bytes, url: str) -> None:
    """Raise `StoreError` unless the stored array has one chunk per tile: else two workers could own parts of one chunk."""
    found = json.loads(metadata)
    chunks = found.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
    shape, dtype = found.get("shape"), found.get("data_type")
    expected = json.loads(variable_metadata(layout, variable))
    if (shape, dtype) != (expected["shape"], expected["data_type"]) or chunks != [layout.tile, *variable.shape]:
        raise StoreError(
            f"the array {variable.name!r} in {url} has shape {shape}, type {dtype} and chunks {chunks}, but the manifest says "
            f"{expected['shape']}, {expected['data_type']} in tiles of {layout.tile} cells; the folder was changed by other means"
        )


def encode_chunk(block: np.ndarray) -> bytes:
    """``block`` as the bytes of a zarr chunk with the codecs ``bytes`` (little endian) and ``crc32c``.

    Example:
        >>> import numpy as np
        >>> decode_chunk(encode_chunk(np.arange(3.0)), "<f8", (3,))
        array([0., 1., 2.])
    """
    import google_crc32c

    data = block.tobytes()
    return data + int(google_crc32c.value(data)).to_bytes(4, "little")


def decode_chunk(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array of a chunk, or None when it is damaged."""
    import google_crc32c

    body, checksum = data[:-4], data[-4:]
    whole = len(body) == np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    if not whole or int.from_bytes(checksum, "little") != google_crc32c.value(body):
        return None
    return np.frombuffer(body, dtype=dtype).reshape(shape)

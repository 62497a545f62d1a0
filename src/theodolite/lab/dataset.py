"""From a store to a labelled dataset: axes, results, coordinates, masks; what did not fit the arrays put back in its place."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from theodolite.core.errors import TheodoliteWarning
from theodolite.core.experiment import canonical
from theodolite.lab.artefact import load_artefact
from theodolite.lab.layout import Layout, Variable
from theodolite.lab.storage import LocalStorage
from theodolite.lab.store import Manifest, Store
from theodolite.lab.values import attribute

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["STATE", "axis_labels", "open_dataset"]

#: Coordinate that says of each cell whether it is missing (0), done (1) or failed (2).
STATE = "cell_state"
#: Below this size results are read at once; above, when they are looked at.
EAGER_BYTES = 1 << 30


@dataclass
class Piece:
    """One result of the dataset: its array in the store, if it has one, and the cells whose value lies elsewhere.

    Attributes:
        name: in the dataset.
        variable: in the store; None when no cell's value is there.
        dims: the result's own dimensions.
        dtype: common type of all cells.
        attrs: units, description, …
        loose: storage index -> (artefact key, name in it, shape).
        absent: storage indices of done cells that did not give this result.
        default: value of done cells that are not loose (coordinates that differ between cells).
    """

    name: str
    variable: Variable | None
    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    loose: dict[int, tuple[str, str, tuple[int, ...]]] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)
    default: NDArray[Any] | None = None

    def add(self, cell: int, key: str, member: str, described: Mapping[str, Any]) -> None:
        """Note that the value of ``cell`` is the array ``member`` of an artefact."""
        self.dtype = np.result_type(self.dtype, np.dtype(described["dtype"]))
        self.loose[cell] = (key, member, tuple(described["shape"]))

    def shapes(self) -> Iterable[tuple[int, ...]]:
        """All shapes that occur."""
        if self.variable is not None:
            yield self.variable.shape
        if self.default is not None:
            yield self.default.shape
        yield from {shape for _, _, shape in self.loose.values()}


class TiledArray(BackendArray):
    """A result over the labelled axes, read tile by tile on demand, with missing and failed cells masked."""

    def __init__(self, store: Store, layout: Layout, piece: Piece, state: NDArray[np.int8], sizes: Mapping[str, int]) -> None:
        self._store, self._layout, self._piece, self._state = store, layout, piece, state
        self._inner = tuple(sizes[dim] for dim in piece.dims)
        self.shape = (*layout.axes, *self._inner)
        given = state == 1
        given[list(piece.absent - set(piece.loose))] = False
        if piece.variable is None and piece.default is None:
            elsewhere = np.zeros_like(given)
            elsewhere[list(piece.loose)] = True
            given &= elsewhere
        # Where nothing is masked a type without NaN can stay as it is.
        padded = any(shape != self._inner for shape in piece.shapes())
        whole = bool(given.all()) and not padded
        self.dtype = piece.dtype if whole or piece.dtype.kind in "fcU" else np.dtype(np.float64)
        self._given = given

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        axes = len(self._layout.axes)
        chosen = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self._layout.axes, key[:axes], strict=True)]
        stored = self._storage_indices(chosen).ravel()
        block: Any = self._cells(stored).reshape(*map(len, chosen), *self._inner)
        # Integers drop their dimension, arrays and slices of the inner dimensions are applied one by one.
        for dim in range(axes, len(self.shape)):
            block = block[(slice(None),) * dim + (np.atleast_1d(np.arange(self.shape[dim])[key[dim]]),)]
        kept: NDArray[Any] = block[tuple(0 if isinstance(k, (int, np.integer)) else slice(None) for k in key)]
        return kept

    def _storage_indices(self, chosen: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        strides, step = {}, 1
        for axis in reversed(self._layout.order):
            strides[axis] = step
            step *= self._layout.axes[axis]
        index = np.zeros((1,) * len(chosen), dtype=np.int64)
        for axis, positions in enumerate(chosen):
            shape = [1] * len(chosen)
            shape[axis] = len(positions)
            index = index + (positions * strides[axis]).reshape(shape)
        return index

    def _cells(self, stored: NDArray[np.int64]) -> NDArray[Any]:
        """Values of the cells at storage indices ``stored``."""
        fill: Any = np.nan if self.dtype.kind in "fc" else self.dtype.type()
        out: Any = np.full((len(stored), *self._inner), fill, dtype=self.dtype)
        piece, given = self._piece, self._given[stored]
        if piece.default is not None:
            out[(given, *map(slice, piece.default.shape))] = piece.default
        if piece.variable is not None:
            self._fill_from_tiles(out, stored, given)
        if piece.loose:
            for k in np.flatnonzero(np.isin(stored, list(piece.loose))):
                key, member, shape = piece.loose[int(stored[k])]
                out[k] = fill
                out[(k, *map(slice, shape))] = load_artefact(self._store.storage, key).arrays[member]
        return out

    def _fill_from_tiles(self, out: NDArray[Any], stored: NDArray[np.int64], given: NDArray[np.bool_]) -> None:
        variable, tile = self._piece.variable, self._layout.tile
        assert variable is not None
        wanted = np.flatnonzero(given)
        if not len(wanted):
            return
        wanted = wanted[np.argsort(stored[wanted] // tile, kind="stable")]
        tiles, starts = np.unique(stored[wanted] // tile, return_index=True)
        groups = np.split(wanted, starts[1:])
        inner: Any = tuple(map(slice, variable.shape))

        def read(number: int) -> NDArray[Any] | None:
            return self._store.read_chunk(self._layout, variable, number)

        # A remote store answers late: ask for many chunks at once.
        local = isinstance(self._store.storage, LocalStorage)
        with ThreadPoolExecutor(1 if local else 32) as pool:
            blocks = map(read, tiles.tolist()) if local else pool.map(read, tiles.tolist())
            damaged = []
            for number, group, block in zip(tiles.tolist(), groups, blocks, strict=True):
                if block is None:
                    damaged.append(number)
                else:
                    out[(group, *inner)] = block[stored[group] - number * tile]
        if damaged:
            warnings.warn(
                f"{len(damaged)} tiles of {self._store.storage.url} are damaged (the first is {damaged[0]}) and masked; "
                "sweep.repair() forgets them, then run() computes them again",
                TheodoliteWarning,
                stacklevel=2,
            )


def open_dataset(store: Store, manifest: Manifest, over: Mapping[str, Sequence[Any]], attrs: Mapping[str, Any]) -> xr.Dataset:
    """The sweep's results as a dataset over the labelled axes.

    Args:
        store: where they are.
        manifest: of the store.
        over: axis -> values, for the coordinates.
        attrs: attributes of the dataset.
    """
    layout = manifest.layout
    done = store.committed(layout)
    # Cells of the last tile past the end do not exist.
    state = np.repeat(done.astype(np.int8), layout.tile)[: layout.cells]
    pieces, coords, artefacts = _pieces(store, layout, done, state)
    sizes: dict[str, int] = {}
    for piece in pieces:
        for shape in piece.shapes():
            for dim, length in zip(piece.dims, shape, strict=True):
                sizes[dim] = max(sizes.get(dim, 0), length)
    axes = tuple(over)
    variables: dict[str, Any] = {}
    for piece in pieces:
        array = TiledArray(store, layout, piece, state, sizes)
        data = indexing.MemoryCachedArray(indexing.LazilyIndexedArray(array))
        variables[piece.name] = xr.Variable((*axes, *piece.dims), data, dict(piece.attrs))
    for name, keys in artefacts.items():
        variables[name] = xr.Variable(axes, _grid(layout, np.array(keys)), {"description": "keys of artefacts"})
    labels: dict[str, Any] = {axis: (axis, axis_labels(values)) for axis, values in over.items()}
    meaning = {"flag_values": [0, 1, 2], "flag_meanings": "missing done failed"}
    labels[STATE] = (axes, _grid(layout, state), meaning)
    for name, value in coords.items():
        if all(value.array.shape[k] == sizes.get(dim, value.array.shape[k]) for k, dim in enumerate(value.dims)):
            labels[name] = (value.dims, value.array, dict(value.attrs))
    shared_attrs = {name: value for name, value in layout.attrs.items() if f"{name}_of_cell" not in variables}
    dataset = xr.Dataset(variables, labels, {**shared_attrs, **attrs})
    return dataset.load() if dataset.nbytes <= EAGER_BYTES else dataset


def _grid(layout: Layout, stored: NDArray[Any]) -> NDArray[Any]:
    """One number per cell, from storage order to the axes of the spec."""
    folded = stored.reshape([layout.axes[axis] for axis in layout.order])
    return np.ascontiguousarray(folded.transpose(np.argsort(layout.order)))


def axis_labels(values: Sequence[Any]) -> NDArray[Any]:
    """The coordinate of an axis: numbers, booleans and texts as they are, anything else by how it is stored.

    Example:
        >>> axis_labels([0.5, 1.0]), axis_labels(["relu", "tanh"]), axis_labels([(5, 5), (9,)])
        (array([0.5, 1. ]), array(['relu', 'tanh'], dtype='<U4'), array(['[5, 5]', '[9]'], dtype='<U6'))
    """
    if isinstance(values, range):
        return np.arange(values.start, values.stop, values.step)
    kinds = {bool if isinstance(v, bool) else float if isinstance(v, (int, float)) else type(v) for v in values}
    if kinds in ({bool}, {float}, {str}):
        return np.array(values)
    plain = [canonical(value) for value in values]
    return np.array([value if isinstance(value, str) else json.dumps(value) for value in plain])


def _pieces(store: Store, layout: Layout, done: Any, state: Any) -> tuple[list[Piece], dict[str, Any], dict[str, list[str]]]:
    """Results, shared coordinates and keys of artefacts; marks failed cells in ``state``."""
    pieces = {(v.name, v.dims, False): Piece(v.name, v, v.dims, np.dtype(v.dtype), v.attrs) for v in layout.variables}
    differing: dict[str, dict[int, tuple[str, Any]]] = {}
    artefacts: dict[str, list[str]] = {}
    for tile, notes in store.notes(done):
        first = layout.span(tile).start
        for position in notes.get("failed", {}):
            state[first + int(position)] = 2
        for position, names in notes.get("absent", {}).items():
            for variable in layout.variables:
                if variable.name in names:
                    pieces[variable.name, variable.dims, False].absent.add(first + int(position))
        for position, loose in notes.get("loose", {}).items():
            for described in loose["variables"]:
                dims, dtype = tuple(described["dims"]), np.dtype(described["dtype"])
                which = (described["name"], dims, dtype.kind == "U")
                piece = pieces.setdefault(which, Piece(described["name"], None, dims, dtype, described["attrs"]))
                piece.add(first + int(position), loose["key"], described["name"], described)
        for position, coords in notes.get("coords", {}).items():
            for name, (key, described) in coords.items():
                differing.setdefault(name, {})[first + int(position)] = (key, described)
        for position, keys in notes.get("artefacts", {}).items():
            for name, key in keys.items():
                artefacts.setdefault(name, [""] * layout.cells)[first + int(position)] = key
    for name, value in layout.attrs.items():  # cells that do not say otherwise have the common one
        default = attribute(value)
        which = (f"{name}_of_cell", (), default.dtype.kind == "U")
        if which in pieces:
            pieces[which].default, pieces[which].dtype = default, np.result_type(pieces[which].dtype, default.dtype)
    listed = _with_own_names(list(pieces.values()))
    shared = dict(layout.coordinates)
    listed += _coordinates(store, shared, differing, layout)
    return listed, shared, artefacts


def _with_own_names(pieces: list[Piece]) -> list[Piece]:
    """Results of one name whose dimensions or kind differ between cells get names that say so."""
    taken: set[str] = set()
    for piece in pieces:
        if piece.name in taken:
            piece.name = f"{piece.name}__{'_'.join(piece.dims) or ('text' if piece.dtype.kind == 'U' else 'scalar')}"
        while piece.name in taken:
            piece.name += "_"
        taken.add(piece.name)
    return pieces


def _coordinates(store: Store, shared: dict[str, Any], differing: Mapping[str, Any], layout: Layout) -> list[Piece]:
    """Coordinates that differ between cells: the longest where all others are its beginnings, else a result of each cell."""
    from theodolite.lab.values import Value

    own = []
    for name, cells in differing.items():
        values = {key: (load_artefact(store.storage, key).arrays[""], described) for key, described in cells.values()}
        arrays = [array for array, _ in values.values()] + ([shared[name].array] if name in shared else [])
        longest = max(arrays, key=lambda array: array.size)
        described = next(iter(cells.values()))[1]
        if longest.ndim == 1 and all(a.ndim == 1 and np.array_equal(a, longest[: len(a)]) for a in arrays):
            shared[name] = Value(longest, tuple(described["dims"]), described["attrs"])
            continue
        default = shared.pop(name).array if name in shared else None
        dtype = np.dtype(described["dtype"]) if default is None else default.dtype
        piece = Piece(f"{name}_of_cell", None, tuple(described["dims"]), dtype, described["attrs"], default=default)
        for cell, (key, described_here) in cells.items():
            if tuple(described_here["dims"]) == piece.dims:
                piece.add(cell, key, "", described_here)
        own.append(piece)
    return own

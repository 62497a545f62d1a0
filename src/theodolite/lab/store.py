"""The store of one sweep: a manifest, zarr arrays, and a commit record per tile that is written last.

::

    manifest.json        spec, layout, versions; created once, atomically, with fsync
    zarr.json            a zarr v3 group …
    <result>/zarr.json   … with one array per result,
    <result>/c.17.0      whose chunk 17 is tile 17
    notes/17.json        failures of tile 17 and whatever does not fit the arrays (only if there is any)
    artefacts/ab/….npz   heavy results, by content
    done/c.17            tile 17 is committed

A tile is there if and only if its ``done`` chunk is. All else of it was written before, so killing a worker at any moment loses
that tile's work and nothing more; writing a tile twice writes the same bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.errors import StoreError
from theodolite.lab.artefact import Artefact, save_artefact
from theodolite.lab.layout import (
    DONE,
    Layout,
    Variable,
    array_metadata,
    assert_aligned,
    decode_chunk,
    encode_chunk,
    variable_metadata,
)
from theodolite.lab.spec import differences
from theodolite.lab.storage import Storage
from theodolite.lab.values import Outcome, own_attributes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORMAT", "Manifest", "Store"]

#: Version of what this module describes; a store of another format is refused.
FORMAT = 1
MANIFEST = "manifest.json"


class Manifest:
    """What is fixed for the life of a store: format, spec, layout, versions, and a stamp that tells it from any other store."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.spec: dict[str, Any] = content["spec"]
        self.versions: dict[str, Any] = content["versions"]
        self.stamp: str = content["stamp"]
        self.layout = Layout.from_json(content["layout"])

    @staticmethod
    def encode(spec: Mapping[str, Any], layout: Layout, versions: Mapping[str, Any]) -> bytes:
        """A new manifest as bytes."""
        content = {
            "theodolite_sweep": FORMAT,
            "stamp": uuid.uuid4().hex,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": spec,
            "layout": layout.as_json(),
            "versions": versions,
        }
        return json.dumps(content, indent=1).encode()


class Store:
    """Reads and writes the tiles of one sweep in a `Storage`."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    # -- the manifest ------------------------------------------------------------------------------------------------

    def manifest(self) -> Manifest | None:
        """The manifest, or None when no sweep was begun here.

        Raises:
            StoreError: the manifest is damaged or of another format.
        """
        data = self.storage.read(MANIFEST)
        if data is None:
            return None
        try:
            content = json.loads(data)
            format_found = content.get("theodolite_sweep")
            if format_found != FORMAT:
                raise StoreError(
                    f"the store at {self.storage.url} has format {format_found}, this version reads {FORMAT}; "
                    "use another folder, or the version of theodolite that wrote it"
                )
            return Manifest(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"the manifest of {self.storage.url} is damaged ({error}); use another folder") from error

    def matching(self, spec: Mapping[str, Any], tile: int | None) -> Manifest | None:
        """The manifest if it is of ``spec`` (and of tiles of ``tile`` cells, unless None), or None when there is none.

        Raises:
            StoreError: the store belongs to another spec; the message lists the differences.
        """
        manifest = self.manifest()
        if manifest is None:
            return None
        found = differences(manifest.spec, spec)
        if tile is not None and tile != manifest.layout.tile:
            found.append(f"tile: {manifest.layout.tile} in the store, {tile} asked for")
        if found:
            raise StoreError(
                f"the store at {self.storage.url} belongs to another sweep:\n  "
                + "\n  ".join(found)
                + "\nuse another folder for the new sweep, or ask for the stored one"
            )
        return manifest

    def begin(self, spec: Mapping[str, Any], layout: Layout, versions: Mapping[str, Any]) -> Manifest:
        """Create the manifest, or adopt the one that another run of the same sweep created first."""
        strangers = [name for name in self.storage.names("") if not name.startswith(".")]
        if strangers and MANIFEST not in strangers:
            raise StoreError(
                f"{self.storage.url} holds other files ({', '.join(sorted(strangers)[:3])}) and no sweep; use an empty folder"
            )
        self.storage.create(MANIFEST, Manifest.encode(spec, layout, versions))
        manifest = self.matching(spec, None)
        if manifest is None:
            raise StoreError(f"the manifest at {self.storage.url} vanished while the sweep began; is the folder being deleted?")
        return manifest

    def prepare(self, layout: Layout) -> None:
        """Create the arrays that are not there yet, and assert that those that are have one chunk per tile.

        Raises:
            StoreError: an array is not aligned with the tiles, or cannot be written.
        """
        for variable in layout.variables:
            found = self.storage.read(f"{variable.path}/zarr.json")
            if found is None:
                self.storage.write(f"{variable.path}/zarr.json", variable_metadata(layout, variable), durable=True)
            else:
                assert_aligned(layout, variable, found, self.storage.url)
        if not self.storage.exists(f"{DONE}/zarr.json"):
            self.storage.write(f"{DONE}/zarr.json", array_metadata((layout.tiles,), (1,), "|u1", ("tile",), {}), durable=True)
        if not self.storage.exists("zarr.json"):
            self.storage.write("zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {}}', durable=True)

    # -- tiles -------------------------------------------------------------------------------------------------------

    def committed(self, layout: Layout) -> NDArray[np.bool_]:
        """Which tiles are committed, read off one listing."""
        done = np.zeros(layout.tiles, dtype=bool)
        found = [int(name[2:]) for name in self.storage.names(DONE) if name.startswith("c.")]
        done[[tile for tile in found if tile < layout.tiles]] = True
        return done

    def is_committed(self, tile: int) -> bool:
        """Whether one tile is committed."""
        return self.storage.exists(f"{DONE}/c.{tile}")

    def uncommit(self, tile: int) -> None:
        """Forget a tile: it will be computed again."""
        self.storage.delete(f"{DONE}/c.{tile}")
        self.storage.delete(f"notes/{tile}.json")

    def write_tile(self, layout: Layout, tile: int, outcomes: Sequence[Outcome]) -> None:
        """Write a tile and then its commit record, unless it is committed already.

        Raises:
            StoreError: something could not be written; the tile is then not committed.
        """
        fitting: dict[str, dict[int, Any]] = {variable.name: {} for variable in layout.variables}
        notes: dict[str, dict[str, Any]] = {"failed": {}, "absent": {}, "loose": {}, "coords": {}, "artefacts": {}}
        for position, outcome in enumerate(outcomes):
            if outcome.reason:
                notes["failed"][str(position)] = outcome.reason
            else:
                self._place(layout, position, own_attributes(outcome, layout.attrs), fitting, notes)
        for variable in layout.variables:
            block = variable.chunk(layout.tile, fitting[variable.name])
            self.storage.write(variable.key(tile), encode_chunk(block))
        kept = {kind: content for kind, content in notes.items() if content}
        if kept:
            self.storage.write(f"notes/{tile}.json", json.dumps(kept).encode())
        self.storage.write(f"{DONE}/c.{tile}", encode_chunk(np.ones(1, dtype=np.uint8)))

    def _place(self, layout: Layout, position: int, outcome: Outcome, fitting: Any, notes: Any) -> None:
        """Sort one cell's values into those that fit the arrays and those that go beside them, losing none."""
        known = layout.by_name
        loose = {}
        for name, value in outcome.values.items():
            if name in known and known[name].fits(value):
                fitting[name][position] = value.array
            else:
                loose[name] = value
        absent = [name for name in known if position not in fitting[name]]
        if absent:
            notes["absent"][str(position)] = absent
        if loose:
            key = save_artefact(self.storage, Artefact({name: value.array for name, value in loose.items()}))
            described = {name: Variable.of(name, value) for name, value in loose.items()}
            notes["loose"][str(position)] = {"key": key, "variables": [vars(v) for v in described.values()]}
        for name, value in outcome.coords.items():
            shared = layout.coordinates.get(name)
            if shared is None or shared.dims != value.dims or not np.array_equal(shared.array, value.array):
                key = save_artefact(self.storage, Artefact(value.array))
                notes["coords"].setdefault(str(position), {})[name] = [key, vars(Variable.of(name, value))]
        for name, artefact in outcome.artefacts.items():
            notes["artefacts"].setdefault(str(position), {})[name] = save_artefact(self.storage, artefact)

    def read_chunk(self, layout: Layout, variable: Variable, tile: int) -> NDArray[Any] | None:
        """One variable of a committed tile, or None when its chunk is missing or damaged."""
        data = self.storage.read(variable.key(tile))
        return None if data is None else decode_chunk(data, variable.dtype, (layout.tile, *variable.shape))

    def notes(self, done: NDArray[np.bool_]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Tile and notes of every committed tile that has notes."""
        for name in self.storage.names("notes"):
            tile = int(name.removesuffix(".json"))
            if tile < len(done) and done[tile]:
                yield tile, json.loads(self.storage.read(f"notes/{name}") or b"{}")

    def clear(self) -> None:
        """Delete everything that `Store` wrote, commit records first, so that an interruption leaves nothing half-true."""
        manifest = self.manifest()
        if manifest is None:
            return
        for key in (DONE, "notes", "artefacts", *(v.path for v in manifest.layout.variables), "zarr.json", MANIFEST):
            self.storage.delete(key)

"""Heavy results (weights, spectra of varying length) as files named by their content; the grid holds only their keys."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from theodolite.core.arrays import on_host
from theodolite.core.errors import ArgumentError, StoreError
from theodolite.lab.storage import Storage

__all__ = ["Artefact", "load_artefact", "save_artefact"]

FOLDER = "artefacts"


class Artefact:
    """A heavy result of one cell: an array, or a mapping of names to arrays such as a ``state_dict``.

    Returned by an experiment's ``run()`` among its results, it goes to a file of its own, named by its content (equal contents
    are stored once); the sweep's dataset then holds the key, and ``sweep.artefact(key)`` reads it.

    Args:
        content: array or tensor of any shape, or a mapping of names to such.

    Raises:
        ArgumentError: something in it is no array of numbers, booleans or text.

    Example:
        >>> import numpy as np
        >>> Artefact(np.arange(3)).key == Artefact([0, 1, 2]).key != Artefact(np.arange(3.0)).key
        True
    """

    def __init__(self, content: Any) -> None:
        named = content if isinstance(content, Mapping) else {"": content}
        self.arrays = {str(name): _as_array(name, value) for name, value in named.items()}

    @property
    def key(self) -> str:
        """Hash of names, types, shapes and bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self.arrays):
            array = self.arrays[name]
            digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def content(self) -> Any:
        """What was put in, as numpy arrays."""
        return self.arrays[""] if set(self.arrays) == {""} else self.arrays


def _as_array(name: Any, value: Any) -> np.ndarray:
    array = np.asarray(on_host(value))
    if array.dtype.kind not in "biufcU":
        raise ArgumentError(f"an artefact holds numbers, booleans or text, got dtype {array.dtype} at {str(name)!r}")
    return array


def save_artefact(storage: Storage, artefact: Artefact) -> str:
    """Write ``artefact`` unless it is there already, and return its key."""
    key = artefact.key
    if not storage.exists(_path(key)):
        # A zip member needs a name, and names may hold any sign: members are numbered and the names stand beside them.
        buffer = io.BytesIO()
        names = sorted(artefact.arrays)
        members = {f"a{i}": artefact.arrays[name] for i, name in enumerate(names)}
        np.savez(buffer, names=np.array(names, dtype=str), **members)  # type: ignore[arg-type]
        storage.write(_path(key), buffer.getvalue())
    return key


def load_artefact(storage: Storage, key: str) -> Artefact:
    """The artefact of ``key``, its content checked against the key.

    Raises:
        StoreError: there is none, or its file is damaged.
    """
    data = storage.read(_path(key))
    if data is None:
        raise StoreError(f"no artefact {key!r} in {storage.url}; keys stand in the dataset that the sweep loads")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as members:
            artefact = Artefact({name: members[f"a{i}"] for i, name in enumerate(members["names"].tolist())})
    except Exception as error:
        raise StoreError(f"the artefact {key!r} in {storage.url} cannot be read: {error}") from error
    if artefact.key != key:
        raise StoreError(f"the artefact {key!r} in {storage.url} is damaged: its content has the key {artefact.key!r}")
    return artefact


def _path(key: str) -> str:
    return f"{FOLDER}/{key[:2]}/{key}.npz"

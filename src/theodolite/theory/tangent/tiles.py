"""Tiles of large kernels: what each is computed from, and what a kernel on disk belongs to; `theodolite.lab.fill_grid` fills them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from theodolite.core.experiment import canonical

__all__ = ["fingerprint", "tile_arguments"]


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


def tile_arguments(settings: tuple[Any, ...], first: Any, second: Any) -> Callable[[slice, slice], tuple[Any, ...]]:
    """(rows, columns) -> (*settings, inputs of the rows, inputs of the columns): only these travel to a worker.

    Args:
        settings: leading arguments.
        first: inputs of the rows, an array or a tuple of them.
        second: inputs of the columns; None for a symmetric kernel, on whose diagonal the second inputs are None too.
    """

    def part(x: Any, where: slice) -> Any:
        return tuple(one[where] for one in x) if isinstance(x, tuple) else x[where]

    def arguments(rows: slice, columns: slice) -> tuple[Any, ...]:
        if second is None and rows == columns:
            return (*settings, part(first, rows), None)
        return (*settings, part(first, rows), part(first if second is None else second, columns))

    return arguments

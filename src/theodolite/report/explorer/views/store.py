"""A sweep's store: its axes, results, progress and failures, and any two-dimensional slice of any result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError, StoreError, unknown
from theodolite.report.explorer.parameters import Field, Text, Wholes
from theodolite.report.explorer.payload import rounded

__all__ = ["StoreView"]

#: Values read for one slice, values shown on one side of it, labels and failures listed.
MOST_READ, MOST_SHOWN, MOST_LISTED = 4_000_000, 400, 200


class StoreView:
    """The sweep at ``store``, opened once and read afresh at each question, so that a running sweep can be watched.

    Args:
        store: folder or URL; chosen by who starts the server, never by the page.

    Raises:
        StoreError: there is no sweep, or nothing has been run.
    """

    def __init__(self, store: Any) -> None:
        from theodolite.lab import Sweep

        self.sweep = Sweep.open(store)
        if not self.sweep.status().tiles:
            raise StoreError(f"nothing has been run at {store} yet; run the sweep first")
        self.name = str(store).rstrip("/\\").replace("\\", "/").rpartition("/")[2]

    def fields(self) -> Mapping[str, Field]:
        """Parameters of `slice`."""
        return {
            "variable": Text(),
            "x": Text(),
            "y": Text(default=""),
            # One number per dimension in order: the place shown where it is neither x nor y, −1 for the mean over it.
            "at": Wholes(-1, 1_000_000, 1, 12),
        }

    def summary(self) -> dict[str, Any]:
        """Axes, results, status and failed cells with their reasons."""
        data = self.sweep.load()
        status = self.sweep.status()
        failed = self.sweep.failed()
        axes = list(self.sweep.spec.over)
        dims = [
            {"name": str(dim), "size": size, "labels": _labels(data, str(dim))[:MOST_LISTED], "axis": dim in axes}
            for dim, size in data.sizes.items()
        ]
        results = [
            {
                "name": str(name),
                "dims": [str(d) for d in array.dims],
                "about": str(array.attrs.get("description", "")),
                "symbol": str(array.attrs.get("symbol", "")),
                "numeric": array.dtype.kind in "fiub",
            }
            for name, array in data.data_vars.items()
        ]
        return {
            "store": self.name,
            "experiment": self.sweep.spec.experiment.__qualname__,
            "fixed": {name: _short(value) for name, value in self.sweep.spec.fixed.items()},
            "status": str(status),
            "cells": status.cells,
            "cells_done": status.cells_done,
            "failed": status.failed,
            "dims": dims,
            "variables": results,
            "failures": [{"cell": {k: _short(v) for k, v in f.cell.items()}, "reason": f.reason[:500]} for f in failed[:MOST_LISTED]],
        }  # fmt: skip

    def slice(self, variable: str | None, x: str | None, y: str, at: tuple[int, ...] | None) -> dict[str, Any]:
        """A result along one or two dimensions, the others fixed or averaged over.

        Args:
            variable: name of the result; the first numeric one if left out.
            x: dimension drawn to the right; the first one if left out.
            y: dimension drawn upwards; none for a line.
            at: for each of the result's dimensions the place shown, −1 for the mean; x and y ignore theirs.

        Raises:
            UnknownNameError: no such result or dimension.
            ArgumentError: a result of texts, or one too large to be read for a picture.
        """
        data = self.sweep.load()
        numeric = [str(n) for n, a in data.data_vars.items() if a.dtype.kind in "fiub"]
        if not numeric:
            raise ArgumentError("this store has no numeric result to show")
        name = variable or numeric[0]
        if name not in data.data_vars:
            raise unknown("result", name, numeric)
        array = data[name]
        if name not in numeric:
            raise ArgumentError(f"{name} holds {array.dtype}, not numbers; numeric results: {', '.join(numeric)}")
        dims = [str(d) for d in array.dims]
        x = x or (dims[0] if dims else "")
        for dim in (x, y):
            if dim and dim not in dims:
                raise unknown(f"dimension of {name}", dim, dims)
        if x == y and x:
            raise ArgumentError(f"x and y must be different dimensions, got {x!r} twice")
        places = at or tuple(-1 if d not in self.sweep.spec.over or d == "seed" else 0 for d in dims)
        if len(places) != len(dims):
            raise ArgumentError(f"at must hold one place per dimension {dims}, got {len(places)}")
        values, mean_over = _reduced(array, x, y, dict(zip(dims, places, strict=True)))
        return {
            "variable": name,
            "about": str(array.attrs.get("description", "")),
            "x": {"name": x, **_axis(data, x)},
            "y": {"name": y, **_axis(data, y)} if y else None,
            "values": rounded(values, 6),
            "mean_over": mean_over,
            "at": places,
            "state": _state(data, x, y, dict(zip(dims, places, strict=True))),
            "python": self._code(name, x, y, dict(zip(dims, places, strict=True))),
        }

    def _code(self, name: str, x: str, y: str, at: Mapping[str, int]) -> str:
        fixed = {d: k for d, k in at.items() if d not in (x, y) and k >= 0}
        means = [d for d, k in at.items() if d not in (x, y) and k < 0]
        reduced = (f".isel({fixed!r})" if fixed else "") + (f".mean({means!r})" if means else "")
        order = [d for d in (y, x) if d]
        return (
            "import theodolite as td\n\n"
            f'data = td.Sweep.open("path/to/{self.name}").load()  # the store that is shown\n'
            f"shown = data[{json.dumps(name)}]{reduced}{f'.transpose(*{order!r})' if len(order) > 1 else ''}\n"
            f"print(shown{'.to_pandas()' if order else ''})\n"
        )


def _reduced(array: Any, x: str, y: str, at: Mapping[str, int]) -> tuple[np.ndarray, list[str]]:
    """Values with dimensions (y, x), (x,) or (), and the names of those averaged over."""
    fixed: dict[str, Any] = {}
    mean_over = []
    for dim, place in at.items():
        size = array.sizes[dim]
        if dim in (x, y):
            if size > MOST_SHOWN:
                # Evenly thinned: more than this cannot be told apart on the screen.
                fixed[dim] = _thinned(size)
        elif place < 0:
            mean_over.append(dim)
        elif place >= size:
            raise ArgumentError(f"at must name a place below {size} along {dim}, got {place}")
        else:
            fixed[dim] = place
    chosen = array.isel(fixed)
    if chosen.size > MOST_READ:
        raise ArgumentError(
            f"{array.name} has {chosen.size:,} values here, more than {MOST_READ:,}; fix a dimension instead of averaging"
        )
    values = chosen.astype(float)
    if mean_over:
        values = values.mean(mean_over, skipna=True)
    return np.asarray(values.transpose(*[d for d in (y, x) if d]).values), mean_over


def _thinned(size: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, min(size, MOST_SHOWN)).round().astype(int))


def _axis(data: Any, dim: str) -> dict[str, Any]:
    """Labels of a dimension, and positions to draw them at: the numbers themselves where they increase."""
    if not dim:
        return {"labels": [], "positions": [], "numeric": False, "log": False}
    size = data.sizes[dim]
    keep = _thinned(size)
    values = data[dim].values if dim in data.coords else np.arange(size)
    labels = [_short(values[k]) for k in keep]
    numeric = values.dtype.kind in "fiu" and bool(np.isfinite(values.astype(float)).all()) and bool((np.diff(values) > 0).all())
    positions = values[keep].astype(float) if numeric else np.arange(len(keep))
    return {"labels": labels, "positions": positions, "numeric": numeric, "log": numeric and _geometric(positions)}


def _geometric(positions: np.ndarray) -> bool:
    """Whether positive values keep their ratios rather than their differences, so that a logarithmic axis shows them apart."""
    if len(positions) < 3 or positions[0] <= 0:
        return False
    steps, ratios = np.diff(positions), np.diff(np.log(positions))
    return bool(steps.max() > 3 * steps.min() and ratios.max() < 2 * ratios.min())


def _state(data: Any, x: str, y: str, at: Mapping[str, int]) -> Any:
    """How far the cells of the slice are: the least of missing (0), failed (2) told as such, done (1)."""
    state = data["cell_state"]
    fixed: dict[str, Any] = {d: k for d, k in at.items() if d in state.dims and d not in (x, y) and k >= 0}
    for d in (x, y):
        if d in state.dims and state.sizes[d] > MOST_SHOWN:
            fixed[d] = _thinned(state.sizes[d])
    kept = state.isel(fixed)
    others = [d for d in kept.dims if d not in (x, y)]
    # Where an average is shown: done if any cell is.
    done, failed = (kept == 1).any(others), (kept == 2).any(others)
    order = [d for d in (y, x) if d in kept.dims]
    return np.where(done.transpose(*order), 1, np.where(failed.transpose(*order), 2, 0))


def _labels(data: Any, dim: str) -> list[str]:
    if dim not in data.coords:
        return [str(k) for k in range(min(data.sizes[dim], MOST_LISTED))]
    return [_short(v) for v in data[dim].values[:MOST_LISTED]]


def _short(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    return str(value)[:120]

"""A sweep's dataset as one file: netCDF, Parquet or CSV."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.errors import ArgumentError, StoreError, require_extra

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["export", "table"]


def export(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write ``dataset`` to ``path``, whole or not at all, in the format of its suffix.

    Args:
        dataset: what `Sweep.load` returns.
        path: ``.nc`` (netCDF: all of it, with attributes), ``.parquet`` or ``.csv`` (`table`: a row per cell).

    Raises:
        ArgumentError: another suffix, or results that the format cannot hold.
        MissingExtraError: Parquet without pyarrow.
        StoreError: the file could not be written.
    """
    path = Path(path).expanduser()
    writers: dict[str, Callable[[xr.Dataset, Path], None]] = {".nc": _netcdf, ".parquet": _parquet, ".csv": _csv}
    if path.suffix not in writers:
        raise ArgumentError(f"path must end in {', '.join(writers)}, got {str(path)!r}")
    if path.suffix == ".parquet":
        require_extra("pyarrow", "parquet")
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix](dataset, draft)
        os.replace(draft, path)
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error}; free space or choose another folder") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return path


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """One row per cell: its place on the axes, its state, its results; arrays become columns such as ``spectrum[0]``.

    Example:
        >>> import xarray as xr
        >>> data = xr.Dataset({"u": (("a", "k"), [[1.0, 2.0], [3.0, 4.0]])}, {"a": [10, 20]}, {"axes": '["a"]'})
        >>> print(table(data).to_string(index=False))
          a  u[0]  u[1]
         10   1.0   2.0
         20   3.0   4.0
    """
    import json

    import pandas as pd

    axes = json.loads(dataset.attrs["axes"])
    shape = tuple(dataset.sizes[axis] for axis in axes)
    places = np.meshgrid(*(dataset[axis].values for axis in axes), indexing="ij")
    columns: dict[str, Any] = {axis: place.ravel() for axis, place in zip(axes, places, strict=True)}
    over_axes = [name for name in dataset.coords if name not in axes and dataset[name].dims[: len(axes)] == tuple(axes)]
    for name in (*over_axes, *dataset.data_vars):
        values = dataset[name].values
        if values.shape == shape:
            columns[str(name)] = values.ravel()
            continue
        inner = values.shape[len(axes) :]
        flat = values.reshape(-1, int(np.prod(inner)))
        for k, index in enumerate(np.ndindex(*inner)):
            columns[f"{name}[{','.join(map(str, index))}]"] = flat[:, k]
    return pd.DataFrame(columns)


def _csv(dataset: xr.Dataset, path: Path) -> None:
    table(dataset).to_csv(path, index=False)


def _parquet(dataset: xr.Dataset, path: Path) -> None:
    table(dataset).to_parquet(path, index=False)


def _netcdf(dataset: xr.Dataset, path: Path) -> None:
    if importlib.util.find_spec("h5netcdf") is not None:
        dataset.to_netcdf(path, engine="h5netcdf", invalid_netcdf=any(v.dtype.kind == "c" for v in dataset.variables.values()))
        return
    plain = dataset
    for name, variable in dataset.variables.items():
        # netCDF-3 knows neither complex numbers nor booleans nor 64-bit integers; xarray converts the latter where they fit.
        if variable.dtype.kind == "c":
            plain = plain.drop_vars([name]).assign({f"{name}_real": dataset[name].real, f"{name}_imag": dataset[name].imag})
    try:
        plain.to_netcdf(path, engine="scipy")
    except ValueError as error:
        raise ArgumentError(f"this does not fit a netCDF-3 file ({error}); pip install h5netcdf, or export to .csv") from error

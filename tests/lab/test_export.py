"""Exports read back equal; what a format cannot hold is said."""

import importlib.util

import lab_cells
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import theodolite as td
from theodolite.core.errors import ArgumentError, MissingExtraError, StoreError


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep = td.Sweep(lab_cells.Product, {"a": [0.5, 1.0], "b": range(3)}, tmp_path_factory.mktemp("sweep") / "s", tile=2)
    sweep.run()
    return sweep


def test_netcdf_holds_everything(sweep, tmp_path):
    path = sweep.export(tmp_path / "deep" / "x.nc")
    with xr.open_dataset(path) as back:
        data = sweep.load()
        for name in data.variables:
            np.testing.assert_array_equal(back[name].values, data[name].values)
            assert back[name].dims == data[name].dims
        assert back.attrs["spec"] == data.attrs["spec"]
        assert back.attrs["versions"] == data.attrs["versions"]


def test_csv_is_a_row_per_cell(sweep, tmp_path):
    table = pd.read_csv(sweep.export(str(tmp_path / "x.csv")))
    data = sweep.load()
    assert list(table.columns) == [
        "a", "b", "cell_state", "product", "draws[0]", "draws[1]", "draws[2]", "count", "odd"
    ]  # fmt: skip
    assert len(table) == 6
    for _, row in table.iterrows():
        cell = data.sel(a=row["a"], b=row["b"])
        assert row["product"] == cell["product"]
        assert row["count"] == cell["count"]
        assert row["odd"] == cell["odd"]
        np.testing.assert_allclose(row[["draws[0]", "draws[1]", "draws[2]"]].to_numpy(float), cell["draws"], rtol=1e-15)


def test_parquet_or_the_line_that_brings_it(sweep, tmp_path):
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(MissingExtraError, match="pip install"):
            sweep.export(tmp_path / "x.parquet")
    else:
        table = pd.read_parquet(sweep.export(tmp_path / "x.parquet"))
        np.testing.assert_array_equal(table["product"], sweep.load()["product"].values.ravel())


def test_text_ragged_and_complex_results_can_be_exported(tmp_path):
    ragged = td.Sweep(lab_cells.Ragged, {"depth": [2, 4]}, tmp_path / "r")
    ragged.run()
    with xr.open_dataset(ragged.export(tmp_path / "r.nc")) as back:
        assert back["kind"].values.astype(str).tolist() == ["flat", "deep"]
        assert np.isnan(back["norm"].values[0, 2])
    assert pd.read_csv(ragged.export(tmp_path / "r.csv"))["kind"].tolist() == ["flat", "deep"]
    rotated = td.Sweep(lab_cells.Rotated, {"angle": [0.0, 1.0]}, tmp_path / "c")
    rotated.run()
    with xr.open_dataset(rotated.export(tmp_path / "c.nc")) as back:
        np.testing.assert_array_equal(back["z_imag"].values, np.sin([0.0, 1.0]))


def test_wrong_paths(sweep, tmp_path):
    with pytest.raises(ArgumentError, match=r"\.nc, \.parquet, \.csv"):
        sweep.export(tmp_path / "x.xlsx")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="could not be written"):
        sweep.export(tmp_path / "file" / "x.csv")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]

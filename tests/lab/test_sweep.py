"""The face of a sweep, run in this process: results, masks, resuming, refusals, artefacts, stacking, interoperability."""

import json
import warnings

import lab_cells
import numpy as np
import pytest
import xarray as xr

import theodolite as td
from theodolite.core.errors import ArgumentError, StoreError, TheodoliteWarning
from theodolite.lab import InProcess
from theodolite.lab.storage import open_storage

A, B = (0.5, 1.0, 1.5, 2.0), range(6)


def product_sweep(store, **more):
    return td.Sweep(lab_cells.Product, {"a": A, "b": B}, store, **{"tile": 5, "scale": 2.0, **more})


def expected(name):
    """The obvious loop."""
    return np.array([[lab_cells.Product(a, b, 2.0).run()[name] for b in B] for a in A])


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        yield tmp_path / "sweep"
    else:
        yield f"memory://{tmp_path}"
        open_storage(f"memory://{tmp_path}").delete("")


@pytest.mark.parametrize("tile", ["auto", 1, 5, 24, 1000])
def test_results_are_those_of_the_loop(store, tile):
    sweep = product_sweep(store, tile=tile)
    status = sweep.run()
    data = sweep.load()
    for name in ("product", "draws", "count", "odd"):
        np.testing.assert_array_equal(data[name].values, expected(name))
        assert data[name].dtype == expected(name).dtype
    assert data["draws"].dims == ("a", "b", "draws_0")
    assert (data["cell_state"] == 1).all()
    assert float(data["product"].sel(a=1.5, b=4)) == 12.0
    assert status.complete
    assert status.cells == status.cells_done == 24
    assert status.failed == 0
    assert status.remaining == 0
    assert sweep.failed() == []
    assert sweep.run() == status


def test_attributes(store):
    sweep = product_sweep(store)
    sweep.run()
    attrs = sweep.load().attrs
    assert json.loads(attrs["spec"]) == {
        "experiment": "lab_cells:Product",
        "over": {"a": list(A), "b": {"range": [0, 6, 1]}},
        "fixed": {"scale": 2.0},
    }
    assert json.loads(attrs["versions"])["theodolite"] == td.__version__
    assert json.loads(attrs["seeds"]) == {}


def test_units_and_seeds_come_through(tmp_path):
    sweep = td.Sweep(lab_cells.Ragged, {"seed": [3, 5]}, tmp_path / "s", depth=2)
    sweep.run()
    data = sweep.load()
    assert data["norm"].attrs == {"units": "1", "description": "norm of each layer"}
    assert data.attrs["figure"] == "none"
    assert json.loads(data.attrs["seeds"]) == {"seed": {"range": [3, 7, 2]}}
    assert data["layer"].values.tolist() == [0, 1]
    assert data["time"].attrs == {"units": "s"}
    assert data["time"].dims == ("step",)


def test_uncommitted_tiles_are_masked(store):
    sweep = product_sweep(store)
    sweep.run(shard="1/3")
    data, status = sweep.load(), sweep.status()
    assert status.done == 2
    assert status.tiles == 5
    assert status.cells_done == 9
    assert not status.complete
    there = (np.arange(24) // 5 % 3 == 1).reshape(4, 6)
    np.testing.assert_array_equal(data["cell_state"].values, there.astype(int))
    for name in ("product", "count", "odd"):
        assert data[name].dtype == np.float64
        np.testing.assert_array_equal(data[name].values, np.where(there, expected(name), np.nan))


def test_shards_make_the_whole(store):
    sweep = product_sweep(store)
    for i in (2, 0, 1):
        sweep.run(shard=f"{i}/3")
    assert sweep.status().complete
    np.testing.assert_array_equal(sweep.load()["draws"].values, expected("draws"))
    # More shards than tiles: the surplus has nothing to do.
    assert sweep.run(shard="7/8").complete


def test_lazy_reading_equals_eager_reading(tmp_path, monkeypatch):
    from theodolite.lab import dataset

    sweep = product_sweep(tmp_path / "s")
    sweep.run(shard="0/2")
    eager = sweep.load()
    monkeypatch.setattr(dataset, "EAGER_BYTES", 0)
    lazy = sweep.load()
    assert not lazy["draws"].variable._in_memory
    assert lazy.identical(eager)
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b, k = rng.permutation(4)[:2], rng.integers(6), slice(int(rng.integers(3)), None)
        xr.testing.assert_identical(sweep.load()["draws"].isel(a=a, b=b, draws_0=k), eager["draws"].isel(a=a, b=b, draws_0=k))


def test_storage_is_plain_zarr(tmp_path):
    import zarr

    sweep = product_sweep(tmp_path / "s")
    sweep.run()
    group = zarr.open_group(tmp_path / "s", mode="r")
    assert group.metadata.zarr_format == 3
    np.testing.assert_array_equal(group["draws"][:].reshape(4, 6, 3), expected("draws"))
    assert group["draws"].chunks == (5, 3)
    assert group["done"].chunks == (1,)
    assert group["done"][:].tolist() == [1] * 5
    flat = xr.open_zarr(tmp_path / "s", consolidated=False)
    np.testing.assert_array_equal(flat["count"].values.reshape(4, 6), expected("count"))


def test_nan_is_a_result_and_only_the_guilty_cell_fails(store):
    sweep = td.Sweep(lab_cells.Faulty, {"a": [1.0, 2.0], "b": range(8)}, store, tile=8)
    status = sweep.run()
    assert status.complete
    assert status.failed == 10
    failures = sweep.failed()
    assert [f.cell["b"] for f in failures] == [1, 2, 3, 4, 5] * 2
    reasons = [reason for _, reason in failures[:5]]
    for reason, part in zip(reasons, ["must not be 1", "got int", "SystemExit: 3", "got object", "ragged"], strict=True):
        assert part in reason
    data = sweep.load()
    assert np.isnan(data["product"].values[:, 1:7]).all()
    assert not np.isnan(data["product"].values[:, [0, 7]]).any()
    assert data["cell_state"].values[0].tolist() == [1, 2, 2, 2, 2, 2, 1, 1], "the NaN of cell 6 is a result"
    assert data["count"].values[0, 6] == lab_cells.Product(1.0, 6).run()["count"]


def test_failed_cells_are_tried_again_on_request(tmp_path, monkeypatch):
    sweep = td.Sweep(lab_cells.Faulty, {"b": range(6)}, tmp_path / "s", tile=2, a=1.0)
    assert sweep.run().failed == 5
    monkeypatch.setattr(lab_cells.Faulty, "__post_init__", lambda self: None)
    assert sweep.run().failed == 5
    assert sweep.run(retry_failed=True).failed == 4


def test_a_sweep_in_which_every_cell_fails(tmp_path):
    sweep = td.Sweep(lab_cells.Faulty, {"b": [1, 2, 3]}, tmp_path / "s", a=1.0)
    assert sweep.run().failed == 3
    assert (sweep.load()["cell_state"] == 2).all()


def test_another_spec_is_refused_with_the_difference(store):
    product_sweep(store).run()
    for other, line in (
        (product_sweep(store, scale=3.0), "fixed.scale: 2.0 in the store, 3.0 asked for"),
        (product_sweep(store, tile=6), "tile: 5 in the store, 6 asked for"),
        (td.Sweep(lab_cells.Product, {"a": A, "b": range(7)}, store, scale=2.0), r"over.b.range: \[0, 6, 1\]"),
        (td.Sweep(lab_cells.Poison, {"a": A, "b": B}, store, scale=2.0), "experiment: "),
    ):
        for action in (other.run, other.load, other.status, other.plan, lambda other=other: other.run(resume=False)):
            with pytest.raises(StoreError, match=line):
                action()
    assert product_sweep(store, tile="auto").run().complete, "a tile size that is not asked for is adopted"


def test_an_older_or_damaged_store_is_refused(tmp_path):
    sweep = product_sweep(tmp_path / "s")
    sweep.run()
    manifest = tmp_path / "s" / "manifest.json"
    good = manifest.read_text()
    manifest.write_text(good.replace('"theodolite_sweep": 1', '"theodolite_sweep": 0'))
    with pytest.raises(StoreError, match="format 0"):
        sweep.run()
    manifest.write_text(good[:100])
    with pytest.raises(StoreError, match="damaged"):
        sweep.load()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(StoreError, match="thesis.tex"):
        product_sweep(tmp_path / "full").run()


def test_misaligned_chunks_are_refused(tmp_path):
    import zarr

    sweep = product_sweep(tmp_path / "s")
    sweep.run(shard="0/2")
    zarr.create_array(tmp_path / "s", name="draws", shape=(24, 3), chunks=(4, 3), dtype="<f8", overwrite=True)
    with pytest.raises(StoreError, match="tiles of 5 cells"):
        sweep.run()


def test_versions_that_changed_are_warned_of(tmp_path):
    sweep = product_sweep(tmp_path / "s")
    sweep.run(shard="0/2")
    manifest = tmp_path / "s" / "manifest.json"
    saved = json.loads(manifest.read_text())
    saved["versions"]["numpy"] = "1.0"
    manifest.write_text(json.dumps(saved))
    with pytest.warns(TheodoliteWarning, match="numpy 1.0"):
        sweep.run()


def test_starting_over(store):
    sweep = product_sweep(store)
    sweep.run()
    assert sweep.run(resume=False, shard="0/5").done == 1
    assert sweep.run().complete
    np.testing.assert_array_equal(sweep.load()["draws"].values, expected("draws"))


def test_tiles_are_idempotent(tmp_path):
    from theodolite.lab.tile import run_tile

    sweep = product_sweep(tmp_path / "s")
    sweep.run()
    before = {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()}
    manifest = sweep._manifest()
    cells = sweep._cells_of_tile(manifest)
    for tile in range(5):
        assert run_tile(sweep._store.storage, manifest.stamp, tile, cells(tile)).repeated
        sweep._store.uncommit(tile)
        assert not run_tile(sweep._store.storage, manifest.stamp, tile, cells(tile)).repeated
    assert {p: p.read_bytes() for p in (tmp_path / "s").rglob("*") if p.is_file()} == before


def test_damage_is_seen_and_repaired(tmp_path):
    sweep = product_sweep(tmp_path / "s")
    sweep.run()
    whole = sweep.load()
    chunk = tmp_path / "s" / "draws" / "c.2.0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    (tmp_path / "s" / "count" / "c.4").unlink()
    with pytest.warns(TheodoliteWarning, match="repair"):
        data = sweep.load()
    assert np.isnan(data["draws"].values.reshape(24, 3)[10:15]).all()
    assert not np.isnan(data["draws"].values.reshape(24, 3)[:10]).any()
    assert sweep.repair() == [2, 4]
    assert sweep.status().done == 3
    sweep.run()
    assert sweep.load().identical(whole)
    assert sweep.repair() == []


def test_plan_writes_nothing_and_counts(tmp_path):
    sweep = td.Sweep(lab_cells.Slow, {"a": A, "b": B}, tmp_path / "s", seconds=0.02, tile=6)
    plan = sweep.plan()
    assert (plan.cells, plan.tiles, plan.tile, plan.done) == (24, 4, 6, 0)
    assert not (tmp_path / "s").exists()
    assert 24 * 0.02 <= plan.cost < 24 * 0.2
    assert plan.memory > 10e6
    assert plan.storage == 24 * (8 + 24 + 8 + 1)
    assert "24 cells in 4 tiles of 6" in str(plan)
    sweep.run(shard="0/2")
    later = sweep.plan()
    assert later.done == 2
    assert later.cost == pytest.approx(plan.cost / 2)


def test_automatic_tiles_hold_work_but_leave_enough_of_them(tmp_path):
    from theodolite.lab.calibrate import calibrate

    with InProcess() as executor:
        fast = calibrate(td.Sweep(lab_cells.Constant, {"i": range(10_000)}, tmp_path).spec, executor, None).layout
        slow = calibrate(td.Sweep(lab_cells.Slow, {"b": range(1000)}, tmp_path, a=1.0, seconds=0.1).spec, executor, None).layout
    assert fast.tiles == pytest.approx(32, abs=1)
    assert 5 <= slow.tile <= 10


def test_ragged_results_are_padded_and_nothing_is_lost(store):
    sweep = td.Sweep(lab_cells.Ragged, {"depth": [2, 3, 5], "seed": [0, 1]}, store, tile=4)
    assert sweep.run().failed == 0
    data = sweep.load()
    nan = np.nan
    np.testing.assert_array_equal(
        data["norm"].values[:, 1], [[2, 2.5, nan, nan, nan], [3, 3.5, 4, nan, nan], [5, 5.5, 6, 6.5, 7]]
    )
    assert data["layer"].values.tolist() == [0, 1, 2, 3, 4]
    assert data["kind"].values[:, 0].tolist() == ["flat", "deep", "deep"]
    assert data["size"].values[:, 0].tolist() == [2.0, 3.0, 5.5], "an integer and then a real number are both kept"
    np.testing.assert_allclose(data["time_of_cell"].values[:, 0], [[0, 0.2], [0, 0.3], [0, 0.5]], rtol=1e-15)


def test_loose_results_in_tiles_that_are_missing_stay_masked(tmp_path):
    sweep = td.Sweep(lab_cells.Ragged, {"depth": [2, 3, 5], "seed": [0, 1]}, tmp_path / "s", tile=2)
    sweep.run(shard="2/3")
    data = sweep.load()
    assert np.isnan(data["norm"].values[:2]).all()
    assert data["norm"].values[2, 0, 4] == 7.0
    assert data["kind"].values.tolist() == [["", ""], ["", ""], ["deep", "deep"]]


def test_artefacts(store):
    sweep = td.Sweep(lab_cells.Heavy, {"n": [2, 5, 3]}, store, tile=2)
    sweep.run()
    data = sweep.load()
    assert data["top"].values.tolist() == [2, 5, 3]
    for n in (2, 5, 3):
        np.testing.assert_array_equal(sweep.artefact(data["spectrum"].sel(n=n).item()), np.arange(n, dtype=float))
    assert len(set(data["shared"].values.tolist())) == 1, "equal contents are stored once"
    assert {k: v.tolist() for k, v in sweep.artefact(data["shared"].values[0]).items()} == {"w": [1.0], "b/0": [2]}
    storage = open_storage(store)
    key = data["spectrum"].values[0]
    storage.write(f"artefacts/{key[:2]}/{key}.npz", storage.read(f"artefacts/{key[:2]}/{key}.npz")[:-30])
    with pytest.raises(StoreError, match="cannot be read|damaged"):
        sweep.artefact(key)
    with pytest.raises(StoreError, match="no artefact"):
        sweep.artefact("0" * 32)


def test_cells_of_equal_shape_are_stacked(tmp_path):
    over = {"rate": [1.0, 2.0, 3.0], "width": [5, 6], "seed": range(2)}
    sweep = td.Sweep(lab_cells.Stacked, over, tmp_path / "s", tile=6)
    sweep.run()
    data = sweep.load()
    np.testing.assert_array_equal(
        data["value"].values, [[[w * r + s for s in over["seed"]] for w in over["width"]] for r in over["rate"]]
    )
    # Storage order puts the axis that changes the shape first, so a tile of 6 is one stack (but for known cells).
    assert data["together"].values.max() >= 3
    assert sweep._manifest().layout.order == (1, 0, 2)


def test_a_stack_that_fails_costs_only_the_guilty_cell(tmp_path):
    over = {"rate": [1.0, 2.0, 3.0, 4.0, 5.0], "width": [5]}
    sweep = td.Sweep(lab_cells.Stacked, over, tmp_path / "s", tile=5, trap=3.0)
    assert sweep.run().failed == 1
    assert sweep.failed()[0].cell == {"rate": 3.0, "width": 5}
    assert "diverged" in sweep.failed()[0].reason
    np.testing.assert_array_equal(sweep.load()["value"].values[:, 0], [5, 10, np.nan, 20, 25])


def test_a_stack_that_fails_without_a_guilty_cell_is_warned_of(tmp_path, monkeypatch):
    def broken(experiments):
        raise RuntimeError("bug in stacking")

    monkeypatch.setattr(lab_cells.Stacked, "measure_many", broken)
    sweep = td.Sweep(lab_cells.Stacked, {"rate": np.arange(1.0, 9.0)}, tmp_path / "s", tile=8, width=2)
    with pytest.warns(TheodoliteWarning, match="bug in stacking"):
        assert sweep.run().failed == 0


def test_tensors_and_names_of_axes():
    import torch

    from theodolite.lab.values import outcome_of

    tensor = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    assert outcome_of({"t": tensor}, {}).values["t"].array.tolist() == [1.0, 2.0]
    assert outcome_of({"a": 1.0, "t": 2}, {"a": 1.0}).values.keys() == {"t"}
    assert outcome_of({"a": 3.0}, {"a": 1.0}).values["a_within"].array == 3.0
    inner = outcome_of(xr.Dataset({"u": ("k", [1.0, 2.0])}, {"k": [5, 6], "j": 0}), {"k": 1.0, "j": 0})
    assert inner.values["u"].dims == ("k_within",)
    assert inner.coords["k_within"].array.tolist() == [5, 6]
    assert inner.coords["k_within"].dims == ("k_within",)
    assert "j" not in inner.coords


def test_names_that_the_store_uses_itself(tmp_path):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Odd:
        a: int = 0

        def run(self):
            return {"done": self.a, "loss/train": self.a + 0.5, "notes": 1.0, ".hidden": 2.0, "épaisseur": 3.0}

    sweep = td.Sweep(Odd, {"a": [1, 2]}, tmp_path / "s")
    sweep.run()
    data = sweep.load()
    assert data["done"].values.tolist() == [1, 2]
    assert data["loss/train"].values.tolist() == [1.5, 2.5]
    assert {float(data[n][0]) for n in ("notes", ".hidden", "épaisseur")} == {1.0, 2.0, 3.0}


def test_axes_of_text_tuples_and_functions(tmp_path):
    from dataclasses import dataclass
    from typing import Any

    @dataclass(frozen=True)
    class Net:
        widths: tuple[int, ...] = ()
        activation: Any = None
        name: str = ""

        def run(self):
            return {"size": float(sum(self.widths) + len(self.name)), "value": float(self.activation(-1.0))}

    over = {"widths": [(5, 5), (9,)], "activation": [np.tanh, np.abs], "name": ["relu", "t"]}
    sweep = td.Sweep(Net, over, tmp_path / "s", tile=3)
    sweep.run()
    data = sweep.load()
    assert data.sel(widths="[9]", name="t", activation=data.activation[1])["size"] == 10.0
    np.testing.assert_array_equal(data["value"].values[0, :, 0], [np.tanh(-1.0), 1.0])


def test_opening_a_store(tmp_path):
    product_sweep(tmp_path / "s").run(shard="0/2")
    sweep = td.Sweep.open(tmp_path / "s")
    assert sweep.run().complete
    np.testing.assert_array_equal(sweep.load()["draws"].values, expected("draws"))
    with pytest.raises(StoreError, match="no sweep"):
        td.Sweep.open(tmp_path)


def test_wrong_arguments(tmp_path):
    sweep = product_sweep(tmp_path / "s")
    for shard in ("3/3", "-1/3", "1", "a/b", "1/0"):
        with pytest.raises(ArgumentError, match="shard"):
            sweep.run(shard=shard)
    for arguments in ({"workers": 0}, {"workers": True}, {"engine": "ray"}):
        with pytest.raises(ArgumentError):
            sweep.run(**arguments)
    for tile in (0, -1, 2.5, "many", True):
        with pytest.raises(ArgumentError, match="tile"):
            product_sweep(tmp_path / "s", tile=tile)
    with pytest.raises(ArgumentError, match="lives in this process"):
        product_sweep("memory://nowhere").run(workers=2)
    with pytest.raises(StoreError, match="nothing has been run"):
        sweep.load()
    assert sweep.failed() == []
    assert sweep.status().done == 0
    assert not (tmp_path / "s").exists()


def test_loading_warns_of_nothing(tmp_path):
    sweep = product_sweep(tmp_path / "s")
    sweep.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep.load()


@pytest.mark.parametrize("cells", [9, 1])
def test_attributes_of_a_cell_are_not_those_of_the_sweep(tmp_path, cells):
    """Cells 0, 2, 4, 6 and 8 are looked at first; whatever they agree on, a cell may say otherwise."""
    sweep = td.Sweep(lab_cells.Labelled, {"a": range(1, cells + 1)}, tmp_path / "s", tile=2)
    sweep.run()
    data = sweep.load()
    assert data.attrs["paper"] == "yes"
    if cells == 1:
        assert (data.attrs["square"], data.attrs["kind"]) == (1.0, "usual")
        return
    assert "square" not in data.attrs
    assert "kind" not in data.attrs
    assert data["square_of_cell"].values.tolist() == [float(a) ** 2 for a in range(1, 10)]
    assert data["kind_of_cell"].values.tolist() == ["odd one" if a == 4 else "usual" for a in range(1, 10)]
    assert data["value"].values.tolist() == list(range(1, 10))


def test_a_plan_says_that_timed_cells_failed(tmp_path):
    plan = td.Sweep(lab_cells.Faulty, {"a": [1, 2], "b": [1]}, tmp_path / "store").plan()
    assert plan.failing == tuple(dict.fromkeys(plan.failing))
    assert "b must not be 1" in plan.failing[0]
    assert "a cell that was timed failed" in str(plan)
    assert not td.Sweep(lab_cells.Product, {"a": [1, 2]}, tmp_path / "other").plan().failing

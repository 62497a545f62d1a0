"""Records: saved whole or not at all, and read back as they were."""

import json

import numpy as np
import pytest
import xarray as xr

from theodolite.core.claim import Verdict, fails, holds, holds_under
from theodolite.core.errors import ArgumentError, StoreError
from theodolite.core.record import Record


def record():
    data = xr.Dataset(
        {"a": (("layer", "step"), np.arange(6.0).reshape(2, 3), {"unit": "1"})}, {"layer": ["1", "block.2"], "step": [0, 1, 5]}
    )
    return Record("rank.layers", {"seeds": 5, "eps": 1e-3}, data, {"seconds": 1.5})


def test_round_trip(tmp_path):
    path = record().save(tmp_path / "runs" / "one")
    back = Record.load(path)
    assert back.name == "rank.layers"
    assert dict(back.settings) == {"seeds": 5, "eps": 1e-3}
    assert back.provenance == {"seconds": 1.5}
    assert [str(v) for v in back.data.layer.values] == ["1", "block.2"]
    np.testing.assert_array_equal(back.data["a"], record().data["a"])
    assert back.data["a"].attrs["unit"] == "1"


def test_saving_again_replaces_and_leaves_no_drafts(tmp_path):
    record().save(tmp_path / "r")
    changed = Record("rank.layers", {}, record().data * 2, {})
    changed.save(tmp_path / "r")
    assert float(Record.load(tmp_path / "r").data["a"].max()) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_failing_write_leaves_the_old_record_and_no_draft(tmp_path, monkeypatch):
    path = record().save(tmp_path / "r")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", full)
    with pytest.raises(StoreError, match="No space left"):
        record().save(path)
    monkeypatch.undo()
    assert Record.load(path).settings["seeds"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_what_is_no_record_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no record at"):
        Record.load(tmp_path)
    record().data.to_zarr(tmp_path / "z", zarr_format=3, consolidated=False)
    with pytest.raises(StoreError, match="header is missing"):
        Record.load(tmp_path / "z")


def test_verdicts_carry_a_condition_only_when_they_need_one():
    assert str(holds("x")) == "holds"
    assert str(holds_under("width → ∞", "x")) == "holds under: width → ∞"
    with pytest.raises(ArgumentError):
        Verdict("holds", "x", condition="c")
    with pytest.raises(ArgumentError):
        Verdict("holds under", "x")
    assert fails("x").word == "fails"


def test_a_claim_that_cannot_be_checked_is_undecided():
    broken = Record("rank.layers", {}, xr.Dataset(), {})
    verdicts = broken.verify()
    assert verdicts
    assert all(verdict.word == "undecided" for _, verdict in verdicts)
    assert "could not be carried out" in str(verdicts)


def test_settings_are_plain_json():
    settings = dict(record().settings)
    assert json.loads(json.dumps(settings)) == settings


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    record = Record("rank.staircase", {}, xr.Dataset({"a": ("x", np.ones(2))}), {})
    with pytest.raises(StoreError, match="is not a record"):
        record.save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"

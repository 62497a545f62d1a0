"""Regions out of core: equal to those in memory, resumed after any interruption, refused where another job lies."""

import json
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import theodolite as td
from theodolite.theory.piecewise import cutting
from theodolite.theory.piecewise.cutting import tiles
from theodolite.theory.piecewise.enumeration import Task, enumerate_cells
from theodolite.theory.piecewise.lowering import lower

SQUARE = td.box(-1, 1, dim=2)


@pytest.fixture(autouse=True)
def few_tiles(monkeypatch):
    """Tiles are small here, and files few."""
    monkeypatch.setattr(cutting, "TILES", 8)


class Dying(Executor):
    """Carries out so many tasks, then dies."""

    def __init__(self, lives):
        self.lives = lives
        self.carried = 0

    def submit(self, function, /, *args):
        future = Future()
        if self.carried == self.lives:
            future.set_exception(OSError("the worker was killed"))
        else:
            self.carried += 1
            future.set_result(function(*args))
        return future


def assert_same(stored, found):
    assert stored.count == len(stored) == found.count
    assert stored.complete
    for name in ("maximum", "minimum"):
        for mine, theirs in zip(getattr(stored, name)(), getattr(found, name)(), strict=True):
            assert np.allclose(mine, theirs, atol=1e-13)
    for name in ("integral", "mean", "variance", "lipschitz"):
        assert np.allclose(getattr(stored, name)(), getattr(found, name)(), atol=1e-13)
    assert stored.volumes.sum() == pytest.approx(found.domain.volume, abs=1e-12)
    order = found.index.lookup(stored.patterns, stored.charts)
    assert (np.sort(order) == np.arange(found.count)).all()
    assert np.allclose(stored.affine[0], found.affine[0][order], rtol=0, atol=1e-14 * np.abs(found.maps).max())
    assert stored.pieces == found.pieces
    assert np.array_equal(found.locate(stored.centroids), order)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_store_holds_the_same_regions(nets, tmp_path, outputs):
    model = nets["he"]((2, 16, 16, outputs), 0)
    found = td.piecewise.regions(model, SQUARE)
    assert_same(td.piecewise.regions(model, SQUARE, out=tmp_path / "here"), found)
    with ThreadPoolExecutor(2) as pool:
        assert_same(td.piecewise.regions(model, SQUARE, out=tmp_path / "threads", executor=pool), found)
    again = td.piecewise.StoredRegions(str(tmp_path / "threads"))  # without the model
    assert_same(again, found)
    assert "282 activation regions" in repr(again)
    assert sum(part.count for part in again) == found.count


@pytest.mark.parametrize("certify", ["filtered", "exact"])
def test_other_domains_and_certificates(nets, tmp_path, certify):
    model = nets["int"]((2, 8, 8, 1), 1)
    for k, domain in enumerate(
        [td.polyline([[-1.0, -1.0], [1.0, 0.5], [0.0, 1.0]]), td.polygon([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])]
    ):
        found = td.piecewise.regions(model, domain, certify=certify)
        assert_same(td.piecewise.regions(model, domain, certify=certify, out=tmp_path / str(k)), found)
    space = nets["int"]((3, 5, 5, 1), 0)
    found = td.piecewise.regions(space, td.box(-1, 1, dim=3), certify=certify)
    assert_same(td.piecewise.regions(space, td.box(-1, 1, dim=3), certify=certify, out="memory://piecewise-" + certify), found)


def test_resumes_where_it_died(nets, tmp_path):
    model = nets["he"]((2, 16, 16, 1), 1)
    with pytest.raises(OSError, match="killed"):
        td.piecewise.regions(model, SQUARE, out=tmp_path, executor=Dying(3))
    done = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "done").iterdir()}
    assert len(done) == 3
    with pytest.raises(td.StoreError, match="resume"):
        td.piecewise.StoredRegions(tmp_path)
    healthy = Dying(10**6)
    stored = td.piecewise.regions(model, SQUARE, out=tmp_path, executor=healthy)
    total = len(json.loads((tmp_path / "manifest.json").read_text())["tiles"])
    assert healthy.carried == total - 3
    assert all((tmp_path / "done" / name).stat().st_mtime_ns == when for name, when in done.items())
    assert_same(stored, td.piecewise.regions(model, SQUARE))
    idle = Dying(0)
    assert td.piecewise.regions(model, SQUARE, out=tmp_path, executor=idle).count == 295
    assert idle.carried == 0


def test_another_job_is_refused(nets, tmp_path):
    model = nets["he"]((2, 8, 8, 1), 0)
    td.piecewise.regions(model, SQUARE, out=tmp_path / "a")
    for other, domain, certify in [
        (nets["he"]((2, 8, 8, 1), 1), SQUARE, "none"),
        (model, td.box(-2, 1, dim=2), "none"),
        (model, SQUARE, "exact"),
    ]:
        with pytest.raises(td.StoreError, match="another job"):
            td.piecewise.regions(other, domain, certify=certify, out=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")
    with pytest.raises(td.StoreError, match=r"thesis\.tex"):
        td.piecewise.regions(model, SQUARE, out=tmp_path / "b")
    with pytest.raises(td.StoreError, match="does not hold regions"):
        td.piecewise.StoredRegions(tmp_path / "b")
    chunk = next((tmp_path / "a" / "tiles").glob("*/maps/c.*"))
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with pytest.raises(td.StoreError, match="damaged"):
        td.piecewise.StoredRegions(tmp_path / "a").integral()


def test_what_cannot_be_shared_out_is_refused(nets, tmp_path):
    model = nets["he"]((2, 4, 1), 0)
    for options in ({"out": tmp_path}, {"executor": Dying(1)}):
        with pytest.raises(td.UnsupportedError, match="found in one go"):
            td.piecewise.regions(model, None, **options)
    with pytest.raises(td.ArgumentError, match="max_regions"):
        td.piecewise.regions(model, SQUARE, out=tmp_path, max_regions=3)


def test_zarr_reads_it(nets, tmp_path):
    import zarr

    stored = td.piecewise.regions(nets["he"]((2, 8, 8, 1), 0), SQUARE, out=tmp_path)
    tile = next(iter(stored))
    group = zarr.open_group(str(tmp_path / "tiles" / "000000"), mode="r")
    assert np.array_equal(group["maps"][:], tile.maps)
    assert np.array_equal(group["points"][:], tile.cells.points)
    assert np.array_equal(group["bits"][:], tile.bits)


@pytest.mark.slow
def test_processes_write_their_own_tiles(nets, tmp_path):
    from multiprocessing import get_context

    model = nets["int"]((2, 16, 16, 1), 1)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        stored = td.piecewise.regions(model, SQUARE, out=tmp_path, executor=pool)
    assert_same(stored, td.piecewise.regions(model, SQUARE))


def test_tiles_are_the_same_every_time_and_cover_everything(nets):
    program = lower(nets["he"]((2, 200, 8, 1), 0), (2,))
    first, second = (tiles(Task(program, SQUARE.charts[0])) for _ in range(2))
    assert len(first) == len(second) > 4
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.cells.points, b.cells.points)
        assert np.array_equal(a.bits, b.bits)


def test_wide_layers_cut_in_blocks(nets):
    """One hidden layer in general position: as many regions as Zaslavsky's formula, whatever the blocks; certified too."""
    for n in (129, 300):
        model = nets["he"]((2, n, 1), 0)
        found = td.piecewise.regions(model, td.box(-1e5, 1e5, dim=2))
        assert found.count == td.piecewise.zaslavsky(n, 2)
        assert found.volumes.sum() == pytest.approx(4e10, rel=1e-12)
        x = np.random.default_rng(n).uniform(-2, 2, (300, 2))
        assert np.array_equal(found.patterns[found.locate(x)], found.program.patterns(x))
    model = nets["int"]((2, 150, 1), 0)  # many lines through one point
    counts = {c: td.piecewise.regions(model, SQUARE, certify=c) for c in ("none", "filtered")}
    assert {b.tobytes() for b in counts["none"].bits} == {b.tobytes() for b in counts["filtered"].bits}
    line = nets["int"]((1, 300, 5, 1), 0)
    exact, plain = (td.piecewise.regions(line, td.box(-1, 1, dim=1), certify=c) for c in ("exact", "none"))
    assert {b.tobytes() for b in exact.bits} == {b.tobytes() for b in plain.bits}
    assert exact.exact_volume() == 2


def test_batches_stay_small(nets):
    """No step of the enumeration holds more than a fraction of all regions, not even within one wide layer."""
    for widths in [(2, 400, 1), (2, 96, 96, 1)]:
        task = Task(lower(nets["he"](widths, 0), (2,)), td.box(-20, 20, dim=2).charts[0])
        sizes = [len(found.bits) for found in enumerate_cells(task)]
        assert max(sizes) < sum(sizes) / 4
        assert sum(sizes) > 8000

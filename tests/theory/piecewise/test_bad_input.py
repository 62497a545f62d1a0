"""Bad input is refused in words: which argument, which rule, what was given."""

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td


def test_errors_say_what_is_wrong(nets):
    model = nets["int"]((2, 4, 1), 0)
    broken = nets["int"]((2, 4, 1), 0)
    broken[0].weight.data[1, 0] = float("nan")
    with pytest.raises(td.ArgumentError, match=r"0\.weight"):
        td.piecewise.regions(broken, td.box(-1, 1, dim=2))
    with pytest.raises(td.ArgumentError, match="takes: 2, got 3"):
        td.piecewise.regions(model, td.box(-1, 1, dim=3))
    with pytest.raises(td.UnsupportedError, match="unbounded"):
        td.piecewise.regions(model, None).integral()
    with pytest.raises(td.UnsupportedError, match="tanh"):
        td.piecewise.regions(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), td.box(-1, 1, dim=2))
    with pytest.raises(td.UnsupportedError, match="certify"):
        td.piecewise.regions(model, None, certify="exact", max_regions=2)
    with pytest.raises(td.ArgumentError, match="domain"):
        td.piecewise.regions(model, [(-1, 1), (-1, 1)])
    with pytest.raises(td.ArgumentError, match="certify"):
        td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="yes")
    with pytest.raises(td.ArgumentError, match="max_regions"):
        td.piecewise.regions(model, td.box(-1, 1, dim=2), max_regions=0)
    with pytest.raises(td.ArgumentError, match="output"):
        td.piecewise.regions(model, td.box(-1, 1, dim=2), output=4)
    with pytest.raises(td.NumericalError, match="unbounded"):
        td.piecewise.regions(model, None).maximum()
    with pytest.raises(td.UnsupportedError, match="one output"):
        td.piecewise.regions(nets["int"]((2, 4, 2), 0), td.box(-1, 1, dim=2)).level_set(0.0)
    with pytest.raises(td.UnsupportedError, match="slice2d"):
        td.piecewise.regions(nets["int"]((3, 4, 1), 0), td.box(-1, 1, dim=3)).level_set(0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: td.box(1, -1, dim=2),
        lambda: td.box(0, 1),
        lambda: td.box([0.0, 0.0], [1.0, float("nan")]),
        lambda: td.box(0, 1, dim=0),
        lambda: td.segment([0.0, 1.0], [0.0, 1.0]),
        lambda: td.segment([0.0], [0.0, 1.0]),
        lambda: td.polyline([[0.0, 1.0]]),
        lambda: td.slice2d([0.0, 0.0], [1.0, 1.0], [2.0, 2.0]),
        lambda: td.slice2d([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], extent=-1),
        lambda: td.polygon([[0.0, 0.0], [1.0, 0.0]]),
        lambda: td.polygon([[0.0, 0.0], [1.0, 0.0], [0.2, 0.2], [0.0, 1.0]]),
        lambda: td.polygon(np.array([[np.cos(4 * np.pi * k / 5), np.sin(4 * np.pi * k / 5)] for k in range(5)])),
    ],
)
def test_domains_refuse_nonsense(make):
    with pytest.raises(td.ArgumentError):
        make()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r, m: r.halfspaces("a"), "i must be"),
        (lambda r, m: r.halfspaces(1.5), "i must be"),
        (lambda r, m: r.halfspaces(r.count), "number of regions"),
        (lambda r, m: r.lipschitz("x"), "p must be"),
        (lambda r, m: r.lipschitz(float("nan")), "p must be"),
        (lambda r, m: r.level_set("x"), "value must be"),
        (lambda r, m: r.level_set(float("nan")), "value must be"),
        (lambda r, m: td.piecewise.merge_regions(m), "Sequential"),
        (lambda r, m: td.piecewise.regions(m, td.box(-1, 1, dim=2), max_regions="x"), "max_regions"),
        (lambda r, m: td.piecewise.regions(m, td.box(-1, 1, dim=2), executor=3), "executor"),
        (lambda r, m: td.piecewise.regions(m, td.box(-1, 1, dim=2), max_regions=float("nan")), "max_regions"),
        (lambda r, m: td.box("a", 1, dim=2), "low"),
        (lambda r, m: td.box([[1, 2], [3]], 1), "low"),
        (lambda r, m: td.box([0, 0], [1, 1, 1]), "one shape"),
        (lambda r, m: td.box(0, 1, dim="a"), "dim"),
        (lambda r, m: td.polyline(3), "at least 2"),
        (lambda r, m: td.segment("a", "b"), "a and b"),
        (lambda r, m: td.slice2d([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], extent="a"), "extent"),
        (lambda r, m: td.piecewise.count_bounds(None, 2), "widths"),
        (lambda r, m: td.piecewise.count_bounds(["a"], 2), "widths"),
        (lambda r, m: td.piecewise.count_bounds([True], 2), "widths"),
        (lambda r, m: td.piecewise.count_bounds([4], "x"), "dim"),
        (lambda r, m: td.piecewise.zaslavsky(2.5, 2), "n must be"),
        (lambda r, m: td.piecewise.zaslavsky(-1, 2), "n must be"),
        (lambda r, m: td.piecewise.hanin_rolnick(0, 2), "neurons"),
        (lambda r, m: r.level_set(float("inf")), "value must be finite"),
        (lambda r, m: r.save(None), "path must be a path"),
        (lambda r, m: r.plot(output=5), "output must be below 1"),
        (lambda r, m: r.plot(output=-2), "output must be"),
        (lambda r, m: r.plot(cmap="nope"), "cmap must be"),
        (lambda r, m: r.halfspaces(-(10**6)), "i must be an integer of at least"),
        (lambda r, m: td.piecewise.Regions.load(3), "path must be a path"),
        (lambda r, m: td.piecewise.merge_regions(None), "found must be"),
        (lambda r, m: td.box([], []), "at least one coordinate"),
        (lambda r, m: td.box(-1e308, 1e308, dim=2), "low must be at most"),
        (lambda r, m: td.box(0, 1e-320, dim=2), "sides of a box"),
        (lambda r, m: td.slice2d([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], extent=float("nan")), "extent must be a number, got nan"),
        (lambda r, m: td.piecewise.local_region(m, "abc"), "x must be an array of numbers, got str: its entries are text"),
        (lambda r, m: td.piecewise.local_region(m, [[1], [1, 2]]), "x must be an array"),
        (lambda r, m: td.piecewise.local_region(m, {}), "x must be an array"),
        (lambda r, m: td.piecewise.local_region(m, [float("nan"), 0]), "x must be finite"),
        (lambda r, m: td.piecewise.local_region(m, []), "at least one coordinate"),
        (lambda r, m: td.piecewise.local_region(m, [0, 0]).shoot([0, 0]), "got zeros"),
        (lambda r, m: td.piecewise.local_region(m, [0, 0]).shoot([1e300, 0]), "direction must be at most"),
        (lambda r, m: td.piecewise.local_region(m, [0, 0]).neuron_name(100), "column must be below 4"),
        (lambda r, m: td.piecewise.local_region(m, [0, 0]).neuron_name(-1), "column must be"),
        (lambda r, m: td.piecewise.local_region(m, [0, 0]).neuron_name("a"), "column must be"),
        (lambda r, m: td.piecewise.sample_regions(m, "abc"), "points must be an array"),
        (lambda r, m: td.piecewise.sample_regions(m, [[1], [1, 2]]), "points must be an array"),
        (lambda r, m: td.piecewise.sample_regions(m, [[float("inf"), 0]]), "points must be finite"),
        (lambda r, m: td.piecewise.to_shallow(r)("abc"), "x must be an array"),
        (lambda r, m: td.piecewise.to_shallow(r)(torch.zeros(3, 3)), "x must have shape"),
        (lambda r, m: td.piecewise.to_shallow(r).matches(torch.zeros(3, 3)), "x must have shape"),
        (lambda r, m: td.piecewise.to_shallow(r).explain([float("nan"), 0]), "x must be finite"),
        (lambda r, m: td.piecewise.to_shallow(r).explain([0, 0, 0]), "one point with 2"),
        (lambda r, m: td.piecewise.to_shallow(r).rational("abc"), "points must have shape"),
        (lambda r, m: td.piecewise.to_shallow(r).rational(None), "points must have shape"),
        (lambda r, m: td.piecewise.to_shallow(r).rational([[1, 2, 3]]), "points must have 2 coordinates"),
        (lambda r, m: td.piecewise.to_shallow(r).rational([[float("nan"), 0]]), "finite numbers, got nan"),
        (lambda r, m: td.piecewise.to_shallow(r).deep_rational([["a", 0]]), "finite numbers, got 'a'"),
        (lambda r, m: td.piecewise.regions(nn.Sequential(nn.LazyLinear(3), nn.ReLU()), None), "the layer is lazy"),
        (lambda r, m: td.piecewise.regions(nn.Sequential(nn.Linear(2, 3, device="meta"), nn.ReLU()), None), "meta device"),
        (lambda r, m: td.piecewise.regions(nn.Sequential(nn.Flatten(), nn.Linear(2, 3, device="meta")), None), "meta device"),
    ],
)
def test_bad_arguments_are_named(nets, call, match):
    model = nets["int"]((2, 4, 1), 0)
    with pytest.raises(td.ArgumentError, match=match):
        call(td.piecewise.regions(model, td.box(-1, 1, dim=2)), model)


def test_inputs_too_large_for_a_map_are_refused():
    with pytest.raises(td.UnsupportedError, match="slice2d"):
        td.box(-1, 1, dim=10**9)
    with pytest.raises(td.UnsupportedError, match="100000 coordinates"):
        td.piecewise.local_region(nn.Sequential(nn.Linear(10**5, 2), nn.ReLU()), np.zeros(10**5))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_neurons(nets):
    square = td.box(-1, 1, dim=2)
    nothing = nn.Sequential(nn.Linear(2, 0), nn.ReLU(), nn.Linear(0, 1)).double()
    found = td.piecewise.regions(nothing, square)
    assert found.count == 1
    assert found.affine[1].item() == nothing[2].bias.item()
    with pytest.raises(td.ArgumentError, match="at least one coordinate"):
        td.piecewise.regions(nn.Sequential(nn.Linear(0, 3), nn.ReLU()), None)


@pytest.mark.parametrize("name", ["manifest.json", "network/step0.weight0/zarr.json"])
def test_damaged_stores_are_named(nets, tmp_path, name):
    model, square = nets["int"]((2, 4, 1), 0), td.box(-1, 1, dim=2)
    td.piecewise.regions(model, square, out=tmp_path)
    (tmp_path / name).write_text('{"tiles": [')
    with pytest.raises(td.StoreError, match="damaged"):
        td.piecewise.StoredRegions(tmp_path)


def test_stored_regions_serve_as_regions(nets, tmp_path):
    model, square = nets["int"]((2, 4, 1), 0), td.box(-1, 1, dim=2)
    stored, found = td.piecewise.regions(model, square, out=tmp_path), td.piecewise.regions(model, square)
    assert td.piecewise.merge_regions(stored).count == td.piecewise.merge_regions(found).count
    points = torch.rand(20, 2, dtype=torch.float64)
    assert torch.allclose(td.piecewise.to_shallow(stored)(points), model(points), atol=1e-12)

"""Arrangements that are not in general position, and inputs that are refused."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.maths.polyhedra import box_polytope, meet, subdivide, volume
from theodolite.theory.piecewise.enumeration import Task, enumerate_cells
from theodolite.theory.piecewise.lowering import lower


def layer(weights, biases, readout=None):
    weights = np.array(weights, dtype=float)
    readout = np.ones((1, len(weights))) if readout is None else np.array(readout, dtype=float)
    return [(weights, np.array(biases, dtype=float)), (readout, np.zeros(len(readout)))]


CASES = {
    "cones: zero biases": (layer([[1, 0], [0, 1], [1, 1], [1, -1]], [0, 0, 0, 0]), 8),
    "duplicates": (layer([[1, 0], [1, 0], [2, 0], [-1, 0]], [0, 0, 0, 0]), 2),
    "parallels": (layer([[1, 0], [1, 0], [2, 0]], [0.5, -0.5, 0]), 4),
    "zero rows": (layer([[0, 0], [0, 0], [1, 1]], [1, 0, 0]), 2),
    "through a corner": (layer([[1, 1]], [2]), 1),
    "along an edge": (layer([[1, 0], [0, 1]], [1, -1]), 1),
    "three lines in a point, one apart": (layer([[1, 0], [0, 1], [1, 1], [1, -2]], [0, 0, 0, 0.25]), 10),
    "nothing": (layer([[0, 0]], [0]), 1),
}


@pytest.mark.parametrize("certify", ["none", "filtered", "exact"])
@pytest.mark.parametrize("name", CASES)
def test_degenerate_lines(nets, name, certify):
    layers, expected = CASES[name]
    found = td.piecewise.regions(nets["chain"](layers), td.box(-1, 1, dim=2), certify=certify)
    assert found.count == expected
    assert abs(found.volumes.sum() - 4) < 1e-12
    assert found.exact_volume() == 4
    assert len(np.unique(found.patterns, axis=0)) == expected


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_small_integers_by_brute_force(nets, dim, seed):
    """Every pattern is tried: its polytope is cut from the box in exact arithmetic, layer after layer."""
    rng = np.random.default_rng(seed)
    layers = []
    for i, o in [(dim, 3), (3, 3), (3, 1)]:
        layers.append((rng.integers(-1, 2, (o, i)).astype(float), rng.integers(-1, 2, o).astype(float)))
    expected = brute_force(layers, dim)
    for certify in ("none", "filtered", "exact"):
        found = td.piecewise.regions(nets["chain"](layers), td.box(-1, 1, dim=dim), certify=certify)
        assert {tuple(map(int, p)) for p in found.patterns} == expected
        assert abs(found.volumes.sum() - 2**dim) < 1e-12


def brute_force(layers, dim):
    """Patterns with interior, by trying all 2^N of them."""
    hidden = sum(len(b) for _, b in layers[:-1])
    good = set()
    for pattern in itertools.product((0, 1), repeat=hidden):
        maps = np.concatenate([np.eye(dim), np.zeros((dim, 1))], axis=1).astype(int).astype(object)
        part, at, possible = box_polytope([-1] * dim, [1] * dim), 0, True
        for weight, bias in layers[:-1]:
            rows = weight.astype(int).astype(object) @ maps
            rows[:, -1] += bias.astype(int).astype(object)
            bits = pattern[at : at + len(bias)]
            at += len(bias)
            for row, bit in zip(rows, bits, strict=True):
                low, high = part.cut(tuple(row), "x")
                chosen = high if bit else low
                if chosen is None:
                    possible = False
                    break
                part = chosen
            if not possible:
                break
            maps = rows * np.array(bits, dtype=object)[:, None]
        if possible:
            good.add(pattern)
    return good


@pytest.mark.parametrize("certify", ["none", "filtered", "exact"])
def test_degenerate_planes(nets, certify):
    found = td.piecewise.regions(
        nets["chain"](layer([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, -1, 0], [1, 0, 0]], [0] * 6)),
        td.box(-1, 1, dim=3),
        certify=certify,
    )
    assert found.exact_volume() == 8
    signs = np.unique(
        np.sign(
            np.random.default_rng(0).normal(size=(20000, 3))
            @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, -1, 0]]).T
        ),
        axis=0,
    )
    assert found.count == len(signs)


def test_slivers_are_found_by_certificates_only(nets):
    gap = 2.0**-50
    model = nets["chain"](layer([[1, 0], [1, 0]], [0, -gap]))
    assert td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="exact").count == 3
    filtered = td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="filtered")
    assert filtered.count == 3
    assert filtered.exact_volume() == 4


def test_deep_slivers_filtered_equals_exact(nets):
    rng = np.random.default_rng(3)
    layers = []
    for i, o in [(2, 6), (6, 6), (6, 1)]:
        weight = rng.integers(-2, 3, (o, i)) / 2 + rng.integers(-1, 2, (o, i)) * 2.0**-49
        layers.append((weight, rng.integers(-2, 3, o) / 2 + rng.integers(-1, 2, o) * 2.0**-50))
    filtered, exact = (
        td.piecewise.regions(nets["chain"](layers), td.box(-1, 1, dim=2), certify=c) for c in ("filtered", "exact")
    )
    assert {p.tobytes() for p in filtered.bits} == {p.tobytes() for p in exact.bits}
    assert filtered.exact_volume() == exact.exact_volume() == 4


def rows_of_all_scales(nets, seed, dim=3):
    """Neurons whose weights differ by up to twelve orders of magnitude: rounding moves some boundaries past others."""
    rng = np.random.default_rng(seed)
    layers = []
    for i, o in [(dim, 5), (5, 5), (5, 1)]:
        scale = 10.0 ** rng.integers(-6, 7, size=o)
        layers.append((rng.normal(size=(o, i)) * scale[:, None], rng.normal(size=o) * 0.5 * scale))
    return nets["chain"](layers)


@pytest.mark.parametrize("seed", [4, 8, 35, 56])
def test_what_floats_do_not_tell_is_decided_exactly(nets, seed, tmp_path):
    model, cube = rows_of_all_scales(nets, seed), td.box(-1, 1, dim=3)
    with pytest.raises(td.NumericalError, match="degenerate arrangement"):
        list(enumerate_cells(Task(lower(model, (3,)), cube.charts[0])))
    expected = {tuple(p) for p in td.piecewise.regions(model, cube, certify="exact").patterns}
    for found in (td.piecewise.regions(model, cube), td.piecewise.regions(model, cube, out=tmp_path)):
        assert found.certify == "none"
        assert abs(found.volumes.sum() - 8) < 1e-12
        assert {tuple(p) for p in found.patterns} == expected


def near_twins(nets, widths, seed, apart):
    """Half of the neurons are multiples of the others, moved a little: nearly parallel boundaries, which meet in far-off places."""
    rng = np.random.default_rng(seed)
    model = nets["he"](widths, seed)
    with torch.no_grad():
        for linear in list(model)[:-1:2]:
            for k in range(len(linear.bias) // 2):
                factor = rng.choice([1, -1, 2, 3])
                linear.weight[-1 - k] = factor * linear.weight[k] + apart * torch.from_numpy(rng.normal(size=linear.in_features))
                linear.bias[-1 - k] = factor * linear.bias[k] + apart * rng.normal()
    return model


@pytest.mark.parametrize("certify", ["none", "filtered"])
@pytest.mark.parametrize("apart", [1e-11, 1e-9, 1e-7])
@pytest.mark.parametrize("widths", [(2, 10, 8, 1), (3, 6, 4, 1)])
def test_nearly_parallel_boundaries(nets, widths, apart, certify):
    for seed in range(4):
        model, cube = near_twins(nets, widths, seed, apart), td.box(-0.9, 1.1, dim=widths[0])
        found, exact = td.piecewise.regions(model, cube, certify=certify), td.piecewise.regions(model, cube, certify="exact")
        order = exact.index.lookup(found.patterns, found.charts)
        assert (order >= 0).all()
        missed = np.delete(exact.volumes, order)  # thinner than the resolution, without certificates
        assert len(missed) == 0 or (certify == "none" and apart < 1e-9 and missed.sum() < 1e-10)
        assert abs(found.volumes.sum() - cube.volume) < 1e-12
        assert np.abs(found.volumes - exact.volumes[order]).max() < 1e-9
        assert found.integral() == pytest.approx(exact.integral(), abs=1e-11)
        assert found.minimum()[0] == pytest.approx(exact.minimum()[0], abs=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_functions_that_vanish_up_to_rounding_are_decided(nets, dim):
    """Three equal neurons, of which the next layer takes 0.1 + 0.2 − 0.3 times, which is not zero over ℚ."""
    model, cube = nets["he"]((dim, 8, 8, 1), 0), td.box(-1, 1, dim=dim)
    with torch.no_grad():
        model[0].weight[1:3], model[0].bias[1:3] = model[0].weight[0], model[0].bias[0]
        model[2].weight[5], model[2].bias[5] = 0, 0
        model[2].weight[5, :3] = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    found, exact = td.piecewise.regions(model, cube), td.piecewise.regions(model, cube, certify="exact")
    assert {tuple(p) for p in found.patterns} == {tuple(p) for p in exact.patterns}


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("scale", [1e13, 1e17, 1e38, 1e100])
def test_a_steep_neuron_hides_nothing_where_it_is_off(dim, scale):
    """There, the next layer's neuron is no larger than its error where the steep one is on."""
    model = nn.Sequential(nn.Linear(dim, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 0], model[0].weight[1, -1] = scale, 1 if dim > 1 else -1
        model[0].bias.copy_(torch.tensor([0.0, 2.0]))
        model[2].weight.fill_(1), model[2].bias.fill_(-2.25)
        model[4].weight.fill_(1), model[4].bias.zero_()
    domain = td.box(-1, 1, dim=dim)
    found, exact = (td.piecewise.regions(model, domain, certify=c) for c in ("none", "exact"))
    assert {tuple(p) for p in found.patterns} == {tuple(p) for p in exact.patterns}
    point = np.full(dim, -0.5)
    point[-1] = 0.5 if dim > 1 else -0.5
    assert found(point).item() == 0.25


@pytest.mark.parametrize("scale", [1e7, 1e10, 1e13])
def test_a_steep_neuron_hides_no_region(nets, scale):
    """On in a corner only, it makes the errors of the next layer large everywhere."""
    model, square = nets["he"]((2, 24, 24, 1), 0), td.box(-1, 1, dim=2)
    with torch.no_grad():
        model[0].weight[3], model[0].bias[3] = scale, -1.6 * scale
    found, filtered = td.piecewise.regions(model, square), td.piecewise.regions(model, square, certify="filtered")
    assert {tuple(p) for p in found.patterns} == {tuple(p) for p in filtered.patterns}


def test_exact_cutting_of_a_cube():
    cube = box_polytope([0, 0, 0], [1, 1, 1])
    parts = subdivide(cube, np.array([[1, 1, 1, -1], [1, -1, 0, 0]], dtype=object), [10, 11], [0, 0])
    assert sorted(volume(p) for p, _ in parts) == pytest.approx([1 / 12, 1 / 12, 5 / 12, 5 / 12])
    assert sum(volume(p) for p, _ in parts) == 1
    assert meet([(2, 0, 0, -1), (0, 3, 0, -1), (0, 0, 5, -1)]) == (15, 10, 6, 30)


def test_the_model_is_left_alone(nets):
    model = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 1)).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    rng = torch.get_rng_state()
    td.piecewise.regions(model, td.box(-1, 1, dim=2))
    assert model.training
    assert model[3].training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_deep_networks_on_large_domains_lose_nothing(nets):
    """Worst-case error bounds are useless there: taken for zeros, they merged regions and made others overlap."""
    model = nets["he"]((2, *[32] * 8, 1), 0)
    domain = td.box(-50, 50, dim=2)
    plain, filtered = (td.piecewise.regions(model, domain, certify=c) for c in ("none", "filtered"))
    assert {b.tobytes() for b in plain.bits} == {b.tobytes() for b in filtered.bits}
    assert plain.volumes.sum() == pytest.approx(1e4, rel=1e-13)
    assert (plain.locate(plain.centroids) == np.arange(plain.count)).all()


def test_half_spaces_of_regions_thinner_than_any_float(nets):
    """x > 1/2 > x + y / 2^60 holds on a wedge whose vertices all round to one line: the pattern tells the sides."""
    model = nets["chain"](layer([[1, 0], [1, 2.0**-60]], [-0.5, -0.5]))
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="exact")
    assert found.count == 4
    for i, pattern in enumerate(found.patterns):
        rows = np.column_stack(found.halfspaces(i))
        first = rows[(rows[:, 1] == 0) & (np.abs(rows[:, 2]) == 0.5)]
        assert (first == ([-1.0, 0.0, 0.5] if pattern[0] else [1.0, 0.0, -0.5])).all()


def test_integer_coordinates_of_any_shape():
    assert td.box(np.zeros((1, 2, 2), int), np.ones((1, 2, 2), int)).input_shape == (1, 2, 2)
    assert td.box(0, np.ones((1, 2, 2), int)).input_shape == (1, 2, 2)
    assert td.polygon(np.array([[0, 0], [2, 0], [0, 2]])).volume == 2.0
    assert td.segment(torch.tensor([0, 0]), [1, 1]).input_shape == (2,)


def test_models_without_a_program_are_refused_by_name():
    with pytest.raises(td.UnsupportedError, match="BatchNorm1d '1' keeps no running statistics"):
        td.piecewise.regions(nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6, track_running_stats=False)), td.box(-1, 1, dim=2))
    with pytest.raises(td.ArgumentError, match="shape that the model takes"):
        td.piecewise.regions(nn.MultiheadAttention(2, 1), td.box(-1, 1, dim=2))


def test_a_sliver_holds_no_point_that_is_far_from_it():
    """Neurons that are multiples of one another but for rounding: their lines meet in slivers, and pass near points elsewhere."""
    generator, worst, shallow = np.random.default_rng(0), 0.0, 0.0
    for _ in range(60):
        base = generator.standard_normal((2, 3)) * [1, 1, 0.3]
        rows = np.array([*base, *(base[generator.integers(0, 2)] * generator.choice([3, -7, 1e-3, 5]) for _ in range(2))])
        model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.from_numpy(rows[:, :2])), model[0].bias.copy_(torch.from_numpy(rows[:, 2]))
            model[2].weight.copy_(torch.from_numpy(generator.standard_normal((1, 4))))
        found = td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="filtered")
        points = np.concatenate([*found.vertices, *((v + np.roll(v, -1, axis=0)) / 2 for v in found.vertices)])
        expected = model(torch.from_numpy(points)).detach().numpy()
        worst = max(worst, np.abs(found(points) - expected).max())
        shallow = max(shallow, np.abs(td.piecewise.to_shallow(found)(torch.from_numpy(points)).numpy() - expected).max())
    assert worst < 1e-9
    assert shallow < 1e-9

"""Regions against slow, obvious computations: sampling, vertex checks, quadrature, brute force over patterns."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import NumericalError

REFERENCE = {"max": 1.557994883346459, "min": -0.344231370916527, "lip2": 2.831534278653697, "lipinf": 3.015606169874518}


@pytest.fixture(scope="module")
def reference(nets):
    model = nets["he"]((2, 32, 32, 1), 0)
    return model, td.piecewise.regions(model, td.box(-1, 1, dim=2))


def value(model, x):
    return model(torch.as_tensor(np.asarray(x), dtype=torch.float64)).detach().numpy()


def test_reference_numbers(reference):
    _, found = reference
    assert found.maximum()[0] == pytest.approx(REFERENCE["max"], abs=1e-12)
    assert found.minimum()[0] == pytest.approx(REFERENCE["min"], abs=1e-12)
    assert found.lipschitz() == pytest.approx(REFERENCE["lip2"], abs=1e-12)
    assert found.lipschitz(np.inf) == pytest.approx(REFERENCE["lipinf"], abs=1e-12)
    assert found.integral() == pytest.approx(1.969096300347956, abs=1e-12)


def test_extrema_are_attained(reference):
    model, found = reference
    for best, where in (found.maximum(), found.minimum()):
        assert value(model, where[None])[0, 0] == pytest.approx(best, abs=1e-12)


def test_affine_maps_are_the_network(reference, points):
    model, found = reference
    x = points(4000, 2)
    where = found.locate(x)
    weight, bias = found.affine
    assert (where >= 0).all()
    assert np.allclose(np.einsum("nod,nd->no", weight[where], x) + bias[where], value(model, x), atol=1e-13)
    assert (found.program.patterns(x) == found.patterns[where]).all()
    assert np.allclose(found(x), value(model, x), atol=1e-13)


def test_mean_and_variance_against_monte_carlo(reference, points):
    model, found = reference
    y = value(model, points(200_000, 2))[:, 0]
    assert found.mean() == pytest.approx(y.mean(), abs=4 * y.std() / np.sqrt(len(y)))
    squares = (y - y.mean()) ** 2
    assert found.variance() == pytest.approx(y.var(), abs=4 * squares.std() / np.sqrt(len(y)))


def test_halfspaces_are_the_vertices_dual(reference):
    _, found = reference
    for i in (0, 17, found.count - 1, -1):
        normals, constants = found.halfspaces(i)
        slack = found.vertices[i] @ normals.T + constants
        assert slack.max() < 1e-10
        assert ((np.abs(slack) < 1e-10).sum(axis=0) == 2).all()  # every row is an edge


def test_euler_and_neighbours(reference):
    _, found = reference
    pairs = found.neighbours
    assert (pairs[:, 0] < pairs[:, 1]).all()
    inner = (found.cells.labels >= 0).sum()
    assert 2 * len(pairs) == inner  # every inner edge belongs to two regions
    boundary = len(found.cells.labels) - inner
    corners = len(np.unique(np.round(found.cells.points[:, :-1], 9), axis=0))
    assert corners - (len(pairs) + boundary) + found.count == 1
    flips = (found.patterns[pairs[:, 0]] != found.patterns[pairs[:, 1]]).sum(axis=1)
    assert (flips == 1).all()  # a generic facet flips one neuron
    jump = found.maps[pairs[:, 0], :-1, 0] - found.maps[pairs[:, 1], :-1, 0]
    assert np.isfinite(jump).all()


def test_level_sets_and_decision_boundary(reference):
    model, found = reference
    for level in (0.0, 0.5):
        pieces = found.level_set(level)
        assert pieces.shape[1:] == (2, 2)
        assert np.abs(value(model, pieces.reshape(-1, 2)) - level).max() < 1e-12
        assert np.abs(value(model, pieces.mean(axis=1)) - level).max() < 1e-12
    assert np.array_equal(found.decision_boundary(), found.level_set(0.0))
    # every sign change along a grid line is met by a piece
    line = np.stack([np.linspace(-1, 1, 401), np.full(401, 0.123)], axis=1)
    changes = np.flatnonzero(np.diff(np.sign(value(model, line)[:, 0] - 0.5)))
    ends = found.level_set(0.5)
    crossing = ((ends[:, 0, 1] - 0.123) * (ends[:, 1, 1] - 0.123) <= 0).sum()
    assert crossing == len(changes)


def test_decision_boundary_of_several_classes(nets):
    model = nets["int"]((2, 16, 16, 3), 1)
    found = td.piecewise.regions(model, td.box(-2, 2, dim=2))
    pieces = found.decision_boundary()
    assert len(pieces)
    outputs = np.sort(value(model, pieces.mean(axis=1)), axis=1)
    assert np.abs(outputs[:, -1] - outputs[:, -2]).max() < 1e-12
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 301), [0.0371]), axis=-1).reshape(-1, 2)
    changes = (np.diff(value(model, grid).argmax(axis=1)) != 0).sum()
    crossed = ((pieces[:, 0, 1] - 0.0371) * (pieces[:, 1, 1] - 0.0371) <= 0).sum()
    assert crossed == changes


def test_one_dimension(nets):
    model = nets["he"]((1, 32, 32, 32, 1), 0)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=1))
    t = np.linspace(-1, 1, 1001)[:, None]
    assert np.allclose(found(t), value(model, t), atol=1e-13)
    roots = found.level_set(0.3)
    assert np.abs(value(model, roots) - 0.3).max(initial=0.0) < 1e-12
    y = value(model, t)[:, 0] - 0.3
    assert len(roots) >= (np.diff(np.sign(y)) != 0).sum()
    assert found.integral() == pytest.approx(
        sum((b[0] - a[0]) * (value(model, [a])[0, 0] + value(model, [b])[0, 0]) / 2 for a, b in found.vertices), abs=1e-12
    )
    assert len(found.neighbours) == found.count - 1


@pytest.mark.parametrize("dim", [3, 4])
def test_space(nets, points, dim):
    model = nets["int"]((dim, 6, 5, 2), 3)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=dim))
    x = points(3000, dim)
    assert np.allclose(found(x), value(model, x), atol=1e-12)
    shares = np.bincount(found.locate(x), minlength=found.count) / len(x)
    volumes = found.volumes / 2**dim
    assert np.abs(shares - volumes).max() < 4 * np.sqrt(0.25 / len(x))
    y = value(model, points(200_000, dim, seed=1))
    assert np.allclose(found.mean(), y.mean(axis=0), atol=4 * y.std(axis=0).max() / np.sqrt(len(y)))
    assert np.allclose(found.variance(), y.var(axis=0), rtol=0.03)
    normals, constants = found.halfspaces(1)
    assert (found.vertices[1] @ normals.T + constants).max() < 1e-9
    highest, where = found.maximum()
    assert highest.shape == (2,)
    assert where.shape == (2, dim)
    assert (highest >= y.max(axis=0)).all()


def test_slices_segments_and_polylines(nets, points):
    model = nets["he"]((6, 10, 10, 1), 0)
    origin, u, v = points(3, 6, seed=4)
    plane = td.piecewise.regions(model, td.slice2d(origin, u, v, extent=1.5))
    t = points(500, 2, low=-1.5, high=1.5)
    assert np.allclose(plane.to_input(t), origin + t @ np.stack([u, v]))
    assert np.allclose(plane(t), value(model, plane.to_input(t)), atol=1e-12)
    assert plane.volumes.sum() == pytest.approx(9.0, abs=1e-12)

    line = td.piecewise.regions(model, td.segment(origin, u))
    t = np.linspace(0, 1, 201)[:, None]
    assert np.allclose(line(t), value(model, origin + t * (u - origin)), atol=1e-12)

    path = td.piecewise.regions(model, td.polyline([origin, u, v]))
    t = np.linspace(0, 2, 401)[:, None]
    assert np.allclose(path(t), value(model, path.to_input(t)), atol=1e-12)
    assert path.volumes.sum() == pytest.approx(2.0, abs=1e-12)
    assert len(path.neighbours) == path.count - 1  # the pieces of a path are in a row
    two = td.piecewise.regions(model, td.segment(u, v)).count
    assert path.count == line.count + two


def test_polygon_domain(nets, points):
    model = nets["int"]((2, 8, 8, 1), 0)
    corners = np.array([[0.9, -0.8], [0.7, 0.9], [-0.3, 0.8], [-0.9, -0.2]])
    for order in (corners, corners[::-1]):
        found = td.piecewise.regions(model, td.polygon(order), certify="filtered")
        assert found.exact_volume() == pytest.approx(td.polygon(corners).volume, abs=1e-15)
        assert found.volumes.sum() == pytest.approx(td.polygon(corners).volume, abs=1e-12)
    x = points(2000, 2)
    inside = td.polygon(corners).contains(x)
    assert ((found.locate(x) >= 0) == inside).all()
    assert np.allclose(found(x[inside]), value(model, x[inside]), atol=1e-12)
    assert np.isnan(found(x[~inside])).all()


def test_output_selects_one_of_several(nets, points):
    model = nets["he"]((2, 8, 8, 3), 0)
    whole = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    single = td.piecewise.regions(model, td.box(-1, 1, dim=2), output=1)
    assert single.count == whole.count
    assert np.allclose(single.affine[0][:, 0], whole.affine[0][:, 1], rtol=0, atol=1e-14)
    assert whole.integral()[1] == pytest.approx(single.integral(), abs=1e-13)
    for p in (1, 2, np.inf):
        x, y = points(2, 2, seed=9)
        quotient = np.linalg.norm(value(model, [x])[0] - value(model, [y])[0], ord=p) / np.linalg.norm(x - y, ord=p)
        assert quotient <= whole.lipschitz(p) + 1e-12


def test_stops_cleanly(nets):
    model = nets["he"]((2, 32, 32, 1), 0)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2), max_regions=100)
    assert (found.count, found.complete) == (100, False)
    assert "lower bound" in repr(found)
    with pytest.raises(td.NumericalError, match="max_regions"):
        found.maximum()
    exact = td.piecewise.regions(model, td.box(-1, 1, dim=2), max_regions=1083)
    assert (exact.count, exact.complete) == (1083, True)
    assert not td.piecewise.regions(model, None, max_regions=5).complete


def test_executor_gives_the_same_regions(nets):
    model = nets["he"]((2, 32, 32, 1), 1)
    plain = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    with ThreadPoolExecutor(2) as pool:
        shared = td.piecewise.regions(model, td.box(-1, 1, dim=2), executor=pool)
    order = shared.index.lookup(plain.patterns, plain.charts)
    assert (np.sort(order) == np.arange(plain.count)).all()
    assert np.allclose(shared.volumes[order], plain.volumes, atol=1e-14)


def test_tasks_can_be_sent_to_other_processes(nets):
    import pickle

    from theodolite.theory.piecewise.enumeration import Task, enumerate_cells
    from theodolite.theory.piecewise.lowering import lower

    task = Task(lower(nets["int"]((2, 8, 8, 1), 0), (2,)), td.box(-1, 1, dim=2).charts[0])
    again, frame = pickle.loads(pickle.dumps((task, task.first())))
    assert sum(len(f.bits) for f in enumerate_cells(again, frame)) == 42


def test_saved_regions_come_back(nets, tmp_path, points):
    model = nets["int"]((2, 8, 8, 2), 0)
    found = td.piecewise.regions(model, td.slice2d([0.0, 0.1], [1.0, 0.0], [0.5, 1.0]))
    back = td.piecewise.Regions.load(found.save(tmp_path / "regions"))
    x = points(200, 2)
    assert np.array_equal(back.locate(x), found.locate(x))
    assert np.array_equal(back.patterns, found.patterns)
    assert np.array_equal(back(x), found(x))
    assert back.pieces == found.pieces
    with pytest.raises(td.StoreError):
        td.piecewise.Regions.load(tmp_path / "nothing")


def test_plots(nets):
    import matplotlib as mpl

    mpl.use("Agg")
    for widths in [(2, 8, 8, 1), (2, 8, 8, 3)]:
        found = td.piecewise.regions(nets["he"](widths, 1), td.box(-3, 3, dim=2))
        cells, lines = found.plot().collections
        assert len(cells.get_paths()) == found.count
        assert len(lines.get_segments()) == len(found.decision_boundary()) > 0
    found = td.piecewise.regions(nets["int"]((1, 8, 1), 0), td.box(-1, 1, dim=1))
    corners = np.concatenate([np.column_stack(line.get_data()) for line in found.plot().lines])
    assert np.isin(np.round(np.concatenate(found.vertices), 9), np.round(corners[:, 0], 9)).all()


def test_locate_on_boundaries(nets):
    found = td.piecewise.regions(nets["int"]((2, 8, 8, 1), 1), td.box(-1, 1, dim=2))
    corners = np.unique(np.concatenate(found.vertices), axis=0)
    where = found.locate(corners)
    assert (where >= 0).all()
    assert np.allclose(found(corners), value(nets["int"]((2, 8, 8, 1), 1), corners), atol=1e-12)
    assert found.locate([5.0, 0.0]) == -1
    assert isinstance(found.locate([0.1, 0.0]), int)


def test_domains_keep_numbers_of_their_own_and_need_no_corners():
    """What the caller does with the arrays afterwards is of no concern; a box in 40 dimensions has no list of 2^40 corners."""
    corners = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    domain = td.polygon(corners)
    corners *= 100
    assert domain.volume == 2.0
    big = td.box(-1.0, 2.0, dim=40)
    assert big.bounds.tolist() == [[-1.0, 2.0]] * 40
    assert big.contains(np.zeros((3, 40))).all()
    assert not big.contains(np.full((1, 40), 3.0)).any()
    model = torch.nn.Linear(40, 1).double()
    found = td.piecewise.regions(model, big)
    assert (found.count, found.pieces) == (1, 1)


def test_moments_of_polygons():
    """Volumes, centroids and second moments of polygons against sums over triangles, one after the other."""
    from theodolite.maths.moments import cell_moments

    rng = np.random.default_rng(3)
    polygons = []
    for n in (3, 4, 7):
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))
        polygons.append(np.stack([np.cos(angles), np.sin(angles)], axis=1) @ rng.normal(size=(2, 2)) + rng.normal(size=2))
    starts = np.cumsum([0, 3, 4, 7])
    volume, centroid, second = cell_moments(np.concatenate(polygons), starts, np.zeros((14, 0), np.uint64))
    for r, corners in enumerate(polygons):
        parts = [np.stack([corners[0], corners[k], corners[k + 1]]) for k in range(1, len(corners) - 1)]
        areas = np.array([abs(np.linalg.det(t[1:] - t[0])) / 2 for t in parts])
        assert np.isclose(volume[r], areas.sum(), rtol=1e-13)
        centre = sum(a * t.mean(axis=0) for a, t in zip(areas, parts, strict=True)) / areas.sum()
        assert np.allclose(centroid[r], centre, rtol=0, atol=1e-13)
        moment = np.zeros((2, 2))
        for a, t in zip(areas, parts, strict=True):
            u = t - centre
            moment += a / 12 * (u.T @ u + np.outer(u.sum(axis=0), u.sum(axis=0)))
        assert np.allclose(second[r], moment, rtol=0, atol=1e-12)


@pytest.mark.parametrize("domain", ["box", "polygon"])
@pytest.mark.parametrize("aspect", [1e3, 1e6, 1e10])
def test_other_units_of_the_inputs_change_nothing(nets, aspect, domain, tmp_path):
    """The network on an elongated domain is that on a square one, in other coordinates."""
    units = np.array([1 / aspect, aspect])
    corners = np.array([[-1.0, -0.9], [0.9, -1.0], [1.0, 0.8], [-0.7, 1.0]])
    make = (lambda f: td.box(-f, f)) if domain == "box" else (lambda f: td.polygon(corners * f))
    model = nets["he"]((2, 9, 7, 1), 3)
    stretched = nets["he"]((2, 9, 7, 1), 3)
    with torch.no_grad():
        stretched[0].weight /= torch.from_numpy(units)
    expected, found = td.piecewise.regions(model, make(np.ones(2))), td.piecewise.regions(stretched, make(units))
    order = expected.index.lookup(found.patterns, found.charts)
    assert (np.sort(order) == np.arange(expected.count)).all()
    assert np.allclose(found.volumes, expected.volumes[order], rtol=0, atol=1e-12)
    assert np.allclose(found.affine[0][:, 0] * units, expected.affine[0][order, 0], rtol=0, atol=1e-12)
    for i, vertices in enumerate(found.vertices):
        normals, constants = found.halfspaces(i)
        assert (vertices @ normals.T + constants <= 1e-12 * (np.abs(vertices) @ np.abs(normals).T + np.abs(constants))).all()
    pairs = {tuple(sorted(order[pair])) for pair in found.neighbours}
    assert pairs == {tuple(pair) for pair in expected.neighbours}
    assert (found.locate(found.centroids) == np.arange(found.count)).all()
    assert found.locate(2 * units) == -1
    level = float(expected.mean())
    assert len(found.level_set(level)) == len(expected.level_set(level))
    stored = td.piecewise.regions(stretched, make(units), out=tmp_path)
    assert stored.integral() == pytest.approx(expected.integral(), rel=1e-12)
    exact = td.piecewise.regions(stretched, make(units), certify="exact")
    assert exact.count == found.count
    assert exact.exact_volume() == td.piecewise.regions(stretched, make(units), certify="filtered").exact_volume()


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("exponent", [-600, -480, 300, 480])
def test_neurons_of_any_size_cut_alike(nets, dim, exponent):
    """A neuron switches in one place whatever its size: products of two sizes leave the range of floats."""
    model, scaled = nets["he"]((dim, 7, 1), 5), nets["he"]((dim, 7, 1), 5)
    with torch.no_grad():
        factors = torch.from_numpy(np.exp2(exponent - np.arange(7.0)))
        scaled[0].weight *= factors[:, None]
        scaled[0].bias *= factors
    domain = td.box(-1, 1, dim=dim)
    expected, found = td.piecewise.regions(model, domain), td.piecewise.regions(scaled, domain)
    order = expected.index.lookup(found.patterns, found.charts)
    assert (np.sort(order) == np.arange(expected.count)).all()
    assert np.allclose(found.volumes, expected.volumes[order], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kinds", [(torch.float32,) * 2, (torch.float16, torch.float32), (torch.bfloat16,) * 2])
def test_weights_of_any_precision_are_widened(nets, kinds):
    """Weights in few digits are the same numbers in float64; transposed ones and missing biases are read likewise."""
    plain = nets["he"]((2, 8, 3), 1)
    plain[0].to(kinds[0]), plain[2].to(kinds[1])
    transposed, wide, bare = copy.deepcopy(plain), copy.deepcopy(plain).double(), copy.deepcopy(plain)
    transposed[0].weight = nn.Parameter(transposed[0].weight.detach().t().contiguous().t())
    transposed[2].bias = nn.Parameter(torch.stack([transposed[2].bias.detach()] * 2, dim=1)[:, 0])
    assert not transposed[0].weight.is_contiguous()
    assert not transposed[2].bias.is_contiguous()
    domain = td.box(-1, 1, dim=2)
    expected = td.piecewise.regions(wide, domain)
    for model in (plain, transposed):
        found = td.piecewise.regions(model, domain)
        assert np.array_equal(found.bits, expected.bits)
        assert np.array_equal(found.maps, expected.maps)
    bare[2].bias = None
    found = td.piecewise.regions(bare, domain)
    assert np.allclose(found.maps[:, -1] + wide[2].bias.detach().numpy(), expected.maps[:, -1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("certify", ["none", "filtered"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_values_beyond_the_range_of_floats_are_refused(nets, dim, certify):
    model = nets["he"]((dim, 8, 8, 1), 6)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight *= 1e160
            layer.bias *= 1e160
    with pytest.raises(NumericalError, match="beyond the range of floats"):
        td.piecewise.regions(model, td.box(-1, 1, dim=dim), certify=certify)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_outputs_beyond_the_range_of_floats_have_no_integral(nets):
    model = nets["he"]((2, 14, 1), 6)
    with torch.no_grad():
        model[0].weight *= 1e200
        model[0].bias *= 1e200
        model[2].weight *= 1e200
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    assert found.count == td.piecewise.regions(nets["he"]((2, 14, 1), 6), td.box(-1, 1, dim=2)).count
    for call in (found.maximum, found.integral, found.lipschitz):
        with pytest.raises(NumericalError, match="beyond the range of floats"):
            call()

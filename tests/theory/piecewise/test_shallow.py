"""Deep equals shallow: over ℚ exactly, in float64 to a few ulps of the magnitudes, on points, facets, vertices and dyadic grids."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.maths.extended import ExtendedLinear, extended_product

INF = float("inf")


def magnitude(model, x):
    """The value propagated through absolute weights: what rounding errors are measured by."""
    y = x.abs()
    for module in model:
        if isinstance(module, nn.Linear):
            y = y @ module.weight.abs().T + module.bias.abs()
    return y


def budget(model, x):
    depth = sum(isinstance(m, nn.Linear) for m in model)
    return 16 * 2.0**-52 * depth * magnitude(model, x)


def boundary_points(shallow, rng):
    """Vertices, points on facets, and a dyadic grid."""
    vertices = shallow.facets.regions.vertices
    edges = []
    for v in vertices:
        w = np.roll(v, -1, axis=0)
        t = rng.uniform(0, 1, (len(v), 1))
        edges.append(v + t * (w - v))
    side = np.linspace(-1, 1, 33)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return {
        "vertices": np.concatenate(vertices),
        "facets": np.concatenate(edges),
        "grid": grid,
        "points": rng.uniform(-1, 1, (4000, 2)),
    }


@pytest.mark.parametrize(
    ("recipe", "widths", "seed"),
    [("he", (2, 8, 8, 1), 0), ("he", (2, 16, 16, 1), 0), ("he", (2, 16, 16, 16, 2), 1)]
    + [("int", (2, 8, 8, 1), s) for s in range(6)]
    + [("int", (2, 16, 16, 3), 0)],
)
def test_exact_mode_equals_the_deep_network_everywhere(nets, recipe, widths, seed):
    model = nets[recipe](widths, seed)
    shallow = td.piecewise.to_shallow(model, td.box(-1, 1, dim=2))
    for name, x in boundary_points(shallow, np.random.default_rng(seed)).items():
        x = torch.tensor(x)
        assert ((shallow(x) - model(x)).abs() <= budget(model, x)).all(), name


@pytest.mark.parametrize("certify", ["filtered", "exact"])
@pytest.mark.parametrize(("recipe", "seed"), [("he", 0), ("int", 0), ("int", 1)])
def test_certificate_and_rational_equality(nets, recipe, seed, certify):
    shallow = td.piecewise.to_shallow(nets[recipe]((2, 8, 8, 2), seed), td.box(-1, 1, dim=2), certify=certify)
    proof = shallow.certificate
    assert bool(proof)
    assert (proof.area_exact, proof.equal_at_all_vertices, proof.patterns_hold) == (True, True, True)
    assert proof.regions == shallow.facets.count
    assert proof.vertices == sum(map(len, shallow.facets.regions.vertices))
    random.seed(seed)
    points = [[Fraction(random.randint(-997, 997), 997), Fraction(random.randint(-64, 64), 64)] for _ in range(300)]
    assert shallow.rational(points) == shallow.deep_rational(points)


@pytest.mark.parametrize(
    ("recipe", "widths"), [("int", (2, 8, 8, 1)), pytest.param("he", (2, 16, 16, 2), marks=pytest.mark.slow)]
)
def test_equal_at_ten_thousand_rational_points(nets, recipe, widths):
    """Shallow is deep over ℚ, on facets and vertices too: small denominators meet them often."""
    shallow = td.piecewise.to_shallow(nets[recipe](widths, 2), td.box(-1, 1, dim=2))
    draw = random.Random(1)
    points = []
    for _ in range(10_000):
        denominators = draw.choices((2, 16, 64, 997, 10_007, 2**20), k=2)
        points.append([Fraction(draw.randint(-q, q), q) for q in denominators])
    assert shallow.rational(points) == shallow.deep_rational(points)
    single = [shallow.rational([point])[0] for point in points[:20]]
    assert single == shallow.rational(points[:20])


@pytest.mark.parametrize("mode", ["paper", "finite"])
def test_the_other_modes_over_the_rationals(nets, mode):
    """Off the facets all modes agree; on a facet the literal reading adds up both sides."""
    shallow = td.piecewise.to_shallow(nets["int"]((2, 8, 8, 1), 0), td.box(-1, 1, dim=2), mode=mode)
    draw = random.Random(2)
    inner = [[Fraction(draw.randint(-996, 996), 997) for _ in range(2)] for _ in range(300)]
    assert shallow.rational(inner) == shallow.deep_rational(inner)
    grid = [[Fraction(i, 16), Fraction(j, 16)] for i in range(-16, 17) for j in range(-16, 17)]
    pairs = zip(shallow.rational(grid), shallow.deep_rational(grid), strict=True)
    wrong = [(mine, deep) for mine, deep in pairs if mine != deep]
    assert len(wrong) == (49 if mode == "paper" else 0)
    assert all((mine[0] / deep[0]).denominator == 1 for mine, deep in wrong if deep[0])


def test_a_wrong_partition_gets_no_certificate(nets):
    from dataclasses import replace

    from theodolite.theory.piecewise.certificate import certify_regions

    found = td.piecewise.regions(nets["he"]((2, 8, 8, 1), 0), td.box(-1, 1, dim=2))
    keep = np.arange(1, found.count)
    fewer = replace(
        found, cells=found.cells.select(keep), charts=found.charts[keep], bits=found.bits[keep], maps=found.maps[keep]
    )
    assert not certify_regions(fewer).area_exact
    wrong = found.bits.copy()
    wrong[0, 0] ^= 128
    assert not certify_regions(replace(found, bits=wrong)).patterns_hold


def test_paper_mode_double_counts_facets_and_nothing_else(nets):
    bad = []
    for seed in range(4):
        model = nets["int"]((2, 8, 8, 1), seed)
        paper = td.piecewise.to_shallow(model, td.box(-1, 1, dim=2), mode="paper")
        inner = torch.tensor(np.random.default_rng(seed).uniform(-1, 1, (2000, 2)))
        assert (paper.matches(inner) == 1).all()
        assert ((paper(inner) - model(inner)).abs() <= budget(model, inner)).all()
        side = torch.linspace(-1, 1, 33, dtype=torch.float64)
        grid = torch.cartesian_prod(side, side)
        wrong = (paper(grid) - model(grid)).abs().amax(dim=1) > 1e-9
        bad.append(int(wrong.sum()))
        assert (wrong <= (paper.matches(grid) > 1)).all()
        assert torch.allclose(paper(grid), paper.matches(grid)[:, None] * model(grid), atol=1e-12)
    assert bad == [49, 55, 15, 24]


def test_literal_infinities_in_ieee_arithmetic_are_nan(nets):
    paper = td.piecewise.to_shallow(nets["he"]((2, 8, 8, 1), 0), td.box(-1, 1, dim=2), mode="paper")
    dense = torch.zeros(paper.facets.count, paper.half_spaces.out_features, dtype=torch.float64)
    dense[paper.selector.rows, paper.selector.columns] = -INF
    x = torch.rand(100, 2, dtype=torch.float64) * 2 - 1
    literal = torch.relu(paper.half_spaces(x)) @ dense.T
    assert literal.isnan().any(dim=1).all()
    assert torch.isfinite(paper(x)).all()


@pytest.mark.parametrize("seed", range(3))
def test_finite_mode(nets, seed):
    model = nets["int"]((2, 8, 8, 1), seed)
    finite = td.piecewise.to_shallow(model, td.box(-1, 1, dim=2), mode="finite")
    assert torch.isfinite(finite.selector.values).all()
    assert torch.isfinite(finite.margin)
    for name in ("facets", "points"):
        x = torch.tensor(boundary_points(finite, np.random.default_rng(seed))[name])
        good = (finite(x) - model(x)).abs()[:, 0] <= budget(model, x)[:, 0]
        assert good.all() if name == "points" else good.double().mean() > 0.99
        assert (finite.matches(x)[good] == 1).all()


def test_sizes(nets):
    for widths, rows, entries, regions in [
        ((2, 8, 8, 1), 51, 302, 84),
        ((2, 16, 16, 1), 161, 1062, 282),
        ((2, 32, 32, 1), 557, 4210, 1083),
    ]:
        shallow = td.piecewise.to_shallow(nets["he"](widths, 0), td.box(-1, 1, dim=2), mode="finite")
        assert (shallow.half_spaces.out_features, shallow.entries) == (rows, entries)
        assert shallow.widths == (2, rows + 4, 2 * regions, 1)


@pytest.mark.parametrize("mode", ["exact", "paper", "finite"])
def test_explanations(nets, mode):
    model = nets["he"]((2, 8, 8, 1), 0)
    shallow = td.piecewise.to_shallow(model, td.box(-1, 1, dim=2), mode=mode)
    for x in np.random.default_rng(0).uniform(-1, 1, (20, 2)):
        why = shallow.explain(x)
        normals, constants = why.half_spaces
        assert (normals @ x + constants <= 0).all()
        assert (why.slack >= 0).all()
        assert why.value == pytest.approx(model(torch.tensor(x)).item(), abs=1e-12)
        assert why.region == shallow.facets.regions.locate(x)
        assert len(why.neurons) == len(constants)
        assert "region" in str(why)


@pytest.mark.parametrize("mode", ["exact", "paper", "finite"])
def test_state_dict_round_trip(nets, mode, tmp_path):
    model = nets["int"]((2, 8, 8, 2), 0)
    shallow = td.piecewise.to_shallow(model, td.box(-1, 1, dim=2), mode=mode)
    torch.save(shallow.state_dict(), tmp_path / "net.pt")
    again = td.piecewise.to_shallow(model, td.box(-1, 1, dim=2), mode=mode)
    for tensor in again.state_dict().values():
        tensor.zero_()
    again.load_state_dict(torch.load(tmp_path / "net.pt"))
    x = torch.rand(50, 2, dtype=torch.float64)
    assert torch.equal(again(x), shallow(x))
    assert again(x[0]).shape == (2,)


def test_shallow_in_other_dimensions_and_domains(nets):
    line = nets["he"]((1, 16, 16, 1), 0)
    t = torch.linspace(-1, 1, 301, dtype=torch.float64)[:, None]
    for mode in ("exact", "paper", "finite"):
        assert torch.allclose(td.piecewise.to_shallow(line, td.box(-1, 1, dim=1), mode=mode)(t), line(t), atol=1e-13)
    space = nets["int"]((3, 5, 5, 1), 0)
    x = torch.rand(500, 3, dtype=torch.float64) * 2 - 1
    shallow = td.piecewise.to_shallow(space, td.box(-1, 1, dim=3), certify="filtered")
    assert bool(shallow.certificate)
    assert torch.allclose(shallow(x), space(x), atol=1e-12)
    whole = td.piecewise.to_shallow(nets["he"]((2, 6, 6, 1), 0), None)
    x = torch.randn(500, 2, dtype=torch.float64) * 10
    assert torch.allclose(whole(x), nets["he"]((2, 6, 6, 1), 0)(x), atol=1e-11)
    with pytest.raises(td.UnsupportedError, match="finite"):
        td.piecewise.to_shallow(nets["he"]((2, 6, 6, 1), 0), None, mode="finite")
    with pytest.raises(td.ArgumentError, match="mode"):
        td.piecewise.to_shallow(line, td.box(-1, 1, dim=1), mode="literal")


def test_extended_arithmetic():
    entries = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([-INF, INF, 3.0])
    assert extended_product(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]), *entries, size=2).tolist() == [
        [0.0, 0.0],
        [-INF, 0.0],
        [INF, 6.0],
    ]
    with pytest.raises(td.NumericalError):
        extended_product(torch.tensor([[1.0, 1.0]]), *entries, size=2)
    with pytest.raises(td.ArgumentError):
        extended_product(torch.tensor([[INF, 1.0]]), *entries, size=2)
    layer = ExtendedLinear(*entries, torch.tensor([1.0, 1.0]), 2)
    assert torch.isinf(layer.state_dict()["values"]).sum() == 2


def test_merging(nets):
    found = td.piecewise.regions(nets["int"]((2, 16, 16, 1), 2), td.box(-1, 1, dim=2), certify="exact")
    merged = td.piecewise.merge_regions(found)
    assert found.pieces <= merged.count < found.count
    assert sum(map(len, merged.groups)) == found.count
    assert merged.volumes.sum() == pytest.approx(4.0)
    for group in merged.groups:
        assert np.allclose(found.affine[0][group], found.affine[0][group[0]], atol=1e-12)


def test_dead_neurons_and_simplification(nets):
    model = nets["int"]((2, 16, 16, 2), 0)
    with torch.no_grad():
        model[0].bias[3] = -5.0  # dead on the box
        model[0].bias[5] = 5.0  # always on
        model[2].weight[7] = 0.0  # constant
        model[2].bias[7] = 0.25
    domain = td.box(-1, 1, dim=2)
    found = td.piecewise.regions(model, domain)
    assert 3 in td.piecewise.dead_neurons(found)
    assert 5 in td.piecewise.always_on_neurons(model, domain)
    small = td.piecewise.simplify(model, domain)
    assert 3 in small.removed[0]
    assert 7 in small.removed[2]
    x = torch.rand(2000, 2, dtype=torch.float64) * 2 - 1
    assert torch.allclose(small(x), model(x), atol=1e-13)
    assert model[0].out_features == 16
    assert small[0].out_features == 16 - len(small.removed[0])
    assert td.piecewise.regions(small, domain).count == found.count
    with pytest.raises(td.UnsupportedError):
        td.piecewise.simplify(nn.Sequential(nn.Flatten(), nn.Linear(2, 1)), domain)


@pytest.mark.parametrize("mode", ["exact", "paper", "finite"])
def test_paths_with_corners(nets, mode):
    """The corners bound regions like any half-space: without them the regions of one piece answer on the others."""
    model = nets["int"]((3, 6, 6, 2), 0)
    path = td.polyline([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [-1.0, 0.5, 1.0], [0.0, 1.0, -1.0]])
    shallow = td.piecewise.to_shallow(model, path, mode=mode, certify="exact")
    corners = np.arange(4.0)[:, None]
    t = np.random.default_rng(0).uniform(0, 3, (500, 1))
    t = t if mode == "paper" else np.concatenate([t, corners])
    deep = model(torch.as_tensor(path.to_input(t))).detach()
    assert torch.allclose(shallow(torch.as_tensor(t)), deep, rtol=0, atol=1e-12)
    rational = [[Fraction(k, 97)] for k in range(1, 3 * 97, 7) if k % 97]
    rational = rational if mode == "paper" else [*rational, [Fraction(1)], [Fraction(2)]]
    assert shallow.rational(rational) == shallow.deep_rational(rational)
    assert shallow.matches(torch.as_tensor(t)).max() <= (2 if mode == "exact" else 1)


def test_rational_points_come_in_a_list(nets):
    shallow = td.piecewise.to_shallow(nets["int"]((2, 4, 1), 0), td.box(-1, 1, dim=2))
    with pytest.raises(td.ArgumentError, match=r"\(N, 2\)"):
        shallow.rational([0.5, 0.25])


@pytest.mark.parametrize("name", ["to_shallow", "dead_neurons", "always_on_neurons"])
def test_a_network_needs_a_domain_and_regions_have_one(nets, name):
    model, call = nets["int"]((2, 4, 1), 0), getattr(td.piecewise, name)
    with pytest.raises(td.ArgumentError, match="domain must be given with a network"):
        call(model)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    call(found), call(found, found.domain), call(model, None)
    with pytest.raises(td.ArgumentError, match="domain must be left out with regions"):
        call(found, td.box(-2, 2, dim=2))


def test_no_random_numbers_are_drawn(nets):
    model, before = nets["he"]((2, 4, 1), 0), torch.get_rng_state()
    td.piecewise.to_shallow(model, td.box(-1, 1, dim=2))
    assert torch.equal(torch.get_rng_state(), before)

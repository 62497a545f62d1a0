"""Region counts, cross-checked between three programs and exact arithmetic; bounds and theorems about them."""

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td

PLANE = {
    ("he", (2, 8, 8, 1)): (84, 21, 86),
    ("he", (2, 16, 16, 1)): (282, 295, 264),
    ("he", (2, 32, 32, 1)): (1083, 1197, 1357),
    ("he", (2, 16, 16, 16, 1)): (622, 612, 512),
    ("he", (2, 64, 64, 1)): (4354, 4917, 4326),
    ("he", (2, 32, 32, 32, 1)): (1880, 2333, 2324),
    ("he", (2, 128, 128, 1)): (17032, 17963, 15589),
    ("default", (2, 8, 8, 1)): (22, 18, 19),
    ("default", (2, 16, 16, 1)): (127, 88, 185),
    ("default", (2, 32, 32, 1)): (795, 564, 535),
    ("default", (2, 16, 16, 16, 1)): (178, 130, 269),
    ("default", (2, 64, 64, 1)): (2943, 2703, 2137),
    ("default", (2, 32, 32, 32, 1)): (1180, 924, 915),
    ("default", (2, 128, 128, 1)): (10266, 11623, 9307),
    ("int", (2, 8, 8, 1)): (42, 36, 28),
    ("int", (2, 16, 16, 1)): (86, 147, 194),
    ("int", (2, 32, 32, 1)): (642, 602, 629),
    ("int", (2, 16, 16, 16, 1)): (199, 264, 464),
}
SPACE = {
    (1, 16, 16, 1): (29, 16, 22),
    (1, 32, 32, 32, 1): (62, 66, 72),
    (1, 64, 64, 64, 64, 1): (192, 189, 183),
    (3, 6, 6, 1): (135, 127),
    (3, 8, 8, 1): (557, 356),
    (4, 6, 6, 1): (149, 213),
    (3, 16, 16, 1): (1526,),
    (4, 16, 16, 1): (10211,),
    (5, 10, 10, 1): (3860,),
}


@pytest.mark.parametrize(("recipe", "widths"), PLANE)
def test_counts_in_the_plane(nets, recipe, widths):
    for seed, expected in enumerate(PLANE[recipe, widths]):
        found = td.piecewise.regions(nets[recipe](widths, seed), td.box(-1, 1, dim=2))
        assert found.count == expected
        assert abs(found.volumes.sum() - 4) < 1e-12
        assert len(np.unique(found.bits, axis=0)) == expected


@pytest.mark.parametrize("certify", ["filtered", "exact"])
@pytest.mark.parametrize("recipe", ["he", "default", "int"])
def test_certified_counts_in_the_plane(nets, recipe, certify):
    for widths in [(2, 8, 8, 1), (2, 16, 16, 1)]:
        for seed in range(3) if certify == "filtered" or widths[1] == 8 else range(1):
            found = td.piecewise.regions(nets[recipe](widths, seed), td.box(-1, 1, dim=2), certify=certify)
            assert found.count == PLANE[recipe, widths][seed]
            if widths[1] == 8:
                assert found.exact_volume() == 4


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "expected"), list(enumerate((68951, 71030, 67744))))
def test_counts_of_a_wide_network(nets, seed, expected):
    found = td.piecewise.regions(nets["he"]((2, 256, 256, 1), seed), td.box(-1, 1, dim=2), certify="filtered")
    assert found.count == expected == len(np.unique(found.bits, axis=0))
    assert abs(found.volumes.sum() - 4) < 1e-12


@pytest.mark.slow
def test_counts_of_a_wide_network_in_space(nets):
    found = td.piecewise.regions(nets["he"]((3, 32, 32, 1), 0), td.box(-1, 1, dim=3), certify="filtered")
    assert found.count == 15705
    assert abs(found.volumes.sum() - 8) < 1e-11


@pytest.mark.parametrize("widths", SPACE)
def test_counts_in_other_dimensions(nets, widths):
    for seed, expected in enumerate(SPACE[widths]):
        found = td.piecewise.regions(nets["he"](widths, seed), td.box(-1, 1, dim=widths[0]))
        assert found.count == expected
        if expected < 5000:
            assert abs(found.volumes.sum() / 2.0 ** widths[0] - 1) < 1e-12


@pytest.mark.parametrize(("recipe", "widths"), [("he", (3, 6, 6, 1)), ("int", (3, 6, 6, 1)), ("int", (4, 5, 5, 1))])
def test_certified_counts_in_space(nets, recipe, widths):
    model = nets[recipe](widths, 0)
    counts = {c: td.piecewise.regions(model, td.box(-1, 1, dim=widths[0]), certify=c) for c in ("none", "filtered", "exact")}
    assert len({found.count for found in counts.values()}) == 1
    assert counts["exact"].exact_volume() == 2 ** widths[0] == counts["filtered"].exact_volume()


@pytest.mark.parametrize(("widths", "seed", "expected"), [((2, 8, 8, 1), 0, 129), ((2, 8, 8, 1), 1, 105)])
def test_counts_on_the_whole_plane(nets, widths, seed, expected):
    found = td.piecewise.regions(nets["he"](widths, seed), None)
    assert found.count == expected
    assert found.domain is None


@pytest.mark.parametrize("widths", [(2, 8, 8, 1), (3, 6, 6, 1)])
def test_linear_programs_agree_with_cutting(nets, widths):
    from theodolite.theory.piecewise.lowering import lower
    from theodolite.theory.piecewise.measure import _by_search

    model = nets["he"](widths, 0)
    domain = td.box(-1, 1, dim=widths[0])
    searched = _by_search(lower(model, (widths[0],)), domain, None)
    cut = td.piecewise.regions(model, domain)
    assert {b.tobytes() for b in searched.bits} == {b.tobytes() for b in cut.bits}
    assert {tuple(p) for p in searched.index.lookup(cut.patterns, cut.charts)[cut.neighbours].tolist()} == {
        tuple(p) for p in searched.neighbours.tolist()
    } or len(searched.neighbours) == len(cut.neighbours)
    assert searched.maximum()[0] == pytest.approx(cut.maximum()[0], abs=1e-9)


@pytest.mark.parametrize(
    ("recipe", "widths", "seed", "pieces"),
    [
        ("he", (2, 8, 8, 1), 0, 80),
        ("int", (2, 8, 8, 1), 2, 27),
        ("int", (2, 16, 16, 1), 2, 184),
        ("int", (2, 32, 32, 1), 1, 572),
        ("int", (2, 32, 32, 1), 2, 601),
        ("int", (2, 16, 16, 16, 1), 0, 185),
    ],
)
def test_pieces_are_fewer_than_regions(nets, recipe, widths, seed, pieces):
    found = td.piecewise.regions(nets[recipe](widths, seed), td.box(-1, 1, dim=2))
    assert found.pieces == pieces < found.count
    assert found.pieces <= td.piecewise.merge_regions(found).count <= found.count


def test_tent_map_doubles_its_pieces():
    tent = [nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)]
    with torch.no_grad():
        tent[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        tent[0].bias.copy_(torch.tensor([0.0, -0.5]))
        tent[2].weight.copy_(torch.tensor([[2.0, -4.0]]))
        tent[2].bias.zero_()
    for k in (1, 3, 8, 12):
        found = td.piecewise.regions(nn.Sequential(*(tent * k)).double(), td.box(0, 1, dim=1))
        assert found.pieces == found.count == 2**k
        assert np.allclose(found.volumes, 2.0**-k, atol=1e-15)
        assert found.lipschitz() == 2.0**k


@pytest.mark.parametrize(("n", "expected"), [(5, 16), (10, 56), (20, 211)])
def test_zaslavsky_is_reached_by_one_hidden_layer(nets, n, expected):
    found = td.piecewise.regions(nets["he"]((2, n, 1), 0), td.box(-1e4, 1e4, dim=2))
    assert found.count == expected == td.piecewise.zaslavsky(n, 2)


@pytest.mark.parametrize("width", [11, 13, 40, 150])
@pytest.mark.parametrize("certify", ["none", "filtered"])
def test_lines_in_general_position(nets, width, certify):
    """Regions of one hidden layer are 1 + the lines that meet the square + the points within it where two of them meet."""
    model = nets["he"]((2, width, 1), width)
    a, c = model[0].weight.detach().numpy(), model[0].bias.detach().numpy()
    met = np.abs(c) < np.abs(a).sum(axis=1)
    i, k = np.triu_indices(width, 1)
    det = a[i, 0] * a[k, 1] - a[i, 1] * a[k, 0]
    x, y = (a[i, 1] * c[k] - a[k, 1] * c[i]) / det, (a[k, 0] * c[i] - a[i, 0] * c[k]) / det
    inside = (np.abs(x) < 1) & (np.abs(y) < 1)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2), certify=certify)
    assert found.count == 1 + met.sum() + inside.sum()
    assert (found.patterns == (found.centroids @ a.T + c > 0)).all()
    assert abs(found.volumes.sum() - 4) < 1e-12


def test_bounds_hold_and_are_ordered(nets):
    for widths in [(8, 8), (16, 16), (4, 3, 5), (2, 2, 2)]:
        bounds = td.piecewise.count_bounds(widths, 2)
        assert bounds.serra2018_upper <= bounds.montufar2017_upper
        if bounds.montufar2014_lower is not None:
            assert bounds.montufar2014_lower <= bounds.serra2018_upper
        found = td.piecewise.regions(nets["he"]((2, *widths, 1), 0), td.box(-50, 50, dim=2))
        assert found.count <= bounds.upper


def test_published_values_of_the_bounds():
    values = {(8, 8): (592, 1369), (16, 16): (8768, 18769), (32, 32): (135424, 279841)}
    for widths, (lower, upper) in values.items():
        bounds = td.piecewise.count_bounds(widths, 2)
        assert (bounds.montufar2014_lower, bounds.montufar2017_upper) == (lower, upper)


def test_serra_bound_against_its_definition():
    from itertools import product
    from math import comb, prod

    def slow(widths, dim):
        total = 0
        for js in product(*(range(n + 1) for n in widths)):
            caps = [min([dim, *(widths[m] - js[m] for m in range(k)), widths[k]]) for k in range(len(widths))]
            if all(j <= cap for j, cap in zip(js, caps, strict=True)):
                total += prod(comb(n, j) for n, j in zip(widths, js, strict=True))
        return total

    for widths, dim in [((3, 3), 2), ((4, 2, 3), 2), ((2, 5), 3), ((3,), 1)]:
        assert td.piecewise.serra2018_upper(widths, dim) == slow(widths, dim)


@pytest.mark.parametrize(("widths", "dim"), [((), 2), ((0, 3), 2), ((3,), 0), ((2.5,), 2)])
def test_bounds_refuse_nonsense(widths, dim):
    with pytest.raises(td.ArgumentError):
        td.piecewise.count_bounds(widths, dim)

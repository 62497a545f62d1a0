"""All of ℝᵈ by cutting in charts, against the search by linear programs."""

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import UnsupportedError
from theodolite.maths.linprog import HalfspaceStack
from theodolite.theory.piecewise.lowering import lower
from theodolite.theory.piecewise.measure import _by_search


class Residual(nn.Module):
    def __init__(self, d, activation):
        super().__init__()
        self.first, self.branch, self.last, self.act = nn.Linear(d, 5), nn.Linear(5, 5), nn.Linear(10, 2), activation

    def forward(self, x):
        h = self.act(self.first(x))
        return self.last(torch.cat([h + self.act(self.branch(h)), h], -1))


class Pooled(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(d, 6), nn.Linear(3, 4), nn.Linear(2, 1)

    def forward(self, x):
        h = nn.functional.max_pool1d(self.first(x)[:, None], 2)[:, 0]
        return self.last(nn.functional.max_pool1d(torch.relu(self.second(h))[:, None], 2)[:, 0])


def mlp(d, activation, *widths):
    sizes = (d, *widths, 2)
    modules = [module for a, b in zip(sizes, sizes[1:], strict=False) for module in (nn.Linear(a, b), activation)]
    return nn.Sequential(*modules[:-1])


def drawn(model, seed, integer=False):
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    for p in model.parameters():
        p.data = torch.randint(-2, 3, p.shape, generator=generator).double() if integer else torch.randn(
            p.shape, generator=generator, dtype=torch.float64
        )  # fmt: skip
    return model


def facets(regions, i):
    """Half-spaces of a region, scaled and rounded."""
    h, c = regions.halfspaces(i)
    rows = np.concatenate([h, c[:, None]], axis=1) / np.linalg.norm(h, axis=1)[:, None]
    return {tuple(row) for row in (np.round(rows, 7) + 0.0).tolist()}


NETWORKS = {
    "relu": lambda d: mlp(d, nn.ReLU(), 5, 4),
    "leaky": lambda d: mlp(d, nn.LeakyReLU(0.2), 4, 4),
    "hardtanh": lambda d: mlp(d, nn.Hardtanh(-1.0, 2.0), 4, 3),
    "softshrink": lambda d: mlp(d, nn.Softshrink(0.3), 3, 3),
    "prelu": lambda d: mlp(d, nn.PReLU(), 4, 4),
    "residual": lambda d: Residual(d, nn.ReLU()),
    "residual hardtanh": lambda d: Residual(d, nn.Hardtanh()),
    "pooled": Pooled,
}


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_search_by_linear_programs(name, d):
    model = drawn(NETWORKS[name](d), d)
    found, wanted = td.piecewise.regions(model, None), _by_search(lower(model, (d,), None), None, None)
    ours, theirs = ({bits.tobytes(): i for i, bits in enumerate(r.bits)} for r in (found, wanted))
    assert ours.keys() == theirs.keys()
    for pattern, i in ours.items():
        j = theirs[pattern]
        np.testing.assert_allclose(found.maps[i], wanted.maps[j], rtol=1e-9, atol=1e-9)
        h, c = found.halfspaces(i)
        assert (h @ found.witnesses[i] + c < 0).all()
        assert facets(found, i) == facets(wanted, j)
    assert found.pieces == wanted.pieces
    assert len(found.neighbours) == len(wanted.neighbours) == len(found.cells.labels) / 2
    x = torch.randn(100, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    np.testing.assert_allclose(found(x), model(x).detach(), rtol=1e-9, atol=1e-9)
    assert found.lipschitz() == pytest.approx(wanted.lipschitz(), rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_degenerate_arrangements(d, seed):
    for model in (drawn(mlp(d, nn.ReLU(), 5, 4), seed, integer=True), drawn(mlp(d, nn.ReLU(), 5, 4), seed)):
        first = model[0]
        if seed == 2:  # duplicates, parallels, a zero row
            first.weight.data[1:3], first.bias.data[1], first.weight.data[3] = first.weight.data[0], first.bias.data[0], 0.0
        if seed == 1:  # all boundaries of the first layer through the origin
            first.bias.data.zero_()
        found, wanted = td.piecewise.regions(model, None), _by_search(lower(model, (d,), None), None, None)
        assert {b.tobytes() for b in found.bits} == {b.tobytes() for b in wanted.bits}


def test_scales_do_not_matter():
    model = drawn(mlp(2, nn.ReLU(), 6, 5), 3)
    count = td.piecewise.regions(model, None).count
    for scale in (1e-9, 1e9):  # the picture, 10⁹ times smaller or larger
        scaled = drawn(mlp(2, nn.ReLU(), 6, 5), 3)
        scaled[0].weight.data /= scale
        assert td.piecewise.regions(scaled, None).count == count


def test_large_plane():
    model = drawn(mlp(2, nn.ReLU(), 24, 24), 0)
    found = td.piecewise.regions(model, None)
    # inside a box that holds all vertices nothing else is there, and every region reaches into it
    assert found.count == td.piecewise.regions(model, td.box(-1e4, 1e4, dim=2)).count
    assert (found.program.patterns(found.witnesses) == found.patterns).all()


def test_of_equal_half_spaces_one_is_needed():
    stack = HalfspaceStack(2)
    for normal, constant in (((1.0, 0.0), -1.0), ((2.0, 0.0), -2.0), ((0.0, 1.0), -1.0), ((1.0, 1.0), -9.0)):
        stack.push(np.array(normal), constant)
    assert len(stack.needed()) == 2
    assert len(stack.needed()) == 2  # and all stand again as before
    value, _ = stack.maximize(np.array([1.0, 1.0]))
    assert value == pytest.approx(2.0)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_counts_are_certified(d):
    model = drawn(mlp(d, nn.ReLU(), 4, 3), d, integer=True)  # degenerate: exact arithmetic decides
    exact, filtered = (td.piecewise.regions(model, None, certify=kind) for kind in ("exact", "filtered"))
    wanted = _by_search(lower(model, (d,), None), None, None)
    assert {b.tobytes() for b in exact.bits} == {b.tobytes() for b in filtered.bits} == {b.tobytes() for b in wanted.bits}
    assert exact.certify == "exact"
    for i in range(exact.count):
        h, c = exact.halfspaces(i)
        assert (h @ exact.witnesses[i] + c < 0).all()


def test_what_is_not_cut_says_so():
    model = drawn(mlp(2, nn.ReLU(), 4), 0)
    with pytest.raises(UnsupportedError, match="on all of ℝᵈ with max_regions floating-point linear programs decide"):
        td.piecewise.regions(model, None, certify="exact", max_regions=2)
    with pytest.raises(UnsupportedError, match="a certificate"):
        td.piecewise.to_shallow(model, None, certify="exact")
    some = td.piecewise.regions(model, None, max_regions=3)
    assert (some.count, some.complete) == (3, False)

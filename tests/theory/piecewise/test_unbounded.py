"""All of ℝᵈ by cutting in charts, against the search by linear programs."""

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import NumericalError, UnsupportedError
from theodolite.maths.linprog import HalfspaceStack
from theodolite.theory.piecewise.homogeneous import homogeneous
from theodolite.theory.piecewise.lowering import lower
from theodolite.theory.piecewise.measure import _by_search
from theodolite.theory.piecewise.program import Program, Switching


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


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-3, 1e3])
def test_scales_do_not_matter(scale):
    for seed in range(3):
        near, few, small = (drawn(mlp(2, nn.ReLU(), 8, 6), seed) for _ in range(3))
        near[0].bias.data *= scale  # the first layer's boundaries much nearer than the others
        few[0].weight.data[:2] *= scale  # some of them far
        for p in (small[0].weight.data, small[0].bias.data):  # two neurons nearly dead
            p[:2] *= scale
        for model in (near, few, small):
            found, wanted = td.piecewise.regions(model, None), td.piecewise.regions(model, None, certify="exact")
            assert {b.tobytes() for b in found.bits} == {b.tobytes() for b in wanted.bits}
            assert (found.program.patterns(found.witnesses) == found.patterns).all()
            assert 2 * len(found.neighbours) == len(found.cells.labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_pictures_scale(name):
    counts = set()
    for scale in (1e-6, 1.0, 1e6):
        model = drawn(NETWORKS[name](2), 3)
        first = next(m for m in model.modules() if isinstance(m, nn.Linear))
        first.weight.data /= scale
        counts.add(td.piecewise.regions(model, None).count)
    assert len(counts) == 1


def test_large_plane():
    model = drawn(mlp(2, nn.ReLU(), 24, 24), 0)
    found = td.piecewise.regions(model, None)
    # inside a box that holds all vertices nothing else is there, and every region reaches into it
    assert found.count == td.piecewise.regions(model, td.box(-1e4, 1e4, dim=2)).count
    assert (found.program.patterns(found.witnesses) == found.patterns).all()


@pytest.mark.parametrize("solver", ["highs", "scipy"])
def test_of_equal_half_spaces_one_is_needed(solver):
    stack = HalfspaceStack(2)
    if solver == "scipy":
        stack._highs = None
    for normal, constant in (((1.0, 0.0), -1.0), ((2.0, 0.0), -2.0), ((0.0, 1.0), -1.0), ((1.0, 1.0), -9.0)):
        stack.push(np.array(normal), constant)
    assert len(stack.needed()) == 2
    assert len(stack.needed()) == 2  # and all stand again as before
    value, _ = stack.maximize(np.array([1.0, 1.0]))
    assert value == pytest.approx(2.0)


class Vanishing(nn.Module):
    """relu(leaky(x) − x), whose switch is zero for x > 0: only unrounded slopes say so."""

    def __init__(self, slope):
        super().__init__()
        self.leaky, self.one = nn.LeakyReLU(slope), nn.Linear(1, 1, dtype=torch.float64)
        with torch.no_grad():
            self.one.weight.fill_(1.0), self.one.bias.zero_()

    def forward(self, x):
        x = self.one(x)
        return torch.relu(self.leaky(x) - x)


@pytest.mark.parametrize("slope", [0.1, 0.2, 1 / 3])
def test_slopes_are_not_rounded(slope):
    for certify in ("none", "filtered", "exact"):
        found = td.piecewise.regions(Vanishing(slope), None, certify=certify)
        box = td.piecewise.regions(Vanishing(slope), td.box(-1, 1, dim=1), certify="exact")
        assert {b.tobytes() for b in found.bits} == {b.tobytes() for b in box.bits}, certify


def test_pieces_that_meet_up_to_rounding_are_not_certified():
    def program(offset):
        return Program((Switching(0, np.array([[0.1]]), np.array([[0.0, 1.0]]), np.array([[0.0, offset]]), "bent"),), (1,), (1,))

    assert homogeneous(program(-0.1), exact=True).switches == 1
    assert homogeneous(program(-0.1 - 1e-17)).switches == 1
    with pytest.raises(UnsupportedError, match="'bent' meet at 0.1 only up to rounding"):
        homogeneous(program(np.nextafter(-0.1, 0)), exact=True)


def test_pieces_are_exact_under_a_certificate():
    model = drawn(mlp(1, nn.ReLU(), 2), 0)
    model[0].weight.data, model[0].bias.data = torch.ones(2, 1).double(), torch.tensor([0.0, -1.0]).double()
    model[2].weight.data = torch.tensor([[1e-17, 1.0], [0.0, 0.0]]).double()
    assert td.piecewise.regions(model, None, certify="exact").pieces == 3


def test_a_stored_set_is_what_it_was(tmp_path):
    model = drawn(mlp(2, nn.ReLU(), 6, 5), 0)
    model[0].weight.data *= 1e10
    found = td.piecewise.regions(model, None)
    found.save(tmp_path / "plane")
    again = type(found).load(tmp_path / "plane")
    assert [len(again.halfspaces(i)[0]) for i in range(again.count)] == [len(found.halfspaces(i)[0]) for i in range(found.count)]
    points = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-10
    assert (again.locate(points) == found.locate(points)).all()
    assert (found.patterns[found.locate(points)] == found.program.patterns(points.numpy())).all()


def test_a_head_that_is_registered_first_does_not_decide_the_inputs():
    class HeadFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.first = nn.Linear(5, 1), nn.Linear(2, 5)

        def forward(self, x):
            return self.head(torch.relu(self.first(x)))

    assert td.piecewise.regions(drawn(HeadFirst(), 0), None).count == 16


def test_damaged_files_are_named(tmp_path):
    found = td.piecewise.regions(drawn(mlp(2, nn.ReLU(), 3), 0), None)
    assert found(np.zeros((0, 2))).shape == (0, 2)
    found.save(tmp_path / "plane")
    whole = (tmp_path / "plane.npz").read_bytes()
    np.savez(tmp_path / "other.npz", header=np.array('{"format": 2}'))
    (tmp_path / "array.npz").write_bytes(b"\x93NUMPY" + whole[:40])
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("other", "array", "short"):
        with pytest.raises(td.StoreError, match="does not hold regions"):
            td.piecewise.Regions.load(tmp_path / f"{name}.npz")


def test_an_affine_map_has_one_region():
    found = td.piecewise.regions(nn.Linear(2, 1), None, certify="exact")
    assert (found.count, found.certify, found.pieces) == (1, "exact", 1)


def test_twin_neurons_flip_together():
    model = drawn(mlp(2, nn.ReLU(), 2), 0)
    model[0].weight.data = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).double()
    model[0].bias.data = torch.tensor([-1.0, -2.0]).double()
    here = td.piecewise.local_region(model, [0.0, 0.0])
    assert [n.pattern.tolist() for n in here.neighbours()] == [[True, True]]
    assert here.shoot([1.0, 0.0]).pattern.tolist() == [True, True]


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


def test_what_overflows_is_refused():
    model = drawn(mlp(2, nn.ReLU(), 2), 0)
    model[0].weight.data = torch.tensor([[1e308, 1.0], [1.0, 1e308]], dtype=torch.float64)
    for certify in ("none", "filtered"):
        with pytest.raises(NumericalError, match="beyond the range of floats"):
            td.piecewise.regions(model, None, certify=certify)
    assert td.piecewise.regions(model, None, certify="exact").count == 4


def test_what_is_not_cut_says_so():
    model = drawn(mlp(2, nn.ReLU(), 4), 0)
    with pytest.raises(UnsupportedError, match="on all of ℝᵈ with max_regions floating-point linear programs decide"):
        td.piecewise.regions(model, None, certify="exact", max_regions=2)
    with pytest.raises(UnsupportedError, match="certificates need"):
        td.piecewise.to_shallow(model, None, certify="exact")
    some = td.piecewise.regions(model, None, max_regions=3)
    assert (some.count, some.complete) == (3, False)

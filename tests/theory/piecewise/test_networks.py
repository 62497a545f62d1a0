"""Every supported operation against torch, on random inputs and through the regions of a slice; local and sampled regions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import theodolite as td
from theodolite.core.errors import UnsupportedError
from theodolite.theory.piecewise.lowering import lower


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.skip, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 2)

    def forward(self, x):
        h = F.relu(self.inner(x))
        g = 2 * h - F.leaky_relu(self.skip(h), 0.1) / 3 + x
        a, b = g.chunk(2, dim=1)
        return self.last(torch.cat([torch.maximum(g, -h), a, F.hardtanh(b.flip(1))], dim=1)) - 1.0


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(2, 3, 3, bias=False), nn.PReLU(3, init=0.1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 2),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


ACTIVATIONS = [
    nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(), nn.Hardtanh(-0.5, 0.7), nn.ReLU6(), nn.Hardsigmoid(), nn.Softshrink(0.3),
    nn.Threshold(0.0, 0.0), nn.RReLU(), nn.Identity(),
]  # fmt: skip


def build(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "residual":
            return Residual().double().eval(), (4,)
        if name == "pooled":
            net = Pooled().double()
            with torch.no_grad():
                net.body[1].running_mean.normal_()
                net.body[1].running_var.uniform_(0.5, 2.0)
            return net.eval(), (1, 8, 8)
        if name == "one-dimensional":
            net = nn.Sequential(nn.Conv1d(2, 3, 3, stride=2), nn.ReLU(), nn.AdaptiveMaxPool1d(2), nn.Flatten(), nn.Linear(6, 1))
            return net.double().eval(), (2, 9)
        return None


def sampled(model, shape, count=300):
    x = torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, model(x).detach().numpy().reshape(count, -1)


@pytest.mark.parametrize("name", ["residual", "pooled", "one-dimensional"])
def test_lowered_programs_compute_the_network(name):
    model, shape = build(name)
    program = lower(model, shape)
    x, y = sampled(model, shape)
    assert np.allclose(program.forward(x.numpy().reshape(len(x), -1)), y, atol=1e-13)


@pytest.mark.parametrize("certify", ["none", "filtered"])
@pytest.mark.parametrize("name", ["residual", "pooled", "one-dimensional"])
def test_regions_on_a_slice(name, certify):
    model, shape = build(name)
    origin, u, v = np.random.default_rng(3).normal(size=(3, *shape)) * 0.7
    if (
        name == "pooled" and certify == "filtered"
    ):  # patches that are dead together tie in every pool: exact arithmetic everywhere
        part = td.piecewise.regions(model, td.slice2d(origin, u, v), certify=certify, max_regions=15)
        inputs = torch.tensor(part.to_input(part.centroids)).reshape(-1, *shape)
        assert np.allclose(part(part.centroids), model(inputs).detach().numpy(), atol=1e-11)
        return
    found = td.piecewise.regions(model, td.slice2d(origin, u, v), certify=certify)
    t = np.random.default_rng(4).uniform(-1, 1, (1000, 2))
    expected = model(torch.tensor(found.to_input(t)).reshape(-1, *shape)).detach().numpy()
    assert np.allclose(found(t), expected, atol=1e-11)
    assert found.count > 5
    assert found.volumes.sum() == pytest.approx(4.0, abs=1e-11)
    if certify == "filtered":
        assert found.exact_volume() == 4
    line = td.piecewise.regions(model, td.segment(origin, u))
    s = np.linspace(0, 1, 101)[:, None]
    along = model(torch.tensor(line.to_input(s)).reshape(-1, *shape)).detach().numpy()
    assert np.allclose(line(s), along, atol=1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_activations(activation):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(2, 5), activation, nn.Linear(5, 5), activation, nn.Linear(5, 1)).double().eval()
    for certify in ("none", "filtered", "exact"):
        found = td.piecewise.regions(model, td.box(-2, 2, dim=2), certify=certify)
        x = np.random.default_rng(0).uniform(-2, 2, (500, 2))
        assert np.allclose(found(x), model(torch.tensor(x)).detach().numpy(), atol=1e-12)
        assert found.exact_volume() == 16


@pytest.mark.parametrize("certify", ["filtered", "exact"])
def test_certificates_after_a_maximum(certify):
    """Cells bounded by ties of an earlier maximum are cut again, exactly, by later activations."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Linear(3, 6), nn.Unflatten(1, (1, 6)), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(3, 4), nn.Hardtanh(), nn.Linear(4, 1)
        ).double()  # fmt: skip
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_((4 * parameter).round() / 2)
    origin, u, v = np.eye(3)
    for domain in (td.slice2d(0 * origin, u, v, extent=3.0), td.segment(-3 * origin, 3 * origin + v)):
        found = td.piecewise.regions(model, domain, certify=certify)
        assert found.exact_volume() == domain.volume
        assert found.count == td.piecewise.regions(model, domain).count > 1
        assert np.allclose(
            found(found.centroids), model(torch.tensor(found.to_input(found.centroids))).detach().numpy(), atol=1e-12
        )


def test_max_pooling_cuts_only_where_the_winner_changes():
    class Largest(nn.Module):
        def forward(self, x):
            return F.max_pool1d(x[:, None], 3)[:, 0]

    found = td.piecewise.regions(Largest(), td.box(-1, 1, dim=3))
    assert found.count == 3  # one region per winner, not one per order
    assert np.allclose(found.volumes, 8 / 3, atol=1e-12)
    assert found.integral() == pytest.approx(4.0, abs=1e-12)  # E max of three uniform on [-1, 1] is 1/2
    assert len(found.neighbours) == 3


def test_absolute_value_by_hand():
    class Absolute(nn.Module):
        def forward(self, x):
            return torch.abs(x).sum(dim=1, keepdim=True)

    for dim in (1, 2, 3):
        found = td.piecewise.regions(Absolute(), td.box(-1, 1, dim=dim))
        assert found.count == found.pieces == 2**dim
        assert found.integral() == pytest.approx(dim * 2.0 ** (dim - 1), abs=1e-12)
        assert found.lipschitz(1) == 1.0
        assert found.lipschitz(np.inf) == dim


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()), "sigmoid"),
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()), "gelu"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "layer_norm"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(dim=1)), "softmax"),
        (nn.Sequential(nn.Linear(2, 2), nn.Hardshrink()), "hardshrink"),
        (nn.Sequential(nn.Linear(2, 2), nn.Threshold(0.0, 1.0)), "threshold"),
    ],
)
def test_what_has_no_place_is_refused_by_name(model, word):
    with pytest.raises(td.UnsupportedError, match=word):
        td.piecewise.regions(model, td.box(-1, 1, dim=2))


def test_products_of_values_are_refused():
    class Product(nn.Module):
        def forward(self, x):
            return x[:, :1] * x[:, 1:]

    with pytest.raises(td.UnsupportedError, match="mul"):
        td.piecewise.regions(Product(), td.box(-1, 1, dim=2))

    class Branching(nn.Module):
        def forward(self, x):
            return x if bool((x.sum() > 0.1).any()) else 2 * x

    with pytest.raises(td.UnsupportedError):
        td.piecewise.regions(Branching(), td.box(-1, 1, dim=2))


def test_local_region(nets):
    model = nets["he"]((2, 16, 16, 2), 0)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    for x in np.random.default_rng(5).uniform(-0.9, 0.9, (10, 2)):
        here = td.piecewise.local_region(model, x)
        i = found.locate(x)
        assert np.array_equal(here.pattern, found.patterns[i])
        assert np.allclose(here.affine[0], found.affine[0][i], atol=1e-12)
        normals, constants = here.halfspaces
        assert (normals @ x + constants <= 0).all()
        # within the nearest distance nothing changes; just beyond, something does
        angles = np.linspace(0, 2 * np.pi, 720)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        assert (found.program.patterns(x + 0.999 * here.distance * ring) == here.pattern).all()
        assert (found.program.patterns(x + 1.01 * here.distance * ring) != here.pattern).any()
        for direction in ring[::60]:
            distance, neuron, beyond = here.shoot(3 * direction)
            if np.isfinite(distance) and np.abs(x + direction * distance).max() < 0.99:
                assert np.array_equal(found.program.patterns((x + direction * (distance + 1e-7))[None])[0], beyond)
                assert beyond[neuron] != here.pattern[neuron]
                assert np.array_equal(found.program.patterns((x + direction * (distance - 1e-7))[None])[0], here.pattern)
        facets = {n.neuron for n in here.neighbours()}
        inside = {int(label) for label in found.cells.part(i, i + 1).labels if label >= 0}
        assert inside <= facets


def test_local_region_in_many_dimensions():
    model, shape = build("pooled")
    x = np.random.default_rng(0).normal(size=shape)
    here = td.piecewise.local_region(model, x)
    weight, bias = here.affine
    assert np.allclose(weight @ x.ravel() + bias, model(torch.tensor(x)[None]).detach().numpy()[0], atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda z: model(z[None])[0], torch.tensor(x)).numpy().reshape(2, -1)
    assert np.allclose(weight, jacobian, atol=1e-12)
    direction = np.random.default_rng(1).normal(size=shape)
    distance, _, beyond = here.shoot(direction)
    step = direction / np.linalg.norm(direction)
    after = (x + step * (distance + 1e-9)).reshape(1, -1)
    assert np.array_equal(here.program.patterns(after)[0], beyond)
    assert here.distance <= distance
    with pytest.raises(td.ArgumentError):
        here.shoot(np.zeros(shape))


def test_neighbours_of_a_local_region_are_its_facets():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))  # x + y > 0 and x > −1 are implied in the first quadrant
    here = td.piecewise.local_region(model, [1.0, 2.0])
    assert sorted(n.neuron for n in here.neighbours()) == [0, 1]
    assert [n.pattern.tolist() for n in here.neighbours()] == [[False, True, True, True], [True, False, True, True]]


def test_sampled_regions_are_a_lower_bound(nets):
    model = nets["he"]((2, 16, 16, 1), 0)
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, 2))
    seen = td.piecewise.sample_regions(model, x)
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    assert 200 < seen.count <= found.count
    assert not seen.complete
    assert "lower bound" in repr(seen)
    assert seen.visits.sum() == len(x)
    where = found.locate(x)
    assert len(np.unique(where)) == seen.count
    assert np.array_equal(seen.patterns[seen.assignment], found.patterns[where])
    weight, bias = seen.affine
    assert np.allclose(np.einsum("nod,nd->no", weight[seen.assignment], x) + bias[seen.assignment], found(x), atol=1e-12)
    assert td.piecewise.sample_regions(model, x[:3]).saturated


def test_quantities_of_patterns():
    patterns = torch.rand(4, 30, 5, generator=torch.Generator().manual_seed(0)) > 0.6
    for quantity in (td.piecewise.visited_regions, td.piecewise.dead_fraction, td.piecewise.switching_fraction):
        assert torch.equal(quantity(patterns), torch.stack([quantity(p) for p in patterns]))
    assert td.piecewise.visited_regions(patterns.numpy())[0] == len(np.unique(patterns[0].numpy(), axis=0))


def test_weights_that_are_no_parameters_are_read(nets):
    """A layer whose weight was replaced by a plain tensor is traced; it is no plain chain any more."""
    model = nets["int"]((2, 6, 1), 0)
    expected = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    weight = model[0].weight.detach().clone()
    del model[0].weight
    model[0].weight = weight
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2))
    assert found.count == expected.count
    assert np.allclose(np.sort(found.volumes), np.sort(expected.volumes), rtol=0, atol=1e-12)


def test_inputs_of_the_wrong_size_are_named(nets):
    model = nets["int"]((5, 6, 1), 0)
    for call in (
        lambda: td.piecewise.local_region(model, [0.0, 0.0]),
        lambda: td.piecewise.sample_regions(model, [[0.0, 0.0]]),
        lambda: td.piecewise.regions(model, td.box(-1, 1, dim=2)),
    ):
        with pytest.raises(td.ArgumentError, match=r"inputs \(of the domain, x or points\) must have .* takes: 5, got 2"):
            call()


class Untraceable(nn.Module):
    """What a tracer takes for a constant."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.inner, self.outer = kind, nn.Linear(2, 6), nn.Linear(6, 1)

    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.kind == "numpy":
            h = h + torch.from_numpy(h.detach().numpy() ** 2)
        if self.kind == "random":
            h = h + torch.randn(h.shape)
        return self.outer(h)


@pytest.mark.parametrize("kind", ["numpy", "random"])
def test_what_a_tracer_takes_for_a_constant_is_refused(kind):
    model = Untraceable(kind)
    for call in (td.piecewise.regions, td.piecewise.to_shallow):
        with pytest.raises(UnsupportedError, match="differ on a probe input"):
            call(model, td.box(-1, 1, dim=2))
    with pytest.raises(UnsupportedError, match="differ on a probe input"):
        td.piecewise.local_region(model, torch.zeros(2))
    assert td.piecewise.regions(Untraceable("none"), td.box(-1, 1, dim=2)).count > 1

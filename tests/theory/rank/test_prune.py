"""Pruning: certificates that hold, surgery that fits, and clear refusals."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError, UnknownNameError, UnsupportedError
from theodolite.nets import ConvBlock, ConvResNet, ResidualMLP, mlp


def relative_change(model, small, x):
    with torch.no_grad():
        before, after = model.eval()(x), small.eval()(x)
    return float((after - before).double().norm() / before.double().norm())


def networks():
    torch.manual_seed(0)
    x1 = torch.linspace(-1, 1, 300, dtype=torch.float64)[:, None]
    images = torch.rand(40, 1, 8, 8, dtype=torch.float64)
    yield "one hidden layer", mlp([1, 40, 2], "tanh").double(), x1
    yield "deep", mlp([1, 40, 40, 40, 1], "relu").double(), x1
    yield (
        "convolutions",
        nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(12, 16, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(16 * 4, 5),
        ).double(),
        images,
    )
    yield (
        "one-dimensional convolution",
        nn.Sequential(nn.Conv1d(2, 20, 3), nn.Tanh(), nn.Conv1d(20, 3, 1)).double(),
        torch.randn(30, 2, 9).double(),
    )
    yield "residual branches", ConvResNet([12, 12, 16], "basic").double(), images
    yield "transformer block", nn.TransformerEncoderLayer(8, 2, 32, batch_first=True).double(), torch.randn(20, 5, 8).double()


@pytest.mark.parametrize(("name", "model", "x"), list(networks()), ids=lambda v: v if isinstance(v, str) else "")
class TestAllKinds:
    def test_the_error_is_the_measured_one(self, name, model, x):
        small, certificate = td.rank.prune(model, x, width=7)
        assert certificate.error == pytest.approx(relative_change(model, small, x), rel=1e-9, abs=1e-12)
        assert 0 < certificate.error <= certificate.bound * (1 + 1e-9)
        assert certificate.kept
        assert sum(certificate.kept.values()) < sum(certificate.widths.values())
        assert certificate.parameters[1] == sum(p.numel() for p in small.parameters()) < certificate.parameters[0]

    def test_the_tolerance_is_kept(self, name, model, x):
        small, certificate = td.rank.prune(model, x, tolerance=0.02)
        assert certificate.error <= 0.02
        assert relative_change(model, small, x) <= 0.02 * (1 + 1e-9)

    def test_at_full_width_it_is_the_identity(self, name, model, x):
        small, certificate = td.rank.prune(model, x, width=10_000)
        assert certificate.error == 0
        assert certificate.bound == 0
        assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), model.state_dict().values(), strict=True))

    def test_the_model_is_left_alone(self, name, model, x):
        before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
        td.rank.prune(model, x, width=3)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert [m.training for m in model.modules()] == modes


def test_kept_is_the_epsilon_rank():
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 300, dtype=torch.float64)[:, None]
    model = mlp([1, 50, 1], "tanh").double()
    features = td.Lens(model, x).features["1"]
    for eps in (1e-2, 1e-4, 1e-6):
        _, certificate = td.rank.prune(model, x, eps=eps)
        assert certificate.kept == {"1": int(td.rank.epsilon_rank(features, eps=eps))}


def test_the_error_is_the_least_squares_optimum():
    torch.manual_seed(1)
    x = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None]
    model = mlp([1, 30, 1], "tanh").double()
    _, certificate = td.rank.prune(model, x, width=6)
    kept = list(certificate.indices["1"])
    columns = torch.cat([td.Lens(model, x).features["1"][:, kept], torch.ones(200, 1, dtype=torch.float64)], 1).numpy()
    u = model(x).detach().numpy()
    rest = u - columns @ np.linalg.lstsq(columns, u, rcond=None)[0]
    assert certificate.error == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(u), rel=1e-6)


def test_one_hidden_layer_has_a_finite_bound_and_deep_relu_chains_too():
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 200)[:, None]
    for widths in ([1, 30, 1], [1, 30, 30, 30, 1]):
        small, certificate = td.rank.prune(mlp(widths, "relu"), x, eps=1e-3)
        assert np.isfinite(certificate.bound)
        assert certificate.error <= certificate.bound


def test_what_cannot_be_cut_is_named_and_left():
    torch.manual_seed(0)
    _, certificate = td.rank.prune(ResidualMLP(1, 10, 3), torch.linspace(-1, 1, 50)[:, None], eps=1e-3)
    assert certificate.kept == {}
    assert len(certificate.left) == 3
    assert "add" in " ".join(certificate.left.values())

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.n, self.b = nn.Linear(2, 6), nn.LayerNorm(6), nn.Linear(6, 1)

        def forward(self, x):
            return self.b(self.n(F.relu(self.a(x))))

    _, certificate = td.rank.prune(Normed(), torch.randn(40, 2), eps=1e-3)
    assert "layer_norm" in certificate.left["relu"]
    assert "left alone" in str(certificate)


def test_a_layer_read_twice_is_cut_for_both_readers():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(1, 30), nn.Linear(30, 2), nn.Linear(30, 3)

        def forward(self, x):
            h = torch.tanh(self.a(x))
            return torch.cat([self.b(h), self.c(h)], -1)

    torch.manual_seed(0)
    model, x = Heads().double(), torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
    small, certificate = td.rank.prune(model, x, eps=1e-8)
    assert small.b.in_features == small.c.in_features == next(iter(certificate.kept.values())) < 30
    assert certificate.error == pytest.approx(relative_change(model, small, x), rel=1e-9)


def test_only_the_named_layers():
    torch.manual_seed(0)
    model, x = mlp([1, 20, 20, 1], "tanh"), torch.linspace(-1, 1, 60)[:, None]
    small, certificate = td.rank.prune(model, x, width=5, layers="3")
    assert certificate.kept == {"3": 5}
    assert small[0].out_features == 20
    small, certificate = td.rank.prune(model, x, width={"1": 4})
    assert certificate.kept == {"1": 4}
    assert small[2].in_features == 4
    with pytest.raises(UnknownNameError, match="unknown layer 'x'"):
        td.rank.prune(model, x, width={"x": 4})


def test_zero_padding_takes_no_constant():
    """A constant cannot move into a bias across zero padding; the measured error must still be the certificate's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Sigmoid(), nn.Conv2d(16, 2, 3, padding=1)).double()
    x = torch.rand(30, 1, 7, 7, dtype=torch.float64)
    small, certificate = td.rank.prune(model, x, width=6)
    assert torch.equal(small[2].bias, model[2].bias)
    assert certificate.error == pytest.approx(relative_change(model, small, x), rel=1e-9)


class TestRefusals:
    def test_hooks(self):
        model = mlp([1, 8, 1])
        model[0].register_forward_hook(lambda *a: None)
        with pytest.raises(UnsupportedError, match="module '0' has forward hooks"):
            td.rank.prune(model, torch.randn(9, 1), eps=1e-3)

    def test_tied_weights(self):
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        model[2].weight = model[0].weight
        with pytest.raises(UnsupportedError, match="are tied"):
            td.rank.prune(model, torch.randn(9, 4), eps=1e-3)

    def test_a_module_used_twice(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 1)

            def forward(self, x):
                return self.b(torch.tanh(self.a(torch.tanh(self.a(x)))))

        with pytest.raises(UnsupportedError, match="uses of the same module"):
            td.rank.prune(Twice(), torch.randn(9, 3), eps=1e-3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "exactly one of eps, width and tolerance"),
            ({"eps": 1e-3, "width": 3}, "exactly one"),
            ({"eps": -1.0}, "eps must be positive"),
            ({"width": 0}, "width must be a positive integer"),
            ({"tolerance": -0.1}, "tolerance must not be negative"),
        ],
    )
    def test_criteria(self, options, message):
        with pytest.raises(ArgumentError, match=message):
            td.rank.prune(mlp([1, 4, 1]), torch.randn(9, 1), **options)


def test_blocks_of_both_kinds_compute():
    for kind in ("basic", "bottleneck"):
        assert ConvBlock(4, 8, kind, stride=2)(torch.zeros(1, 4, 8, 8)).shape == (1, 8, 4, 4)
    with pytest.raises(ArgumentError, match="'basic' or 'bottleneck'"):
        ConvBlock(4, 8, "other")


@pytest.mark.parametrize("criterion", [{"width": True}, {"eps": "a"}, {"tolerance": "b"}])
def test_criteria_of_the_wrong_type_are_named(criterion):
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    with pytest.raises(ArgumentError, match=next(iter(criterion))):
        td.rank.prune(net, torch.randn(20, 2), **criterion)


def test_a_layer_may_be_named_by_its_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 1))
    x = torch.randn(300, 3)
    by_weights, a = td.rank.prune(net, x, eps=1e-3, layers=["2"])
    by_activation, b = td.rank.prune(net, x, eps=1e-3, layers=["3"])
    both, c = td.rank.prune(net, x, eps=1e-3, layers=["2", "3"])
    assert a.kept["2"] == b.kept["3"] == c.kept["2"] < 30
    assert torch.equal(by_weights(x), by_activation(x))
    assert torch.equal(by_weights(x), both(x))

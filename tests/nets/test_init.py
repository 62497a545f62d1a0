"""Initialisers cover the domain as their formulas say."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import theodolite as td
from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.nets import mlp
from theodolite.nets.init import deterministic_weights, uniform_density_weights


def test_transitions_are_equispaced_in_one_dimension():
    net = td.rank.deterministic_init_(mlp([1, 50, 1]).double(), (-1, 1))
    zeros = -net[0].bias / net[0].weight[:, 0]
    torch.testing.assert_close(zeros.sort().values, torch.linspace(-1, 1, 50, dtype=torch.float64))
    assert net[0].weight[0, 0].item() == 25.0  # γ = n/2 on [−1, 1]
    net = td.rank.deterministic_init_(mlp([1, 50, 1]).double(), (0, 8), gamma=3.0)
    assert net[0].weight.unique().tolist() == [3.0]


def test_a_deterministic_layer_starts_at_high_rank():
    torch.manual_seed(0)
    net, x = mlp([1, 50, 1]).double(), torch.linspace(-1, 1, 500, dtype=torch.float64)[:, None]
    default = td.rank.epsilon_rank(td.Lens(net, x).features["1"])
    td.rank.deterministic_init_(net, (-1, 1))
    assert td.rank.epsilon_rank(td.Lens(net, x).features["1"]) > 5 * default


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_planes_in_higher_dimensions_meet_the_ball(dim):
    domain = [(-1.0, 3.0)] * dim
    for w, b in (
        deterministic_weights(64, domain, 2.0),
        uniform_density_weights(64, domain, 2.0, torch.Generator().manual_seed(0)),
    ):
        torch.testing.assert_close(w.norm(dim=1), torch.full((64,), 2.0, dtype=torch.float64))
        center, radius = torch.ones(dim, dtype=torch.float64), 2.0 * dim**0.5
        offset = (w @ center + b) / 2.0
        assert bool(((offset >= -1e-12) & (offset <= radius * (1 + 1e-12))).all())
    first, second = deterministic_weights(16, domain)[0], deterministic_weights(16, domain)[0]
    assert torch.equal(first, second)


def test_uniform_density_is_uniform():
    w, b = uniform_density_weights(20_000, [(-1, 1), (-1, 1)], 1.0, torch.Generator().manual_seed(0))
    angle = torch.atan2(w[:, 1], w[:, 0])
    radius = 2**0.5
    for sample, low, high in ((angle, -torch.pi, torch.pi), (b, 0.0, radius)):
        scaled = ((sample - low) / (high - low)).sort().values
        gap = (scaled - torch.linspace(0, 1, len(scaled), dtype=torch.float64)).abs().max()
        assert float(gap) < 1.95 / len(scaled) ** 0.5  # Kolmogorov–Smirnov, 0.1 %


def test_only_the_first_layer_changes_and_the_global_generator_does_not():
    net = mlp([2, 8, 8, 1])
    rest = [p.clone() for p in list(net.parameters())[2:]]
    rng = torch.random.get_rng_state()
    assert td.rank.uniform_density_init_(net, (-1, 1), generator=torch.Generator().manual_seed(0)) is net
    td.rank.deterministic_init_(net, [(-1, 1), (0, 1)])
    assert all(torch.equal(a, b) for a, b in zip(rest, list(net.parameters())[2:], strict=True))
    assert torch.equal(rng, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: td.rank.deterministic_init_(mlp([2, 4, 1]), [(-1, 1)] * 3), ArgumentError),
        (lambda: td.rank.deterministic_init_(mlp([1, 4, 1]), (1, -1)), ArgumentError),
        (lambda: td.rank.deterministic_init_(mlp([1, 4, 1]), (-1, 1), gamma=0.0), ArgumentError),
        (lambda: td.rank.uniform_density_init_(mlp([1, 4, 1], bias=False), (-1, 1)), UnsupportedError),
        (lambda: td.rank.uniform_density_init_(nn.ReLU(), (-1, 1)), UnsupportedError),
    ],
)
def test_bad_input(call, kind):
    with pytest.raises(kind):
        call()


@pytest.mark.parametrize("domain", ["abc", None])
def test_what_is_no_domain_is_named(domain):
    with pytest.raises(ArgumentError, match="domain must be pairs"):
        td.rank.uniform_density_init_(nn.Linear(2, 4), domain)


def test_a_box_of_the_piecewise_topic_is_a_domain():
    net = nn.Linear(2, 8)
    td.rank.deterministic_init_(net, td.box([-1, 0], [1, 3]))
    weight = net.weight.clone()
    td.rank.deterministic_init_(net, [(-1, 1), (0, 3)])
    assert torch.equal(net.weight, weight)
    with pytest.raises(ArgumentError, match="low < high"):
        td.rank.deterministic_init_(net, td.piecewise.segment([0.0, 0.0], [1.0, 0.0]))


def _old_style(layer):
    # The hook of torch.nn.utils.weight_norm, deprecated but in use: the weight is an attribute that the next forward overwrites.
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        lambda layer: parametrizations.weight_norm(layer, "bias", dim=None),
        lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
        _old_style,
    ],
    ids=["spectral", "weight", "bias", "pruned", "hook"],
)
@pytest.mark.parametrize("init", [td.rank.deterministic_init_, td.rank.uniform_density_init_])
def test_a_weight_that_is_computed_is_refused_before_anything_is_written(wrap, init):
    net = nn.Sequential(wrap(nn.Linear(3, 8)), nn.Tanh(), nn.Linear(8, 2))
    before, rng = {k: v.clone() for k, v in net.state_dict().items()}, torch.random.get_rng_state()
    with pytest.raises(UnsupportedError, match="computed by a parametrization or a hook"):
        init(net, (-1, 1))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(rng, torch.random.get_rng_state())


def test_a_layer_normalised_after_the_initialisation_keeps_its_weights():
    plain = td.rank.deterministic_init_(nn.Linear(3, 8), (-1, 1))
    weight = plain.weight.detach().clone()
    torch.testing.assert_close(parametrizations.weight_norm(plain).weight, weight)

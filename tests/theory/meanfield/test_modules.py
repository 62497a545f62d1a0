"""Critical initialisation of modules with tied, computed or missing weights, norms and branches; measures through attention."""

import importlib
import math

import pytest
import torch
from torch import nn

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError
from theodolite.core.seed import generator


class Tied(nn.Module):
    """Four layers, two weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(60, 60) for _ in range(4))
        self.c.weight, self.d.weight = self.a.weight, self.b.weight

    def forward(self, x):
        for layer in (self.a, self.b, self.c):
            x = torch.tanh(layer(x))
        return self.d(x)


def sigma_w2(weight):
    return float(weight.detach().double().square().mean()) * weight[0].numel()


def test_a_shared_weight_is_set_once_and_reported_as_it_is():
    net = Tied()
    report = mf.critical_init_(net, generator=generator(0))
    assert dict(report.left) == {"c": "its weight is that of a", "d": "its weight is that of b"}
    for row in report.set:
        assert sigma_w2(net.get_submodule(row.module).weight) == pytest.approx(row.sigma_w2, rel=1e-5)


class Language(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(50, 80), nn.Linear(80, 80), nn.Linear(80, 50)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.hidden(self.embed(tokens))))


def test_a_head_tied_to_an_embedding_is_left_with_it():
    net, tokens = Language(tied=True), torch.randint(0, 50, (6, 7), generator=generator(0))
    before = net.embed.weight.detach().clone()
    report = mf.critical_init_(net, x=tokens, generator=generator(0))
    assert torch.equal(before, net.embed.weight)
    assert dict(report.left)["head"] == "its weight is that of embed"


def test_layers_that_read_embeddings_are_set_to_their_scale():
    net, tokens = Language(tied=False), torch.randint(0, 50, (6, 7), generator=generator(0))
    with torch.no_grad():
        net.embed.weight.mul_(3.0)
    report = mf.critical_init_(net, x=tokens, sigma_b2=0.05, generator=generator(0))
    first = next(row for row in report.set if row.module == "hidden")
    power = float(net.embed.weight.detach().square().mean())
    assert first.role == "first"
    assert first.sigma_w2 * power + 0.05 == pytest.approx(mf.critical_line("tanh", 0.05).q_star)


def test_a_weight_that_a_parametrization_computes_is_named():
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
    report = mf.critical_init_(nn.Sequential(layer, nn.Tanh(), nn.Linear(8, 8)), generator=generator(0))
    assert [row.module for row in report.set] == ["2"]
    assert "parametrization" in dict(report.left)["0"]


def test_every_norm_with_weights_is_reset():
    net = nn.Sequential(
        nn.Conv3d(2, 8, 3), nn.InstanceNorm3d(8, affine=True), nn.ReLU(), nn.Flatten(), nn.Linear(64, 9), nn.RMSNorm(9)
    )
    with torch.no_grad():
        net[1].weight.fill_(3.0)
        net[5].weight.fill_(3.0)
    report = mf.critical_init_(net, x=torch.randn(2, 2, 4, 4, 4, generator=generator(0)), generator=generator(0))
    assert not report.left
    assert bool((net[1].weight == 1).all())
    assert bool((net[5].weight == 1).all())


class NormedBlock(nn.Module):
    """Two convolutions, each with its batch norm, beside a skip connection."""

    def __init__(self, n):
        super().__init__()
        self.first, self.second = (nn.Conv2d(n, n, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(n), nn.BatchNorm2d(n)

    def forward(self, x):
        return torch.relu(x + self.norm2(self.second(torch.relu(self.norm1(self.first(x))))))


class GELUBlock(nn.Module):
    """The perceptron of a transformer: norm, widening, GELU, narrowing."""

    def __init__(self, n):
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(n), nn.Linear(n, 3 * n), nn.Linear(3 * n, n)

    def forward(self, x):
        return x + self.narrow(nn.functional.gelu(self.wide(self.norm(x))))


def gradient_growth(blocks, x):
    """Of the squared gradient, from the last block's input back to the first one's."""
    x = x.requires_grad_()
    y = blocks(x)
    probe = torch.randn(y.shape, generator=generator(9))
    (gradient,) = torch.autograd.grad((y * probe).sum(), x)
    return float(gradient.square().mean() / probe.square().mean())


@pytest.mark.parametrize(("block", "shape"), [(NormedBlock, (8, 16, 6, 6)), (GELUBlock, (6, 16))])
def test_gradients_stay_bounded_whatever_the_branch(block, shape):
    blocks = nn.Sequential(*(block(16) for _ in range(24))).train()
    report = mf.critical_init_(blocks, x=torch.randn(shape, generator=generator(1)), generator=generator(0))
    assert report.residual_branches == 24
    assert (
        gradient_growth(blocks, torch.randn(shape, generator=generator(2))) < 12
    )  # e for GELU; e^(1.47²) = 8.6 for ReLU in norms
    ends = [row for row in report.set if row.role == "branch end"]
    assert len(ends) == 24
    assert all(row.sigma_w2 <= 2 / 24 for row in ends)


def test_a_block_that_runs_twice_is_two_branches():
    class Repeated(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(20, 20)

        def forward(self, x):
            for _ in range(5):
                x = x + self.layer(torch.tanh(x))
            return x

    report = mf.critical_init_(Repeated(), sigma_b2=0.05, generator=generator(0))
    assert report.residual_branches == 5
    assert report.set[0].sigma_w2 == pytest.approx(mf.critical_line("tanh", 0.05).sigma_w2 / 5)


def test_a_norm_without_weights_undoes_the_scale_and_is_named():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(20, 20), nn.LayerNorm(20, elementwise_affine=False)

        def forward(self, x):
            return x + self.norm(self.layer(torch.tanh(x)))

    report = mf.critical_init_(Block(), generator=generator(0))
    assert any("is not scaled" in note for note in report.notes)


def test_bad_inputs_of_critical_init():
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    for x in (torch.zeros(0, 4), torch.full((2, 4), math.nan), [[1.0] * 4]):
        with pytest.raises(ArgumentError, match="x must be a tensor of finite inputs"):
            mf.critical_init_(net, x=x)
    with pytest.raises(ArgumentError, match="lazy"):
        mf.critical_init_(nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 2)))


def test_several_activations_are_noted():
    net = nn.Sequential(nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 2))
    assert any("tanh, gelu" in note for note in mf.critical_init_(net, generator=generator(0)).notes)


def test_forward_derivatives_pass_attention(monkeypatch):
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 8, generator=generator(3), dtype=torch.float64)
    exact = mf.jacobian_singular_values(net, x)[:, :3]
    exponents = mf.lyapunov_spectrum([net], x, k=24)
    # one step: the R-diagonal of QR, whose largest entry a singular value bounds
    assert bool((exponents[:, 0] <= exact[:, 0].log() + 1e-9).all())
    assert bool((exponents[:, 0] > exact[:, 0].log() - math.log(24) / 2).all())
    module = importlib.import_module("theodolite.theory.meanfield.measure.jacobian")
    monkeypatch.setattr(module, "DENSE_ENTRIES", 10)
    assert torch.allclose(mf.jacobian_singular_values(net, x, largest=3), exact, rtol=1e-8)


def test_minimal_rnn_init_refuses_what_does_not_fit_and_meets_short_memories():
    with pytest.raises(ArgumentError, match=r"\(n, n\)"):
        mf.minimal_rnn_init_(torch.empty(3, 4), torch.empty(3, 2), torch.empty(3), 10.0)
    weights = torch.empty(40, 40), torch.empty(40, 3), torch.empty(40)
    mu = mf.minimal_rnn_init_(*weights, 0.05, generator=generator(0))
    assert mf.minimal_rnn(1e-4, 1.0, mu, 0.0).time_scale == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("measure", [mf.jacobian_singular_values, mf.jacobian_spectrum])
def test_jacobians_refuse_inputs_that_are_not_finite(measure, bad):
    x = torch.zeros(2, 3)
    x[1, 2] = bad
    with pytest.raises(ArgumentError, match=r"x must be finite, got .* at index \(1, 2\)"):
        measure(nn.Linear(3, 2), x)


@pytest.mark.parametrize("entries", [0, 4_000_000])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_jacobians_do_not_depend_on_the_callers_mode(monkeypatch, mode, entries):
    module = importlib.import_module("theodolite.theory.meanfield.measure.jacobian")
    monkeypatch.setattr(module, "DENSE_ENTRIES", entries)
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)), torch.randn(2, 5)
    values, nodes = mf.jacobian_singular_values(net, x, largest=2), mf.jacobian_spectrum(net, x).nodes
    exact = torch.stack([torch.linalg.svdvals(torch.autograd.functional.jacobian(net, one)) for one in x]).double()
    torch.testing.assert_close(values, exact[:, : values.shape[1]], rtol=1e-5, atol=1e-6)
    with mode():
        made = x.clone()
        for inputs in (x, made):
            assert torch.equal(mf.jacobian_singular_values(net, inputs, largest=2), values)
            assert torch.equal(mf.jacobian_spectrum(net, inputs).nodes, nodes)

import math

import numpy as np
import pytest
import torch
from torch import nn

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning, UnsupportedError
from theodolite.core.seed import generator
from theodolite.maths.activation import identify
from theodolite.nets.architectures import ResidualMLP, mlp
from theodolite.theory.meanfield import measure, predict
from theodolite.theory.meanfield.experiments.simulation import layers, two_inputs


@pytest.mark.parametrize(("phi", "w", "b"), [("tanh", 1.3, 0.05), ("tanh", 2.5, 0.05), ("relu", 2.0, 0.0)])
def test_lengths_of_wide_networks_have_the_predicted_spread(phi, w, b):
    q0, width, depth, reps = 1.0, 100, 8, 60
    lengths = []
    for rep in range(reps):
        g = generator(rep, "spread")
        z = torch.randn(1, width, dtype=torch.float64, generator=g) * q0**0.5
        *_, (_, z) = layers(z, identify(phi), w, b, depth, "gaussian", g)
        lengths.append(float(measure.q_length(z)))
    q = q0
    for _ in range(depth):
        q = mf.q_map(q, phi, w, b)
    sd = math.sqrt(mf.length_variance(phi, w, b, q0, width, depth)[-1])
    assert abs(np.mean(lengths) - q) < 5 * sd / math.sqrt(reps) + 5 * depth * q / width
    assert np.std(lengths) == pytest.approx(sd, rel=0.4 if phi == "relu" else 0.3)


def test_measured_and_predicted_slopes_pair_up():
    g, width = generator(0, "pair"), 1500
    w, b = 2.5, 0.05
    q, c = mf.q_star("tanh", w, b), 0.3
    z = two_inputs(width, q, c, g)
    (weight, after), = layers(z, identify("tanh"), w, b, 1, "gaussian", g)  # fmt: skip
    assert float(measure.correlation(z)) == pytest.approx(c, abs=1e-12)
    assert float(measure.chi_1(z, weight, torch.tanh)) == pytest.approx(predict.chi_1("tanh", w, b), rel=4 * 2 / math.sqrt(width))
    assert float(measure.chi(z, weight, torch.tanh)) == pytest.approx(predict.chi(c, "tanh", w, b), rel=4 * 2 / math.sqrt(width))
    assert float(measure.correlation(after)) == pytest.approx(mf.c_map(c, "tanh", w, b), abs=4 * 1.5 / math.sqrt(width))


def test_leading_dimensions_and_numpy():
    z = torch.randn(3, 5, 7, dtype=torch.float64, generator=generator(1))
    stacked = measure.correlation(z)
    assert torch.allclose(stacked, torch.stack([measure.correlation(one) for one in z]))
    assert isinstance(measure.q_length(z.numpy()), np.ndarray)


def test_jacobian_of_a_module_against_autograd_and_the_product():
    net = mlp([6, 9, 9, 4], "tanh", dtype=torch.float64)
    x = torch.randn(2, 6, dtype=torch.float64, generator=generator(2))
    values = mf.jacobian_singular_values(net, x)
    for row, one in zip(values, x, strict=True):
        exact = torch.autograd.functional.jacobian(net, one)
        assert torch.allclose(row, torch.linalg.svdvals(exact), atol=1e-13)
    pairs, h = [], x[0]
    for layer in net:
        if isinstance(layer, nn.Linear):
            z = layer(h)
            h = torch.tanh(z)
            pairs.append((layer.weight.detach(), (1 - h**2).detach()))
    pairs[-1] = (pairs[-1][0], torch.ones(4, dtype=torch.float64))
    *_, last = mf.jacobian_products(pairs)
    assert torch.allclose(torch.linalg.svdvals(last.matrix) * math.exp(last.log_scale), values[0], atol=1e-12)


def test_large_jacobian_by_lanczos(monkeypatch):
    import importlib

    module = importlib.import_module("theodolite.theory.meanfield.measure.jacobian")
    net = mlp([30, 40, 25], "tanh", dtype=torch.float64)
    x = torch.randn(1, 30, dtype=torch.float64, generator=generator(3))
    exact = mf.jacobian_singular_values(net, x)[0, :5]
    monkeypatch.setattr(module, "DENSE_ENTRIES", 10)
    assert torch.allclose(mf.jacobian_singular_values(net, x, largest=5)[0], exact, rtol=1e-8)


def test_jacobian_spectrum_by_stochastic_lanczos(monkeypatch):
    import importlib

    module = importlib.import_module("theodolite.theory.meanfield.measure.jacobian")
    net = mlp([30, 40, 25], "tanh", dtype=torch.float64)
    x = torch.randn(2, 30, dtype=torch.float64, generator=generator(3))
    squares = mf.jacobian_singular_values(net, x).square()
    exact = mf.jacobian_spectrum(net, x)
    assert exact.trace(lambda v: v).value == pytest.approx(float(squares.sum(1).mean()), rel=1e-12)
    monkeypatch.setattr(module, "DENSE_ENTRIES", 10)
    found = mf.jacobian_spectrum(net, x, probes=10, steps=25)
    for power in (1, 2, 3):
        estimate = found.trace(lambda v, p=power: v**p)
        assert abs(estimate.value - float((squares**power).sum(1).mean())) < 4 * estimate.standard_error
    assert float(found.nodes.max()) == pytest.approx(float(squares.max()), rel=1e-6)


def test_tokens_have_no_jacobian():
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(UnsupportedError, match="embeddings"):
        mf.jacobian_singular_values(net, torch.zeros(2, 3, dtype=torch.long))


def test_lyapunov_exponents_reach_below_rounding():
    g = generator(4)
    net = nn.Sequential(*(nn.Linear(8, 8, bias=False, dtype=torch.float64) for _ in range(300)))
    scales = torch.logspace(0, -2, 8, dtype=torch.float64)
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(torch.diag(scales) @ torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=g))[0])
    rates = mf.lyapunov_spectrum(net, torch.zeros(1, 8))
    # the determinant is known exactly: the exponents sum to ln of the product of the scales
    assert float(rates.sum()) == pytest.approx(float(scales.log().sum()), abs=1e-9)
    assert float(rates[-1]) * 300 < -700  # e^−700 below the leading direction and still seen


def test_lyapunov_spectrum_of_any_module_counts_layers():
    net = mlp([5, 5, 5, 5], "tanh", dtype=torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64, generator=generator(8))
    found = mf.lyapunov_spectrum(net, x)
    for row, one in zip(found, x, strict=True):
        # three layers, whose log determinants add up whatever the estimate of single exponents
        jacobian = torch.autograd.functional.jacobian(net, one)
        assert float(row.sum()) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]) / 3, rel=1e-10)
    residual = ResidualMLP(4, 6, 5).double()
    one = torch.randn(1, 4, dtype=torch.float64, generator=generator(9))
    top = mf.lyapunov_spectrum(residual, one, k=1)
    assert top.shape == (1,)
    assert bool(top.isfinite())
    assert torch.equal(
        mf.lyapunov_spectrum([net[0], torch.tanh], x[:1]), mf.lyapunov_spectrum(nn.Sequential(net[0], nn.Tanh()), x[:1])
    )
    with pytest.raises(UnsupportedError, match="sequence of callables"):
        mf.lyapunov_spectrum(3, one)
    with pytest.raises(UnsupportedError, match="embeddings"):
        mf.lyapunov_spectrum(net, torch.zeros(1, 5, dtype=torch.long))


def test_gradient_norms():
    gradients = {"a.weight": torch.full((2, 2), 2.0), "a.bias": torch.ones(2), "b.weight": torch.ones(1, 2)}
    assert mf.gradient_norms(gradients).tolist() == [16.0, 2.0]
    with pytest.raises(ArgumentError):
        mf.gradient_norms({"a.bias": torch.ones(2)})


def test_delta_orthogonal_preserves_norms_exactly():
    g = generator(5)
    kernel = nn.Parameter(torch.empty(12, 8, 3, 3, dtype=torch.float64))
    mf.delta_orthogonal_(kernel, 1.5, g)
    x = torch.randn(2, 8, 7, 7, dtype=torch.float64, generator=g)
    y = nn.functional.conv2d(x, kernel, padding=1)
    assert torch.allclose(y.norm(), 1.5 * x.norm(), rtol=1e-13)
    for bad in (torch.empty(4, 8, 3, 3), torch.empty(8, 8, 2, 2), torch.empty(8, 8)):
        with pytest.raises(ArgumentError):
            mf.delta_orthogonal_(bad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, "2"])
def test_a_number_that_is_not_finite_changes_no_weight(bad):
    matrix, kernel = torch.ones(4, 4), torch.ones(4, 4, 3)
    for call, name in (
        (lambda: mf.orthogonal_(matrix, gain=bad), "gain"),
        (lambda: mf.delta_orthogonal_(kernel, gain=bad), "gain"),
        (lambda: mf.scale_residual_branches_([matrix], growth=bad), "growth"),
        (lambda: mf.scale_residual_branches_([matrix], branch_gain2=bad), "branch_gain2"),
    ):
        with pytest.raises(ArgumentError, match=f"{name} must be a finite real number, got"):
            call()
    assert bool((matrix == 1).all())
    assert bool((kernel == 1).all())


def test_a_branch_that_cannot_be_scaled_leaves_the_others_alone():
    matrix = torch.ones(2, 2)
    with pytest.raises(ArgumentError, match="weights must be floating point, got one of torch.int64"):
        mf.scale_residual_branches_([matrix, torch.ones(2, 2, dtype=torch.long)])
    assert bool((matrix == 1).all())


def test_haar_is_not_biased_by_qr_signs():
    traces = torch.stack(
        [mf.orthogonal_(torch.empty(3, 3, dtype=torch.float64), 1.0, generator(i, "haar")).trace() for i in range(400)]
    )
    assert abs(float(traces.mean())) < 4 / math.sqrt(400)  # Haar: mean 0, variance 1


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("act", ["tanh", "relu", "gelu"])
def test_critical_init_gives_unit_slope(act, weights):
    net = mlp([300] * 6, act)
    report = mf.critical_init_(net, weights=weights, generator=generator(6))
    rows = [r for r in mf.propagate(net, torch.randn(6, 300, generator=generator(7))) if r.quantity == "chi_1"]
    assert [r.role for r in report.set] == ["first", *["hidden"] * 3, "readout"]
    assert all(abs(r.predicted - 1) < 0.1 for r in rows)
    assert all(abs(r.measured - 1) < 0.25 for r in rows)


def test_critical_init_scales_residual_branches_and_names_what_it_leaves():
    report = mf.critical_init_(ResidualMLP(4, 16, 9), sigma_b2=0.05, generator=generator(0))
    ends = [r for r in report.set if r.role == "branch end"]
    assert len(ends) == report.residual_branches == 8
    assert ends[0].sigma_w2 == pytest.approx(mf.critical_line("tanh", 0.05).sigma_w2 / 8)
    encoder = mf.critical_init_(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), generator=generator(0))
    assert "self_attn" in {name for name, _ in encoder.left}
    assert "left alone" in str(encoder)


def test_critical_init_refuses():
    with pytest.raises(NumericalError, match="sigma_b2=0"):
        mf.critical_init_(mlp([4, 4, 4], "relu"), sigma_b2=0.1)
    with pytest.raises(UnsupportedError, match="no nn.Linear"):
        mf.critical_init_(nn.LSTM(3, 4))
    with pytest.raises(ArgumentError, match="weights"):
        mf.critical_init_(mlp([4, 4, 4]), weights="haar")
    with pytest.warns(TheodoliteWarning, match="unstable"):
        mf.critical_init_(mlp([4, 4, 4], "gelu"), sigma_b2=0.05)


def test_residual_scale_bounds_growth():
    for blocks in (1, 10, 1000):
        assert (1 + mf.residual_scale(blocks, 3.0, 0.7) ** 2 * 0.7) ** blocks == pytest.approx(3.0)


def test_propagation_predicts_and_leaves_the_model_alone():
    net = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1, stride=2), nn.GELU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 300), nn.LayerNorm(300), nn.Tanh(), nn.Linear(300, 200),
    ).train()  # fmt: skip
    before = {k: v.clone() for k, v in net.state_dict().items()}
    result = mf.propagate(net, torch.randn(4, 1, 8, 8, generator=generator(8)))
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not result.flags
    assert {r.quantity for r in result} == {"q_length", "correlation", "chi_1"}
    assert all(abs(r.z) < 5 for r in result if r.quantity != "chi_1")
    for row in result:
        for name in ("layer", "quantity", "measured", "predicted", "predicted_sd", "z", "verdict", "advice"):
            assert hasattr(row, name)


def test_propagation_flags_what_it_does_not_know():
    net = nn.Sequential(nn.Linear(10, 200), nn.Softmax(-1), nn.Linear(200, 5))
    result = mf.propagate(net, torch.randn(4, 10, generator=generator(9)))
    assert any("softmax" in reason for _, reason in result.flags)


def test_propagation_tells_chaos():
    net = mlp([100, 400, 400, 400, 10], "tanh")
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, math.sqrt(3.0 / layer.in_features), generator=generator(10))
                layer.bias.normal_(0, math.sqrt(0.05), generator=generator(11))
    rows = [r for r in mf.propagate(net, torch.randn(8, 100, generator=generator(12))) if r.quantity == "chi_1"]
    # the first layer's variance has not come down to q* yet
    assert [r.verdict for r in rows[1:]] == ["chaotic", "chaotic"]
    assert "critical at σ_w² = 1.7" in rows[1].advice


def test_minimal_rnn_remembers_as_long_as_asked():
    w, v, b = (torch.empty(s, dtype=torch.float64) for s in ((50, 50), (50, 50), (50,)))
    mu = mf.minimal_rnn_init_(w, v, b, 30.0, generator=generator(0))
    gate = torch.sigmoid(mu + torch.randn(400_000, dtype=torch.float64, generator=generator(1)))
    assert -1 / math.log(float(gate.square().mean())) == pytest.approx(30.0, rel=0.01)


class Gated(nn.Module):
    """One branch times the sigmoid of another, then an operation that returns a pair."""

    def __init__(self, width):
        super().__init__()
        self.value, self.gate, self.out = nn.Linear(20, width), nn.Linear(20, width), nn.Linear(width, width)

    def forward(self, x):
        product = self.value(x) * torch.sigmoid(self.gate(x))
        return self.out(torch.sort(product, dim=-1).values)


def test_products_and_pairs_are_sampled_and_flagged():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Gated(2000)
    x = torch.randn(3, 20, generator=generator(0))
    found = mf.propagate(net, x)
    flags = dict(found.flags)
    assert all("sampled by Monte Carlo" in reason for reason in flags.values())
    assert len(flags) == 2
    rows = {(row.layer, row.quantity): row for row in found}
    # second moments of independent factors multiply
    value, gate = rows["value", "q_length"], rows["gate", "q_length"]
    kernel = value.predicted * mf.q_map(gate.predicted, "sigmoid", 1.0, 0.0)
    bias, weight = net.out.bias.double(), net.out.weight.double()
    expected = float((bias**2).mean().detach() + (weight**2).mean().detach() * 2000 * kernel)
    assert rows["out", "q_length"].predicted == pytest.approx(expected, rel=0.05)


def test_prelu_is_one_function_while_its_channels_agree():
    net = nn.Sequential(nn.Linear(6, 50), nn.PReLU(50), nn.Linear(50, 50))
    report = mf.critical_init_(net, generator=generator(0))
    assert report.points["prelu"].sigma_w2 == pytest.approx(2 / (1 + 0.25**2), rel=1e-12)
    assert not mf.propagate(net, torch.randn(3, 6, generator=generator(1))).flags


def test_critical_init_leaves_what_jumps_and_honours_a_bias_of_zero():
    net = nn.Sequential(nn.Linear(4, 8), nn.Hardshrink(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    report = mf.critical_init_(net, generator=generator(0))
    assert [name for name, reason in report.left if "jumps" in reason] == ["0", "2"]
    assert [row.module for row in report.set] == ["4"]
    with pytest.raises(UnsupportedError, match="jumps"):
        mf.critical_init_(nn.Sequential(nn.Linear(4, 8), nn.Hardshrink(), nn.Linear(8, 2)))
    rows = mf.critical_init_(mlp([4, 8, 8, 2], "tanh"), sigma_b2=0.0, generator=generator(0)).set
    assert [row.sigma_b2 for row in rows] == [0.0] * 3
    assert rows[1].sigma_w2 == pytest.approx(1.0)
    with pytest.raises(ArgumentError, match=r"nn\.Module"):
        mf.critical_init_(3)

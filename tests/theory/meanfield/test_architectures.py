import math

import numpy as np
import pytest
import torch

import theodolite as td
from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.theory.meanfield import predict
from theodolite.theory.meanfield.experiments.cells import RandomCell, perturbation_growth
from theodolite.theory.meanfield.predict.cell_state import CellState
from theodolite.theory.meanfield.predict.gates import gate_rule, sigmoid
from theodolite.theory.meanfield.predict.softmax_moments import softmax_moments


def assert_close(value, reference, digits=10):
    assert value == pytest.approx(reference, rel=10.0**-digits, abs=10.0**-digits)


# -- residual, convolutional, normalised -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "length", "growth"), [(10, 6.77679836, 2.643206353), (100, 84.44947899, 10.54554854), (400, 367.5413945, 21.617635)]
)
def test_resnet_of_tanh(depth, length, growth):
    found = td.meanfield.resnet("tanh", 1.0, 0.0, depth=depth, p0=1.0)
    assert_close(found.length[-1], length, 8)
    assert_close(found.log_gradient_growth[-1], growth, 8)
    equal = td.meanfield.resnet("tanh", 1.0, 0.0, depth=depth, p0=1.0, c0=1.0)
    np.testing.assert_allclose(equal.correlation, 1.0, rtol=1e-12)


def test_full_resnet():
    found = predict.resnet("tanh", 2.0, 0.5, 1.0, 0.1, depth=100, c0=1.0, kind="frn")
    z = np.linspace(-9, 9, 4001)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    p, growth = 1.0, 0.0
    for _ in range(100):
        h = math.sqrt(2.0 * p + 0.5) * z
        growth += math.log1p(2.0 * float(weight @ np.cosh(h) ** -4.0))
        p += float(weight @ np.tanh(h) ** 2) + 0.1
    assert_close(found.length[-1], p)
    assert_close(p, 100.418165, 7)
    assert_close(found.log_gradient_growth[-1], growth)
    relu = predict.resnet("relu", 1.0, 0.0, 1.0, 0.0, depth=10, kind="frn")
    assert_close(relu.gradient_growth[-1], 1.5**10)
    scaled = predict.resnet("relu", 2.0, 0.0, 0.01, 0.0, depth=100, kind="frn")
    assert_close(scaled.gradient_growth[-1], 1.01**100)


@pytest.mark.parametrize("depth", [3, 50])
def test_optimal_variance_meets_its_target(depth):
    w = predict.optimal_variance(depth, "tanh", log_growth=2.0)
    assert_close(predict.resnet("tanh", w, depth=depth).log_gradient_growth[-1], 2.0, 8)
    assert_close(predict.optimal_variance(depth, "relu", log_growth=2.0, kind="frn"), 2 * math.expm1(2.0 / depth), 8)
    with pytest.raises(NumericalError, match="no sigma_w2"):
        predict.optimal_variance(depth, "tanh", log_growth=1.0, sigma_v2=0.0, kind="frn")


def test_convolution_and_normalisation():
    modes = predict.kernel_modes(3, 8)
    np.testing.assert_allclose(modes[:4], [1, 0.804737854124, 1 / 3, -0.138071187458], atol=1e-12)
    growth = {"relu": 1.466942206924, "tanh": 1.177807232, "gelu": 1.318844971, "hardtanh": 1.322891542}
    for name, value in growth.items():
        assert_close(td.meanfield.batchnorm_gradient_growth(name), value, 9)
    for batch in (6, 16, 64):
        assert_close(predict.batchnorm_gradient_growth(torch.nn.Identity(), batch), (batch - 2) / (batch - 3))
    assert_close(td.meanfield.layernorm_chi("gelu"), 1.072031598, 9)


# -- recurrent ---------------------------------------------------------------------------------------------------------------


def test_vanilla_rnn_reference_and_signs():
    found = td.meanfield.vanilla_rnn(torch.erf, 0.6, 0.4, 0.0, 0.5)
    assert_close(found.q_star, 0.624991762256)
    assert_close(found.c_star, 0.487685294905)
    assert_close(found.chi_1, 0.408347020583)
    opposite = td.meanfield.vanilla_rnn("erf", 0.6, 0.4, 0.0, -0.5)
    assert_close(opposite.c_star, -found.c_star)  # odd network
    assert predict.vanilla_rnn("erf", 0.6, 0.4, 0.0, -1.0).c_star == -1.0
    assert predict.vanilla_rnn("tanh", 1.1, 0.1, 0.2, 1.0).c_star == 1.0
    chaotic = predict.vanilla_rnn("tanh", 6.0, 0.1, 0.0, 0.9)
    assert 0 < chaotic.c_star < 0.9
    assert chaotic.chi < 1 < chaotic.chi_1
    with pytest.raises(ArgumentError, match="input_correlation"):
        predict.vanilla_rnn("erf", 0.6, 0.4, 0.0, 1.5)


def test_vanilla_rnn_with_tied_weights():
    g = torch.Generator().manual_seed(0)
    n = 600
    w, v = (torch.randn(n, n, dtype=torch.float64, generator=g) * math.sqrt(s / n) for s in (0.6, 0.4))
    e, q, c = torch.zeros(2, n, dtype=torch.float64), [], []
    for step in range(80):
        x = torch.randn(2, n, dtype=torch.float64, generator=g)
        x[1] = 0.5 * x[0] + math.sqrt(0.75) * x[1]
        e = torch.erf(e) @ w.T + x @ v.T
        if step > 10:
            q.append(float(e.square().mean()))
            c.append(float((e[0] * e[1]).mean()))
    theory = predict.vanilla_rnn("erf", 0.6, 0.4, 0.0, 0.5)
    assert np.mean(q) == pytest.approx(theory.q_star, rel=0.03)
    assert np.mean(c) == pytest.approx(theory.c_star * theory.q_star, rel=0.06)


@pytest.mark.parametrize(("mu", "q", "chi"), [(0, 0.44039575070106, 0.36454518095438), (2, 0.15936857399494, 0.74439785865202)])
def test_minimal_rnn_reference(mu, q, chi):
    found = td.meanfield.minimal_rnn(1.0, 1.0, mu, 0.0)
    assert_close(found.q_star, q, 12)
    assert_close(found.chi, chi, 12)
    assert_close(found.time_scale, -1 / math.log(chi), 9)


def test_minimal_rnn_against_adaptive_quadrature():
    from scipy.integrate import quad

    found = predict.minimal_rnn(1.0, 1.0, 6.0, 0.0)
    deviation = math.sqrt(found.q_star + 1.0)

    def average(f):
        weight = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return quad(
            lambda z: f(1 / (1 + math.exp(-6.0 - deviation * z))) * weight(z), -12, 12, epsabs=0, epsrel=1e-12, limit=400
        )[0]

    assert_close(found.q_star, average(lambda u: (1 - u) ** 2) / (1 - average(lambda u: u * u)), 8)
    assert_close(found.chi, average(lambda u: u * u) + (found.q_star + 1) * average(lambda u: (u - u * u) ** 2), 10)


@pytest.mark.parametrize("scale", [3.0, 1e3, 1e6])
def test_bias_for_a_memory(scale):
    mu = td.meanfield.minimal_rnn_bias(scale, 0.2, 1.0)
    assert predict.minimal_rnn(0.2, 1.0, mu, 0.0).time_scale == pytest.approx(scale, rel=1e-6)
    mu = td.meanfield.gru_bias(scale, 0.2, 1.0)
    assert predict.gru(0.2, 1.0, mu).time_scale == pytest.approx(scale, rel=1e-5)


def test_law_of_the_cell_against_samples():
    gates = (gate_rule(1.0, 1.5), gate_rule(0.3, 1.2), gate_rule(0.0, 1.1))
    state, rng, n = CellState(*gates), np.random.default_rng(1), 100_000
    c = np.zeros(n)
    for _ in range(40):
        f, i, g = (m + math.sqrt(v) * rng.standard_normal(n) for m, v in ((1.0, 1.5), (0.3, 1.2), (0.0, 1.1)))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    for theory, sample in (
        (state.second, c**2),
        (state.fourth, c**4),
        (state.tanh2, np.tanh(c) ** 2),
        (state.sech4, np.cosh(c) ** -4.0),
    ):
        assert abs(theory - sample.mean()) < 4 * sample.std() / math.sqrt(n)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_random_cells_are_those_of_torch(kind):
    g, n = torch.Generator().manual_seed(0), 7
    cell = RandomCell(kind, 1.3, 0.7, 0.9)
    recurrent, inputs = cell.weights(n, g)
    h, c, x = (torch.randn(3, n, dtype=torch.float64, generator=g) for _ in range(3))
    found = cell.step((h, c), x, (recurrent, inputs))
    reference = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[kind](n, n, dtype=torch.float64)
    with torch.no_grad():
        reference.weight_hh.copy_(recurrent)
        reference.weight_ih.copy_(inputs)
        for bias in (reference.bias_hh, reference.bias_ih):
            bias.zero_()
        reference.bias_ih[n : 2 * n] = 0.9  # the second gate: f, z
        expected = reference(x, (h, c)) if kind == "lstm" else (reference(x, h), c)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gated_networks_with_fresh_weights(kind):
    theory = getattr(td.meanfield, kind)(1.0, 1.0, 1.0)
    cell, g = RandomCell(kind, 1.0, 1.0, 1.0), torch.Generator().manual_seed(3)
    q, chi = perturbation_growth(cell, width=250, sequences=8, steps=(17, 33), tied=False, g=g)
    assert q == pytest.approx(theory.q_star, rel=0.04)
    assert chi == pytest.approx(theory.chi, rel=0.03)


def test_gated_networks_without_recurrence():
    # Nothing comes back through h: χ is what the memory gate keeps.
    for network in (predict.lstm(0.0, 1.0, 2.0), predict.gru(0.0, 1.0, 2.0), predict.minimal_rnn(0.0, 1.0, 2.0, 0.0)):
        assert_close(network.chi, network.gate, 12)
    assert predict.lstm(0.5, 0.0).q_star == 0.0
    with pytest.raises(ArgumentError, match="4"):
        predict.lstm([1.0, 2.0], 1.0)
    with pytest.raises(ArgumentError, match="mu_b"):
        predict.gru(1.0, 1.0, [1.0, 2.0, 3.0])


# -- attention ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "tau", "rho"), [(4, 1.0, 0.5), (2, 9.0, 0.9), (16, 2.0, -0.06), (8, 0.01, 0.99)])
def test_softmax_moments_against_samples(n, tau, rho):
    rng, size = np.random.default_rng(0), 60_000
    first, second = rng.standard_normal((2, size, n))
    logits = math.sqrt(tau) * np.stack([first, rho * first + math.sqrt(1 - rho**2) * second])
    a, b = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    x, s = (a * b).sum(1), (a * a).sum(1)
    samples = [s, s - 2 * (a**3).sum(1) + s**2, x, x - (a * a * b).sum(1) - (a * b * b).sum(1) + x**2]
    found = softmax_moments(n, tau, rho)
    for theory, sample in zip((found.overlap, found.spread, found.cross_overlap, found.cross_spread), samples, strict=True):
        assert abs(theory - sample.mean()) < 4 * sample.std() / math.sqrt(size)
    same = softmax_moments(n, tau, 1.0)
    assert_close(same.cross_overlap, same.overlap, 9)
    assert_close(same.cross_spread, same.spread, 9)


def _block(x, settings, g, heads=12, keys=64):
    d = x.shape[1]
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=g) / math.sqrt(d)
    norm = (lambda x: x / x.square().mean(1, keepdim=True).sqrt()) if settings["norm"] == "pre" else (lambda x: x)
    y, out = norm(x), torch.zeros_like(x)
    for _ in range(heads):
        query, key = y @ draw(keys, d).T, y @ draw(keys, d).T
        weights = torch.softmax(math.sqrt(settings["sigma_a2"] / keys) * query @ key.T, 1)
        out = out + weights @ y @ draw(d, d).T * math.sqrt(settings["sigma_v2"] / heads)
    x = settings["residual"] * x + settings["branch"] * out
    hidden = torch.relu(norm(x) @ draw(d, d).T)
    return settings["residual"] * x + settings["branch"] * math.sqrt(settings["sigma_m2"]) * hidden @ draw(d, d).T


@pytest.mark.parametrize(
    ("settings", "c0"),
    [
        ({"sigma_v2": 1.0, "sigma_a2": 1.0, "sigma_m2": 2.0, "residual": 1.0, "branch": 1.0, "norm": "pre"}, 0.2),
        ({"sigma_v2": 1.5, "sigma_a2": 2.0, "sigma_m2": 1.0, "residual": 1.0, "branch": 0.7, "norm": "none"}, 0.0),
    ],
)
def test_attention_against_random_transformers(settings, c0, d=256, n=8, depth=2, seeds=6):
    theory = td.meanfield.attention(depth, n, c0=c0, **settings)
    rows = []
    for seed in range(seeds):
        g = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(d, n, dtype=torch.float64, generator=g))[0].T * math.sqrt(d)
        gram = (1 - c0) * torch.eye(n, dtype=torch.float64) + c0
        x = (torch.linalg.cholesky(gram) @ basis).requires_grad_()
        y = x
        for _ in range(depth):
            y = _block(y, settings, g)
        (gradient,) = torch.autograd.grad((y * torch.randn(n, d, dtype=torch.float64, generator=g)).sum(), x)
        product = y.detach() @ y.detach().T / d
        q = float(product.diagonal().mean())
        rows.append([q, (float(product.sum()) / n - q) / (n - 1), float(gradient.square().mean())])
    mean, error = np.mean(rows, 0), np.std(rows, 0, ddof=1) / math.sqrt(seeds)
    q = theory.length[-1]
    expected = np.array([q, q * theory.correlation[-1], math.exp(theory.log_gradient_growth.sum())])
    assert (np.abs(mean - expected) < 4 * error + 0.02 * expected).all(), (mean, expected, error)


def test_attention_limits():
    # Uniform weights: n tokens collapse to their mean, and a gradient is cut to 1/n once, not in every block.
    flat = predict.attention(5, 4, sigma_a2=0.0, activation="identity", sigma_m2=1.0, residual=0.0, norm="none")
    np.testing.assert_allclose(flat.correlation[1:], 1.0, atol=1e-10)
    assert_close(flat.length[-1], 0.25)
    assert_close(flat.log_gradient_growth.sum(), -math.log(4), 9)
    # Without attention, the residual ReLU network
    plain = predict.attention(7, 4, sigma_v2=0.0, sigma_m2=0.5, norm="none", c0=0.3)
    other = predict.resnet("relu", 1.0, 0.0, 0.5, 0.0, depth=7, c0=0.3, kind="frn")
    np.testing.assert_allclose(plain.length, other.length)
    np.testing.assert_allclose(plain.correlation, other.correlation)
    assert_close(plain.log_gradient_growth.sum(), other.log_gradient_growth[-1])
    for bad in ({"tokens": 1}, {"c0": -0.5}, {"norm": "post"}, {"sigma_a2": -1.0}, {"depth": 0}):
        with pytest.raises(ArgumentError):
            predict.attention(**{"depth": 3, "tokens": 8, **bad})


# -- experiments -------------------------------------------------------------------------------------------------------------

TINY = {
    "ResnetGradients": {"depth": 24, "width": 100, "seeds": 2},
    "ResnetOptimalVariance": {"sigma_w2": (1e-3, 0.1, 10.0), "depths": (2, 4), "width": 16, "steps": (4, 8), "seeds": 1},
    "RecurrentMemory": {"gate_bias": (0.0, 2.0), "vanilla_sigma_w2": (0.5, 1.2), "width": 60, "sequences": 2, "steps": (8, 10)},
    "BatchnormGradients": {"activations": ("relu",), "batches": (6, 16), "depth": 14, "width": 60, "seeds": 2},
}


@pytest.mark.parametrize("name", sorted(TINY))
def test_experiment_runs_verifies_and_draws(name):
    import matplotlib.pyplot as plt

    from theodolite.core.registry import claims
    from theodolite.theory.meanfield import experiments

    cls = getattr(experiments, name)
    record = cls.with_settings("small", **TINY[name]).run()
    verification = record.verify()
    assert len(verification) == len(claims(cls.name)) > 0
    assert not any("could not be carried out" in verdict.evidence for _, verdict in verification)
    assert record.figure() is not None
    plt.close("all")


@pytest.mark.parametrize(
    ("theory", "measured", "widest", "verdict"),
    [(1.01, 1.02, 1.01, "holds"), (1.01, 0.99, 1.01, "holds under"), (1.01, 0.99, 0.999, "fails"), (0.9, 1.1, 1.1, "fails")],
)
def test_growth_below_one_is_finite_width_only_if_wider_networks_show_it(theory, measured, widest, verdict):
    import xarray as xr

    from theodolite.theory.meanfield.claims.architectures import batchnorm_explodes

    spread = 1e-3 * np.arange(-1, 2)
    data = xr.Dataset(
        {
            "growth": (("activation", "batch"), [[theory]]),
            "measured": (("activation", "batch", "seed"), [[measured + spread]]),
            "weakest": (("width", "seed"), [measured + spread, widest + spread]),
        },
        coords={"activation": ["identity"], "batch": [96], "width": [8, 80], "seed": range(3)},
    )
    assert batchnorm_explodes(data).word == verdict

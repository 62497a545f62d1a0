"""The compiled normalised descent, and back-propagation of deeper networks, against autograd in the original coordinates."""

import numpy as np
import pytest
import torch

from theodolite.theory.condensation.experiments.flow import Start, draw_start, train_many
from theodolite.theory.condensation.experiments.flow_kernel import descend
from theodolite.theory.condensation.experiments.layerwise import _forward

X = np.stack([[-1.0, -0.4, 0.3, 1.0], np.ones(4)], 1)
Y = np.array([0.5, -0.3, 0.8, -0.2])


def by_autograd(a0, v0, gamma, prime, growth, steps):
    """Gradient descent on f = (1/α) Σ a relu(w·x) with its own β₁, β₂: a step of η in normalised time is η β₁β₂ here."""
    m = len(a0)
    alpha, beta1, beta2 = 1.0, float(m) ** (-(gamma + prime) / 2), float(m) ** (-(gamma - prime) / 2)
    a = torch.from_numpy(beta1 * a0).requires_grad_()
    w = torch.from_numpy(beta2 * v0.T).clone().requires_grad_()
    start_a, start_w = a.detach().clone(), w.detach().clone()
    x, y, n = torch.from_numpy(X), torch.from_numpy(Y), len(Y)
    for _ in range(steps):
        h = torch.relu(w @ x.T)
        e = a @ h / alpha - y
        grad_a, grad_w = torch.autograd.grad(e.square().sum() / (2 * n), (a, w))
        with torch.no_grad():
            mask = (h > 0).double()
            hidden, outer = h.square().sum() / beta2**2, (a.square() @ mask @ x.square().sum(1)) / beta1**2
            kappa, ratio, error = beta1 * beta2 / alpha, beta1 / beta2, e.square().sum()
            eta = n / (kappa**2 * (hidden / ratio + ratio * outer))
            eta = min(eta, growth * a.norm() / beta1 / (hidden * error).sqrt() * n * ratio / kappa)
            eta = min(eta, growth * w.norm() / beta2 / (outer * error).sqrt() * n / (kappa * ratio))
            a -= eta * beta1 * beta2 * grad_a  # T = t/(β₁β₂)
            w -= eta * beta1 * beta2 * grad_w
    return float((w.detach() - start_w).norm() / start_w.norm()), float((a.detach() - start_a).norm() / start_a.norm())


@pytest.mark.parametrize(("gamma", "prime"), [(0.5, 0.0), (1.0, -0.5), (1.5, 0.25), (0.75, 0.75), (2.0, 0.0)])
def test_kernel_is_gradient_descent_of_the_network(gamma, prime):
    start = draw_start(130, 2, 0, antisymmetric=True)  # not a multiple of the block
    m = len(start.a)
    got = descend(start.a, start.v, X, Y, float(m) ** -gamma, float(m) ** -prime, 0.1, 0.0, 40)
    expected = by_autograd(start.a, start.v, gamma, prime, 0.1, 40)
    assert got[:2] == pytest.approx(expected, rel=1e-8)
    assert got[2] == 40


def test_displacements_below_rounding_are_resolved():
    start = draw_start(4096, 2, 1, antisymmetric=True)
    distance, _, _, _, done = descend(start.a, start.v, X, Y, 4096**-0.0, 4096**-2.0, 0.1, 1e-4, 50_000)
    assert 0 < distance < 1e-12
    assert done


def test_start_is_nested_and_antisymmetric():
    small, large = draw_start(8, 2, 3, True), draw_start(16, 2, 3, True)
    assert np.array_equal(small.v[:, :4], large.v[:, :4])
    assert np.array_equal(small.a[:4], -small.a[4:])
    assert np.array_equal(small.v[:, :4], small.v[:, 4:])


def test_threads_do_not_change_results():
    jobs = [(draw_start(64, 2, s, True), 0.1, 1.0) for s in range(4)]
    one = train_many(jobs, X, Y, 0.1, 1e-3, 500, 1)
    assert one == train_many(jobs, X, Y, 0.1, 1e-3, 500, 2)
    alone = train_many(jobs[2:3], X, Y, 0.1, 1e-3, 500, 1)
    assert alone[0] == one[2]


def test_a_dead_network_gives_up():
    start = Start(np.array([1.0]), np.array([[0.0], [-1.0]]))  # relu(−1) for every input
    result = train_many([(start, 0.5, 1.0)], X, Y, 0.1, 1e-3, 50, 1)[0]
    assert not result.converged
    assert result.distance_w == 0


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_deeper_gradients_and_trace_against_autograd(depth):
    g = torch.Generator().manual_seed(depth)
    shapes = [(5, 2)] + [(5, 6)] * (depth - 1) + [(1, 5)]
    weights = [torch.randn(3, *s, generator=g, dtype=torch.float64).requires_grad_() for s in shapes]
    x, y = torch.randn(4, 1, generator=g, dtype=torch.float64), torch.randn(4, generator=g, dtype=torch.float64)
    f, backward = _forward([w.detach() for w in weights], x)
    gradients, trace = backward(f - y)
    h = x.expand(3, -1, -1)
    for w in weights[:-1]:
        h = torch.relu(torch.cat([h, torch.ones(3, 4, 1, dtype=torch.float64)], 2) @ w.mT)
    out = (h @ weights[-1].mT)[..., 0]
    assert torch.allclose(f, out)
    wanted = torch.autograd.grad((out - y).square().mean(1).sum() / 2, weights, retain_graph=True)
    for got, want in zip(gradients, wanted, strict=True):
        assert torch.allclose(got, want)
    per_sample = [torch.autograd.grad(out[:, i].sum(), weights, retain_graph=True) for i in range(4)]
    expected = sum(g.square().flatten(1).sum(1) for row in per_sample for g in row) / 4
    assert torch.allclose(trace, expected)

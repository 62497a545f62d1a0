import itertools

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError
from theodolite.theory.generalization import (
    angle_to,
    distance_from_init,
    frobenius_norm,
    margin,
    max_margin,
    norms,
    output_margin,
    parameter_distance,
    path_norm,
    spectral_norm,
)

from .data import asymmetric


def test_margin_of_the_best_separator():
    x, y = asymmetric()
    svm = max_margin(x, y)
    assert margin(svm.w, x, y) == pytest.approx(svm.margin, rel=1e-12)
    others = np.random.default_rng(0).normal(size=(4, 500, 2))
    found = margin(others, x, y)
    assert found.shape == (4, 500)
    assert found.max() <= svm.margin + 1e-12
    np.testing.assert_allclose(found[1, 7], min(y * (x @ others[1, 7])) / np.linalg.norm(others[1, 7]))
    np.testing.assert_allclose(margin(others * 1e-300, x, y), found, rtol=1e-12)


def test_angles_small_and_large():
    u = np.array([1.0, 2.0, 2.0]) / 3
    off = np.array([2.0, -2.0, 1.0]) / 3
    for angle in (1e-15, 1e-9, 1e-3, 1.0, 3.0):
        w = 7 * (np.cos(angle) * u + np.sin(angle) * off)
        assert angle_to(w, 4 * u) == pytest.approx(angle, rel=1e-6, abs=3e-16)
        assert angle_to(1e-200 * w, 1e-300 * u) == pytest.approx(angle, rel=1e-6, abs=3e-16)
        assert angle_to(1e200 * w, 1e300 * u) == pytest.approx(angle, rel=1e-6, abs=3e-16)


def test_output_margin():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(3, 20, 4))
    labels = rng.integers(0, 4, 20)
    slow = [min(row[k] - max(np.delete(row, k)) for row, k in zip(block, labels, strict=True)) for block in f]
    np.testing.assert_allclose(output_margin(f, np.eye(4)[labels]), slow)
    signs = rng.choice([-1, 1], (20, 1))
    np.testing.assert_allclose(output_margin(f[..., :1], signs), (f[..., 0] * signs[:, 0]).min(1))


def test_layer_norms():
    w, w0 = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    np.testing.assert_allclose(frobenius_norm(w), np.sqrt((w**2).sum((1, 2))))
    np.testing.assert_allclose(spectral_norm(w), [np.linalg.norm(m, 2) for m in w])
    np.testing.assert_allclose(distance_from_init(w, w0), np.sqrt(((w - w0) ** 2).sum((1, 2))))
    assert parameter_distance(torch.ones(4), torch.zeros(4)) == 2.0


def brute_path_norm(net, p):
    """Every path, one by one; biases are weights from a constant input."""
    layers = [(m.weight.detach().double(), m.bias.detach().double()) for m in net if isinstance(m, nn.Linear)]
    total = 0.0
    for start in range(len(layers)):
        for chain in itertools.product(*(range(w.shape[0]) for w, _ in layers[start:])):
            tail = 1.0
            for k, (w, _) in enumerate(layers[start + 1 :]):
                tail *= abs(float(w[chain[k + 1], chain[k]])) ** p
            total += abs(float(layers[start][1][chain[0]])) ** p * tail
            if start == 0:
                total += sum(abs(float(v)) ** p for v in layers[0][0][chain[0]]) * tail
    return total ** (1 / p)


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_path_norm_by_enumeration(p):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    assert path_norm(net, torch.zeros(1, 3), p=p) == pytest.approx(brute_path_norm(net, p), rel=1e-12)
    if p == 2:
        assert norms(net).path == pytest.approx(brute_path_norm(net, p), rel=1e-12)


@pytest.mark.parametrize("p", [np.inf, np.nan, None, "2"])
def test_a_path_norm_has_a_finite_power(p):
    with pytest.raises(ArgumentError, match="p must be at least 1 and finite, got"):
        path_norm(nn.Linear(2, 1), torch.zeros(1, 2), p=p)


def test_the_path_norm_of_no_input_is_refused():
    net = nn.Linear(2, 1)
    with pytest.raises(ArgumentError, match=r"inputs must be a tensor .* at least one row, .* got \(0, 2\)"):
        path_norm(net, torch.zeros(0, 2))
    with pytest.raises(ArgumentError, match="inputs must be a tensor .* got ndarray"):
        path_norm(net, np.zeros((1, 2)))
    with pytest.raises(ArgumentError, match="inputs must be a tensor"):
        norms(net, x=torch.zeros(0, 2))


@pytest.mark.parametrize(("size", "p"), [(1e-3, 200.0), (1e3, 200.0), (1e30, 6.0)])
def test_powers_beyond_the_floats_are_a_numerical_error(size, p):
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(size)
        net[2].weight.fill_(size)
    with pytest.raises(td.NumericalError, match="take a smaller p"):
        path_norm(net, torch.zeros(1, 2), p=p)
    assert path_norm(net, torch.zeros(1, 2), p=1) == pytest.approx(4 * size**2, rel=1e-6)


def test_path_norm_is_invariant_under_rescaling_and_reads_residual_and_conv_nets():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)

        def forward(self, x):
            return self.b(x + torch.relu(self.a(x))) * 0.5

    torch.manual_seed(1)
    net = Residual().double()
    a, b = net.a.weight.detach().abs(), net.b.weight.detach().abs()
    expected = float((b**2 @ (torch.ones(3, dtype=torch.float64) + (a**2).sum(1))).sqrt() * 0.5)
    assert path_norm(net, torch.zeros(2, 3).double()) == pytest.approx(expected, rel=1e-12)
    plain = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1, bias=False)).double()
    before = path_norm(plain, torch.zeros(1, 1, 4, 4).double())
    with torch.no_grad():
        plain[0].weight.mul_(4.0)
        plain[3].weight.div_(4.0)
    assert path_norm(plain, torch.zeros(1, 1, 4, 4).double()) == pytest.approx(before, rel=1e-12)


def test_norms_of_a_model_leave_it_alone():
    torch.manual_seed(2)
    net, start = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)) for _ in range(2))
    net.train()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    found = norms(net, start)
    assert net.training
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert list(found.layers) == ["0.weight", "2.weight"]
    joined = torch.cat([p.detach().double().flatten() for p in net.parameters()])
    assert found.frobenius == pytest.approx(float(joined.norm()))
    assert found.distance_from_init == pytest.approx(
        float((joined - torch.cat([p.detach().double().flatten() for p in start.parameters()])).norm())
    )
    assert "∏ spectral" in str(found)


def test_bad_input():
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    with pytest.raises(td.UnsupportedError, match="layer_norm"):
        path_norm(net, torch.zeros(1, 2))
    assert norms(net).path is None
    with pytest.raises(td.ArgumentError, match="initial must hold"):
        norms(net, nn.Linear(2, 2))
    with pytest.raises(td.ArgumentError, match="no parameters"):
        norms(nn.ReLU())
    with pytest.raises(ArgumentError, match="Module"):
        norms(np.ones((2, 2)))
    with pytest.raises(td.ArgumentError, match="p must be at least 1"):
        path_norm(nn.Linear(2, 1), torch.zeros(1, 2), p=0.5)
    with pytest.raises(td.ArgumentError, match="w must not be zero: it is no hyperplane"):
        margin([0.0, 0.0], [[1.0, 2.0]], [1])
    with pytest.raises(td.ArgumentError, match=r"w must not be zero: .* row \(1,\) is"):
        margin([[1.0, 0.0], [0.0, 0.0]], [[1.0, 2.0]], [1])
    with pytest.raises(td.ArgumentError, match="w must not be zero: it has no angle"):
        angle_to(torch.zeros(2, 3), torch.ones(3))
    with pytest.raises(td.ArgumentError, match="direction must not be zero"):
        angle_to([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(td.ArgumentError, match="last dimension"):
        angle_to([1.0, 2.0], [0.0, 0.0, 1.0])
    with pytest.raises(td.ArgumentError, match="shapes"):
        margin([1.0, 2.0], [[1.0, 2.0, 3.0]], [1])
    with pytest.raises(td.ArgumentError, match="same shape"):
        output_margin(torch.zeros(3, 2), torch.zeros(3, 4))

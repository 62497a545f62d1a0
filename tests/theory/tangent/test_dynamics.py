"""Closed-form training against step-by-step iteration, an ODE solver, and Monte Carlo over initialisations."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError, NumericalError

rng = np.random.default_rng(0)
ALL = rng.standard_normal((9, 14))
THETA = ALL @ ALL.T
TRAIN, CROSS = THETA[:6, :6], THETA[6:, :6]
Y, F0, F0_TEST = rng.standard_normal((6, 2)), rng.standard_normal((6, 2)), rng.standard_normal((3, 2))


def iterate(steps, rate):
    f, g = F0.copy(), F0_TEST.copy()
    for _ in range(steps):
        f, g = f - rate * TRAIN @ (f - Y), g - rate * CROSS @ (f - Y)
    return f, g


def test_gradient_descent_equals_iteration():
    rate = 0.7 * 2 / np.linalg.eigvalsh(TRAIN)[-1]
    found = td.tangent.training_dynamics(
        TRAIN, Y, kernel_test=CROSS, f0=F0, f0_test=F0_TEST, learning_rate=rate, t=[0, 1, 7, 500], method="gd"
    )
    for index, steps in enumerate((0, 1, 7, 500)):
        f, g = iterate(steps, rate)
        assert np.allclose(found.train[index], f, rtol=1e-10, atol=1e-12)
        assert np.allclose(found.test[index], g, rtol=1e-9, atol=1e-11)


def test_flow_equals_matrix_exponential_and_infinite_time():
    found = td.tangent.training_dynamics(
        TRAIN, Y[:, 0], kernel_test=CROSS, f0=F0[:, 0], f0_test=F0_TEST[:, 0], t=0.03, learning_rate=2.0
    )
    decay = scipy.linalg.expm(-0.06 * TRAIN)
    assert np.allclose(found.train, Y[:, 0] + decay @ (F0 - Y)[:, 0], rtol=1e-11)
    expected = F0_TEST[:, 0] + CROSS @ np.linalg.solve(TRAIN, (np.eye(6) - decay) @ (Y - F0)[:, 0])
    assert np.allclose(found.test, expected, rtol=1e-9)
    for method in ("flow", "gd"):
        end = td.tangent.training_dynamics(TRAIN, Y, kernel_test=CROSS, t=np.inf, method=method, learning_rate=1e-3)
        assert np.allclose(end.train, Y, atol=1e-12)
        assert np.allclose(end.test, CROSS @ np.linalg.solve(TRAIN, Y), rtol=1e-8)


def test_singular_kernels_leave_their_null_space_alone():
    low = ALL[:6, :3] @ ALL[:6, :3].T
    found = td.tangent.training_dynamics(low, Y, f0=F0, t=[np.inf, 1e9], kernel_test=low)
    projector = ALL[:6, :3] @ np.linalg.pinv(ALL[:6, :3])
    expected = F0 + projector @ (Y - F0)
    for train, test in zip(found.train, found.test, strict=True):
        assert np.allclose(train, expected, atol=1e-8)
        assert np.allclose(test, projector @ (Y - F0), atol=1e-6)


def test_a_kernel_in_float32_is_trained_no_finer_than_its_rounding():
    low = ALL[:6, :3] @ ALL[:6, :3].T
    rough = (low + 3e-8 * np.eye(6) * np.abs(low).max()).astype(np.float32)  # noise of one rounding lifts the null space
    found = td.tangent.training_dynamics(rough, Y, t=np.inf, kernel_test=low)
    projector = ALL[:6, :3] @ np.linalg.pinv(ALL[:6, :3])
    assert np.allclose(found.train, projector @ Y, atol=1e-5)
    skew = rough + np.triu(np.full((6, 6), 1e-7 * np.abs(low).max(), dtype=np.float32), 1)
    assert np.allclose(td.tangent.training_dynamics(skew, Y, t=np.inf).train, projector @ Y, atol=1e-5)


def test_small_eigenvalues_do_not_cancel():
    small = np.diag([1.0, 1e-12])
    found = td.tangent.training_dynamics(small, np.ones(2), kernel_test=np.array([[0.0, 1e-12]]), t=10.0)
    assert found.test[0] == pytest.approx(1e-11, rel=1e-9)
    found = td.tangent.training_dynamics(small, np.ones(2), kernel_test=np.array([[0.0, 1e-12]]), t=10, method="gd")
    assert found.test[0] == pytest.approx(1e-11, rel=1e-9)


def test_full_kernel_couples_outputs():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2)), torch.randn(4, 3)
    kernel, cross = td.tangent.ntk(model, x), td.tangent.ntk(model, torch.ones(2, 3), x)
    y = torch.randn(4, 2)
    found = td.tangent.training_dynamics(kernel, y, kernel_test=cross, t=0.1)
    flat = kernel.permute(0, 2, 1, 3).reshape(8, 8)
    expected = y.double().reshape(-1) - torch.linalg.matrix_exp(-0.1 * flat) @ y.double().reshape(-1)
    assert isinstance(found.train, torch.Tensor)
    assert torch.allclose(found.train.reshape(-1), expected, rtol=1e-10)
    assert found.test.shape == (2, 2)


def test_ensemble_against_monte_carlo():
    nngp = THETA / 7 + np.eye(9)
    found = td.tangent.training_dynamics(
        TRAIN,
        Y[:, 0],
        kernel_test=CROSS,
        t=[0.05, np.inf],
        nngp_train=nngp[:6, :6],
        nngp_test=nngp[6:, :6],
        nngp_test_test=nngp[6:, 6:],
    )
    draws = np.random.default_rng(1).multivariate_normal(np.zeros(9), nngp, size=40000)
    for index, t in enumerate((0.05, np.inf)):
        decay = scipy.linalg.expm(-t * TRAIN) if np.isfinite(t) else np.zeros((6, 6))
        gain = CROSS @ np.linalg.solve(TRAIN, np.eye(6) - decay)
        samples = draws[:, 6:] + (Y[:, 0] - draws[:, :6]) @ gain.T
        assert np.allclose(found.mean[index], samples.mean(0), atol=4 * samples.std(0).max() / 200)
        covariance = np.cov(samples.T)
        assert np.allclose(found.covariance[index], covariance, atol=6 * np.abs(covariance).max() / 200)
    inside = td.tangent.training_dynamics(TRAIN, Y[:, 0], t=0.05, nngp_train=nngp[:6, :6])
    decay = scipy.linalg.expm(-0.05 * TRAIN)
    assert np.allclose(inside.covariance, decay @ nngp[:6, :6] @ decay, rtol=1e-9)


def test_shapes_of_several_times():
    one = td.tangent.training_dynamics(TRAIN, Y, t=1.0)
    many = td.tangent.training_dynamics(TRAIN, Y, t=[1.0, 2.0])
    assert one.train.shape == (6, 2)
    assert many.train.shape == (2, 6, 2)
    assert np.array_equal(many.train[0], one.train)
    assert one.test is None
    assert one.mean is None


def test_linearized_model_follows_the_closed_form():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 30), nn.Tanh(), nn.LayerNorm(30), nn.Linear(30, 2)).double()
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    linear = td.tangent.linearize(model)
    kernel = td.tangent.ntk(model, x)
    assert torch.allclose(td.tangent.ntk(linear, x), kernel, rtol=1e-10)
    rate = td.tangent.critical_learning_rate(kernel) / 2
    optimizer = torch.optim.SGD([p for p in linear.parameters() if p.requires_grad], lr=rate)
    for _ in range(20):
        optimizer.zero_grad()
        (0.5 * (linear(x) - y).square().sum()).backward()
        optimizer.step()
    expected = td.tangent.training_dynamics(kernel, y, f0=model(x).detach(), learning_rate=rate, t=20, method="gd")
    assert torch.allclose(linear(x), expected.train, rtol=1e-9, atol=1e-10)
    jacobian = linear.model[0].weight
    assert jacobian is not model[0].weight
    # the tangent kernel of a linear model does not move
    assert torch.allclose(td.tangent.ntk(linear, x), kernel, rtol=1e-9)


def test_linearized_equals_jacobian_product():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)).double()
    linear, x = td.tangent.linearize(model), torch.randn(4, 3, dtype=torch.float64)
    move = [torch.randn_like(p) for p in model.parameters()]
    with torch.no_grad():
        for p, m in zip(linear.model.parameters(), move, strict=True):
            p += m
    from theodolite.lens.kernel import parameter_jacobian

    expected = model(x) + parameter_jacobian(model, x) @ torch.cat([m.reshape(-1) for m in move])
    assert torch.allclose(linear(x), expected, rtol=1e-12)


def test_linearized_attention_equals_its_jacobian_product_and_trains():
    from theodolite.lens.kernel import parameter_jacobian

    torch.manual_seed(2)
    block = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
    model = nn.Sequential(block, nn.Flatten(), nn.Linear(18, 2)).double()
    linear, x = td.tangent.linearize(model), torch.randn(3, 3, 6, dtype=torch.float64)
    move = [0.1 * torch.randn_like(p) for p in model.parameters()]
    with torch.no_grad():
        for p, m in zip(linear.model.parameters(), move, strict=True):
            p += m
    jacobian = parameter_jacobian(model, x)
    assert torch.allclose(linear(x), model(x) + jacobian @ torch.cat([m.reshape(-1) for m in move]), rtol=1e-11)
    gradient = torch.autograd.grad(linear(x).sum(), list(linear.model.parameters()))
    assert torch.allclose(torch.cat([g.reshape(-1) for g in gradient]), jacobian.sum((0, 1)), rtol=1e-10, atol=1e-12)


def test_regressor():
    from sklearn.model_selection import GridSearchCV

    x = rng.standard_normal((30, 4))
    y = np.sin(x).sum(1)
    classes = np.eye(2, dtype=np.int64)[(y > 0).astype(int)]
    assert np.allclose(td.tangent.kernel_regressor(depth=2).fit(x, classes).predict(x), classes, atol=1e-7)
    fitted = td.tangent.kernel_regressor(depth=2).fit(x, y)
    assert np.allclose(fitted.predict(x), y, atol=1e-7)
    k = td.tangent.infinite_kernels(x, depth=2, activation="relu", sigma_w2=2.0, sigma_b2=0.1).ntk
    ridge = td.tangent.kernel_regressor("precomputed", ridge=0.5).fit(k, y)
    assert np.allclose(ridge.predict(k), k @ np.linalg.solve(k + 0.5 * np.eye(30), y))
    search = GridSearchCV(td.tangent.kernel_regressor(), {"ridge": [0.0, 1.0], "depth": [1, 2]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.3
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 1)).double()
    by_model = td.tangent.kernel_regressor(model).fit(x, y).predict(x[:3])
    assert np.allclose(by_model, y[:3], atol=1e-6)


def test_errors():
    for change, words in [
        ({"t": -1.0}, "t must be"),
        ({"t": 0.5, "method": "gd"}, "whole steps"),
        ({"t": 1.0, "method": "adam"}, "method"),
        ({"t": 1.0, "learning_rate": 0.0}, "learning_rate"),
        ({"t": 1.0, "learning_rate": float("nan")}, "learning_rate"),
        ({"t": []}, "t must be"),
        ({"t": float("nan")}, "t must be"),
        ({"t": 1.0, "f0_test": F0_TEST}, "kernel_test"),
        ({"t": 1.0, "nngp_test": CROSS}, "nngp_train"),
        ({"t": 1.0, "kernel_test": CROSS, "nngp_test_test": THETA[6:, 6:]}, "nngp_train"),
        ({"t": 1.0, "f0": Y[:5]}, "f0"),
        ({"t": 1.0, "kernel_test": CROSS.T}, "kernel_test"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            td.tangent.training_dynamics(TRAIN, Y, **change)
    with pytest.raises(ArgumentError, match="symmetric"):
        td.tangent.training_dynamics(TRAIN + np.triu(np.ones((6, 6))), Y, t=1.0)
    with pytest.raises(ArgumentError, match="semidefinite"):
        td.tangent.training_dynamics(TRAIN - 10 * np.eye(6), Y, t=1.0)
    with pytest.raises(NumericalError, match="diverges"):
        td.tangent.training_dynamics(TRAIN, Y, t=np.inf, method="gd", learning_rate=10.0)
    with pytest.raises(ArgumentError, match="no trainable"):
        td.tangent.linearize(nn.ReLU())

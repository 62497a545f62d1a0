import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import theodolite as td
from theodolite.theory.generalization import (
    Optimizer,
    angle_to,
    gradient_descent,
    gradient_flow,
    implicit_bias_constants,
    margin,
    max_margin,
)
from theodolite.theory.generalization.predict.flow import log_loss

from .data import W_HAT, asymmetric

LN10 = np.log(10.0)


def test_constants_of_the_asymmetric_set():
    x, y = asymmetric()
    eta = 1 / np.linalg.norm(x, 2)
    bias = implicit_bias_constants(x, y, eta)
    assert bias.angle_times_log_t == pytest.approx(0.910853, abs=5e-7)
    assert bias.loss_times_t == pytest.approx(W_HAT @ W_HAT / eta, rel=1e-12)
    np.testing.assert_allclose(bias.w_hat, W_HAT, atol=1e-12)
    z = x * y[:, None]
    # w̃ in the plane of two support vectors: η e^(−z·w̃) = α, by hand.
    by_hand = np.linalg.solve(z[:2], -np.log(np.linalg.solve(z[:2] @ z[:2].T, np.ones(2)) / eta))
    np.testing.assert_allclose(bias.w_tilde, by_hand, atol=1e-11)


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
@pytest.mark.parametrize("seed", range(3))
def test_flow_reaches_the_predicted_limits(loss, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 3))
    y = np.where(x @ rng.normal(size=3) > 0, 1, -1)
    eta = 0.7 / np.linalg.norm(x, 2)
    w0 = rng.normal(size=3)
    bias = implicit_bias_constants(x, y, eta, w0)
    exponents = np.array([30, 100, 200, 300])
    flow = gradient_flow(x, y, 10.0**exponents, loss=loss, rate=eta, w0=w0)
    logs = exponents * LN10
    rate = min(bias.transverse_rate, bias.next_margin_rate, 1.0)
    residual = np.linalg.norm(flow.w - logs[:, None] * bias.w_hat - bias.w_tilde, axis=1)
    assert (residual <= 100 * np.exp(-rate * logs) + 1e-9 * np.linalg.norm(bias.w_hat) * logs).all()
    np.testing.assert_allclose(np.exp(flow.log_loss + logs)[-1], bias.loss_times_t, rtol=1e-8)
    svm = max_margin(x, y)
    # Richardson: the errors of angle·log t and gap·log t fall like 1/log t.
    angle = angle_to(flow.w, svm.w) * logs
    gap = (svm.margin - margin(flow.w, x, y)) * logs
    for measured, limit in ((angle, bias.angle_times_log_t), (gap, bias.margin_gap_times_log_t)):
        assert (logs[-1] * measured[-1] - logs[1] * measured[1]) / (logs[-1] - logs[1]) == pytest.approx(
            limit, rel=0.05, abs=1e-3
        )


def test_angle_along_the_flow():
    x, y = asymmetric()
    eta = 1 / np.linalg.norm(x, 2)
    exponents = np.array([6, 8, 12, 20, 50, 100, 200])
    flow = gradient_flow(x, y, 10.0**exponents, rate=eta)
    logs = exponents * LN10
    angle = angle_to(flow.w, W_HAT)
    bias = implicit_bias_constants(x, y, eta)
    length = np.linalg.norm(W_HAT)
    # w = ŵ log t + w̃ from 1e50 on, to rounding: the angle follows, with its 1/log² t correction.
    exact = np.arctan2(bias.angle_times_log_t * length, length * logs + W_HAT @ bias.w_tilde / length)
    np.testing.assert_allclose(angle[4:], exact[4:], rtol=1e-9)
    np.testing.assert_allclose((angle * logs)[3:], [0.950, 0.926, 0.9185, 0.9147], atol=8e-3)
    assert (np.diff(angle * logs) < 0).all()


def test_mirror_images_have_no_one_over_log_law():
    x = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5], [3.0, 2.0]])
    y = np.array([1, 1, -1, -1, 1])
    bias = implicit_bias_constants(x, y, 1 / np.linalg.norm(x, 2))
    assert bias.angle_times_log_t == pytest.approx(0, abs=1e-12)
    assert bias.transverse_rate == pytest.approx(0.25, abs=1e-12)
    flow = gradient_flow(x, y, [1e10, 1e14], rate=1 / np.linalg.norm(x, 2))
    transverse = angle_to(flow.w, [1.0, 1.0]) * np.linalg.norm(flow.w, axis=1)
    assert np.log(transverse[1] / transverse[0]) / np.log(1e4) == pytest.approx(-0.25, abs=0.01)


def test_complement_of_the_data_keeps_its_start():
    x, y = asymmetric()
    lifted = np.hstack([x, np.zeros((len(x), 1))])
    bias = implicit_bias_constants(lifted, y, 0.05, w0=[0.0, 0.0, 2.0])
    assert bias.w_tilde[2] == pytest.approx(2.0)
    plain = implicit_bias_constants(x, y, 0.05)
    assert bias.angle_times_log_t == pytest.approx(np.hypot(plain.angle_times_log_t, 2 / np.linalg.norm(W_HAT)))


def test_support_vectors_that_do_not_span_warn():
    x = np.array([[1.0, 0.0], [3.0, 1.0]])
    with pytest.warns(td.TheodoliteWarning, match="do not span"):
        bias = implicit_bias_constants(x, [1, 1], 0.1)
    flow = gradient_flow(x, [1, 1], [1e30], rate=0.1)
    np.testing.assert_allclose(flow.w[0] - np.log(1e30) * bias.w_hat, bias.w_tilde, atol=1e-8)


def test_point_on_the_margin_with_multiplier_zero_has_no_limit():
    # Points with second coordinate 0, ±… : the third lies on the margin of the separator that the first alone fixes.
    x = np.array([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(td.NumericalError, match="no limit"):
        implicit_bias_constants(x, [1, 1], 0.1)


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_flow_against_a_plain_integrator(loss):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 3)), rng.choice([-1.0, 1.0], 12)
    z, w0 = x * y[:, None], rng.normal(size=3)

    def slope(t, w):
        m = z @ w
        return 0.3 * (np.exp(-m) if loss == "exponential" else 1 / (1 + np.exp(m))) @ z

    times = np.array([0.0, 0.1, 1.0, 30.0])
    plain = solve_ivp(slope, (0, 30), w0, t_eval=times, rtol=1e-12, atol=1e-12, method="DOP853").y.T
    flow = gradient_flow(x, y, times, loss=loss, rate=0.3, w0=w0)
    np.testing.assert_allclose(flow.w, plain, atol=1e-8)
    direct = np.exp(-(plain @ z.T)) if loss == "exponential" else np.log1p(np.exp(-(plain @ z.T)))
    np.testing.assert_allclose(flow.loss, direct.sum(1), rtol=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_flow_on_data_that_are_not_separable_stays_at_the_minimum(loss):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.choice([-1, 1], 30)
    flow = gradient_flow(x, y, [1e10, 1e100, 1e300, 10**400], loss=loss, rate=0.1)
    m = flow.w[0] @ (x * y[:, None]).T
    force = np.exp(-m) if loss == "exponential" else 1 / (1 + np.exp(m))
    assert np.linalg.norm(force @ (x * y[:, None])) < 1e-8
    np.testing.assert_allclose(flow.w, np.tile(flow.w[0], (4, 1)), atol=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
@pytest.mark.parametrize("size", [10.0, 300.0])
def test_flow_from_a_bad_start_forgets_it(loss, size):
    x, y = asymmetric()
    bias = implicit_bias_constants(x, y, 0.1)
    flow = gradient_flow(x, y, [1e150], loss=loss, rate=0.1, w0=-size * W_HAT)
    np.testing.assert_allclose(flow.w[0] - 150 * LN10 * bias.w_hat, bias.w_tilde, atol=1e-7)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_constants_do_not_depend_on_units(factor):
    x, y = asymmetric()
    one, other = implicit_bias_constants(x, y, 0.3), implicit_bias_constants(factor * x, y, 0.3 / factor**2)
    assert other.angle_times_log_t == pytest.approx(one.angle_times_log_t, rel=1e-11)
    assert other.margin_gap_times_log_t == pytest.approx(one.margin_gap_times_log_t * factor, rel=1e-11)
    assert other.transverse_rate == pytest.approx(one.transverse_rate, rel=1e-11)


def test_flow_beyond_the_range_of_floats():
    x, y = asymmetric()
    bias = implicit_bias_constants(x, y, 0.05)
    flow = gradient_flow(x, y, [10**400, 10**2000], rate=0.05)
    logs = np.array([400, 2000]) * LN10
    np.testing.assert_allclose(flow.w - logs[:, None] * bias.w_hat, np.tile(bias.w_tilde, (2, 1)), atol=1e-9)
    np.testing.assert_allclose(flow.log_loss + logs, np.log(bias.loss_times_t), rtol=1e-9)


def test_flow_and_descent_agree_for_small_steps():
    x, y = asymmetric()
    run = gradient_descent(x, y, [1000, 10000], learning_rate=1e-4)
    flow = gradient_flow(x, y, [1000, 10000], rate=1e-4)
    np.testing.assert_allclose(run.w, flow.w, rtol=2e-3)


def test_flow_of_torch_tensors_and_many_dimensions():
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flow = gradient_flow(x, torch.ones(5), torch.tensor([0.0, 1e50], dtype=torch.float64), rate=0.1)
    assert flow.w.shape == (2, 40)
    assert isinstance(flow.loss, torch.Tensor)
    assert float(flow.log_loss[1]) == pytest.approx(
        float(np.log(implicit_bias_constants(x, torch.ones(5), 0.1).loss_times_t) - 50 * LN10)
    )


@pytest.mark.parametrize("rtol", [np.nan, -1e-6, 0.0, np.inf, 1.0, 1e-15, None, "x"])
def test_a_tolerance_that_no_integrator_can_keep_is_refused(rtol):
    with pytest.raises(td.ArgumentError, match="rtol must be"):
        gradient_flow([[1.0, 0.3], [0.2, 1.5]], [1, 1], [1.0], rtol=rtol)


@pytest.mark.parametrize("times", [None, "x", [1.0, None], [2j], [np.nan], {"a": 1}])
def test_times_that_are_no_numbers_are_refused(times):
    with pytest.raises(td.ArgumentError, match="times must be finite and non-negative"):
        gradient_flow([[1.0, 0.3], [0.2, 1.5]], [1, 1], times)


def test_times_may_be_a_list_of_tensors():
    flow = gradient_flow([[1.0, 0.3], [0.2, 1.5]], [1, 1], [torch.tensor(1.0), np.float32(2.0)])
    np.testing.assert_array_equal(flow.w, gradient_flow([[1.0, 0.3], [0.2, 1.5]], [1, 1], [1.0, 2.0]).w)


def test_log_loss_without_underflow():
    m = np.array([-800.0, -1.0, 0.0, 30.0, 36.9, 37.1, 50.0])
    np.testing.assert_allclose(np.exp(log_loss(m[1:, None], "logistic")), np.log1p(np.exp(-m[1:])), rtol=1e-12)
    assert float(log_loss(m[:1], "logistic")) == pytest.approx(np.log(800.0))


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
@pytest.mark.parametrize("name", ["gd", "momentum", "adam", "normalized"])
def test_descents_against_torch(name, loss):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(10, 3)) * 0.7
    y = rng.choice([-1.0, 1.0], 10)
    eta = 0.05
    p = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    stepper = (
        torch.optim.Adam([p], lr=eta) if name == "adam" else torch.optim.SGD([p], lr=eta, momentum=0.9 * (name == "momentum"))
    )
    for _ in range(200):
        stepper.zero_grad()
        m = torch.tensor(y) * (torch.tensor(x) @ p)
        value = torch.exp(-m).sum() if loss == "exponential" else torch.nn.functional.softplus(-m).sum()
        (value.log() if name == "normalized" else value).backward()
        stepper.step()
    run = gradient_descent(x, y, [0, 200], name, learning_rate=eta, loss=loss)
    np.testing.assert_allclose(run.w, [[0, 0, 0], p.detach().numpy().tolist()], atol=1e-12)


def test_sgd_visits_every_sample_once_per_epoch():
    # With the identity as data each coordinate counts the visits of its sample.
    x, y = np.eye(7), np.ones(7)
    run = gradient_descent(x, y, [6, 7, 14], Optimizer("sgd", seed=3), learning_rate=1.0, loss="exponential")
    assert (run.w[0] == 0).sum() == 1
    assert len(set(run.w[1])) == 1
    assert len(set(run.w[2])) == 1
    again = gradient_descent(x, y, [6], Optimizer("sgd", seed=3), learning_rate=1.0, loss="exponential")
    other = gradient_descent(x, y, [6], Optimizer("sgd", seed=4), learning_rate=1.0, loss="exponential")
    assert np.array_equal(again.w[0], run.w[0])
    assert not np.array_equal(other.w[0], run.w[0]) or True in (other.w[0] == 0)
    full = gradient_descent(x, y, [5], Optimizer("sgd", batch_size=7), learning_rate=1.0)
    np.testing.assert_allclose(full.w, gradient_descent(x, y, [5], learning_rate=1.0).w, rtol=1e-14)


def test_normalized_descent_survives_underflow():
    x, y = asymmetric()
    run = gradient_descent(x, y, [10**5], "normalized", learning_rate=1.0)
    assert np.isfinite(run.w).all()
    assert float(run.log_loss[0]) < -1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: gradient_flow(x, y, [1.0], rate=0.0), "rate must be positive"),
        (lambda x, y: gradient_flow(x, y, [1.0], loss="hinge"), "loss must be one of"),
        (lambda x, y: gradient_flow(x, y, [2.0, 1.0]), "increase"),
        (lambda x, y: gradient_flow(x, y, [-1.0]), "non-negative"),
        (lambda x, y: gradient_flow(x, y, []), "empty"),
        (lambda x, y: gradient_flow(x, y, [1.0], w0=[1.0]), "one entry per coordinate"),
        (lambda x, y: implicit_bias_constants(x, y, -1.0), "learning_rate must be positive"),
        (lambda x, y: implicit_bias_constants(x, y, 0.1, w0=[1.0]), "one entry per coordinate"),
        (lambda x, y: gradient_descent(x, y, [0.5]), "increasing integers"),
        (lambda x, y: gradient_descent(x, y, [1], "lion"), "unknown optimizer"),
        (lambda x, y: gradient_descent(x, y, [1], learning_rate=float("nan")), "learning_rate must be positive"),
        (lambda x, y: gradient_descent(x, y, [1], Optimizer("sgd", batch_size=99)), "batch_size must be at most"),
        (lambda x, y: Optimizer(momentum=1.0), "momentum"),
    ],
)
def test_bad_input(call, message):
    x, y = asymmetric()
    with pytest.raises(td.TheodoliteError, match=message):
        call(x, y)


def test_divergence_is_reported():
    with pytest.raises(td.NumericalError, match="lower learning_rate"):
        gradient_descent([[1.0], [-1.1]], [1, 1], [3000], learning_rate=1e3, loss="exponential")

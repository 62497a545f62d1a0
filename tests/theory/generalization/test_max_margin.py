import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import theodolite as td
from theodolite.theory.generalization import NotSeparableError, max_margin, sup_margin
from theodolite.theory.generalization.predict.dual_active_set import separated
from theodolite.theory.generalization.predict.max_margin import folded_margin

from .data import ALPHA, W_HAT, asymmetric


def oracle(z, separator):
    """The primal problem by a general-purpose solver, from a feasible start."""
    start = separator / (z @ separator).min()
    found = minimize(
        lambda w: w @ w / 2,
        start,
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: z @ w - 1, "jac": lambda w: z},
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    assert found.success
    return found.x


def check_kkt(z, svm):
    slack = z @ svm.w - 1
    scale = np.linalg.norm(svm.w)
    assert slack.min() >= -1e-10
    assert (svm.alpha >= 0).all()
    assert np.linalg.norm(svm.w - svm.alpha @ z) <= 1e-10 * scale
    assert np.abs(svm.alpha * slack).max() <= 1e-10 * svm.alpha.sum()
    assert svm.kkt <= 1e-10
    assert svm.margin == pytest.approx(1 / scale, rel=1e-14)
    assert np.abs(slack[svm.support]).max() <= 1e-9
    assert set(np.flatnonzero(svm.alpha)) <= set(svm.support.tolist())


def test_known_separator():
    x, y = asymmetric()
    svm = max_margin(x, y)
    np.testing.assert_allclose(svm.w, W_HAT, atol=1e-12)
    np.testing.assert_allclose(svm.alpha[:2], ALPHA, atol=5e-7)
    assert svm.support.tolist() == [0, 1]
    np.testing.assert_allclose(svm.direction, W_HAT / np.linalg.norm(W_HAT), atol=1e-14)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 6), st.floats(-3, 3), st.booleans())
def test_separator_or_certificate(seed, n, d, log_scale, coarse):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * 10**log_scale
    y = rng.choice([-1, 1], n) if seed % 2 else np.where(x @ rng.normal(size=d) > 0, 1, -1)
    if coarse:
        x = np.round(x / np.abs(x).max() * 2)
    z = x * y[:, None]
    try:
        check_kkt(z, folded_margin(z, x, y))
    except NotSeparableError as error:
        c = error.certificate
        assert (c >= 0).all()
        assert c.sum() == pytest.approx(1, abs=1e-12)
        assert np.linalg.norm(c @ z) <= 1e-10 * max(np.abs(z).max(), 1e-300)


@pytest.mark.parametrize("seed", range(4))
def test_against_general_solver(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 4))
    separator = rng.normal(size=4)
    y = np.where(x @ separator > 0, 1, -1)
    x = x + 0.3 * y[:, None] * separator
    expected = oracle(x * y[:, None], separator)
    np.testing.assert_allclose(max_margin(x, y).w, expected, atol=1e-5 * np.linalg.norm(expected))


def test_narrow_margin_is_still_solved_to_rounding():
    x = np.array([[1.0, 1e-4], [-1.0, 1e-4], [0.3, 5.0]])
    svm = max_margin(x * np.array([[1], [-1], [1]]), [1, -1, 1])
    np.testing.assert_allclose(svm.w, [0.0, 1e4], rtol=1e-10, atol=1e-8)
    check_kkt(x, svm)


def test_duplicates_and_dependent_support_vectors():
    x = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5], [1.0, 1.0]])
    svm = max_margin(x, [1, 1, -1, -1, 1])
    np.testing.assert_allclose(svm.w, [0.5, 0.5], atol=1e-14)
    assert svm.support.tolist() == [0, 1, 2, 3, 4]
    check_kkt(x * np.array([1, 1, -1, -1, 1])[:, None], svm)


def test_torch_in_torch_out():
    x, y = asymmetric()
    svm = max_margin(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
    assert svm.w.dtype == torch.float64
    assert isinstance(svm.support, torch.Tensor)


@pytest.mark.parametrize("solve", [max_margin, sup_margin])
@pytest.mark.parametrize("label", [1, -1])
def test_one_class_only(solve, label):
    with pytest.raises(td.ArgumentError, match="both classes, −1 and \\+1, got [+-]1 only"):
        solve([[0.0, 2.0], [1.0, 2.0]], [label, label])
    with pytest.raises(NotSeparableError, match="points 0 and 1 are opposite but have one label") as caught:
        solve([[1.0], [-1.0]], [label, label])
    np.testing.assert_allclose(caught.value.certificate, [0.5, 0.5])
    z, signs = np.array([[0.0, 2.0], [1.0, 2.0]]), np.array([1, -1])
    found = solve(signs[:, None] * z, signs)
    np.testing.assert_allclose((z @ getattr(found, "w", found)).min(), 1)


def test_equal_points_with_different_labels():
    with pytest.raises(NotSeparableError, match="points 0 and 2 are equal but have different labels") as caught:
        max_margin([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]], [1, 1, -1])
    assert caught.value.certificate.tolist() == [0.5, 0.0, 0.5]


def test_zero_point():
    with pytest.raises(NotSeparableError, match="point 1 is zero") as caught:
        max_margin([[1.0, 2.0], [0.0, 0.0]], [1, -1])
    assert caught.value.certificate.tolist() == [0.0, 1.0]


def test_not_separable_is_a_numerical_error_with_a_certificate():
    x = np.array([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])
    with pytest.raises(td.NumericalError, match="convex combination of 3 points") as caught:
        max_margin(x, [1, 1, 1])
    np.testing.assert_allclose(caught.value.certificate, 1 / 3, atol=1e-12)
    assert "all labels are equal" in str(caught.value)
    with pytest.raises(td.NumericalError) as mixed:
        max_margin(x * np.array([[1], [-1], [1]]), [1, -1, 1])
    assert "all labels are equal" not in str(mixed.value)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0], [2.0]], [0, 1], "−1 and \\+1 only"),
        ([[1.0], [2.0]], [1], "2 points and 1 labels"),
        ([[np.nan], [2.0]], [1, 1], "finite"),
        ([1.0, 2.0], [1, 1], "2 dimensions"),
        (np.zeros((0, 2)), np.zeros(0), "empty"),
        ([[1j], [2.0]], [1, 1], "real"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(td.ArgumentError, match=message):
        max_margin(x, y)


@pytest.mark.parametrize("seed", range(3))
def test_sup_margin_is_optimal(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 3))
    y = np.where(x @ rng.normal(size=3) > 0, 1, -1)
    w = sup_margin(x, y)
    z = x * y[:, None]
    assert (z @ w).min() >= 1 - 1e-9
    # Weak duality: for λ ≥ 0 with ‖Σλz‖₁ ≤ 1, Σλ bounds ‖w‖_∞ from below; no random separator does better.
    others = rng.normal(size=(20000, 3))
    others = others[(others @ z.T).min(1) > 0]
    best = (np.abs(others).max(1) / (others @ z.T).min(1)).min()
    assert np.abs(w).max() <= best * (1 + 1e-12)
    assert np.abs(w).max() >= 0.9 * best or len(others) < 100


@pytest.mark.parametrize(("n", "d", "gap"), [(800, 120, 0.3), (300, 290, 0.05), (1500, 20, 1e-3)])
def test_many_points(n, d, gap):
    """More support vectors than a guess gets right, up to as many as dimensions, and a narrow margin."""
    rng = np.random.default_rng(n)
    separator = rng.normal(size=d) / d**0.5
    x = rng.normal(size=(n, d))
    y = np.where(x @ separator > 0, 1, -1)
    x = x + gap * y[:, None] * separator
    svm = max_margin(x, y)
    check_kkt(x * y[:, None], svm)
    # Weak duality: Σα − ½‖Σ α z‖² bounds ½‖w‖² from below for every α ≥ 0, so this w is optimal whatever found it.
    dual = svm.alpha.sum() - 0.5 * np.sum((svm.alpha @ (x * y[:, None])) ** 2)
    assert dual == pytest.approx(0.5 * svm.w @ svm.w, rel=1e-9)


def test_the_active_set_needs_no_guess(monkeypatch):
    """From a single point, through exchanges alone, to the same separator."""
    from theodolite.theory.generalization.predict import dual_ascent_kernel

    rng = np.random.default_rng(5)
    z = rng.normal(size=(200, 30))
    separator = rng.normal(size=30)
    z *= np.where(z @ separator > 0, 1, -1)[:, None] / np.linalg.norm(z, axis=1).max()
    expected = separated(z)[2]
    monkeypatch.setattr(dual_ascent_kernel, "ascend", lambda z, norms2, rounds, tolerance: np.eye(1, len(z), 3)[0])
    np.testing.assert_allclose(separated(z)[2], expected, rtol=1e-9)

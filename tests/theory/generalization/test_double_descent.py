import numpy as np
import pytest
import torch

import theodolite as td
from theodolite.theory.generalization import double_descent, random_features


def lstsq_curve(features, y, widths, test_features, test_y):
    """One least-squares problem per width."""
    rows = []
    for n in widths:
        a, _, rank, _ = np.linalg.lstsq(features[:, :n], y, rcond=None)
        train, test = features[:, :n] @ a - y, test_features[:, :n] @ a - test_y
        rows.append([(train**2).sum(-1).mean(), (test**2).sum(-1).mean(), np.linalg.norm(a), rank])
    return np.array(rows).T


@pytest.mark.parametrize("kind", ["cosine", "relu", "erf"])
def test_equals_one_solve_per_width(kind):
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(50, 10)), rng.normal(size=(70, 10))
    y, y_test = rng.normal(size=(50, 3)), rng.normal(size=(70, 3))
    widths = [1, 5, 20, 45, 49, 50, 51, 55, 80, 300]
    train, test = (random_features(p, 300, kind=kind, generator=1) for p in (x, x_test))
    curve = double_descent(train, y, widths, test_features=test, test_y=y_test)
    mse, test_mse, norm, rank = lstsq_curve(train, y, widths, test, y_test)
    np.testing.assert_allclose(curve.train_mse, mse, rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(curve.test_mse, test_mse, rtol=1e-9)
    np.testing.assert_allclose(curve.norm, norm, rtol=1e-9)
    assert curve.rank.tolist() == rank.tolist()


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 1e6])
def test_ridge_against_normal_equations(ridge):
    rng = np.random.default_rng(1)
    a, y = rng.normal(size=(30, 90)), rng.normal(size=30)
    t, y_test = rng.normal(size=(40, 90)), rng.normal(size=40)
    widths = [3, 29, 30, 31, 90]
    curve = double_descent(a, y, widths, test_features=t, test_y=y_test, ridge=ridge)
    for i, n in enumerate(widths):
        c = np.linalg.solve(a[:, :n].T @ a[:, :n] + ridge * np.eye(n), a[:, :n].T @ y)
        assert curve.train_mse[i] == pytest.approx(np.mean((a[:, :n] @ c - y) ** 2), rel=1e-9)
        assert curve.test_mse[i] == pytest.approx(np.mean((t[:, :n] @ c - y_test) ** 2), rel=1e-9)
        assert curve.norm[i] == pytest.approx(np.linalg.norm(c), rel=1e-9)
        assert curve.rank[i] == min(n, 30)


def test_rank_deficient_and_dead_features():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(20, 60))
    a[:, [0, 7, 21]] = 0.0
    a[:, 12] = a[:, 11] - a[:, 10]
    y, t, y_test = rng.normal(size=20), rng.normal(size=(5, 60)), rng.normal(size=5)
    widths = [1, 8, 13, 20, 21, 22, 23, 24, 25, 40, 60]
    curve = double_descent(a, y, widths, test_features=t, test_y=y_test)
    mse, test_mse, norm, rank = lstsq_curve(a, y[:, None], widths, t, y_test[:, None])
    assert curve.rank.tolist() == rank.tolist()
    np.testing.assert_allclose(curve.norm, norm, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(curve.test_mse, test_mse, rtol=1e-8)
    np.testing.assert_allclose(curve.train_mse, mse, rtol=1e-9, atol=1e-20)
    assert curve.threshold == 24


def test_complex_features_and_order_of_widths():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(25, 4)), rng.normal(size=25)
    f = random_features(x, 80, kind="fourier", generator=0)
    assert f.dtype == np.complex128
    curve = double_descent(f, y, [80, 10, 25, 10], test_features=f[:5] + 0.1, test_y=y[:5])
    for i, n in enumerate([80, 10, 25, 10]):
        a = np.linalg.lstsq(f[:, :n], y.astype(complex), rcond=None)[0]
        assert curve.train_mse[i] == pytest.approx(np.mean(((f[:, :n] @ a).real - y) ** 2), rel=1e-9, abs=1e-20)
        assert curve.norm[i] == pytest.approx(np.linalg.norm(a), rel=1e-9)
    assert curve.widths.tolist() == [80, 10, 25, 10]


def test_torch_and_classes():
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.nn.functional.one_hot((x[:, 0] > 0).long(), 2).double()
    f = random_features(x, 100, kind="relu", generator=0)
    curve = double_descent(f, labels, range(5, 101, 5), test_features=f, test_y=labels)
    assert isinstance(curve.test_mse, torch.Tensor)
    assert float(curve.test_error[-1]) == 0.0
    assert double_descent(f, labels, [5]).test_mse is None
    assert double_descent(f, labels, 5).train_mse.shape == (1,)


def test_peak_and_tail_on_digits():
    from theodolite.data import digits

    rows = []
    for seed in range(5):
        split = digits(200, seed=seed, dtype=torch.float64)
        f, g = (random_features(p, 2000, scale=0.5, generator=seed) for p in (split.x, split.x_test[:300]))
        eye = torch.eye(10, dtype=torch.float64)
        widths = [50, 100, 190, 195, 200, 205, 210, 400, 2000]
        rows.append(double_descent(f, eye[split.y], widths, test_features=g, test_y=eye[split.y_test[:300]]).test_mse)
    mean = torch.stack(rows).mean(0)
    assert int(mean.argmax()) == 4
    assert mean[4] > 10 * mean[:2].min()
    assert mean[-1] < mean[:4].min()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, y: double_descent(f, y, [0]), "1…6"),
        (lambda f, y: double_descent(f, y, [7]), "1…6"),
        (lambda f, y: double_descent(f, y, []), "whole numbers"),
        (lambda f, y: double_descent(f, y, [1.5]), "whole numbers"),
        (lambda f, y: double_descent(f, y[:-1], [1]), "one row per sample"),
        (lambda f, y: double_descent(f, y, [1], ridge=-1.0), "ridge must be at least 0"),
        (lambda f, y: double_descent(f, y, [1], ridge="much"), "ridge must be a number"),
        (lambda f, y: double_descent(f, y, [1], ridge=float("inf")), "ridge must be at least 0 and finite"),
        (lambda f, y: random_features(f, "ten"), "count"),
        (lambda f, y: random_features(f, None), "count"),
        (lambda f, y: double_descent(f, y, [1], test_features=f), "test_y is missing"),
        (lambda f, y: double_descent(f, y, [1], test_features=f[:, :3], test_y=y), "6 features"),
        (lambda f, y: double_descent(f * np.nan, y, [1]), "finite"),
        (lambda f, y: double_descent(f[0], y, [1]), "matrix"),
        (lambda f, y: random_features(f, 0), "count"),
        (lambda f, y: random_features(f, 2.5), "count"),
        (lambda f, y: random_features(f, 5, kind="reluu"), "did you mean 'relu'"),
        (lambda f, y: random_features(f, 5, scale=0), "scale"),
        (lambda f, y: random_features(f, 5, generator=np.random.default_rng(0)), "generator"),
        (lambda f, y: random_features(f, 5, generator="a"), "generator"),
    ],
)
def test_bad_input(call, message):
    rng = np.random.default_rng(0)
    with pytest.raises(td.TheodoliteError, match=message):
        call(rng.normal(size=(4, 6)), rng.normal(size=4))


@pytest.mark.parametrize("kind", ["fourier", "cosine", "relu", "erf"])
def test_features_are_nested_seeded_and_leave_the_global_stream(kind):
    x = np.random.default_rng(0).normal(size=(6, 3))
    before = torch.get_rng_state()
    many = random_features(x, 333, kind=kind, generator=5)
    for count in (1, 15, 16, 17, 100):
        np.testing.assert_allclose(many[:, :count], random_features(x, count, kind=kind, generator=5), atol=1e-14)
    assert torch.equal(before, torch.get_rng_state())
    assert not np.allclose(many, random_features(x, 333, kind=kind, generator=6))
    explicit = random_features(x, 3, kind=kind, generator=torch.Generator().manual_seed(1))
    assert explicit.shape == (6, 3)


def test_mean_kernels():
    x = np.random.default_rng(1).normal(size=(4, 3)) * 0.5
    count = 200_000
    distance2 = ((x[:, None] - x[None]) ** 2).sum(-1)
    for kind in ("fourier", "cosine"):
        f = random_features(x, count, kind=kind, scale=1.7, generator=0)
        kernel = (f @ f.conj().T).real / count
        np.testing.assert_allclose(kernel, np.exp(-(1.7**2) * distance2 / 2), atol=4 * 1.5 / count**0.5)
    f = random_features(x, count, kind="relu", generator=0)
    length = np.linalg.norm(x, axis=1)
    cosine = np.clip(x @ x.T / np.outer(length, length), -1, 1)
    angle = np.arccos(cosine)
    arc = np.outer(length, length) * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi * 3)  # on the sphere of R³: 1/d
    np.testing.assert_allclose(f @ f.T / count, arc, atol=4 * 0.5 / count**0.5)

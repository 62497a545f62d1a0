"""Predicted errors of random features against simulation and against the theorem of Mei and Montanari."""

import numpy as np
import pytest

import theodolite as td
from theodolite.theory.generalization import gaussian_features_risk, random_features_risk


@pytest.mark.parametrize(("p", "n"), [(10, 30), (25, 30), (40, 30), (90, 30)])
def test_gaussian_features_exactly(p, n):
    rng = np.random.default_rng(p)
    d, sigma = 90, 0.3
    beta = rng.normal(size=d) / d**0.5
    errors = []
    for _ in range(3000):
        x = rng.normal(size=(n, d))
        y = x @ beta + sigma * rng.normal(size=n)
        a = np.linalg.lstsq(x[:, :p], y, rcond=None)[0]
        errors.append(((beta[:p] - a) ** 2).sum() + (beta[p:] ** 2).sum() + sigma**2)
    predicted = gaussian_features_risk(n, p, seen=(beta[:p] ** 2).sum(), unseen=(beta[p:] ** 2).sum(), noise=sigma**2)
    assert isinstance(predicted, float)
    assert abs(np.mean(errors) - predicted) <= 4 * np.std(errors) / 3000**0.5


def test_gaussian_features_at_the_threshold():
    assert gaussian_features_risk(30, 30, seen=1.0, noise=0.1) == np.inf
    assert gaussian_features_risk(30, 30, seen=1.0) == 0.0
    assert gaussian_features_risk(30, 29, seen=1.0) == 0.0
    assert gaussian_features_risk(30, [0, 60], seen=[0.0, 1.0], unseen=[1.0, 0.0]).tolist() == [1.0, 0.5]


def mei_montanari(psi_1, psi_2, ridge, mu_1, mu_star, tau2):
    """Theorem 2 of Mei & Montanari for a linear target of norm 1: its fixed point by iteration, its polynomials."""
    zeta, xi = mu_1 / mu_star, 1j * np.sqrt(psi_1 * psi_2 * ridge / mu_star**2)
    a, b = psi_1 / -xi, psi_2 / -xi
    for _ in range(100_000):
        new_a = psi_1 / (-xi - b - zeta**2 * b / (1 - zeta**2 * a * b))
        new_b = psi_2 / (-xi - a - zeta**2 * a / (1 - zeta**2 * a * b))
        change = abs(new_a - a) + abs(new_b - b)
        a, b = (a + new_a) / 2, (b + new_b) / 2
        if change < 1e-14:
            break
    c, z, p, q = (a * b).real, zeta, psi_1, psi_2
    e0 = (
        -(c**5) * z**6 + 3 * c**4 * z**4 + (p * q - q - p + 1) * c**3 * z**6 - 2 * c**3 * z**4 - 3 * c**3 * z**2
        + (p + q - 3 * p * q + 1) * c**2 * z**4 + 2 * c**2 * z**2 + c**2 + 3 * p * q * c * z**2 - p * q
    )  # fmt: skip
    e1 = q * c**3 * z**4 - q * c**2 * z**2 + p * q * c * z**2 - p * q
    e2 = (
        c**5 * z**6 - 3 * c**4 * z**4 + (p - 1) * c**3 * z**6 + 2 * c**3 * z**4 + 3 * c**3 * z**2
        + (-p - 1) * c**2 * z**4 - 2 * c**2 * z**2 - c**2
    )  # fmt: skip
    return e1 / e0 + tau2 * e2 / e0


@pytest.mark.parametrize(("psi_1", "psi_2", "ridge"), [(1.0, 2.0, 1e-2), (3.0, 2.0, 1e-2), (8.0, 2.0, 0.1), (0.5, 3.0, 1.0)])
def test_contains_the_theorem_of_mei_and_montanari(psi_1, psi_2, ridge):
    d, mu_1, mu_star, tau2 = 1000, 0.5, (0.25 - 1 / (2 * np.pi)) ** 0.5, 0.25
    n, count = psi_2 * d, psi_1 * d
    risk = random_features_risk(
        np.full(d, mu_1**2 / d), np.full(d, 1 / d), n, count, ridge=n * count * ridge / d, noise=tau2, tail=mu_star**2
    )
    assert risk.test_mse - tau2 == pytest.approx(mei_montanari(psi_1, psi_2, ridge, mu_1, mu_star, tau2), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [0.0, 5.0])
@pytest.mark.parametrize("count", [20, 60, 100, 600])
def test_against_simulated_projections(count, ridge):
    rng = np.random.default_rng(count)
    modes, n, sigma2, repeats = 300, 80, 0.05, 100
    lam = (1.0 + np.arange(modes)) ** -1.2
    v = rng.normal(size=modes) * (1.0 + np.arange(modes)) ** -0.5
    test, train = [], []
    for _ in range(repeats):
        phi = rng.normal(size=(n, modes))
        w = rng.normal(size=(modes, count)) * lam[:, None] ** 0.5
        y, a = phi @ v + sigma2**0.5 * rng.normal(size=n), phi @ w
        if ridge == 0:
            c = np.linalg.lstsq(a, y, rcond=None)[0]
        else:
            c = a.T @ np.linalg.solve(a @ a.T + ridge * np.eye(n), y)
        test.append(((v - w @ c) ** 2).sum() + sigma2)
        train.append(((a @ c - y) ** 2).mean())
    risk = random_features_risk(lam, v**2, n, count, ridge=ridge, noise=sigma2)
    # Deterministic equivalents are off by O(1/n) at finite size.
    assert abs(np.mean(test) - risk.test_mse) <= 4 * np.std(test) / repeats**0.5 + 0.02 * risk.test_mse
    assert abs(np.mean(train) - risk.train_mse) <= 4 * np.std(train) / repeats**0.5 + 0.02 * risk.train_mse + 1e-20


def test_limits():
    lam, v2 = np.full(200, 0.005), np.full(200, 0.005)
    # Isotropic: ridgeless least squares with 200 Gaussian features is the infinite-feature limit (1/d corrections aside).
    wide = random_features_risk(lam, v2, 100, np.inf, noise=0.1)
    assert wide.test_mse == pytest.approx(1.0 * (1 - 100 / 200) + 0.1 * (1 + 100 / (200 - 100)), rel=1e-10)
    assert random_features_risk(lam, v2, 100, 1e9, noise=0.1).test_mse == pytest.approx(wide.test_mse, rel=1e-6)
    small = random_features_risk(lam, v2, 100, [40.0, 100.0, 160.0], ridge=1e-12, noise=0.1)
    plain = random_features_risk(lam, v2, 100, [40.0, 100.0, 160.0], noise=0.1)
    np.testing.assert_allclose(small.test_mse[[0, 2]], plain.test_mse[[0, 2]], rtol=1e-6)
    assert plain.test_mse[1] == np.inf
    assert 100 < small.test_mse[1] < np.inf
    huge = random_features_risk(lam, v2, 100, 40.0, ridge=1e12, noise=0.1)
    assert huge.test_mse == pytest.approx(1.1, rel=1e-6)
    assert huge.train_mse == pytest.approx(1.1, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_features_risk([1.0, -1.0], [1.0, 1.0], 1, 1), "positive"),
        (lambda: random_features_risk([1.0], [1.0, 1.0], 1, 1), "one entry per mode"),
        (lambda: random_features_risk([1.0, 1.0], [1.0, 1.0], 5, 3), "more modes"),
        (lambda: random_features_risk([1.0], [1.0], 1, 0), "at least 1"),
        (lambda: gaussian_features_risk(0, 1, seen=1.0), "at least 1"),
        (lambda: gaussian_features_risk(5, None, seen=1.0), "features must be a real number or an array of them, got None"),
        (lambda: gaussian_features_risk(5, [1.0, np.nan], seen=1.0), "features must be at least 0 and finite, got nan"),
        (lambda: gaussian_features_risk(5, 1, seen=np.inf), "seen must be at least 0 and finite, got inf"),
        (lambda: gaussian_features_risk(5, 1, seen=1.0, noise=np.nan), "noise must be at least 0 and finite, got nan"),
        (lambda: gaussian_features_risk([5, 6], 1, seen=1.0), "samples must be one number"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(td.ArgumentError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": np.nan}, "features must be at least 1, got nan"),
        ({"features": [1.0, np.nan]}, "features must be at least 1, got nan"),
        ({"features": None}, "features must be a real number or an array of them, got None"),
        ({"features": ["2"]}, "features must be a real number or an array of them"),
        ({"features": 2j}, "features must be a real number"),
        ({"samples": np.nan}, "samples must be at least 1 and finite, got nan"),
        ({"samples": np.inf}, "samples must be at least 1 and finite, got inf"),
        ({"samples": None}, "samples must be a real number"),
        ({"ridge": np.nan}, "ridge must be at least 0 and finite, got nan"),
        ({"ridge": None}, "ridge must be a real number"),
        ({"noise": np.inf}, "noise must be at least 0 and finite, got inf"),
        ({"tail": np.nan}, "tail must be at least 0 and finite, got nan"),
        ({"ridge": [0.0, 1.0]}, "ridge must be one number"),
    ],
)
def test_a_missing_number_is_refused_before_a_root_search_that_would_not_end(options, message):
    arguments = {"samples": 1, "features": 10, "ridge": 0.1} | options
    with pytest.raises(td.ArgumentError, match=message):
        random_features_risk([1.0, 0.5], [1.0, 1.0], arguments.pop("samples"), arguments.pop("features"), **arguments)


def test_a_root_beyond_the_floats_ends_with_words():
    with pytest.raises(td.NumericalError, match="range of floats"):
        random_features_risk([1.0, 0.5], [1.0, 1.0], 1, np.inf, ridge=1e308, tail=1e308)

"""Quadrature rules against closed-form integrals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.core.errors import ArgumentError
from theodolite.core.seed import generator
from theodolite.maths.quadrature import gauss_legendre, sobol, trapezoid


def monomial_integral(power: int, low: float, high: float) -> float:
    return (high ** (power + 1) - low ** (power + 1)) / (power + 1)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.floats(-2, 2), st.floats(0.1, 3))
def test_gauss_legendre_is_exact_to_degree_2n_minus_1_and_no_further(n, low, length):
    high = low + length
    points, weights = gauss_legendre(low, high, n)
    scale = max(abs(low), abs(high), 1.0)
    for power in range(2 * n):
        assert float(weights @ points[:, 0] ** power) == pytest.approx(
            monomial_integral(power, low, high), abs=1e-12 * scale ** (power + 1)
        )
    # the error at degree 2n is (n!)^4 L^(2n+1) / ((2n+1) (2n)!^2) (2n)! / (2n)!, a closed form
    expected = math.factorial(n) ** 4 * length ** (2 * n + 1) / ((2 * n + 1) * math.factorial(2 * n) ** 2)
    error = monomial_integral(2 * n, low, high) - float(weights @ points[:, 0] ** (2 * n))
    assert error == pytest.approx(expected, abs=1e-11 * scale ** (2 * n + 1))


def test_trapezoid_is_the_rule_written_out():
    points, weights = trapezoid(1.0, 3.0, 5)
    assert points.squeeze(1).tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert weights.tolist() == [0.25, 0.5, 0.5, 0.5, 0.25]


def test_trapezoid_error_is_second_order():
    errors = []
    for n in (33, 65, 129):
        points, weights = trapezoid(0.0, 1.0, n)
        errors.append(abs(float(weights @ torch.exp(points[:, 0])) - (math.e - 1)))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.01)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("rule", [trapezoid, gauss_legendre, sobol])
@pytest.mark.parametrize(("measure", "total"), [("lebesgue", 6.0), ("probability", 1.0)])
def test_weights_sum_to_the_measure_of_the_box(rule, measure, total):
    points, weights = rule([0.0, -1.0], [2.0, 2.0], 16, 2, measure=measure)
    assert points.dtype == weights.dtype == torch.float64
    assert points.shape == (len(weights), 2)
    assert float(weights.sum()) == pytest.approx(total, rel=1e-13)
    assert bool((points >= torch.tensor([0.0, -1.0])).all())
    assert bool((points <= torch.tensor([2.0, 2.0])).all())


@pytest.mark.parametrize("rule", [trapezoid, gauss_legendre])
def test_tensor_rule_factorises(rule):
    line, w = rule(-1.0, 2.0, 4)
    points, weights = rule(-1.0, 2.0, 4, 3)
    grid = np.array([(a, b, c) for a in line[:, 0] for b in line[:, 0] for c in line[:, 0]])
    products = np.array([a * b * c for a in w for b in w for c in w])
    np.testing.assert_array_equal(points.numpy(), grid)
    np.testing.assert_allclose(weights.numpy(), products, rtol=1e-14)


def test_sobol_projections_are_the_midpoint_rule():
    points, _ = sobol(0.0, 1.0, 64, 6)
    for axis in points.T:
        np.testing.assert_allclose(np.sort(axis.numpy()), (np.arange(64) + 0.5) / 64, atol=1e-12)


def test_sobol_beats_monte_carlo_and_scrambling_is_unbiased():
    exact = math.sin(1.0) ** 5  # ∏ ∫ cos over [0, 1]

    def error(generator_):
        points, weights = sobol(0.0, 1.0, 256, 5, generator=generator_)
        return float(weights @ torch.cos(points).prod(1)) - exact

    monte_carlo = math.sqrt((0.5 + math.sin(2.0) / 4) ** 5 - exact**2) / math.sqrt(256)
    assert abs(error(None)) < monte_carlo / 5
    errors = np.array([error(generator(0, "sobol", k)) for k in range(64)])
    assert abs(errors.mean()) < 4 * errors.std(ddof=1) / 8
    assert errors.std() < monte_carlo / 5
    same = [sobol(0.0, 1.0, 8, 2, generator=generator(3))[0] for _ in range(2)]
    assert torch.equal(*same)


def test_nothing_global_is_changed():
    state = torch.get_rng_state()
    sobol(0.0, 1.0, 8, 2)
    sobol(0.0, 1.0, 8, 2, generator=generator(0))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: trapezoid(0, 1, 1), "n must be"),
        (lambda: gauss_legendre(0, 1, 0), "n must be"),
        (lambda: gauss_legendre(0, 1, 2.5), "n must be"),
        (lambda: gauss_legendre(1, 1, 4), "low must be less"),
        (lambda: gauss_legendre(0, float("nan"), 4), "low must be less"),
        (lambda: gauss_legendre([0, 0], [1, 1, 1], 4), "one number per axis"),
        (lambda: gauss_legendre([0, 0], 1, 4, dim=3), "one number per axis"),
        (lambda: gauss_legendre(0, 1, 64, dim=6), "sobol"),
        (lambda: sobol(0, 1, 64, 30_000), "Sobol"),
        (lambda: sobol(0, 1, 64, 2, measure="gaussian"), "measure must be"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ArgumentError, match=word):
        call()

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.maths.activation import identify
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import bivariate, expectation

NEAR_ONE = (0.0, 0.3, -0.7, 0.99, 0.9999, 1 - 1e-8, 1 - 1e-12, 1.0, -1.0)


def relu_pair(q1, q2, c):
    return math.sqrt(q1 * q2) / (2 * math.pi) * (math.sqrt((1 - c) * (1 + c)) + (math.pi - math.acos(c)) * c)


def erf_pair(q1, q2, c):
    return 2 / math.pi * math.asin(2 * math.sqrt(q1 * q2) * c / math.sqrt((1 + 2 * q1) * (1 + 2 * q2)))


@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 50.0, 1e4])
def test_one_dimension_against_closed_forms(q):
    assert expectation(lambda x: torch.relu(x) ** 2, q) == pytest.approx(q / 2, rel=1e-13)
    assert expectation(lambda x: torch.erf(x) ** 2, q) == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-12)
    e, r = math.erf(1 / math.sqrt(2 * q)), math.sqrt(2 / (math.pi * q)) * math.exp(-1 / (2 * q))
    hard = q * (e - r) + math.erfc(1 / math.sqrt(2 * q))
    assert expectation(lambda x: x.clamp(-1, 1) ** 2, q) == pytest.approx(hard, rel=1e-12)


def test_large_variance_oscillations_and_growth():
    assert expectation(torch.cos, np.array([0.5, 2.0])) == pytest.approx(np.exp([-0.25, -1.0]), abs=1e-14)
    assert expectation(torch.exp, [1.0, 4.0, 30.0]) == pytest.approx(np.exp([0.5, 2.0, 15.0]), rel=1e-13)
    with pytest.raises(NumericalError, match="grows too fast"):
        expectation(lambda x: torch.exp(x * x), 1.0)


@pytest.mark.parametrize("c", NEAR_ONE)
@pytest.mark.parametrize(("q1", "q2"), [(1.0, 1.0), (0.3, 2.0), (1e-3, 1e-3), (25.0, 0.5)])
def test_two_dimensions_up_to_the_diagonal(q1, q2, c):
    scale = math.sqrt(q1 * q2)
    assert bivariate("relu", "relu", q1, q2, c) == pytest.approx(relu_pair(q1, q2, c), abs=2e-15 * scale)
    assert bivariate("erf", "erf", q1, q2, c) == pytest.approx(erf_pair(q1, q2, c), abs=3e-15)
    slope = identify("relu").prime
    assert bivariate(slope, slope, q1, q2, c) == pytest.approx((math.pi - math.acos(c)) / (2 * math.pi), abs=1e-15)


def test_hard_tanh_slopes_at_the_reference_points():
    reference = {0.3: 0.59981869245924, 0.9: 0.698579635648543, 0.99: 0.745973078398762, 0.9999: 0.765798572524464,
                 1 - 1e-8: 0.7679802392540624, 1.0: 0.768002276371266}  # fmt: skip
    slope, closed = identify("hardtanh").prime, dual("hardtanh")
    for c, value in reference.items():
        assert bivariate(slope, slope, 0.7, 0.7, c) == pytest.approx(value, abs=3e-14)
        assert closed.derivative(0.7, 0.7, c) == pytest.approx(value, abs=3e-14)


@settings(deadline=None, max_examples=15)
@given(st.floats(0.01, 20), st.floats(0.01, 20), st.floats(-1, 1))
def test_symmetry_and_cauchy_schwarz(q1, q2, c):
    value = bivariate("selu", "selu", q1, q2, c)
    assert value == pytest.approx(bivariate("selu", "selu", q2, q1, c), abs=1e-12 * (1 + q1 + q2))
    bound = math.sqrt(bivariate("selu", "selu", q1, q1, 1.0) * bivariate("selu", "selu", q2, q2, 1.0))
    assert abs(value) <= bound * (1 + 1e-12)


def test_kinks_between_curved_pieces_against_many_nodes():
    # A crude oracle: midpoint sums on a fine grid of u, conditional on which v is Gaussian.
    n = 4000
    z = (np.arange(n) + 0.5) / n * 16 - 8
    w = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * 16 / n
    for name in ("softsign", "elu", "selu"):
        phi, c = identify(name), 0.6
        inner = np.array([w @ phi(c * a + math.sqrt(1 - c * c) * z) for a in z])
        assert bivariate(name, name, 1.0, 1.0, c) == pytest.approx(float((w * phi(z)) @ inner), abs=3e-6)


def test_bad_arguments():
    for bad in (-1.0, float("nan"), float("inf"), 1j):
        with pytest.raises(ArgumentError, match="q"):
            expectation(torch.tanh, bad)
    with pytest.raises(ArgumentError, match="correlation"):
        bivariate("tanh", "tanh", 1.0, 1.0, 1.1)

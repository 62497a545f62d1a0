import numpy as np
import pytest

import theodolite as td
from theodolite.maths.nestedleastsquares import _least_share, nested_least_squares


def oracle(a, y, ridge):
    if ridge == 0:
        return np.linalg.lstsq(a, y, rcond=None)[0]
    stacked = np.vstack([a, ridge**0.5 * np.eye(a.shape[1])])
    return np.linalg.lstsq(stacked, np.vstack([y, np.zeros((a.shape[1], y.shape[1]))]), rcond=None)[0]


@pytest.mark.parametrize("ridge", [0.0, 1e-2, 30.0])
@pytest.mark.parametrize("complex_", [False, True])
def test_every_width(ridge, complex_):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 120)) + 1j * complex_ * rng.normal(size=(40, 120))
    if not complex_:
        a = a.real
    a[:, [2, 30, 41]] = 0
    a[:, 33] = a[:, 32] * 2
    y = rng.normal(size=(40, 2))
    for solution in nested_least_squares(a, y, [1, 3, 20, 34, 38, 39, 40, 41, 42, 43, 44, 45, 46, 60, 120], ridge=ridge):
        block = a[:, : solution.width]
        expected = oracle(block, y, ridge)
        np.testing.assert_allclose(solution.coefficients, expected, atol=1e-9 * np.abs(expected).max())
        assert solution.rank == np.linalg.matrix_rank(block)


def test_smooth_features_are_rank_deficient_everywhere():
    x = np.linspace(-1, 1, 30)
    a = np.exp(-((x[:, None] - np.linspace(-1, 1, 80)[None]) ** 2) / 2)
    y = np.sin(3 * x)[:, None]
    for solution in nested_least_squares(a, y, [5, 20, 30, 31, 80]):
        block = a[:, : solution.width]
        reference, _, rank, _ = np.linalg.lstsq(block, y, rcond=None)
        assert abs(solution.rank - rank) <= 1  # a singular value at the cut-off may fall on either side
        assert np.linalg.norm(block @ solution.coefficients - y) <= 10 * np.linalg.norm(block @ reference - y) + 1e-12


@pytest.mark.parametrize("ridge", [0.0, 1e-12])
def test_wide_and_ill_conditioned_features_interpolate_as_lstsq_does(ridge):
    """Nearly dependent first columns, condition number 1e8 to 1e12 for all: residuals, not only coefficients, must be small."""
    source = np.random.default_rng(3)
    x = np.sort(source.uniform(-1, 1, 20))
    matrix = np.cos(x[:, None] * source.normal(size=200) * 6 + source.uniform(0, 2 * np.pi, 200))
    targets = np.sin(2 * np.pi * x)[:, None] + 0.2 * source.normal(size=(20, 1))
    conditions = []
    for solution in nested_least_squares(matrix, targets, [22, 60, 100, 140, 200], ridge=ridge):
        a = matrix[:, : solution.width]
        conditions.append(np.linalg.cond(a))
        residual, least = (np.linalg.norm(a @ b - targets) for b in (solution.coefficients, oracle(a, targets, ridge)))
        # Where even the best residual is nothing but the rounding of a·b, it may be a tenth of that rounding larger.
        rounding = np.finfo(float).eps * np.linalg.norm(a) * np.linalg.norm(solution.coefficients)
        assert residual <= 1.01 * least + (max(1e-7, 0.1 * rounding) if least < rounding else 1e-7)
    assert max(conditions) > 1e10


def test_bad_input():
    a, y = np.ones((3, 4)), np.ones((3, 1))
    for widths in ([], [0, 1], [2, 1], [2, 2], [5]):
        with pytest.raises(td.ArgumentError, match="strictly"):
            list(nested_least_squares(a, y, widths))
    with pytest.raises(td.ArgumentError, match="ridge"):
        list(nested_least_squares(a, y, [1], ridge=-1))


def test_the_share_of_the_least_singular_value_is_never_too_small():
    rng = np.random.default_rng(1)
    for n in (4, 30, 90):
        u, v = (np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))[0] for _ in range(2))
        s = np.exp(-20.0 * rng.uniform(0, 1, n))
        share = _least_share(np.linalg.qr(u * s @ v)[1])
        assert 1 - 1e-6 <= share * s.max() / s.min() < 1.5

"""The least-squares solver against textbook oracles: pseudo-inverses, exact rational answers, matrices that break shortcuts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.core.errors import ArgumentError
from theodolite.maths.leastsquares import CUTOFF, block_least_squares, compressed, least_squares


def unit_columns(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=0)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.integers(0, 10_000))
def test_agrees_with_the_pseudo_inverse(rows, columns, outputs, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, columns))
    rhs = rng.standard_normal((rows, outputs) if outputs else rows)
    found = least_squares(matrix, rhs, scale="none")
    expected = np.linalg.pinv(matrix) @ rhs
    condition = np.linalg.cond(matrix)
    np.testing.assert_allclose(found.solution, expected, atol=1e-13 * condition**2 * (1 + np.abs(expected).max()))
    assert found.solution.shape == expected.shape
    assert found.rank == min(rows, columns)
    assert found.residual == pytest.approx(np.linalg.norm(matrix @ expected - rhs), abs=1e-11 * condition)
    assert found.condition_number == pytest.approx(condition, rel=1e-8)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (20, 20)])
@pytest.mark.parametrize("scale", ["columns", "rows and columns", "none"])
def test_rank_deficient_systems_get_the_solution_of_least_norm(shape, scale):
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((shape[0], 5)) @ rng.standard_normal((5, shape[1]))
    rhs = matrix @ rng.standard_normal(shape[1])  # consistent, so that row scaling changes no minimiser
    found = least_squares(matrix, rhs, scale=scale)
    norms = np.ones(shape[1]) if scale == "none" else np.linalg.norm(matrix, axis=0)
    if scale == "rows and columns":
        norms = np.linalg.norm(matrix / np.abs(matrix).max(1, keepdims=True), axis=0)
    expected = np.linalg.pinv(matrix / norms, rcond=1e-12) @ rhs / norms
    assert found.rank == 5
    np.testing.assert_allclose(found.solution, expected, atol=1e-11)
    assert not found.resolved
    assert found.condition_number >= 1e12
    assert "≥" in repr(found)


def test_lauchli_matrix_which_normal_equations_cannot_solve():
    eps = 1e-9  # 1 + eps² rounds to 1: the Gram matrix is exactly singular
    matrix = np.array([[1.0, 1.0], [eps, 0.0], [0.0, eps]])
    found = least_squares(matrix, np.array([2.0, eps, eps]))
    np.testing.assert_allclose(found.solution, [1.0, 1.0], rtol=1e-6)
    assert found.rank == 2
    assert found.condition_number == pytest.approx(np.sqrt(2) / eps, rel=1e-5)
    assert found.resolved


def test_hilbert_matrix_residual_is_at_rounding():
    n = 14
    matrix = 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1.0)
    found = least_squares(matrix, matrix @ np.ones(n))
    assert found.relative_residual < 1e-14
    assert found.rank < n
    assert np.abs(found.solution - 1).max() < 10  # no blow-up, although the condition number is 1e18


def test_column_scaling_makes_units_irrelevant():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((60, 8))
    units = 10.0 ** rng.integers(-12, 12, 8)
    rhs = rng.standard_normal(60)
    plain, scaled = least_squares(matrix, rhs), least_squares(matrix * units, rhs)
    np.testing.assert_allclose(scaled.solution * units, plain.solution, rtol=1e-10)
    assert scaled.condition_number == pytest.approx(np.linalg.cond(unit_columns(matrix)), rel=1e-10)
    assert scaled.rank == 8


def test_row_scaling_weighs_equations_equally():
    matrix = np.array([[1e6, 0.0], [0.0, 1.0], [0.0, 1.0]])
    rhs = np.array([1e6, 1.0, 3.0])
    found = least_squares(matrix, rhs, scale="rows and columns")
    np.testing.assert_allclose(found.solution, [1.0, 2.0], rtol=1e-12)
    assert found.residual == pytest.approx(np.sqrt(2.0), rel=1e-12)


def test_a_zero_column_gets_no_coefficient():
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((20, 4))
    matrix[:, 2] = 0.0
    for kind in (matrix, matrix[:3]):
        found = least_squares(kind, rng.standard_normal(len(kind)))
        assert found.solution[2] == 0.0
        assert found.rank == 3


def test_the_cut_off_is_relative_and_obeyed():
    rng = np.random.default_rng(2)
    left, _ = np.linalg.qr(rng.standard_normal((50, 6)))
    right, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    matrix = 7.0 * left @ np.diag([1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10]) @ right.T
    ranks = [least_squares(matrix, matrix[:, 0], scale="none", cutoff=c).rank for c in (3e-1, 3e-3, 3e-5, 3e-7, 3e-9, None)]
    assert ranks == [1, 2, 3, 4, 5, 6]
    assert least_squares(matrix, matrix[:, 0]).cutoff == CUTOFF


def test_smooth_random_features_reach_rounding_where_the_textbook_cut_off_does_not():
    rng = np.random.default_rng(4)
    x = np.linspace(-1, 1, 400)
    features = np.tanh(np.outer(x, rng.uniform(-3, 3, 120)) + rng.uniform(-3, 3, 120))
    target = np.sin(6 * x)
    found = least_squares(features, target)
    textbook = np.linalg.lstsq(features, target, rcond=None)[0]
    assert found.relative_residual < 1e-11
    assert found.relative_residual < np.linalg.norm(features @ textbook - target) / np.linalg.norm(target) / 10
    assert found.rank < 120


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_arrays_come_back_as_they_went_in_and_are_left_alone(kind):
    rng = np.random.default_rng(5)
    matrix, rhs = kind(rng.standard_normal((9, 3))), kind(rng.standard_normal(9))
    before = matrix.clone() if isinstance(matrix, torch.Tensor) else matrix.copy()
    found = least_squares(matrix, rhs, scale="rows and columns")
    assert type(found.solution) is type(matrix)
    assert bool((before == matrix).all())
    assert isinstance(found.residual, float)
    assert isinstance(found.condition_number, float)


def test_blocks_are_the_block_diagonal_system():
    rng = np.random.default_rng(6)
    blocks = [(rng.standard_normal((rows, columns)), rng.standard_normal(rows)) for rows, columns in ((9, 3), (5, 5), (12, 4))]
    matrix = np.zeros((26, 12))
    matrix[:9, :3], matrix[9:14, 3:8], matrix[14:, 8:] = (block for block, _ in blocks)
    rhs = np.concatenate([right for _, right in blocks])
    whole, parts = least_squares(matrix, rhs), block_least_squares(blocks)
    np.testing.assert_allclose(parts.solution, whole.solution, rtol=1e-10)
    np.testing.assert_allclose(parts.singular_values, whole.singular_values, rtol=1e-10)
    assert (parts.shape, parts.rank) == (whole.shape, whole.rank)
    assert parts.residual == pytest.approx(whole.residual, rel=1e-10)
    assert parts.relative_residual == pytest.approx(whole.relative_residual, rel=1e-10)
    assert parts.condition_number == pytest.approx(whole.condition_number, rel=1e-10)
    with pytest.raises(ArgumentError, match="blocks must hold"):
        block_least_squares([])


@pytest.mark.parametrize("rows", [30, 4, 3])
def test_compressed_equations_have_the_same_residual_everywhere(rows):
    rng = np.random.default_rng(7)
    matrix, rhs = torch.from_numpy(rng.standard_normal((rows, 4))), torch.from_numpy(rng.standard_normal(rows))
    triangle, right, rest = compressed(matrix, rhs)
    assert len(triangle) == min(rows, 4)
    for _ in range(5):
        x = torch.from_numpy(rng.standard_normal(4))
        assert float((triangle @ x - right).norm() ** 2) + rest**2 == pytest.approx(
            float((matrix @ x - rhs).norm() ** 2), rel=1e-12
        )


def test_a_zero_right_hand_side_has_residual_zero():
    found = least_squares(np.eye(3), np.zeros(3))
    assert found.relative_residual == found.residual == 0.0
    assert not found.solution.any()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: least_squares(np.ones((3, 2)), np.ones(4)), r"rhs must have shape \(3,\)"),
        (lambda: least_squares(np.ones((3, 2)), np.ones((3, 1, 1))), "rhs must have shape"),
        (lambda: least_squares(np.ones(3), np.ones(3)), "matrix must have 2"),
        (lambda: least_squares(np.ones((3, 0)), np.ones(3)), "matrix must not be empty"),
        (lambda: least_squares(np.full((3, 2), np.nan), np.ones(3)), "matrix must be finite"),
        (lambda: least_squares(np.ones((3, 2)), np.array([1.0, np.inf, 0.0])), "rhs must be finite"),
        (lambda: least_squares(np.ones((3, 2)) * 1j, np.ones(3)), "matrix must be real"),
        (lambda: least_squares(np.ones((3, 2)), np.ones(3), scale="cols"), "scale must be"),
        (lambda: least_squares(np.ones((3, 2)), np.ones(3), cutoff=1.5), "cutoff must be"),
    ],
)
def test_bad_input_is_named(call, word):
    with pytest.raises(ArgumentError, match=word):
        call()

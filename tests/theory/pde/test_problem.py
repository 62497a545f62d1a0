"""Problems: what they refuse, and that the ready ones are solved by their solutions."""

import math

import numpy as np
import pytest
import torch

from theodolite.core.errors import ArgumentError
from theodolite.theory.pde import PROBLEMS, Condition, Problem, laplacian, relative_error, residual
from theodolite.theory.pde.points import as_points, grid_points, values_at


def zero(x):
    return torch.zeros(len(x))


@pytest.mark.parametrize("name", PROBLEMS)
def test_ready_problems_are_solved_by_their_exact_solutions(name):
    problem = PROBLEMS[name]()
    points = problem.test_points(200)
    missing = residual(problem, lambda x: problem.exact(x[None])[0], points)
    scale = 1 + float(problem.rhs(points).abs().max())
    assert float(missing.abs().max()) < 1e-12 * scale
    faces = problem.boundary_points(7)
    torch.testing.assert_close(problem.boundary(faces), problem.exact(faces))
    assert float(problem.exact(points).std()) > 0.05  # not the zero solution


@pytest.mark.parametrize("name", ["poisson_1d", "heat", "burgers"])
def test_the_residual_sees_a_wrong_solution(name):
    problem = PROBLEMS[name]()
    points = problem.test_points(50)
    wrong = residual(problem, lambda x: problem.exact(x[None])[0] + 0.1 * x[0] ** 2, points)
    assert float(wrong.abs().max()) > 1e-2


def test_boundary_points_lie_on_the_chosen_faces():
    problem = Problem([(0, 2), (-1, 1)], laplacian, zero, zero, faces=[(0, 0), (1, 1)])
    points = problem.boundary_points(5)
    assert bool(((points[:, 0] == 0) | (points[:, 1] == 1)).all())
    assert len(points) == 9  # two faces of five points share a corner
    assert len(Problem([(0, 2)], laplacian, zero, zero).boundary_points(5)) == 2


def test_conditions_come_as_tuples_or_objects_and_as_the_boundary_itself():
    slope = lambda u, x: torch.func.grad(u)(x)[0]
    one = Problem([(0, 1)], laplacian, zero, zero, conditions=[(slope, [[0.0]], 2.0), Condition(slope, [1.0], lambda x: x[:, 0])])
    assert [tuple(c.points.shape) for c in one.conditions] == [(1, 1), (1, 1)]
    assert len(one.all_conditions(3)) == 3
    two = Problem([(0, 1)], laplacian, zero, [(slope, [[0.0]]), (slope, [[1.0]], [3.0])])
    assert two.boundary is None
    assert len(two.all_conditions(3)) == 2


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Problem([(0, 1)], laplacian, zero), "boundary is missing"),
        (lambda: Problem([(0, 1)], laplacian, zero, []), "boundary is missing"),
        (lambda: Problem([(1, 0)], laplacian, zero, zero), "domain must be"),
        (lambda: Problem([(0, math.inf)], laplacian, zero, zero), "domain must be"),
        (lambda: Problem([(0, 1)], None, zero, zero), "operator must be callable"),
        (lambda: Problem([(0, 1)], laplacian, 0.0, zero), "rhs must be callable"),
        (lambda: Problem([(0, 1)], laplacian, zero, zero, exact=1.0), "exact must be callable"),
        (lambda: Problem([(0, 1)], laplacian, zero, zero, faces=[(1, 0)]), "faces must be"),
        (lambda: Problem([(0, 1)], laplacian, zero, zero, order=(1, 2)), "order must be"),
        (lambda: Problem([(0, 1)], laplacian, zero, zero, conditions=[laplacian]), "conditions must be"),
        (lambda: Problem([(0, 1)], laplacian, zero, zero, conditions=[(laplacian, [[2.0]])]), "must lie in the domain"),
    ],
)
def test_bad_problems_are_named(make, word):
    with pytest.raises(ArgumentError, match=word):
        make()


def test_points_are_checked():
    box = torch.tensor([[0.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    assert as_points(np.array([[1.0 + 1e-14, 0.0]]), box)[0, 0] == 1.0  # rounding is forgiven, and clipped
    for points, word in (
        ([[0.5, 0.5], [0.5, 2.5]], r"1 of 2 do not; the first is \[0.5, 2.5\] at index 1"),
        ([0.5, 0.5], r"must have shape \(N, 2\)"),
        (np.zeros((0, 2)), "N ≥ 1"),
        ([[math.nan, 0.0]], "must be finite"),
    ):
        with pytest.raises(ArgumentError, match=word):
            as_points(points, box)


def test_values_are_checked():
    x = torch.rand(5, 2)
    assert values_at(2.0, x, "rhs").tolist() == [2.0] * 5
    assert values_at(lambda p: p[:, :1], x, "rhs").shape == (5,)
    assert values_at(lambda p: np.ones(5), x, "rhs").dtype == torch.float64
    with pytest.raises(ArgumentError, match=r"rhs must give one number per point, shape \(5,\)"):
        values_at(lambda p: p, x, "rhs")
    with pytest.raises(ArgumentError, match="rhs must be finite"):
        values_at(lambda p: p[:, 0] / 0, x, "rhs")


def test_grid_points_fill_every_dimension():
    for dim in (1, 2, 3, 5):
        box = torch.tensor([[-1.0, 3.0]] * dim)
        points = grid_points(box, 500)
        assert 250 <= len(points) <= 1100
        assert float(points.min()) < -0.9
        assert float(points.max()) > 2.9


def test_relative_error_by_hand():
    assert relative_error([3.0, 4.0], [0.0, 0.0]) == 5.0
    assert relative_error([1.0, 3.0], [1.0, 1.0], [1.0, 0.25]) == pytest.approx(1 / math.sqrt(1.25))
    with pytest.raises(ArgumentError, match="agree in shape"):
        relative_error([1.0], [1.0, 2.0])

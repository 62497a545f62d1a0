"""Solvers: reference accuracies, exactness, nonlinear and two-dimensional problems, named errors."""

import math

import numpy as np
import pytest
import torch

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnsupportedError
from theodolite.core.seed import generator
from theodolite.theory.pde import (
    FUNCTIONS,
    PROBLEMS,
    Condition,
    Problem,
    RandomFeatures,
    fit,
    helmholtz_1d,
    laplacian,
    poisson_1d,
    solve_elm,
    solve_rfm,
)
from theodolite.theory.pde.collocation import continuity_rows, equations, linearized
from theodolite.theory.pde.solve import fits


def features_on(problem, m, count, R=3.0, **options):
    return RandomFeatures(problem.domain, subdomains=m, count=count, R=R, generator=generator(0), **options)


@pytest.mark.parametrize(("activation", "R", "reached"), [("tanh", 1.0, 1e-7), ("cos", 10.0, 1e-11)])
@pytest.mark.parametrize("seed", range(3))
def test_reference_accuracies_of_the_helmholtz_example(activation, R, reached, seed):
    function, domain = FUNCTIONS["helmholtz"]
    features = RandomFeatures(domain, subdomains=9, count=100, activation=activation, R=R, generator=generator(seed))
    assert fit(function, features, points=3000).error <= reached
    assert solve_rfm(helmholtz_1d(), features, points=3000).error <= 10 * reached


def test_cos_at_small_bandwidth_is_worse_by_orders_of_magnitude():
    function, domain = FUNCTIONS["helmholtz"]
    error = {
        (act, R): fit(
            function, RandomFeatures(domain, subdomains=9, count=100, activation=act, R=R, generator=generator(0)), points=1800
        ).error
        for act in ("tanh", "cos")
        for R in (1.0, 10.0)
    }
    assert error["cos", 1.0] > 1e3 * error["tanh", 1.0]
    assert error["cos", 10.0] < 1e-2 * error["tanh", 10.0]


CASES = [(name, partition) for name in PROBLEMS for partition in ("indicator", "smooth")]
CASES = [pytest.param(*case, marks=pytest.mark.slow if case[0] in ("burgers", "allen_cahn") else ()) for case in CASES]


@pytest.mark.parametrize(("name", "partition"), CASES)
def test_every_ready_problem_is_solved(name, partition):
    problem = PROBLEMS[name]()
    if problem.dim == 1:
        features, points, accuracy = features_on(problem, 4, 60, partition=partition), 800, 1e-6
    else:
        features, points, accuracy = features_on(problem, 2, 80, R=1.5, partition=partition), 700, 1e-2
    solution = solve_rfm(problem, features, points=points)
    assert solution.error < accuracy
    assert (solution.steps > 1) == (name in ("burgers", "allen_cahn"))
    middle = problem.box.mean(1)[None]
    assert solution(middle).shape == (1,)
    if solution.steps == 1:
        elm = solve_elm(problem, count=240, R=6.0 if problem.dim == 1 else 2.0, points=600, generator=generator(0))
        assert elm.error < (1e-2 if name == "helmholtz_1d" else 1e-3)


def test_a_problem_in_the_span_of_the_features_is_solved_exactly():
    # u = Σ c_j tanh(…) for known c: the solver has to find u, whatever the coefficients
    basis = RandomFeatures([(-1, 1)], subdomains=1, count=3, R=2.0, generator=generator(5))
    c = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    problem = Problem(
        [(-1, 1)],
        lambda u, x: laplacian(u, x) - x[0] * u(x),
        lambda x: (basis.derivative(x, 2) - x * basis(x)) @ c,
        lambda x: basis(x) @ c,
        lambda x: basis(x) @ c,
    )
    solution = solve_rfm(problem, basis, points=30)
    torch.testing.assert_close(solution.coefficients, c, rtol=1e-10, atol=1e-10)
    assert solution.error < 1e-13


@pytest.mark.parametrize("partition", ["indicator", "smooth"])
def test_rows_are_the_operator_applied_to_each_feature(partition):
    problem = Problem([(0, 1), (0, 1)], lambda u, x: laplacian(u, x) + x[1] * torch.func.grad(u)(x)[0], torch_zero, torch_zero)
    features = RandomFeatures(problem.domain, subdomains=2, count=5, R=2.0, partition=partition, generator=generator(1))
    interior = equations(problem, features, 64)[0]
    values, rows = linearized(interior, features, torch.zeros(features.size, dtype=torch.float64))
    x = interior.points
    # derivatives of the cell that each point was placed in, which matters on inner edges
    eps = 1e-9 * (features.centers[interior.cells] - x)
    inside = x + eps if partition == "indicator" else x
    expected = (
        features.derivative(inside, (2, 0)) + features.derivative(inside, (0, 2)) + x[:, 1:] * features.derivative(inside, (1, 0))
    )
    if partition == "indicator":
        expected = expected.view(len(x), 4, 5)[torch.arange(len(x)), interior.cells]
    torch.testing.assert_close(rows, expected, rtol=1e-6, atol=1e-6)
    assert not values.any()


def torch_zero(x):
    return torch.zeros(len(x))


def test_nonlinear_rows_are_the_derivative_at_the_current_function():
    problem = Problem([(0, 1)], lambda u, x: u(x) ** 3 + torch.func.grad(u)(x)[0] * u(x), torch_zero, torch_zero, order=1)
    features = RandomFeatures(problem.domain, subdomains=2, count=4, generator=generator(2))
    equation = equations(problem, features, 20)[0]
    c = torch.rand(8, dtype=torch.float64, generator=generator(3))
    values, rows = linearized(equation, features, c)
    step = 1e-6
    dense = torch.zeros(20, 2, 4, dtype=torch.float64)
    dense[torch.arange(20), equation.cells] = rows
    for k in range(8):
        direction = torch.zeros(8, dtype=torch.float64)
        direction[k] = step
        up, down = (linearized(equation, features, c + s * direction)[0] for s in (1, -1))
        torch.testing.assert_close(dense.view(20, 8)[:, k], (up - down) / (2 * step), rtol=1e-6, atol=1e-8)
    assert values.shape == (20,)


def test_continuity_rows_measure_jumps():
    features = RandomFeatures([(0, 1), (0, 2)], subdomains=(2, 3), count=4, generator=generator(0))
    rows = continuity_rows(features, (2, 1), per_cell=3)
    assert len(rows) == 3 * 3 * 2 + 2 * 2 * 3 * 1  # 3 faces across x with two orders, 4 across y with one
    c = torch.rand(features.size, dtype=torch.float64, generator=generator(1))
    across = 1e-9
    face = torch.tensor([0.5, 0.4], dtype=torch.float64)
    left, right = face - torch.tensor([across, 0.0]), face + torch.tensor([across, 0.0])
    jump = (features(left[None]) - features(right[None])) @ c
    nearest = continuity_rows(features, (1, 0), per_cell=1)[0] @ c  # the midpoint of the first face is (0.5, 1/3)
    middle = torch.tensor([0.5, 1 / 3], dtype=torch.float64)
    expected = (features((middle - torch.tensor([across, 0.0]))[None]) - features(middle[None])) @ c
    torch.testing.assert_close(nearest, expected[0], rtol=1e-6, atol=1e-6)
    assert abs(float(jump)) > 1e-6


def test_compression_by_cells_changes_nothing():
    from theodolite.maths.leastsquares import least_squares
    from theodolite.theory.pde.solve import _System

    problem = poisson_1d()
    features = features_on(problem, 3, 8)
    system = _System(problem, features, 60)
    missing, rows = system.linearized(torch.zeros(24, dtype=torch.float64))
    dense = torch.zeros(len(rows), 3, 8, dtype=torch.float64)
    dense[torch.arange(len(rows)), system.cells] = rows
    whole = least_squares(torch.cat([dense.view(-1, 24), system.joints]), missing)
    parts = system.step(missing, rows)
    torch.testing.assert_close(parts.solution, whole.solution, rtol=1e-6, atol=1e-8)
    assert parts.shape == whole.shape == (60 + 2 + 4, 24)
    assert parts.residual == pytest.approx(whole.residual, rel=1e-8)
    assert parts.condition_number == pytest.approx(whole.condition_number, rel=1e-6)


def test_the_solution_of_an_indicator_partition_is_continuously_differentiable():
    problem = helmholtz_1d()
    solution = solve_rfm(problem, features_on(problem, 5, 80), points=1500)
    edges = torch.linspace(0, 8, 6, dtype=torch.float64)[1:-1]
    for order in (0, 1):
        jump = solution.derivative(edges, order) - solution.derivative(edges - 1e-10, order)
        assert float(jump.abs().max()) < 1e-5


def test_neumann_and_periodic_conditions():
    k = math.pi

    def exact(x):
        return torch.cos(k * x[:, 0])

    slope = lambda u, x: torch.func.grad(u)(x)[0]
    neumann = Problem(
        [(0, 1)],
        lambda u, x: u(x) - laplacian(u, x),
        lambda x: (1 + k**2) * exact(x),
        conditions=[Condition(slope, [[0.0], [1.0]], 0.0)],
        exact=exact,
    )
    assert solve_rfm(neumann, features_on(neumann, 2, 30), points=200).error < 1e-10

    def wrap(u, x):
        return u(x) - u(x + 2)

    periodic = Problem(
        [(-1, 1)],
        lambda u, x: u(x) - laplacian(u, x),
        lambda x: (1 + k**2) * exact(x),
        [(wrap, [[-1.0]]), (lambda u, x: slope(u, x) - slope(u, x + 2), [[-1.0]])],
        exact,
    )
    one_cell = RandomFeatures([(-1, 1)], subdomains=1, count=60, R=4.0, generator=generator(0))
    assert solve_rfm(periodic, one_cell, points=200).error < 1e-9
    assert solve_rfm(periodic, features_on(periodic, 3, 30, partition="smooth"), points=200).error < 1e-7
    with pytest.raises(UnsupportedError, match="operator of condition 0 evaluates u away from x"):
        solve_rfm(periodic, features_on(periodic, 3, 30), points=200)


def test_fits_agree_with_a_plain_least_squares_solution():
    features = RandomFeatures([(0, 1), (0, 1)], subdomains=2, count=10, R=2.0, generator=generator(0))
    function = lambda x: torch.sin(3 * x[:, 0]) * x[:, 1]
    x = torch.rand(400, 2, dtype=torch.float64, generator=generator(1))
    solution = fit(function, features, points=x)
    expected, *_ = np.linalg.lstsq(features(x).numpy(), function(x).numpy(), rcond=1e-15)
    grid = torch.rand(50, 2, dtype=torch.float64, generator=generator(2))
    torch.testing.assert_close(solution(grid), features(grid) @ torch.from_numpy(expected), rtol=1e-6, atol=1e-7)
    assert solution.residual == pytest.approx(
        np.linalg.norm(features(x).numpy() @ expected - function(x).numpy()) / float(function(x).norm()), rel=1e-4
    )
    assert solution.system.shape == (400, 40)


def test_what_a_solution_tells():
    solution = solve_elm(poisson_1d(), count=50, activation="cos", R=4.0, points=200, generator=generator(0))
    assert solution.error < 1e-10
    assert solution.max_error >= solution.error / 2
    assert solution.residual < 1e-9
    assert isinstance(solution.condition_number, float)
    assert solution.condition_number > 1e6
    assert 1 <= solution.epsilon_rank(1e-3) <= solution.epsilon_rank(1e-8) <= 50
    assert solution.rank <= 50
    assert "poisson 1-d" in repr(solution)
    assert isinstance(solution(np.array([0.0, 0.5])), np.ndarray)
    problem = Problem([(-1, 1)], laplacian, torch_zero, torch_zero)
    unknown = solve_elm(problem, count=20, points=60, generator=generator(0))
    assert unknown.error is None
    assert unknown.max_error is None
    assert "unknown" in repr(unknown)


def test_explicit_points_are_used():
    problem = poisson_1d()
    x = torch.rand(150, 1, dtype=torch.float64, generator=generator(0)) * 2 - 1
    solution = solve_rfm(problem, features_on(problem, 2, 40), points=x)
    assert solution.system.shape == (150 + 2 + 2, 80)
    assert solution.error < 1e-8


def test_a_hopeless_nonlinear_problem_warns():
    problem = Problem([(0, 1)], lambda u, x: u(x) ** 2, lambda x: -torch.ones(len(x)), torch_zero, order=0)  # u² = −1
    with pytest.warns(TheodoliteWarning, match="Gauss–Newton stopped"):
        solve_elm(problem, count=5, points=20, generator=generator(0))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda p: fit(2.0, features_on(p, 4, 10), points=200), "function must be callable"),
        (lambda p: solve_rfm(p, features_on(p, 4, 100), points=200), "under-determined: 208 equations for 400"),
        (lambda p: solve_elm(p, count=100, points=20), "under-determined"),
        (lambda p: solve_rfm(p, RandomFeatures([(0, 1)], subdomains=1, count=5), points=20), "problem's domain"),
        (lambda p: solve_elm(p, count=5, points=[[3.0]] * 10), "points must lie in the domain"),
        (lambda p: solve_elm(p, count=5, points=[[math.nan]] * 10), "points must be finite"),
        (lambda p: solve_elm(p, count=5, points=0), "points must be a positive"),
        (lambda p: fit(lambda x: x[:, 0], features_on(p, 2, 30), points=40), "under-determined"),
        (lambda p: fit(lambda x: x[:, 0], features_on(p, 2, 30), points=torch.linspace(-1, -0.1, 80)), "too few in subdomain 1"),
        (lambda p: fit(lambda x: x[:3, 0], features_on(p, 2, 30), points=80), "function must give one number per point"),
    ],
)
def test_bad_calls_are_named(call, word):
    with pytest.raises(ArgumentError, match=word):
        call(poisson_1d())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"operator": lambda u, x: torch.func.grad(u)(x)}, "operator.* must return a number"),
        ({"rhs": lambda x: x[:, 0] / 0}, "rhs must be finite"),
        ({"rhs": lambda x: torch.zeros(3)}, "rhs must give one number per point"),
        ({"boundary": lambda x: x[:, 0] * math.nan}, "boundary must be finite"),
        ({"conditions": [(lambda u, x: u(x), [[0.0]], [1.0, 2.0])]}, "values of condition 1 must give"),
        ({"conditions": [(lambda u, x: torch.func.grad(u)(x), [[0.0]])]}, "operator of condition 1.* must return a number"),
    ],
)
def test_bad_problems_are_named_when_solved(change, word):
    parts = {"domain": [(-1, 1)], "operator": laplacian, "rhs": torch_zero, "boundary": torch_zero, **change}
    with pytest.raises(ArgumentError, match=word):
        solve_elm(Problem(**parts), count=5, points=20)


def test_under_determined_systems_are_solved_on_request():
    problem = poisson_1d()
    solution = solve_elm(problem, count=120, R=5.0, points=60, generator=generator(0), allow_underdetermined=True)
    assert solution.error < 1e-6


@pytest.mark.parametrize("partition", ["indicator", "smooth"])
def test_several_fits_are_the_single_ones(partition):
    features = RandomFeatures([(-1, 1)], subdomains=3, count=20, R=2.0, partition=partition, generator=generator(0))
    x = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None]
    functions = [lambda x: torch.sin(5 * x[:, 0]), lambda x: torch.exp(x[:, 0])]
    rows = features(x)
    for function, solution in zip(functions, fits(functions, features, points=x), strict=True):
        one = fit(function, features, points=x)
        torch.testing.assert_close(rows @ solution.coefficients, rows @ one.coefficients, rtol=0, atol=1e-11)
        target = function(x)
        assert solution.residual == pytest.approx(
            float((rows @ solution.coefficients - target).norm() / target.norm()), abs=1e-13
        )
        assert solution.error == pytest.approx(one.error, rel=1e-2)

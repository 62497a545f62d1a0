"""Random features: the formula written out, derivatives against autograd, partitions of unity, ε-ranks."""

import itertools
import math

import numpy as np
import pytest
import torch

from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.core.seed import generator
from theodolite.theory.pde import RandomFeatures
from theodolite.theory.pde.partition import bump

BOX = [(0.0, 8.0), (-1.0, 2.0)]


def make(partition="indicator", **options):
    options = {"subdomains": (3, 2), "count": 4, "R": 2.0, "generator": generator(0), **options}
    return RandomFeatures(BOX, partition=partition, **options)


def points(count=60, seed=1):
    unit = torch.rand(count, 2, dtype=torch.float64, generator=generator(seed))
    return torch.tensor([0.0, -1.0]) + unit * torch.tensor([8.0, 3.0])


def test_indicator_features_are_the_formula():
    features, x = make(), points()
    expected = np.zeros((len(x), 6, 4))
    for n, (a, b) in enumerate(x.tolist()):
        i, j = min(int(a / (8 / 3)), 2), min(int((b + 1) / 1.5), 1)
        center = np.array([(i + 0.5) * 8 / 3, -1 + (j + 0.5) * 1.5])
        local = (np.array([a, b]) - center) / np.array([4 / 3, 0.75])
        cell = 2 * i + j
        for k in range(4):
            expected[n, cell, k] = math.tanh(features.slopes[cell, k].numpy() @ local + float(features.shifts[cell, k]))
    np.testing.assert_allclose(features(x).numpy(), expected.reshape(len(x), -1), atol=1e-13)


@pytest.mark.parametrize("partition", ["indicator", "smooth"])
@pytest.mark.parametrize("activation", ["tanh", "cos", "gelu"])
@pytest.mark.parametrize("order", [(0, 0), (1, 0), (0, 2), (1, 1), (2, 1)])
def test_derivatives_against_autograd(partition, activation, order):
    features, x = make(partition, activation=activation), points(40)
    cells = features.locate(x)

    def value(p, cell):
        local = features.at(p, cell)
        if partition == "smooth":
            return local
        return torch.zeros(6, 4, dtype=torch.float64).index_put((cell.reshape(1),), local[None]).reshape(-1)

    function = value
    for axis, times in enumerate(order):
        for _ in range(times):
            function = (lambda f, a: lambda p, c: torch.func.jacfwd(f)(p, c)[..., a])(function, axis)
    expected = torch.func.vmap(function)(x, cells)
    torch.testing.assert_close(features.derivative(x, order), expected, rtol=1e-9, atol=1e-9)


def test_smooth_partition_sums_to_one_with_all_its_derivatives():
    grid = torch.linspace(0, 8, 1001, dtype=torch.float64)[:, None]
    features = RandomFeatures(
        [BOX[0]], subdomains=5, count=1, activation="identity", R=1e-3, partition="smooth", generator=generator(0)
    )
    features.slopes.zero_()
    features.shifts.fill_(1.0)  # φ = 1, so that the features are the ψ_i
    torch.testing.assert_close(features(grid).sum(1), torch.ones(1001, dtype=torch.float64), rtol=0, atol=1e-12)
    for order in (1, 2, 3):
        total = features.derivative(grid, order).sum(1)
        scale = features.derivative(grid, order).abs().max()
        assert float(total.abs().max()) < 1e-12 * float(scale) * 100
    alone = make("smooth", subdomains=1)
    torch.testing.assert_close(alone(points()), make("indicator", subdomains=1)(points()), rtol=0, atol=0)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_bump_is_continuous_up_to_its_third_derivative(order):
    no = torch.tensor(False)
    for edge in (0.75, 1.25, -0.75, -1.25):
        z = torch.tensor([edge - 1e-7, edge + 1e-7], dtype=torch.float64)
        left, right = bump(z, no, no, order)
        assert abs(float(left - right)) < 1e-2
    z = torch.linspace(-1.3, 1.3, 27, dtype=torch.float64)
    numeric = (bump(z + 1e-5, no, no, order) - bump(z - 1e-5, no, no, order)) / 2e-5
    torch.testing.assert_close(numeric, bump(z, no, no, order + 1), rtol=1e-3, atol=0.3 if order == 3 else 1e-2)


def test_inputs_come_back_as_they_went_in():
    features = RandomFeatures([(0, 1)], subdomains=2, count=3, generator=generator(0))
    x = np.linspace(0, 1, 7)
    assert isinstance(features(x), np.ndarray)
    np.testing.assert_array_equal(features(x), features(torch.from_numpy(x)[:, None]).numpy())
    assert features(x).shape == (7, 6)
    # an inner edge belongs to the right cell, the right end to the last one
    assert features.locate(torch.tensor([[0.0], [0.5], [1.0]])).tolist() == [0, 1, 1]


def test_weights_have_their_distributions():
    uniform = RandomFeatures([(0, 1)] * 2, subdomains=2, count=2000, R=3.0, generator=generator(0))
    for drawn in (uniform.slopes, uniform.shifts):
        assert float(drawn.abs().max()) < 3
        assert float(drawn.var()) == pytest.approx(3.0, rel=0.05)
    udi = RandomFeatures([(0, 1)] * 2, subdomains=2, count=2000, R=3.0, weights="uniform_density", generator=generator(0))
    torch.testing.assert_close(udi.slopes.norm(dim=-1), torch.full((4, 2000), 3.0, dtype=torch.float64))
    assert float(udi.shifts.min()) >= 0
    assert float(udi.shifts.max()) <= 3 * math.sqrt(2)
    assert float(udi.shifts.mean()) == pytest.approx(3 * math.sqrt(2) / 2, rel=0.03)
    again = RandomFeatures([(0, 1)] * 2, subdomains=2, count=2000, R=3.0, generator=generator(0))
    assert torch.equal(again.slopes, uniform.slopes)


@pytest.mark.parametrize("partition", ["indicator", "smooth"])
def test_epsilon_rank_is_that_of_the_mass_matrix(partition):
    features = RandomFeatures(BOX, subdomains=(2, 2), count=12, R=1.5, partition=partition, generator=generator(3))
    from theodolite.maths.quadrature import gauss_legendre

    # composite rule with breaks wherever ψ has one: every quarter of a half-width
    axes = []
    for low, high in BOX:
        edges = np.linspace(low, high, 17)
        rules = [gauss_legendre(a, b, 6) for a, b in itertools.pairwise(edges)]
        axes.append((torch.cat([p[:, 0] for p, _ in rules]), torch.cat([w for _, w in rules])))
    x = torch.cartesian_prod(axes[0][0], axes[1][0])
    w = torch.cartesian_prod(axes[0][1], axes[1][1]).prod(1)
    phi = features(x)
    eigenvalues = torch.linalg.eigvalsh(phi.T @ (w[:, None] * phi))
    for eps in (1e-1, 1e-3, 1e-5):
        assert features.epsilon_rank(eps) == int((eigenvalues > eps).sum())
    assert features.epsilon_rank(1e-3, mode="relative") == int((eigenvalues > 1e-3 * eigenvalues.max()).sum())


def test_reference_ranks_of_the_helmholtz_features():
    features = RandomFeatures([(0, 8)], subdomains=9, count=100, R=1.0, generator=generator(0))
    assert 34 <= features.epsilon_rank(1e-3) <= 38
    assert 52 <= features.epsilon_rank(1e-6) <= 56
    assert 76 <= features.epsilon_rank(1e-10) <= 84


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"subdomains": 0}, ArgumentError, "subdomains must be"),
        ({"R": "wide"}, ArgumentError, "R must be a positive and finite number, got 'wide'"),
        ({"subdomains": (2,)}, ArgumentError, "subdomains must be"),
        ({"count": 0}, ArgumentError, "count must be"),
        ({"R": -1.0}, ArgumentError, "R must be"),
        ({"R": math.nan}, ArgumentError, "R must be"),
        ({"partition": "hat"}, ArgumentError, "partition must be"),
        ({"weights": "normal"}, ArgumentError, "weights must be"),
        ({"activation": "tanhh"}, UnknownNameError, "tanh"),
        ({"generator": 3}, ArgumentError, "generator must be"),
    ],
)
def test_bad_options_are_named(options, error, word):
    with pytest.raises(error, match=word):
        make(**options)


def test_bad_points_are_named():
    with pytest.raises(ArgumentError, match="x must lie in the domain"):
        make()(torch.tensor([[9.0, 0.0]]))
    with pytest.raises(ArgumentError, match="order must give"):
        make().derivative(points(), 1)


@pytest.mark.parametrize("partition", ["indicator", "smooth"])
def test_spectrum_counts_every_epsilon_rank(partition):
    features = RandomFeatures([(-1, 1)], subdomains=3, count=20, R=2.0, partition=partition, generator=generator(0))
    spectrum = features.spectrum()
    x, w = features.quadrature(60)
    mass = (features(x) * w[:, None]).T @ features(x)
    torch.testing.assert_close(spectrum, torch.linalg.eigvalsh(mass).flip(0), rtol=0, atol=1e-12)
    for eps in (1e-3, 1e-6, 1e-9):
        assert int((spectrum > eps).sum()) == features.epsilon_rank(eps)

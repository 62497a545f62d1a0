"""Predicted directions against slow, obvious oracles: dense grids of the sphere and the integrated flow."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnsupportedError
from theodolite.theory.condensation import predict_directions
from theodolite.theory.condensation.predict.multiplicity import LeadingTerm
from theodolite.theory.condensation.predict.sphere import Potential, attractors

COUNTEREXAMPLE = 6 * np.eye(5), np.full(5, 0.5)


def power(p):
    return lambda z: z**p


def sine(n=40):
    x = np.linspace(-1, 1.5, n)
    return x, np.sin(3 * x) + np.sin(6 * x) / 2


def circle_extrema(x, y, phi):
    """Angles of local maxima and minima of mean y φ(u·x) by a dense grid."""
    theta = np.linspace(0, 2 * np.pi, 200_001)[:-1]
    values = phi(np.outer(np.cos(theta), x) + np.sin(theta)[:, None]) @ y / len(y)
    before, after = np.roll(values, 1), np.roll(values, -1)
    return theta[(values > before) & (values > after)], theta[(values < before) & (values < after)]


def same_angles(found, expected, tolerance):
    found = np.sort(np.asarray(found) % (2 * np.pi))
    return len(found) == len(expected) and np.allclose(np.exp(1j * found), np.exp(1j * np.sort(expected)), atol=tolerance)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 7])
def test_one_dimension_against_a_grid(seed, p):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=12), rng.normal(size=12)
    found = predict_directions(x, y, power(p))
    maxima, minima = circle_extrema(x, y, power(p))
    assert same_angles(found.angles[found.sign > 0], maxima, 1e-4)
    assert same_angles(found.angles[found.sign < 0], minima, 1e-4)
    assert len(found) <= 4 * p  # each of at most 2p critical angles is a maximum or a minimum
    assert found.count <= 2 * p
    for sign in (1, -1):
        assert found.basin[found.sign == sign].sum() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:the activation has a kink")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("activation", [torch.relu, torch.nn.LeakyReLU(0.3), torch.abs])
def test_sectors_against_a_grid(seed, activation):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=9), rng.normal(size=9)
    found = predict_directions(x, y, activation)

    def phi(z):
        return activation(torch.from_numpy(z)).numpy()

    maxima, minima = circle_extrema(x, y, phi)
    assert same_angles(found.angles[found.sign > 0], maxima, 1e-4)
    assert same_angles(found.angles[found.sign < 0], minima, 1e-4)
    values = phi(found.vectors @ np.stack([x, np.ones(9)])) @ y / 9
    assert found.strength == pytest.approx(values)


@pytest.mark.filterwarnings("ignore:the activation has a kink")
def test_known_angles_of_the_sine_data():
    x, y = sine()
    expected = {
        torch.tanh: [159.1, 339.1],
        power(2): [50.6, 140.6, 230.6, 320.6],
        power(3): [14.8, 65.8, 127.1, 194.8, 245.8, 307.1],
        torch.relu: [26.0, 154.6, 331.7],
    }
    for activation, angles in expected.items():
        found = predict_directions(x, y, activation)
        assert np.sort(np.degrees(found.angles) % 360).round(1).tolist() == angles
        assert found.growing.all()


def test_first_moment():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 7)), rng.normal(size=30)
    found = predict_directions(torch.from_numpy(x), torch.from_numpy(y)[:, None], lambda z: -2 * torch.tanh(z))
    moment = np.append(y @ x, y.sum())
    assert found.vectors[0] * found.sign[0] == pytest.approx(-moment / np.linalg.norm(moment))  # c < 0 turns the signs
    assert found.vectors[1] == pytest.approx(-found.vectors[0])
    assert found.strength == pytest.approx([np.linalg.norm(moment) / 30, -np.linalg.norm(moment) / 30])


def test_value_at_zero_centres_the_target():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 2)), 3 + rng.normal(size=50)
    found = predict_directions(x, y, torch.sigmoid)
    covariance = (x - x.mean(0)).T @ (y - y.mean()) / 50
    assert found.centred
    assert found.vectors[0] == pytest.approx(np.append(covariance, 0) / np.linalg.norm(covariance), abs=1e-12)


def test_second_moment_gives_four():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    found = predict_directions(x, y, "xtanh")
    z = np.hstack([x, np.ones((60, 1))])
    values, vectors = np.linalg.eigh((z.T * y) @ z / 60)
    assert len(found) == 4
    assert found.count == 4
    assert found.lines == 2
    assert np.sort(found.strength) == pytest.approx(values[[0, 0, -1, -1]])
    for v, sign in zip(found.vectors, found.sign, strict=True):
        assert abs(v @ vectors[:, -1 if sign > 0 else 0]) == pytest.approx(1)
    definite = predict_directions(x, np.abs(y), "xtanh")
    assert definite.count == 2
    assert (~definite.growing).sum() == 2


def test_shrinking_attractors_of_the_notebook_data():
    x = np.linspace(-1, 1, 4)
    y = 0.2 * np.maximum(x - 1 / 3, 0) + 0.2 * np.maximum(-x - 1 / 3, 0)
    found = predict_directions(x, y, "x2tanh")
    assert np.sort(np.degrees(found.angles[found.growing])).round(6).tolist() == [-135, -45, 45, 135]
    assert np.sort(np.degrees(found.angles[~found.growing])).round(6).tolist() == [-90, 90]


def test_counterexample_to_two_p():
    found = predict_directions(*COUNTEREXAMPLE, "x2tanh")
    assert found.count == 10
    assert found.lines == 5
    assert len(found) == 10
    assert np.abs(found.strength) == pytest.approx(22.508, abs=1e-3)
    assert found.strength * found.sign == pytest.approx(np.full(10, 22.508), abs=1e-3)
    assert found.basin[found.sign > 0].sum() > 0.95


@pytest.mark.parametrize("p", [3, 4])
def test_higher_dimension_against_gradient_flow(p):
    rng = np.random.default_rng(p)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    found = predict_directions(x, y, power(p), starts=500)
    z = np.hstack([x, np.ones((40, 1))])
    for sign in (1, -1):
        u = rng.normal(size=(200, 3))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        for _ in range(3000):  # plain ascent with short steps
            gradient = sign * (np.prod([u @ z.T] * (p - 1), axis=0) * y) @ z / 40
            tangent = gradient - (gradient * u).sum(1, keepdims=True) * u
            u += 0.02 * tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 0.2)
            u /= np.linalg.norm(u, axis=1, keepdims=True)
        mine, share = found.vectors[found.sign == sign], found.basin[found.sign == sign]
        gap = np.linalg.norm(u[:, None] - mine[None], axis=2)
        arrived = gap.min(1) < 1e-3
        assert arrived.mean() >= 0.98
        seen = np.bincount(gap.argmin(1), minlength=len(mine)) / 200
        assert np.abs(seen - share).max() < 4 * np.sqrt(0.25 / 200 + 0.25 / 500)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_flow_ends_at_local_maxima(seed):
    rng = np.random.default_rng(seed)
    x, y = np.hstack([rng.normal(size=(25, 3)), np.ones((25, 1))]), rng.normal(size=25)
    potential = Potential(x, y, LeadingTerm(1, -0.1, 1.0))
    starts = rng.normal(size=(200, 4))
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    found = attractors(potential, starts)
    assert found.lost < 0.05
    for v in found.vectors:
        around = v + 1e-6 * rng.normal(size=(5000, 4))
        around /= np.linalg.norm(around, axis=1, keepdims=True)
        assert potential.value(around).max() <= potential.value(v[None])[0] + 1e-15


@pytest.mark.filterwarnings("ignore:the activation has a kink")
def test_ridge_flow_agrees_with_sectors_on_the_circle():
    x, y = sine(15)
    sectors = predict_directions(x, y, torch.relu)
    flow = attractors(Potential(np.stack([x, np.ones(15)], 1), y, LeadingTerm(1, 0.0, 1.0)), _circle(2000))
    expected = sectors.vectors[sectors.sign > 0]
    assert len(flow.vectors) == len(expected)
    for v, share in zip(expected, sectors.basin[sectors.sign > 0], strict=True):
        k = np.linalg.norm(flow.vectors - v, axis=1).argmin()
        assert flow.vectors[k] == pytest.approx(v, abs=1e-9)
        assert flow.basin[k] == pytest.approx(share, abs=2e-3)


def _circle(count):
    theta = 2 * np.pi * (np.arange(count) + 0.37) / count
    return np.stack([np.cos(theta), np.sin(theta)], 1)


def test_rank_deficient_inputs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 30)), np.array([1.0, -1.0, 2.0, 0.5])
    found = predict_directions(x, y, power(3), starts=200)
    z = np.hstack([x, np.ones((4, 1))])
    for v, sign in zip(found.vectors[found.growing], found.sign[found.growing], strict=True):
        gradient = ((z @ v) ** 2 * y) @ z / 4
        assert gradient - (gradient @ v) * v == pytest.approx(np.zeros(31), abs=1e-9 * np.linalg.norm(gradient))
        assert sign * (gradient @ v) > 0


@pytest.mark.parametrize(
    ("x", "y", "activation"),
    [
        ([-1.0, 1.0], [0.0, 0.0], torch.tanh),  # no signal
        ([-1.0, -1 / 3, 1 / 3, 1.0], [2 / 15, 0.0, 0.0, 2 / 15], "xtanh"),  # isotropic second moment
        ([1.0, 1.0], [1.0, -1.0], power(3)),  # cancelling moments
        ([-1.0, 1.0], [3.0, 3.0], torch.sigmoid),  # a constant target, centred
    ],
)
def test_degenerate_moments_are_warned_of(x, y, activation):
    with pytest.warns(TheodoliteWarning, match="degenerate"):
        found = predict_directions(x, y, activation)
    assert found.count == 0


@pytest.mark.parametrize("activation", [torch.relu, F.leaky_relu, lambda z: torch.relu(z) ** 2])
def test_kinks_are_warned_of(activation):
    with pytest.warns(TheodoliteWarning, match="kink of order .*the bound 2p does not apply"):
        found = predict_directions(*sine(), activation)
    assert found.p is None
    with pytest.warns(TheodoliteWarning, match="valid only while"):
        predict_directions(*sine(), lambda z: torch.relu(z) + z**2)


def test_bad_input():
    x, y = sine()
    with pytest.raises(ArgumentError, match="y must be finite"):
        predict_directions(x, np.where(x > 1, np.nan, y), torch.tanh)
    with pytest.raises(ArgumentError, match="same positive number"):
        predict_directions(x, y[:-1], torch.tanh)
    with pytest.raises(ArgumentError, match="one number per sample"):
        predict_directions(x, np.stack([y, y], 1), torch.tanh)
    with pytest.raises(UnsupportedError, match="jumps"):
        predict_directions(x, y, torch.sign)
    with pytest.raises(UnsupportedError, match="infinite derivative of order 1"):
        predict_directions(x, y, lambda z: z.abs().sqrt())
    with pytest.raises(ArgumentError, match="one-dimensional inputs"):
        _ = predict_directions(np.stack([x, x], 1), y, torch.tanh).angles


def test_one_sample_in_several_dimensions():
    """The inputs span a line: Φ(u) = y (u·x)³ grows at x/‖x‖ for positive outgoing weights, and at −x/‖x‖ for negative ones."""
    found = predict_directions([[1.0, 2.0]], [3.0], lambda z: z**2 * torch.tanh(z))
    x = np.array([1.0, 2.0, 1.0]) / np.sqrt(6)
    np.testing.assert_allclose(found.vectors, [x, -x], atol=1e-12)
    assert found.sign.tolist() == [1, -1]
    np.testing.assert_allclose(found.strength, [3 * 6**1.5, -3 * 6**1.5], rtol=1e-12)
    assert found.growing.all()
    assert np.abs(found.basin - 0.5).max() < 0.05


def test_no_samples_are_named():
    with pytest.raises(ArgumentError, match="positive number of samples"):
        predict_directions(np.zeros((0, 2)), np.zeros(0), "tanh")

"""Arguments that are arrays, single orthogonal layers, and activations without a slope."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError, NumericalError, UnsupportedError
from theodolite.maths.activation import identify
from theodolite.theory.meanfield.predict.moments import moment_table


def test_densities_broadcast():
    lam, q, depth = np.array([0.4, 1.1]), np.array([[0.05], [0.2]]), np.array([3, 5])
    found = mf.jacobian_density(lam, "tanh", q, depth, "orthogonal")
    assert found.shape == (2, 2)
    for i in range(2):
        for j in range(2):
            single = mf.jacobian_density(float(lam[j]), "tanh", float(q[i, 0]), int(depth[j]), "orthogonal")
            assert found[i, j] == pytest.approx(single, rel=1e-10)


def test_residual_networks_broadcast():
    w, b = np.array([[0.5], [1.0]]), np.array([0.0, 0.1, 0.2])
    found = mf.resnet("tanh", w, b, depth=6, c0=0.3)
    assert found.length.shape == (2, 3, 7)
    single = mf.resnet("tanh", 1.0, 0.2, depth=6, c0=0.3)
    assert np.allclose(found.correlation[1, 2], single.correlation, rtol=1e-13)
    assert np.allclose(found.log_gradient_growth[1, 2], single.log_gradient_growth, rtol=1e-13)
    assert "depth=6" in repr(found)
    variances = mf.optimal_variance(np.array([50, 100]))
    assert variances[1] == pytest.approx(mf.optimal_variance(100), rel=1e-12)


def test_convolutions_and_batches_broadcast():
    found = mf.conv("erf", np.array([1.0, 1.5]), 0.05, kernel=3, n=8)
    single = mf.conv("erf", 1.5, 0.05, kernel=3, n=8)
    assert np.allclose(found.rates[1], single.rates, rtol=1e-12)
    assert found.q_star.shape == (2,)
    growth = mf.batchnorm_gradient_growth("tanh", [8, 16])
    assert growth[0] == mf.batchnorm_gradient_growth("tanh", 8)
    with pytest.raises(ArgumentError, match="at least 4"):
        mf.batchnorm_gradient_growth("tanh", [8, 3])


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ArgumentError, match=r"sigma_w2 \(2,\), sigma_b2 \(3,\)"):
        mf.conv("tanh", [1.0, 2.0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(("phi", "q"), [("tanh", 0.5), ("softsign", 1.0), ("selu", 0.7), ("sin", 3.0)])
def test_density_of_one_orthogonal_layer_is_that_of_the_squared_slope(phi, q):
    prime = identify(phi).prime.function
    z = np.linspace(-12.0, 12.0, 4_000_001)
    y = prime(np.sqrt(q) * z) ** 2
    weight = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    y /= weight @ y
    low, high = 0.35, 0.9
    mass = float(weight[(y > low) & (y < high)].sum())
    found, _ = quad(lambda v: mf.jacobian_density(v, phi, q, 1, "orthogonal"), low, high, limit=200)
    assert found == pytest.approx(mass, abs=3e-6)


def test_constant_slopes_have_an_atom_and_no_density():
    lam = np.array([1e-9, 0.3, 1.0, 2.0])
    assert not mf.jacobian_density(lam, "identity", 1.0, 3, "orthogonal").any()
    assert not mf.jacobian_density(lam, np.abs, 1.0, 2, "orthogonal").any()
    assert not mf.jacobian_density(lam, "relu", 1.0, 1, "orthogonal").any()


def test_constant_activations_are_never_critical():
    def constant(x):
        return 0.0 * x + 0.3

    for call in (lambda: mf.critical_point(constant, 1.0), lambda: mf.critical_line(constant, 0.1)):
        with pytest.raises(ArgumentError, match="must not be constant"):
            call()


def test_transformers_broadcast_and_vanish_by_name():
    found = mf.attention(3, 5, sigma_a2=np.array([0.5, 2.0]), branch=0.6)
    single = mf.attention(3, 5, sigma_a2=2.0, branch=0.6)
    assert np.allclose(found.correlation[1], single.correlation, rtol=1e-13)
    assert found.gradient_exponent[1] == pytest.approx(single.gradient_exponent, rel=1e-12)
    assert "depth=3" in repr(found)
    with pytest.raises(NumericalError, match="length is 0"):
        mf.attention(2, 4, residual=0.0, branch=0.0)


def test_jumps_and_zeros_are_refused_where_gradients_are_asked_for():
    for call in (lambda: mf.resnet(np.sign, 1.0, depth=5), lambda: mf.optimal_variance(5, np.sign)):
        with pytest.raises(UnsupportedError, match="jumps"):
            call()
    with pytest.raises(ArgumentError, match="vanish"):
        mf.layernorm_chi(lambda x: 0.0 * x)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mf.jacobian_density(1j, "tanh", 0.5, 3), "finite and real"),
        (lambda: mf.jacobian_density([1.0, 2.0], "tanh", [0.5, 0.1, 0.2], 2), r"lam \(2,\), q \(3,\)"),
        (lambda: mf.jacobian_moments("tanh", [1.0, 2.0], [0.5, 0.1, 0.2], 2), "must broadcast"),
        (lambda: mf.q_star("tanh", [1.0, 2.0], [0.1, 0.2, 0.3]), r"sigma_w2 \(2,\), sigma_b2 \(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(call, match):
    with pytest.raises(ArgumentError, match=match):
        call()


def test_tables_hold_no_slope_of_what_jumps():
    table = moment_table(np.sign)
    second, slope = table.at(2.0)
    assert second == pytest.approx(1.0, rel=1e-12)
    assert np.isnan(slope)
    with pytest.raises(UnsupportedError, match="jumps"):
        table.slope(np.ones(2))
    assert moment_table("tanh").second(np.zeros((0, 3)))[0].shape == (0, 3)


@pytest.mark.parametrize("network", [mf.lstm, mf.gru])
def test_gated_networks_over_a_grid(network):
    grid = network(np.array([0.5, 1.0])[:, None], 1.0, mu_b=np.array([0.0, 1.0, 2.0]))
    assert grid.chi.shape == (2, 3)
    assert grid.chi[1, 2] == network(1.0, 1.0, 2.0).chi
    gates = 4 if network is mf.lstm else 3
    assert network([1.0] * gates, 1.0).chi == network(1.0, 1.0).chi


def test_shapes_that_do_not_broadcast_are_named():
    three, two = np.full(3, 0.5), np.ones(2)
    for call in (
        lambda: mf.q_map(three, "tanh", two, 0.1),
        lambda: mf.c_map(three, "tanh", two, 0.1),
        lambda: mf.chi(three, "tanh", two, 0.1),
    ):
        with pytest.raises(ArgumentError, match="must broadcast against each other"):
            call()


def test_numbers_in_tensors_are_numbers():
    found = mf.attention(2, 4, sigma_a2=torch.tensor(1.5), q0=np.array(2.0))
    assert found.correlation.tolist() == mf.attention(2, 4, sigma_a2=1.5, q0=2.0).correlation.tolist()

import math

import numpy as np
import pytest
import torch

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError

RATIOS = [("tanh", 0.273300913458231, 1.15253988621), ("tanh", 0.570047881640764, 1.34225607831),
          ("tanh", 0.805799181913487, 1.47901203996), ("tanh", 1.46116944693198, 1.80838015141),
          ("tanh", 0.02592094821125, 1.004268903248), ("tanh", 0.8213544265039, 1.48763332),
          ("hardtanh", 0.463863969432006, 1.16554468963588), ("erf", 0.253209656331142, 1.15717131059),
          ("sin", 0.5520701025579, 1.22344894733), ("sin", 0.711811554865309, 1.28816207043)]  # fmt: skip

EDGES = [
    ("identity", 1, 1, "gaussian", 4), ("identity", 1, 2, "gaussian", 6.75), ("identity", 1, 4, "gaussian", 12.20703125),
    ("identity", 1, 8, "gaussian", 23.0920606256), ("identity", 1, 16, "gaussian", 44.8447844552),
    ("identity", 1, 64, "gaussian", 175.327421917),
    ("relu", 1, 2, "orthogonal", 4), ("relu", 1, 4, "orthogonal", 9.48148148148), ("relu", 1, 8, "orthogonal", 20.3719975763),
    ("relu", 1, 32, "orthogonal", 85.6222817893), ("relu", 1, 64, "orthogonal", 172.609112434),
    ("relu", 1, 1, "gaussian", 5.82842712475), ("relu", 1, 2, "gaussian", 11.0901699437),
    ("relu", 1, 8, "gaussian", 43.5489788863), ("relu", 1, 32, "gaussian", 173.984192205),
    ("hardtanh", 0.2, 32, "orthogonal", 2.27406974031), ("hardtanh", 0.2, 16, "orthogonal", 1.5080019033),
    ("tanh", 0.05, 32, "orthogonal", 2.69626696671), ("tanh", 0.05, 32, "gaussian", 89.5084839281),
    ("tanh", 0.05, 16, "orthogonal", 1.97976050865), ("tanh", 0.05, 16, "gaussian", 45.4331949139),
    ("erf", 0.05, 32, "orthogonal", 2.76426244182), ("tanh", 1 / 64, 64, "orthogonal", 1.71331624349),
    ("tanh", 0.570047881640764, 32, "orthogonal", 30.721538594),
    ("tanh", 0.0550733265162, 16, "orthogonal", 2.0927105775), ("tanh", 0.0116752224732, 256, "orthogonal", 2.3117158734),
    ("tanh", 0.00280053365561, 4096, "orthogonal", 2.39248127728),
]  # fmt: skip


@pytest.mark.parametrize(("phi", "q", "ratio"), RATIOS)
def test_moments(phi, q, ratio):
    w = mf.critical_point(phi, q).sigma_w2
    orthogonal = mf.jacobian_moments(phi, q, w, 7, "orthogonal")
    gaussian = mf.jacobian_moments(phi, q, w, 7)
    assert orthogonal.mean == pytest.approx(1.0, abs=1e-12)
    assert orthogonal.variance == pytest.approx(7 * (ratio - 1), abs=7 * 6e-9 if ratio == 1.48763332 else 7 * 6e-12)
    assert gaussian.variance == pytest.approx(orthogonal.variance + 7, abs=1e-11)


@pytest.mark.parametrize(("phi", "q", "depth", "weights", "edge"), EDGES)
def test_upper_edges(phi, q, depth, weights, edge):
    assert mf.s_max(phi, q, depth, weights) == pytest.approx(edge, rel=1.2e-11)


def test_isometry_variance_reference():
    assert mf.isometry_variance("tanh", 0.05, 32) == pytest.approx(0.426234332699, abs=1e-12)


def test_universal_edges():
    for variance, upper, lower in ((0.25, 2.42376260044, 0.32131892081), (0.5, 3.2974425414, 0.183939720586),
                                   (1, 4.8571781362, 0.0757393348269), (2, 7.76020463622, 0.0174396539242)):  # fmt: skip
        edges = mf.universality(variance)
        assert edges.s_max == pytest.approx(upper, abs=1e-10)
        assert edges.s_min == pytest.approx(lower, abs=1e-11)
    assert mf.universality(0.5, kind="bernoulli").s_max == pytest.approx(math.exp(0.5))
    assert mf.universality(3.0, kind="bernoulli").s_max == pytest.approx(3 * math.e)
    # the limit of finite depth, slowly
    q = mf.critical_point("tanh", 0.00280053365561).q_star
    assert mf.s_max("tanh", q, 4096, "orthogonal") == pytest.approx(mf.universality(0.25).s_max, rel=0.02)


def test_densities_at_reference_points():
    # Reference values below were read at an imaginary part of 1e-8, so that they carry an error of that order.
    assert mf.jacobian_density(1.0, "identity", 1.0, 1) == pytest.approx(math.sqrt(3) / (2 * math.pi), abs=1e-11)
    lam = np.array([0.5, 1.0, 1.5])
    tanh = mf.jacobian_density(lam, "tanh", 0.05, 16, "orthogonal")
    assert tanh == pytest.approx([0.6858817646, 0.6692093194, 0.5264388601], abs=2e-8)
    erf = mf.jacobian_density(lam, "erf", 0.2, 8, "orthogonal")
    assert erf == pytest.approx([0.4291180851, 0.2807165035, 0.2126390223], abs=2e-10)
    relu = mf.jacobian_density(lam, "relu", 1.0, 4)
    assert relu == pytest.approx([0.1109799005, 0.05957808077, 0.04090210806], abs=2e-8)


def test_relu_density_from_the_roots_of_its_polynomial():
    # M = ½/(w − 1) turns λ = 2^L w^L M^{L−1}(1 + M) into a polynomial in M: λ M = (1 + 2M)^L (1 + M)
    for lam in (0.2, 1.0, 5.0):
        one_two = np.poly1d([2.0, 1.0]) ** 4 * np.poly1d([1.0, 1.0]) - np.poly1d([lam, 0.0])
        density = max((-(1 + m) / lam / math.pi).imag for m in one_two.roots)
        # of all complex roots the physical one has the largest imaginary part of G's sign that fits λ → 0
        values = sorted(abs(((1 + m) / lam / math.pi).imag) for m in one_two.roots)
        assert any(abs(mf.jacobian_density(lam, "relu", 1.0, 4) - v) < 1e-11 for v in values)
        assert density > 0


@pytest.mark.parametrize(("phi", "q", "depth", "weights"), [("tanh", 0.57, 4, "orthogonal"), ("selu", 0.83, 5, "orthogonal"),
                                                            ("tanh", 0.57, 1, "gaussian"), ("softsign", 1.0, 3, "orthogonal")])  # fmt: skip
def test_density_has_mass_mean_and_variance(phi, q, depth, weights):
    edge = mf.s_max(phi, q, depth, weights)
    x = np.unique(np.concatenate([np.linspace(-13, math.log(edge), 161)[:-1], math.log(edge) - np.geomspace(1e-6, 0.1, 60)]))
    lam = np.exp(x)
    density = mf.jacobian_density(lam, phi, q, depth, weights)
    w = mf.critical_point(phi, q).sigma_w2
    moments = mf.jacobian_moments(phi, q, w, depth, weights)
    assert np.trapezoid(density * lam, x) == pytest.approx(1.0, abs=0.01)
    assert np.trapezoid(density * lam**2, x) == pytest.approx(1.0, abs=0.005)
    assert np.trapezoid(density * lam**3, x) - 1 == pytest.approx(moments.variance, rel=0.01)
    assert mf.jacobian_density(1.01 * edge, phi, q, depth, weights) == 0.0


def test_thin_tail_does_not_wobble():
    # far below the bulk the equation's solution runs along the support of φ′²: the density must stay smooth
    lam = np.exp(np.linspace(-4, -2.3, 40))
    density = np.log(mf.jacobian_density(lam, "tanh", 0.05, 16, "orthogonal"))
    assert np.abs(np.diff(density, 3)).max() < 0.005


def test_measured_layers():
    rng = np.random.default_rng(0)
    n, values, slopes, product = 300, [], [], np.eye(300)
    for layer in range(4):
        weight = rng.standard_normal((n, n)) / n**0.5 if layer % 2 else 1.2 * np.linalg.qr(rng.standard_normal((n, n)))[0]
        slope = 1 - np.tanh(rng.standard_normal(n)) ** 2
        product = (slope[:, None] * weight) @ product
        values.append(np.linalg.svd(weight, compute_uv=False))
        slopes.append(slope)
    eigenvalues = np.linalg.svd(product, compute_uv=False) ** 2
    moments = mf.layers_moments(values, slopes)
    assert moments.mean == pytest.approx(eigenvalues.mean(), rel=0.05)
    assert moments.variance == pytest.approx(eigenvalues.var(), rel=0.2)
    for lam in (0.05, 0.2, 0.6):
        seen = ((eigenvalues > 0.7 * lam) & (eigenvalues < 1.3 * lam)).mean() / (0.6 * lam)
        assert mf.layers_density(lam, values, slopes, smoothing=0.03) == pytest.approx(seen, rel=0.2)


def test_residual_universality():
    edges = mf.residual_edges(0.5)
    assert (edges.s_max, edges.s_min) == (pytest.approx(8.008, abs=5e-4), pytest.approx(0.12487, abs=5e-6))


def test_fuss_catalan_is_the_spectrum_of_linear_nets():
    top = math.log(mf.s_max("identity", 1.0, 2))
    x = np.unique(np.concatenate([np.linspace(-14, top, 300)[:-1], top - np.geomspace(1e-7, 0.3, 80)]))
    density = mf.jacobian_density(np.exp(x), "identity", 1.0, 2)
    for k in (1, 2, 3):
        assert np.trapezoid(density * np.exp((k + 1) * x), x) == pytest.approx(mf.fuss_catalan_moment(k, 2), rel=0.01)


def test_bad_input():
    with pytest.raises(ArgumentError, match="weights"):
        mf.s_max("tanh", 1.0, 3, "uniform")
    with pytest.raises(ArgumentError, match="depth"):
        mf.jacobian_density(1.0, "tanh", 1.0, 0)
    with pytest.raises(ArgumentError, match="kind"):
        mf.universality(1.0, kind="other")


def test_edges_broadcast_and_are_infinite_for_unbounded_slopes():
    both = mf.s_max("tanh", [0.05, 0.1], np.array([[2], [16]]), "orthogonal")
    assert both.shape == (2, 2)
    assert both[1, 0] == mf.s_max("tanh", 0.05, 16, "orthogonal")
    assert mf.universality([0.25, 1.0]).s_max[1] == mf.universality(1.0).s_max
    for phi in ("exp", "square", lambda x: x * torch.sin(x)):
        assert mf.s_max(phi, 1.0, 2) == math.inf
    for depth in ("2", True, math.inf, math.nan, 2.5):
        with pytest.raises(ArgumentError, match="depth"):
            mf.s_max("tanh", 1.0, depth)


@pytest.mark.parametrize(("phi", "q", "depth"), [("tanh", 0.5, 2), ("silu", 0.05, 8), ("sigmoid", 2.0, 2)])
def test_the_density_of_orthogonal_networks_next_to_zero(phi, q, depth):
    # 1 + M(w) is as small as w there: it must not be the rounded difference of 1 and −M.
    lam = np.geomspace(1e-14, mf.s_max(phi, q, depth, "orthogonal") * (1 - 1e-12), 6001)
    density = mf.jacobian_density(lam, phi, q, depth, "orthogonal")
    mass = density * lam  # per ln λ
    total = float((0.5 * (mass[1:] + mass[:-1]) * np.diff(np.log(lam))).sum())
    assert total == pytest.approx(1.0, abs=2e-3)
    small = lam < 1e-6
    assert np.abs(np.diff(np.log(density[small & (density > 1e-7)]))).max(initial=0.0) < 0.5

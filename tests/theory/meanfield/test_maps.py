import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning, UnsupportedError
from theodolite.theory.meanfield.predict.slope_table import slope_table

# φ, σ_w², σ_b²: q*, χ₁, Q′, c*, χ at c*, ξ_q, ξ_c, ξ_∇
FIXED_POINTS = [
    ("erf", 1, 0.05, 0.28842669172326, 0.86759458417633, 0.55020624826897, 1, None, 1.6737464069908, 7.0407292352911, 7.0407292352911),
    ("erf", 1.5, 0.05, 0.60175316710972, 1.0347001295816, 0.46956984580131, 0.8205300879982, 0.96955194132522, 1.3228594174291, 32.340239645848, 29.315493603768),
    ("erf", 4, 0.1, 2.6441379722701, 1.4968576408939, 0.2380394330808, 0.20323136364888, 0.82200809869854, 0.69670926540175, 5.1019098444915, 2.4791257324981),
    ("sin", 1.2, 0.05, 0.35503287804683, 0.89496712195317, 0.58993424390633, 1, None, 1.8948573974417, 9.0115828607807, 9.0115828607807),
    ("sin", 3, 0.1, 1.5296141632341, 1.5703858367659, 0.14077167353189, 0.19184477897634, 0.67803933461922, 0.51004377232479, 2.5736714941059, 2.215716165268),
    ("tanh", 1.3, 0.05, 0.3153164774853, 0.8801635098832, 0.5711234846202, 1, None, 1.785236631543, 7.834069268459, 7.834069268459),
    ("tanh", 2.5, 0.05, 1.063958377417, 1.133515698704, 0.4284638509464, 0.4468042323443, 0.9187167749138, 1.17987291648, 11.79559751588, 7.979315021822),
    ("tanh", 2.25, 0, 0.7933540426068, 1.139323224985, 0.50467776017, 0, 0.94302997564, 1.462340736652, 17.04820279574, 7.66668775519),
    ("tanh", 4, 0, 2.121473568203, 1.362673337522, 0.3309671489709, 0, 0.8822153887398, 0.9043748766, 7.979632921, 3.231555914),
    ("hardtanh", 1, 0.05, 0.3402028468487, 0.9135583822746, 0.5989403998549, 1, None, 1.950864797, 11.06096871, 11.06096871),
    ("hardtanh", 2, 0.05, 1.130041986244, 1.306286239686, 0.3418706832431, 0.3189115947582, 0.8777709518833, 0.9316862204, 7.670500211, 3.742680538),
    ("selu", 1, 0, 1, 1.071574992456, 0.7826478831968, 0, None, None, 33.60434202158, 14.46559985256),
]  # fmt: skip


@pytest.mark.parametrize("row", FIXED_POINTS, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in FIXED_POINTS])
def test_fixed_points_and_depth_scales(row):
    phi, w, b, q, chi_1, parallel, c, chi_c, xi_q, xi_c, xi_grad = row
    assert mf.q_star(phi, w, b) == pytest.approx(q, rel=5e-13)
    assert mf.chi_1(phi, w, b) == pytest.approx(chi_1, rel=5e-13)
    assert mf.chi_parallel(phi, w, b) == pytest.approx(parallel, rel=5e-13)
    assert mf.c_star(phi, w, b) == pytest.approx(c, abs=3e-13)
    if chi_c is not None:
        assert mf.chi(c, phi, w, b) == pytest.approx(chi_c, rel=1e-12)
    scales = mf.depth_scales(phi, w, b)
    for got, value in ((scales.xi_q, xi_q), (scales.xi_c, xi_c), (scales.xi_grad, xi_grad)):
        assert value is None or got == pytest.approx(value, rel=1e-9)


def test_hard_tanh_slope_by_an_independent_integral():
    from scipy.integrate import quad

    q, c = mf.q_star("hardtanh", 2, 0.05), mf.c_star("hardtanh", 2, 0.05)
    p = math.erf(1 / math.sqrt(2 * q))

    def density(theta):
        s = math.sin(theta)
        same, other = math.exp(-1 / (q * (1 + s))), math.exp(-1 / (q * (1 - s)))
        return 2 * (same - other) / (2 * math.pi)

    value = 2 * (p * p + quad(density, 0, math.asin(c), epsabs=1e-15)[0])
    assert mf.chi(c, "hardtanh", 2, 0.05) == pytest.approx(value, abs=1e-13)


def test_relu_orbit_and_its_power_law():
    flow = mf.correlation_flow("relu", 2.0, 0.0, 1000)
    expected = {1: 0.318309886183791, 2: 0.493731090200372, 3: 0.604825720112945, 10: 0.871535516021518, 100: 0.996423146683948}
    for layer, c in expected.items():
        assert flow.c[layer] == pytest.approx(c, abs=2e-14)
    for layer, value in {10: 12.85, 100: 35.77, 1000: 43.13}.items():
        assert layer**2 * (1 - flow.c[layer]) == pytest.approx(value, abs=5e-3)
    law = mf.critical_law("relu", 2.0, 0.0)
    assert (law.exponent, law.coefficient) == (2, pytest.approx(44.4132198, abs=1e-6))


def test_smooth_power_law_against_the_orbit():
    point = mf.critical_line("tanh", 0.05)
    law = mf.critical_law("tanh", point.sigma_w2, 0.05)
    assert law.exponent == 1
    flow = mf.correlation_flow("tanh", point.sigma_w2, 0.05, 4000)
    assert 4000 * (1 - flow.c[-1]) == pytest.approx(law.coefficient, rel=0.02)
    # tanh at σ_w² = 1 without bias: q_l ≈ 1/(2l)
    q = 1.0
    for _ in range(1000):
        q = mf.q_map(q, "tanh", 1.0, 0.0)
    assert 2 * 1000 * q == pytest.approx(1.0, abs=0.02)


def test_leaky_relu_map():
    leaky = torch.nn.LeakyReLU(0.2)
    assert mf.critical_line(leaky, 0.0).sigma_w2 == pytest.approx(1.92307692307692, abs=1e-13)
    assert mf.c_map(0.0, leaky, 2 / 1.04, 0.0) == pytest.approx(0.195883006882333, abs=1e-14)
    assert mf.c_map(0.5, leaky, 2 / 1.04, 0.0) == pytest.approx(0.56707555756568, abs=1e-14)


def test_slope_is_the_derivative_of_the_map():
    for phi in ("tanh", "selu", "gelu"):
        h, c = 1e-4, 0.4
        w, b = 1.7, 0.02
        fd = (mf.c_map(c + h, phi, w, b) - mf.c_map(c - h, phi, w, b)) / (2 * h)
        assert mf.chi(c, phi, w, b) == pytest.approx(fd, abs=1e-6)


def test_broadcasting_and_types():
    assert isinstance(mf.q_star("tanh", 1.3, 0.05), float)
    q = mf.q_star("tanh", [1.3, 2.5], [[0.05], [0.1]])
    assert q.shape == (2, 2)
    assert q[0, 1] == pytest.approx(1.063958377417, abs=1e-11)
    assert mf.c_map(np.array([0.0, 1.0]), "tanh", 1.3, 0.05).shape == (2,)


def test_degenerate_fixed_points():
    assert mf.q_star("relu", 2.0, 0.0) == 1.0
    assert mf.q_star("tanh", 0.9, 0.0) == mf.q_star("tanh", 1.0, 0.0) == 0.0
    assert mf.c_map(0.3, "tanh", 0.9, 0.0) == pytest.approx(0.3, abs=1e-9)
    assert mf.phase("tanh", 1.0, 0.0) == "critical"
    assert mf.q_star("hardshrink", 0.9, 0.1) == pytest.approx(mf.q_map(mf.q_star("hardshrink", 0.9, 0.1), "hardshrink", 0.9, 0.1))


def test_divergence_says_why():
    for arguments in (("relu", 2.0, 0.1), ("relu", 3.0, 0.0), ("exp", 1.0, 0.0), ("softplus", 4.0, 0.1)):
        with pytest.raises(NumericalError, match="diverges with depth, because"):
            mf.q_star(*arguments)
    assert mf.q_star("exp", 0.1, 0.05) == pytest.approx(0.05 + 0.1 * math.exp(2 * mf.q_star("exp", 0.1, 0.05)))


def test_bad_input():
    with pytest.raises(ArgumentError, match="sigma_w2"):
        mf.q_star("tanh", -1.0, 0.0)
    with pytest.raises(ArgumentError, match="real"):
        mf.q_map(1j, "tanh", 1.0, 0.0)
    with pytest.raises(ArgumentError, match="correlation"):
        mf.c_map(1.5, "tanh", 1.0, 0.1)
    with pytest.raises(UnsupportedError, match="jumps"):
        mf.chi_1("hardshrink", 0.9, 0.1)


def test_phase_diagram_equals_single_points():
    w, b = np.linspace(0.2, 4, 30), np.linspace(0.0, 0.4, 20)
    plane = mf.phase_diagram("tanh", w, b)
    rng = np.random.default_rng(0)
    for i, j in zip(rng.integers(0, 30, 12), rng.integers(0, 20, 12), strict=True):
        assert plane.q_star[i, j] == pytest.approx(mf.q_star("tanh", w[i], b[j]), rel=1e-12, abs=1e-20)
        assert plane.chi_1[i, j] == pytest.approx(mf.chi_1("tanh", w[i], b[j]), rel=1e-11)
        assert plane.c_star[i, j] == pytest.approx(mf.c_star("tanh", w[i], b[j]), abs=1e-11)
        assert 1 / plane.xi_c[i, j] == pytest.approx(1 / mf.depth_scales("tanh", w[i], b[j]).xi_c, abs=1e-11)
    relu = mf.phase_diagram("relu", [1.0, 3.0], [0.1])
    assert np.isinf(relu.q_star[1, 0])
    assert relu.chi_1[1, 0] == pytest.approx(1.5)


def test_phase_against_a_plain_iteration():
    for w, b, word in ((1.3, 0.05, "ordered"), (1.76095463960674, 0.05, "critical"), (2.5, 0.05, "chaotic")):
        assert mf.phase(torch.tanh, w, b) == word
    # slow oracle: iterate both maps for the chaotic point
    q, c = 1.0, 0.5
    for _ in range(300):
        q = mf.q_map(q, "tanh", 2.5, 0.05)
        c = mf.covariance_map(q, q, c, "tanh", 2.5, 0.05) / mf.q_map(q, "tanh", 2.5, 0.05)
    assert c == pytest.approx(mf.c_star("tanh", 2.5, 0.05), abs=1e-10)


def test_depth_scales_are_infinite_where_every_variance_is_fixed():
    assert mf.depth_scales("relu", 2.0, 0.0).xi_q == np.inf
    assert mf.depth_scales("tanh", 1.0, 0.0).xi_q == np.inf
    assert mf.c_map(0.3, "tanh", 0.0, 0.0) == 1.0  # no signal at all: no number is divided by 0


def test_phases_broadcast_and_jumps_are_refused():
    assert mf.phase("tanh", [[1.0], [4.0]], [0.05, 0.06]).tolist() == [["ordered"] * 2, ["chaotic"] * 2]
    with pytest.raises(UnsupportedError, match="jumps"):
        mf.phase_diagram("hardshrink", [1.0, 2.0], [0.1])
    with pytest.raises(ArgumentError, match="real number"):
        mf.q_map("1", "tanh", 1.0, 0.0)


def test_a_staircase_has_values_but_no_slope():
    # E round(z)² = Σ (2k − 1) P(|z| > k − ½), over the stairs
    exact = sum((2 * k - 1) * 2 * ndtr(-(k - 0.5)) for k in range(1, 12))
    assert mf.q_map(1.0, torch.round, 1.0, 0.0) == pytest.approx(exact, abs=1e-12)
    with pytest.raises(UnsupportedError, match="jumps"):
        mf.chi_1(torch.round, 0.5, 0.0)
    with pytest.warns(TheodoliteWarning, match="could not be decided"), pytest.raises(UnsupportedError, match="jumps"):
        mf.chi_1(lambda x: torch.floor(7.3 * x), 0.001, 0.0)


@pytest.mark.parametrize("name", ["tanh", "silu", "elu", "hardswish", "softsign"])
def test_slope_series_at_small_and_large_variances(name):
    rng = np.random.default_rng(3)
    table, q = slope_table(name), np.exp(rng.uniform(-5.0, 9.0, 5))
    theta = np.exp(rng.uniform(-8.0, 0.45, 5))
    slope, average = table.series(q).at(theta)
    size = table.map(q, q, np.ones(5))
    assert np.abs(slope - table.map(q, q, np.cos(theta))).max() < 1e-12 * size.max()
    x, w = np.polynomial.legendre.leggauss(60)
    inner = 0.5 * theta[:, None] * (x + 1.0)
    values = table.map(*np.broadcast_arrays(q[:, None], q[:, None], np.cos(inner)))
    whole = (0.5 * theta[:, None] * w * np.sin(inner) * values).sum(1) / (2.0 * np.sin(0.5 * theta) ** 2)
    assert np.abs(average - whole).max() < 1e-12 * size.max()

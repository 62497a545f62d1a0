import math

import numpy as np
import pytest
import torch
from torch import nn

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError, NumericalError

# φ, σ_b², q*, σ_w², Q′, stable
LINE = [
    ("tanh", 0.01, 0.273300913458231, 1.4242052904886, 0.678191245939, True),
    ("tanh", 0.05, 0.570047881640764, 1.76095463960674, 0.518186484068, True),
    ("tanh", 0.1, 0.805799181913487, 1.98607264113586, 0.439453081555, True),
    ("tanh", 0.3, 1.46116944693198, 2.50512718967976, 0.312084514504, True),
    ("hardtanh", 0.01, 0.259146220333482, 1.05206120941128, 0.760516632921, True),
    ("hardtanh", 0.05, 0.463863969432006, 1.16554468963588, 0.535327803322, True),
    ("hardtanh", 0.1, 0.632155464548302, 1.26340593238614, 0.425132024057, True),
    ("erf", 0.01, 0.253209656331142, 1.11428006340378, 0.6638257964, True),
    ("erf", 0.05, 0.51717683798056, 1.3758390073467, 0.491556611722, True),
    ("erf", 0.1, 0.72635922938496, 1.5521178553336, 0.407710879504, True),
    ("sin", 0.05, 0.5520701025579, 1.5020701025579, 0.497929897442, True),
    ("sin", 0.1, 0.711811554865309, 1.61181155486531, 0.388188445135, True),
    ("selu", 0.05, 0.82730159027092, 0.90176589176633, 0.737049735, True),
    ("selu", 0.1, 1.3134965060735, 0.98032728644299, 0.723273634, True),
    ("elu", 0.04, 1.1069305403461, 1.5110583261926, 0.859776955, True),
    ("mish", 0.1, 1.771591043094, 2.0068545696464, 0.998164082, True),
    ("gelu", 0.05, 0.7220357669016, 2.3025195116928, 1.0851132712, False),
    ("gelu", 0.3, 8.7721716129978, 1.9561586283194, 0.982582884, True),
    ("silu", 0.05, 0.82657605012883, 2.7286115263373, 1.0998722979, False),
    ("silu", 0.3, 5.6621887432292, 2.0787063013341, 1.0340178875, False),
]


@pytest.mark.parametrize("row", LINE, ids=[f"{r[0]}-{r[1]}" for r in LINE])
def test_critical_line(row):
    phi, b, q, w, parallel, stable = row
    point = mf.critical_line(phi, b)
    assert point.q_star == pytest.approx(q, rel=1e-12)
    assert point.sigma_w2 == pytest.approx(w, rel=1e-12)
    assert point.stable is stable
    back = mf.critical_point(phi, q)
    assert (back.sigma_w2, back.sigma_b2) == (pytest.approx(w, rel=1e-12), pytest.approx(b, abs=3e-12))
    if stable:
        assert mf.chi_1(phi, point.sigma_w2, b) == pytest.approx(1.0, abs=1e-11)
        assert mf.chi_parallel(phi, point.sigma_w2, b) == pytest.approx(parallel, abs=2e-9)


def test_seed_figure_points():
    assert mf.critical_point("tanh", 0.02592094821125).sigma_w2 == pytest.approx(1.05, abs=1e-11)
    assert mf.critical_point("tanh", 0.02592094821125).sigma_b2 == pytest.approx(2.010521338827e-5, abs=1e-14)
    assert mf.critical_point("tanh", 0.8213544265039).sigma_w2 == pytest.approx(2.0, abs=1e-11)
    assert mf.critical_point("tanh", 0.8213544265039).sigma_b2 == pytest.approx(0.103779805213, abs=1e-11)


def test_sine_line_in_closed_form():
    for b in (0.01, 0.2):
        point = mf.critical_line(torch.sin, b)
        assert point.sigma_w2 == pytest.approx(1 + point.q_star - b, abs=1e-12)
        assert point.sigma_w2 == pytest.approx(2 / (1 + math.exp(-2 * point.q_star)), abs=1e-12)


@pytest.mark.parametrize(
    ("phi", "q", "w", "b"),
    [
        ("gelu", 3.5615528128088, 1.9830582574375, 0.17292239075607),
        ("silu", 14.320173618026, 1.9880046782695, 0.55514317072153),
        ("mish", 1.6701691324781, 2.0135240697195, 0.094521787370665),
    ],
)
def test_half_stable_points(phi, q, w, b):
    point = mf.half_stable_point(phi)
    assert point.q_star == pytest.approx(q, rel=1e-11)
    assert point.sigma_w2 == pytest.approx(w, rel=1e-12)
    assert point.sigma_b2 == pytest.approx(b, rel=1e-11)


def test_limits_without_bias():
    limits = {"tanh": 1.0, "hardtanh": 1.0, "erf": math.pi / 4, "sin": 1.0, "gelu": 4.0, "silu": 4.0, "relu": 2.0,
              "selu": 2 / (1.0507009873554805**2 * (1 + 1.6732632423543772**2))}  # fmt: skip
    for phi, w in limits.items():
        assert mf.critical_line(phi, 0.0).sigma_w2 == pytest.approx(w, abs=1e-9)
    sigmoid = mf.critical_line("sigmoid", 0.0)
    assert (sigmoid.q_star, sigmoid.sigma_w2) == (
        pytest.approx(45.62427779738, rel=1e-11),
        pytest.approx(103.00755385552, rel=1e-11),
    )


def test_what_has_no_critical_point_says_so():
    with pytest.raises(NumericalError, match="softplus has no critical point"):
        mf.critical_line("softplus", 0.1)
    with pytest.raises(NumericalError, match="homogeneous"):
        mf.critical_line("relu", 0.1)
    with pytest.raises(NumericalError, match="half-stable"):
        mf.half_stable_point("tanh")
    with pytest.raises(NumericalError, match="< 0"):
        mf.critical_point("sigmoid", 1.0)
    with pytest.raises(ArgumentError):
        mf.critical_point("tanh", 0.0)


def test_arrays():
    points = mf.critical_line("tanh", np.array([0.01, 0.05]))
    assert points.sigma_w2 == pytest.approx([1.4242052904886, 1.76095463960674])
    assert points.stable.all()


def test_moments_and_gains():
    from theodolite.theory.meanfield.predict.moments import fourth_slope_moment, mean, second_moment, slope_moment

    table = {
        "gelu": (0.282094791774, 0.42522148257, 0.455850865649, 0.433955838856),
        "silu": (0.206620964142, 0.355775519817, 0.379482351633, 0.28658057688),
        "tanh": (0, 0.394294490398, 0.464402902448, 0.341509207317),
        "erf": (0, 0.464559054398, 0.569410034734, 0.540379646092),
        "elu": (0.160520572267, 0.644945417493, 0.668102001223, 0.594410641302),
        "selu": (0, 1, 1.07157499246, 1.51135290239),
        "mish": (0.240403888375, 0.452342192376, 0.479083758374, 0.421736381747),
    }
    for phi, row in table.items():
        for moment, value in zip((mean, second_moment, slope_moment, fourth_slope_moment), row, strict=True):
            assert float(moment(phi, np.array(1.0))) == pytest.approx(value, abs=6e-12)
    gains = {"tanh": 1.59253742, "gelu": 1.533530441, "silu": 1.67653247, "elu": 1.245198301, "mish": 1.486847581, "selu": 1.0}
    for phi, value in gains.items():
        assert mf.gain(phi) == pytest.approx(value, abs=6e-9)
    for module in (nn.ReLU(), nn.Softsign(), nn.Hardswish(), nn.Softplus(), nn.LogSigmoid(), nn.Hardtanh(), nn.Tanhshrink()):
        z = torch.randn(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert mf.gain(module) == pytest.approx(float(module(z).square().mean()) ** -0.5, rel=0.01)


def test_practitioner_facts():
    assert mf.q_star("tanh", 25 / 9, 0.0) == pytest.approx(1.17848049039, abs=1e-10)
    assert mf.chi_1("tanh", 25 / 9, 0.0) == pytest.approx(1.20983132038, abs=1e-10)
    assert mf.chi_1("selu", 9 / 16, 0.0) == pytest.approx(1.00367, abs=5e-6)
    assert mf.chi_1("relu", 1 / 3, 0.0) == pytest.approx(1 / 6, abs=1e-13)

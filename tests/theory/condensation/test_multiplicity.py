"""Multiplicity of activations: torch, numpy, names, scaled, kinked, discontinuous."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnsupportedError
from theodolite.theory.condensation import multiplicity

#: activation, p, Taylor coefficient σ^(p)(0)/p!, σ(0)
KNOWN = [
    (torch.tanh, 1, 1.0, 0.0),
    (nn.Tanh(), 1, 1.0, 0.0),
    ("tanh", 1, 1.0, 0.0),
    ("xtanh", 2, 1.0, 0.0),
    (lambda x: x * torch.tanh(x), 2, 1.0, 0.0),
    (lambda x: x * x * torch.tanh(x), 3, 1.0, 0.0),
    (torch.sigmoid, 1, 0.25, 0.5),
    (F.softplus, 1, 0.5, math.log(2)),
    (torch.sin, 1, 1.0, 0.0),
    (torch.cos, 2, -0.5, 1.0),
    (F.silu, 1, 0.5, 0.0),
    (F.gelu, 1, 0.5, 0.0),
    (torch.erf, 1, 2 / math.sqrt(math.pi), 0.0),
    (lambda x: torch.exp(-x * x), 2, -1.0, 1.0),
    (lambda x: x - torch.sin(x), 3, 1 / 6, 0.0),
    (lambda x: x**5, 5, 1.0, 0.0),
    (F.elu, 1, 1.0, 0.0),  # σ″ jumps, σ′ does not
    (F.hardtanh, 1, 1.0, 0.0),  # kinks elsewhere
    (lambda x: torch.tanh(1000 * x), 1, 1000.0, 0.0),
    (lambda x: 1e-9 * torch.tanh(1e-3 * x), 1, 1e-12, 0.0),
    (torch.sinc, 2, -(math.pi**2) / 6, 1.0),  # a removable singularity at zero
]


@pytest.mark.parametrize(("activation", "p", "coefficient", "at_zero"), KNOWN)
def test_smooth(activation, p, coefficient, at_zero):
    found = multiplicity(activation)
    assert found.p == p
    assert found.coefficient == pytest.approx(coefficient, rel=1e-6)
    assert found.value_at_zero == pytest.approx(at_zero, abs=1e-12)
    assert not found.kink


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_numpy_callables():
    assert multiplicity(np.tanh).p == 1
    found = multiplicity(lambda x: np.asarray(x) * np.tanh(np.asarray(x)))
    assert (found.p, found.coefficient) == (2, pytest.approx(1.0, rel=1e-8))


@pytest.mark.parametrize(
    ("activation", "slopes"),
    [
        (torch.relu, (0, 1)),
        ("relu", (0, 1)),
        (nn.LeakyReLU(0.2), (-0.2, 1)),
        (torch.abs, (1, 1)),
        (lambda x: torch.relu(x) ** 2, (0, 1)),
    ],
)
def test_kink_is_found_and_warned_of(activation, slopes):
    with pytest.warns(TheodoliteWarning, match="multiplicity is undefined"):
        found = multiplicity(activation)
    assert found.kink
    assert found.p is None
    assert math.isnan(found.coefficient)
    assert found.slopes == pytest.approx(slopes, abs=1e-9)


def test_jump():
    with pytest.warns(TheodoliteWarning, match="jumps by 2"):
        found = multiplicity(torch.sign)
    assert found.kink
    assert found.jump == 2


@pytest.mark.parametrize(
    ("activation", "order", "slopes"),
    [
        (lambda x: x.abs().sqrt(), 1, (math.inf, math.inf)),
        (lambda x: 3 - torch.sign(x) * x.abs() ** (1 / 3), 1, (math.inf, -math.inf)),
        (lambda x: torch.relu(x).sqrt(), 1, (0, math.inf)),
        (lambda x: x.abs() ** 1.5, 2, (math.inf, math.inf)),
        (lambda x: torch.special.xlogy(x, x.abs()), 1, (math.inf, -math.inf)),
        (lambda x: np.sqrt(np.abs(x)), 1, (math.inf, math.inf)),
        (np.cbrt, 1, (-math.inf, math.inf)),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_infinite_derivatives_at_zero_are_no_multiplicity(activation, order, slopes):
    with pytest.warns(TheodoliteWarning, match=f"infinite derivative of order {order}"):
        found = multiplicity(activation)
    assert (found.p, found.kink, found.order, found.slopes, found.radius) == (None, True, order, slopes, 0.0)
    assert math.isnan(found.coefficient)


def test_what_follows_the_leading_term_may_be_singular():
    assert multiplicity(lambda x: x + x.abs() ** 2.5).p == 1
    assert multiplicity(F.tanhshrink).p == 3  # its own rounding is larger than its values near zero
    with pytest.raises(UnsupportedError, match="no Taylor expansion"):
        multiplicity(lambda x: x + x.abs() ** 1.5)


def test_radius_tells_small_from_large():
    # tanh z = z − z³/3 + …: equal terms at z = √3.
    assert multiplicity(torch.tanh).radius == pytest.approx(math.sqrt(3))
    assert multiplicity(lambda x: torch.tanh(10 * x)).radius == pytest.approx(math.sqrt(3) / 10)


def test_bad_input():
    with pytest.raises(UnsupportedError, match="constant near zero"):
        multiplicity(lambda x: 0 * x)
    with pytest.raises(ArgumentError, match="elementwise"):
        multiplicity(nn.Softmax(-1))
    with pytest.raises(ArgumentError, match="callable"):
        multiplicity(3)
    with pytest.raises(ArgumentError, match="defined at zero"):
        multiplicity(lambda x: torch.tanh(x) / x)


@pytest.mark.parametrize("activation", [lambda z: z**9, lambda z: z**8 * torch.tanh(z), lambda z: 1e-5 * np.asarray(z) ** 11])
def test_rounding_is_no_derivative(activation):
    with pytest.raises(UnsupportedError, match="up to order 8"):
        multiplicity(activation)

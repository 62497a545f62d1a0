"""Coordinates, regimes and exponents of the phase diagram."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from theodolite.core.errors import ArgumentError, UnknownNameError, UnsupportedError
from theodolite.theory.condensation import boundary_distance, coordinates, regime, relative_distance_exponent

plane = st.floats(-3, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ntk", (0.5, 0)),
        ("mean_field", (1, 0)),
        ("xavier", (1, 0)),
        ("lecun", (0.5, 0.5)),
        ("He", (0.5, 0.5)),
        ("pytorch", (0.5, 0.5)),
    ],
)
def test_named_initialisations(name, expected):
    assert coordinates(name) == expected


@given(gamma=st.floats(-2, 3), prime=st.floats(-2, 3), alpha=st.floats(0.1, 1e4), width=st.integers(2, 10**6))
@settings(deadline=None, max_examples=50)
def test_numbers_invert_their_definition(gamma, prime, alpha, width):
    std_a = math.sqrt(alpha) * width ** (-(gamma + prime) / 2)
    std_w = math.sqrt(alpha) * width ** (-(gamma - prime) / 2)
    found = coordinates(std_a, std_w, alpha, width)
    assert isinstance(found.gamma, float)
    assert found == pytest.approx((gamma, prime), abs=1e-9)


def test_arrays_broadcast():
    found = coordinates(np.ones(3), 1.0, np.array([1.0, 10.0, 100.0]), 100)
    assert found.gamma == pytest.approx([0, 0.5, 1])
    assert found.gamma_prime == pytest.approx([0, 0, 0])


def test_model_is_read():
    m, t = 4096, 0.75
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, m), nn.ReLU(), nn.Linear(m, 2, bias=False))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * m**-t)
    assert coordinates(model) == pytest.approx((2 * t, 0), abs=0.01)
    assert coordinates(model, alpha=m).gamma == pytest.approx(2 * t + 1, abs=0.01)


def test_pytorch_model_tends_to_its_name():
    model = nn.Sequential(nn.Linear(1, 20_000), nn.ReLU(), nn.Linear(20_000, 1))
    gamma, prime = coordinates(model)
    # Constants 1/√3 in both scales shift γ by log 3 / log m, γ′ by nothing.
    assert gamma == pytest.approx(0.5 + math.log(3) / math.log(20_000), abs=0.01)
    assert prime == pytest.approx(0.5, abs=0.01)


def test_bad_input():
    with pytest.raises(ArgumentError, match="std_a must be positive"):
        coordinates(0.0, 1.0, 1.0, 10)
    with pytest.raises(ArgumentError, match="width must be at least 2"):
        coordinates(1.0, 1.0, 1.0, 1)
    with pytest.raises(ArgumentError, match="width is missing"):
        coordinates(1.0, 1.0)
    with pytest.raises(UnknownNameError, match="ntk"):
        coordinates("ntkk")
    with pytest.raises(UnsupportedError, match="3 linear layers"):
        coordinates(nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)))
    with pytest.raises(ArgumentError, match="gamma must be finite"):
        regime(math.nan, 0.0)


def test_regime_by_the_theorems():
    for gamma, prime, word in [
        (0.5, -1, "linear"), (0.99, 5, "linear"), (1.5, 0.6, "linear"), (1, 0.1, "linear"), (1, 0, "critical"), (1, -3, "critical"),
        (2, 1, "critical"), (1 + 1e-12, -1, "critical"), (1.5, 0.4, "condensed"), (1.1, -1, "condensed"), (3, 1.9, "condensed"),
    ]:  # fmt: skip
        assert regime(gamma, prime) == word
    assert regime(np.array([0.5, 2.0]), 0.0).tolist() == ["linear", "condensed"]


@given(plane, plane)
@settings(deadline=None, max_examples=100)
def test_signs_agree(gamma, prime):
    word, signed, exponent = regime(gamma, prime), boundary_distance(gamma, prime), relative_distance_exponent(gamma, prime)
    expected = {"linear": -1, "critical": 0, "condensed": 1}[word]
    if word == "critical":
        assert abs(signed) <= 2e-9
        assert abs(exponent) <= 1e-8
    else:
        assert np.sign(signed) == np.sign(exponent) == expected


@given(plane, plane)
@settings(deadline=None, max_examples=50)
def test_distance_to_the_boundary_is_euclidean(gamma, prime):
    s = np.linspace(0, 8, 40_001)
    rays = np.concatenate([np.stack([np.ones_like(s), -s], 1), np.stack([1 + s, s], 1)])
    nearest = np.hypot(rays[:, 0] - gamma, rays[:, 1] - prime).min()
    assert abs(boundary_distance(gamma, prime)) == pytest.approx(nearest, abs=2e-4)


@given(plane, plane)
@settings(deadline=None, max_examples=50)
def test_exponent_is_continuous(gamma, prime):
    for dg, dp in ((1e-6, 0), (0, 1e-6)):
        assert abs(relative_distance_exponent(gamma + dg, prime + dp) - relative_distance_exponent(gamma, prime)) < 1e-5


def test_words_for_numbers_are_named():
    with pytest.raises(ArgumentError, match="std_w must be a number"):
        coordinates(0.1, "small", 1.0, 10)
    with pytest.raises(ArgumentError, match="gamma must be a number"):
        regime("large", 0.0)

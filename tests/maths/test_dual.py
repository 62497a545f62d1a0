import math

import numpy as np
import pytest
import torch

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.maths.dual import dual
from theodolite.maths.gaussian import bivariate

CLOSED = ["relu", "leaky_relu", "abs", "erf", "sin", "cos", "gelu", "square", "identity", "exp"]
LINEAR = ["hardtanh", "relu6", "hardsigmoid", "softshrink"]
SMOOTH = ["tanh", "silu", "mish", "sigmoid", "softplus", "tanhshrink"]


@pytest.mark.parametrize("name", CLOSED + LINEAR + SMOOTH)
def test_against_quadrature(name):
    pair = dual(name)
    phi, slope = pair.activation, pair.activation.prime
    for q1, q2 in [(1.0, 1.0), (0.3, 2.0), (0.05, 0.0501)]:
        for c in (0.0, 0.5, -0.8, 1 - 1e-8, 1.0, -1.0):
            for function, given in ((phi, pair.value), (slope, pair.derivative)):
                size = math.sqrt(bivariate(function, function, q1, q1, 1.0) * bivariate(function, function, q2, q2, 1.0))
                assert abs(given(q1, q2, c) - bivariate(function, function, q1, q2, c)) <= 5e-14 * size


@pytest.mark.parametrize("name", ["tanh", "hardtanh", "silu", "gelu"])
@pytest.mark.parametrize("equal", [True, False])
def test_full_gram_matrices(name, equal):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 30))
    gram = x @ x.T / 30
    q = np.diag(gram).copy() if not equal else np.ones(60)
    c = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    np.fill_diagonal(c, 1.0)
    pair = dual(name)
    value, slope = pair.value(q[:, None], q[None, :], c), pair.derivative(q[:, None], q[None, :], c)
    assert np.allclose(value, value.T, atol=1e-13)
    for i, j in rng.integers(0, 60, (6, 2)):
        assert value[i, j] == pytest.approx(bivariate(name, name, q[i], q[j], c[i, j]), abs=1e-13)
        prime = pair.activation.prime
        assert slope[i, j] == pytest.approx(bivariate(prime, prime, q[i], q[j], c[i, j]), abs=1e-13)


def test_entry_by_entry_equals_gram_layout():
    rng = np.random.default_rng(0)
    q, c = rng.uniform(0.5, 2.0, 40), rng.uniform(-1, 1, (40, 40))
    pair = dual("silu")
    gram = pair.value(q[:, None], q[None, :], c)
    full = pair.value(np.broadcast_to(q[:, None], (40, 40)).copy(), np.broadcast_to(q, (40, 40)).copy(), c)
    assert np.abs(gram - full).max() < 1e-13


@pytest.mark.slow
def test_table_of_a_kinked_activation():
    c = np.linspace(-1, 1, 901)
    value = dual("selu").value(1.0, 1.0, c)
    assert max(abs(value[i] - bivariate("selu", "selu", 1.0, 1.0, c[i])) for i in (0, 17, 450, 700, 899, 900)) < 1e-12


def test_torch_in_torch_out_and_bad_input():
    out = dual("tanh").value(torch.tensor(1.0), torch.tensor(1.0), torch.tensor([0.5, 1.0]))
    assert isinstance(out, torch.Tensor)
    assert out.dtype == torch.float64
    assert isinstance(dual("relu").value(1.0, 1.0, 0.2), float)
    with pytest.raises(ArgumentError):
        dual("relu").value(-1.0, 1.0, 0.2)
    with pytest.raises(UnsupportedError):
        dual("sign").derivative(1.0, 1.0, 0.5)
    # values of a jumping activation are right: the arcsine law
    assert dual("sign").value(1.0, 3.0, 0.5) == pytest.approx(2 / math.pi * math.asin(0.5), abs=1e-15)
    hard = dual("hardshrink").value(1.0, 1.0, 1.0)
    tail = math.erfc(0.5 / math.sqrt(2)) + 2 * 0.5 * math.exp(-0.125) / math.sqrt(2 * math.pi)
    assert hard == pytest.approx(tail, abs=1e-13)

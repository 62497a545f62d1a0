import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnknownNameError, UnsupportedError
from theodolite.maths.activation import identify
from theodolite.maths.activation_table import BUILDERS, build

SPELLINGS = {
    "relu": [torch.relu, F.relu, nn.ReLU(), nn.ReLU, "ReLU", lambda x: torch.relu(x), lambda x: np.maximum(x, 0)],
    "tanh": [torch.tanh, nn.Tanh(), np.tanh, torch.Tensor.tanh, "tanh"],
    "gelu": [F.gelu, nn.GELU()],
    "leaky_relu(0.2)": [nn.LeakyReLU(0.2), functools.partial(F.leaky_relu, negative_slope=0.2)],
    "erf": [torch.erf, torch.special.erf],
    "sin": [torch.sin, np.sin],
    "silu": [F.silu, nn.SiLU(), "swish"],
    "abs": [torch.abs, np.abs],
}


@pytest.mark.parametrize(("name", "spelling"), [(n, s) for n, many in SPELLINGS.items() for s in many])
def test_one_function_however_it_is_written(name, spelling):
    assert identify(spelling).name == name


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - {"threshold"}))
def test_derivatives_of_the_table_by_central_differences(name):
    phi = build(name)
    x = np.random.default_rng(1).uniform(-5, 5, 400) + 1.2345e-4
    h = 1e-6
    error = np.abs((phi(x + h) - phi(x - h)) / (2 * h) - phi.derivative(x))
    assert error.max() < 2e-7 * max(1.0, np.abs(phi(x)).max())


@pytest.mark.parametrize(
    ("module", "reference"),
    [
        (nn.ELU(0.5), None), (nn.CELU(2.0), None), (nn.Softplus(2.0), None), (nn.Hardtanh(-2.0, 0.5), None), (nn.Softshrink(0.3), None),
        (nn.Hardshrink(0.3), None), (nn.GELU("tanh"), None), (nn.Threshold(0.1, -1.0), None), (nn.SELU(), None), (nn.Mish(), None),
        (nn.Hardswish(), None), (nn.Softsign(), None), (nn.LogSigmoid(), None), (nn.Tanhshrink(), None), (nn.ReLU6(), None),
        (nn.Hardsigmoid(), None),
    ],
)  # fmt: skip
def test_table_agrees_with_torch(module, reference):
    x = np.linspace(-7.03, 7.01, 211)
    assert np.allclose(identify(module)(x), module(torch.from_numpy(x)).numpy(), rtol=1e-14, atol=1e-15)


def test_kinks_and_jumps_of_unknown_callables():
    assert identify(lambda x: x.clamp(-2, 1)).kinks == (-2.0, 1.0)
    assert identify(lambda x: x.clamp(-2, 1)).slopes == (0.0, 1.0, 0.0)
    assert identify(lambda x: torch.where(x.abs() > 0.5, x, torch.zeros_like(x))).jumps == (-0.5, 0.5)
    curvature = identify(lambda x: x / (1 + 2 * x.abs()))
    assert curvature.kinks == (0.0,)
    assert curvature.jumps == ()
    odd = identify(lambda x: torch.tanh(x) + 0.3 * torch.relu(x - 1 / 3))
    assert odd.kinks[0] == pytest.approx(1 / 3, abs=1e-12)
    assert identify(lambda x: torch.tanh(3 * x) + x).splits == ()


def test_slope_of_numpy_callables_without_autograd():
    phi = identify(lambda x: np.tanh(x) * np.abs(x))
    x = np.linspace(-6.05, 6.01, 301)
    exact = np.sign(x) * np.tanh(x) + np.abs(x) * (1 - np.tanh(x) ** 2)
    assert np.abs(phi.derivative(x) - exact).max() < 1e-11


def test_bad_activations_are_refused_with_reasons():
    for bad in (nn.Softmax(-1), nn.LayerNorm(7), nn.Linear(3, 3), torch.log, lambda x: x.sum(), lambda x: torch.complex(x, x),
                nn.PReLU(3).double(), 3.0, lambda x: torch.rand_like(x)):  # fmt: skip
        if isinstance(bad, nn.PReLU):
            with torch.no_grad():
                bad.weight.copy_(torch.tensor([0.1, 0.2, 0.3]))
        with pytest.raises(ArgumentError, match="activation"):
            identify(bad)
    with pytest.raises(UnknownNameError, match="tanh"):
        identify("tahn")
    with pytest.raises(UnsupportedError, match="jumps"):
        _ = identify("hardshrink").prime
    with pytest.warns(TheodoliteWarning, match="could not be decided"):
        identify(lambda x: torch.floor(5.3 * x))
    assert len(identify(lambda x: torch.floor(x)).jumps) > 100


def test_a_module_is_left_as_it_was():
    module = nn.PReLU()
    module.train()
    before = module.weight.detach().clone()
    assert identify(module).slopes == (0.25, 1.0)
    assert module.training
    assert torch.equal(module.weight, before)


def test_slope_kinks_at_places_that_are_nearly_round():
    # 20π = 62.83185307 lies within 2e-7 of a number of six decimals, which is not the kink.
    waves = identify(lambda x: torch.sin(x).abs())
    assert not waves.jumps
    assert np.abs(np.array(waves.kinks) / np.pi - np.round(np.array(waves.kinks) / np.pi)).max() < 1e-13


@pytest.mark.parametrize(
    "function",
    [lambda x: 1 / x, lambda x: torch.log(x.abs()), torch.tan, lambda x: (x - 0.3).abs() ** -0.5, lambda x: 1 / (x - 2.0)],
)
def test_functions_with_poles_are_refused(function):
    with pytest.raises(ArgumentError, match="grows beyond bounds at"):
        identify(function)

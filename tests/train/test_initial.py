"""Initialisations: their laws, and that a member's draw depends on nothing but its seed and number."""

import math

import pytest
import torch

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.train import NTK, Antisymmetric, Ensemble, Gaussian, MLPSpec, PhaseDiagram

WIDTH = 4000


@pytest.mark.parametrize(
    ("init", "stds"),
    [
        (Gaussian(std=0.3), (0.3, 0.3, 0.3)),
        (Gaussian(t=0.5), (WIDTH**-0.5,) * 3),
        (Gaussian(t=0.5, convention="variance"), (WIDTH**-0.25,) * 3),
        (Gaussian(std=(0.1, 0.2), bias_std=0.7), (0.1, 0.7, 0.2)),
        ("ntk", (1, 1, 1)),
        ("xavier", (math.sqrt(2 / (WIDTH + 3)), 0, math.sqrt(2 / (WIDTH + 1)))),
        ("he", (math.sqrt(2 / 3), 0, math.sqrt(2 / WIDTH))),
        ("lecun", (math.sqrt(1 / 3), 0, math.sqrt(1 / WIDTH))),
        ("mean_field", (1, 1, 1)),
        (PhaseDiagram(1.5, 0.5), (WIDTH**-0.5, WIDTH**-0.5, WIDTH**-1.0)),
        ("torch", (1 / 3, 1 / 3, 1 / math.sqrt(3 * WIDTH))),
    ],
)
def test_standard_deviations(init, stds):
    ensemble = Ensemble(MLPSpec((3, WIDTH, 1), "relu", bias="hidden", init=init), 1)
    for (name, value), std in zip(ensemble.parameters.items(), stds, strict=True):
        # The standard error of an estimated standard deviation is about std/√(2·count); uniform laws have less.
        assert float(value.std()) == pytest.approx(std, abs=4 * std / math.sqrt(2 * value.numel()) + 1e-12), name


def test_forward_factors():
    x = torch.randn(5, 3, dtype=torch.float64)
    for init, factors in ((NTK(2.0, 0.5), (2 / math.sqrt(3), 0.5, 2 / math.sqrt(10))), ("mean_field", (1, 1, 1 / 10))):
        ensemble = Ensemble(MLPSpec((3, 10, 1), "tanh", bias="hidden", init=init, alpha=4.0), 2)
        w, b, a = (value[1] for value in ensemble.parameters.values())
        want = torch.tanh(factors[0] * x @ w.T + factors[1] * b) @ a.T * factors[2] / 4
        torch.testing.assert_close(ensemble.forward(x)[1], want)
        torch.testing.assert_close(ensemble.member(1)(x).detach(), want)


def test_antisymmetric_networks_start_at_zero():
    ensemble = Ensemble(MLPSpec((2, 10, 1), "relu", bias="hidden", init=Antisymmetric(PhaseDiagram(1.0, 0.0))), 2)
    assert float(ensemble.forward(torch.randn(5, 2, dtype=torch.float64)).abs().max()) < 1e-16
    with pytest.raises(UnsupportedError, match="even width"):
        Ensemble(MLPSpec((2, 9, 1), "relu", init="antisymmetric"), 1)


def test_draws_do_not_depend_on_dtype_or_company():
    spec = MLPSpec((2, 5, 1), init="he")
    double, single = Ensemble(spec, 4), Ensemble(spec, [3], dtype=torch.float32)
    assert torch.equal(double.parameters["hidden1.weight"][3].float(), single.parameters["hidden1.weight"][0])
    assert not torch.equal(double.parameters["hidden1.weight"][3], Ensemble(spec, 4, seed=1).parameters["hidden1.weight"][3])


def test_placed_first_layers():
    ensemble = Ensemble(MLPSpec((1, 5, 1), "tanh", init="deterministic"), 2)
    w, b = ensemble.parameters["hidden1.weight"][0, :, 0], ensemble.parameters["hidden1.bias"][0]
    torch.testing.assert_close(-b / w, torch.linspace(-1, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(w, torch.full((5,), 2.5, dtype=torch.float64))
    udi = Ensemble(MLPSpec((3, 50, 1), "tanh", init="udi"), 1)
    torch.testing.assert_close(udi.parameters["hidden1.weight"][0].norm(dim=1), torch.ones(50, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="bias"):
        Ensemble(MLPSpec((3, 50, 1), "tanh", bias=False, init="udi"), 1)


def test_custom_initialisation():
    def ones(spec, generator):
        return [(torch.ones(4, 2), None), (torch.randn(1, 4, generator=generator), None)]

    ensemble = Ensemble(MLPSpec((2, 4, 1), bias=False, init=ones), 2)
    assert (ensemble.parameters["hidden1.weight"] == 1).all()
    with pytest.raises(ArgumentError, match="shapes"):
        Ensemble(MLPSpec((2, 5, 1), bias=False, init=ones), 2)

"""Update rules that torch.optim does not have, by their definitions."""

import pytest
import torch

from theodolite.train import Ensemble, MLPSpec

X = torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None]
Y = torch.cos(2 * X)


def gradients(module, loss):
    for parameter in module.parameters():
        parameter.grad = None
    loss(module(X), Y).backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def test_normalized_gd_turns_every_neuron_by_the_same_angle():
    ensemble = Ensemble(MLPSpec((1, 7, 1), "tanh"), 2)
    module = ensemble.member(1)
    rows = ensemble.weights("hidden1")[1].clone()
    a0 = ensemble.parameters["output.weight"][1].clone()
    ensemble.train(X, Y, steps=1, optimizer="normalized_gd", lr=0.05)
    g = gradients(module, torch.nn.functional.mse_loss)
    full = torch.cat([g["hidden1.weight"], g["hidden1.bias"][:, None]], 1)
    want = rows - 0.05 * rows.norm(dim=1, keepdim=True) * full / full.norm(dim=1, keepdim=True)
    want *= rows.norm(dim=1).mean() / want.norm(dim=1).mean()
    torch.testing.assert_close(ensemble.weights("hidden1")[1], want)
    size = a0.abs().mean()
    a = (a0 - 0.05 * size * g["output.weight"].sign()).clamp(-size, size)
    torch.testing.assert_close(ensemble.parameters["output.weight"][1], a)


@pytest.mark.parametrize(("loss", "factor"), [("mse", 2.0), ("half_mse", 1.0)])
def test_trace_gd_steps_by_the_inverse_gauss_newton_trace(loss, factor):
    ensemble = Ensemble(MLPSpec((1, 5, 4, 1), "tanh", residual=True), 2)
    module = ensemble.member(0)
    trace = 0.0
    for i in range(len(X)):
        module.zero_grad()
        module(X[i : i + 1]).sum().backward()
        trace += factor / len(X) * sum(float(p.grad.square().sum()) for p in module.parameters())
    g = gradients(module, lambda f, y: factor / 2 * torch.nn.functional.mse_loss(f, y))
    before = ensemble.parameters["hidden2.weight"][0].clone()
    ensemble.train(X, Y, steps=1, optimizer="trace_gd", loss=loss, lr=0.7)
    torch.testing.assert_close(ensemble.parameters["hidden2.weight"][0], before - 0.7 / trace * g["hidden2.weight"])


def test_trace_gd_never_diverges_on_the_phase_plane():
    from theodolite.train import PhaseDiagram

    for gamma, gamma_prime in ((0.5, 1.0), (1.0, 0.0), (2.0, -1.0)):
        spec = MLPSpec((1, 64, 1), "relu", bias="hidden", init=PhaseDiagram(gamma, gamma_prime))
        data = Ensemble(spec, 2).train(X, Y, steps=400, optimizer="trace_gd", lr=1.0).data
        assert (data["status"] == "running").all()
        assert (data["loss"].values[:, -1] < data["loss"].values[:, 0]).all()


def test_trace_gd_of_a_linear_model_reaches_least_squares():
    ensemble = Ensemble(MLPSpec((1, 1)), 2)
    ensemble.train(X, Y, steps=200, optimizer="trace_gd", lr=1.0)
    rows = torch.cat([X, torch.ones_like(X)], 1)
    want = torch.linalg.lstsq(rows, Y).solution[:, 0].expand(2, -1)
    torch.testing.assert_close(ensemble.weights("output")[:, 0], want)

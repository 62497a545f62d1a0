"""Physics-informed networks: the loss written out, training, tracking, ensembles, named errors."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.core.schedule import every
from theodolite.core.seed import generator
from theodolite.nets.architectures import mlp
from theodolite.theory.pde import PINN, Condition, Problem, laplacian, poisson_1d, poisson_2d, uniform_density_init_


def net_for(dim=1, width=12, seed=0, dtype=torch.float64):
    net = mlp([dim, width, width, 1], "tanh", dtype=dtype)
    source = generator(seed, "pinn")
    for p in net.parameters():
        nn.init.uniform_(p, -0.7, 0.7, generator=source)
    return net


def test_the_loss_is_the_formula():
    problem, net = poisson_1d(), net_for()
    pinn = PINN(problem, net, points=17, condition_weights=3.0)
    x = torch.linspace(-1, 1, 17, dtype=torch.float64)[:, None].requires_grad_()
    u = net(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    interior = (-curvature[:, 0] - problem.rhs(x)).square().mean()
    ends = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    boundary = (net(ends)[:, 0] - problem.boundary(ends)).square().mean()
    torch.testing.assert_close(pinn.losses().detach(), torch.stack([interior, boundary]).detach())
    history = pinn.train(0)
    assert float(history.loss[0]) == pytest.approx(float((interior + 3 * boundary).detach()), rel=1e-12)


def test_one_adam_step_is_torchs_adam_step():
    problem, net, twin = poisson_1d(), net_for(), net_for()
    pinn = PINN(problem, net, points=9)
    pinn.train(3, when=[3])
    other = PINN(problem, twin, torch.optim.Adam(twin.parameters(), lr=1e-3), points=9)
    for _ in range(3):
        other.optimizer.zero_grad()
        other.losses().sum().backward()
        other.optimizer.step()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_networks_side_by_side_are_trained_independently():
    problem = poisson_1d()
    nets = [net_for(seed=s) for s in range(3)]
    alone = net_for(seed=1)
    together = PINN(problem, nets, functools.partial(torch.optim.Adam, lr=1e-2), points=12).train(5, when=every(5))
    single = PINN(problem, alone, functools.partial(torch.optim.Adam, lr=1e-2), points=12).train(5, when=every(5))
    for a, b in zip(nets[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(together.loss.isel(network=1), single.loss, rtol=1e-9)
    np.testing.assert_array_equal(together.epsilon_rank.isel(network=1), single.epsilon_rank)
    assert together.sizes["network"] == 3


@pytest.mark.slow
def test_adam_then_lbfgs_solves_poisson():
    problem, net = poisson_1d(), net_for(width=12)
    torch_state = torch.get_rng_state()
    net.train()
    pinn = PINN(problem, net, functools.partial(torch.optim.Adam, lr=5e-3), points=32, condition_weights=10.0)
    history = pinn.train(100, lbfgs_steps=80, when=every(50))
    assert history.step.values.tolist() == [0, 50, 100, 120, 140, 160, 180]
    assert pinn.error == float(history.error[-1])
    assert pinn.error < 2e-2
    assert float(history.loss[-1]) < 1e-3 * float(history.loss[0])
    after = history.loss.where(history.phase == "L-BFGS", drop=True)
    assert bool((after.diff("step") <= 1e-12).all())  # strong Wolfe never goes up
    assert net.training
    assert torch.equal(torch_state, torch.get_rng_state())
    x = np.linspace(-1, 1, 5)
    assert isinstance(pinn(x), np.ndarray)
    np.testing.assert_allclose(pinn(x), np.sin(np.pi * x), atol=0.1)


def test_ranks_are_those_of_the_hidden_layers():
    net = net_for(2, width=20)
    uniform_density_init_(net, [(-1, 1)] * 2, generator=generator(0))
    pinn = PINN(poisson_2d(), net, points=16)
    found = pinn.epsilon_rank(1e-4)
    axis = torch.linspace(-1, 1, 201, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    w = torch.ones(201, dtype=torch.float64)
    w[[0, -1]] = 0.5
    weights = torch.outer(w, w).reshape(-1) * (2 / 200) ** 2
    first = torch.tanh(x @ net[0].weight.T + net[0].bias).detach()
    second = torch.tanh(first @ net[2].weight.T + net[2].bias).detach()
    for layer, phi in zip(found, (first, second), strict=True):
        assert found[layer] == int((torch.linalg.eigvalsh(phi.T @ (weights[:, None] * phi)) > 1e-4).sum())


@pytest.mark.parametrize("sampling", ["grid", "sobol", "uniform"])
def test_samplings(sampling):
    problem = poisson_2d()
    pinn = PINN(problem, net_for(2), points=25, sampling=sampling, resample=1, generator=generator(0))
    assert pinn.interior.shape == (25, 2)
    before = pinn.interior.clone()
    pinn.train(2, when=[2])
    assert torch.equal(before, pinn.interior) == (sampling != "uniform")
    torch.testing.assert_close(pinn.rhs, problem.rhs(pinn.interior))


def test_further_conditions_have_weights_of_their_own():
    slope = Condition(lambda u, x: torch.func.grad(u)(x)[0], [[1.0]], 2.0)
    problem = Problem([(0, 1)], laplacian, lambda x: torch.zeros(len(x)), lambda x: x[:, 0], conditions=[slope], faces=[(0, 0)])
    pinn = PINN(problem, net_for(), points=8, condition_weights=[1.0, 0.5])
    losses = pinn.losses().detach()
    assert losses.shape == (3,)
    assert float(pinn.train(0).loss[0]) == pytest.approx(float(losses[0] + losses[1] + 0.5 * losses[2]))


def test_float32_networks_stay_float32():
    net = net_for(dtype=torch.float32)
    pinn = PINN(poisson_1d(), net, points=8)
    pinn.train(2, when=[2])
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert pinn([0.0, 0.5]).dtype == np.float64


def test_divergence_is_an_error():
    with pytest.raises(NumericalError, match="lower the learning rate"):
        PINN(poisson_1d(), net_for(), functools.partial(torch.optim.SGD, lr=1e150), points=8).train(5, when=[0])
    broken = net_for()
    pinn = PINN(poisson_1d(), broken, points=8)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match="the loss is nan"):  # L-BFGS has no step of its own that could fail
        pinn.train(0, lbfgs_steps=5)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: PINN(poisson_1d(), mlp([1, 4, 2])), r"map \(N, 1\) to \(N, 1\)"),
        (lambda: PINN(poisson_2d(), mlp([1, 4, 1])), r"map \(N, 2\) to \(N, 1\), but failed on one point of shape \(1, 2\)"),
        (lambda: PINN(poisson_1d(), "net"), "net must be a module"),
        (lambda: PINN(poisson_1d(), mlp([1, 4, 1]), "adam"), "optimizer must be an optimiser .* got 'adam'"),
        (lambda: PINN(poisson_1d(), mlp([1, 4, 1]), list), "optimizer must be an optimiser"),
        (lambda: PINN(poisson_1d(), []), "list of modules of one shape"),
        (lambda: PINN(poisson_1d(), [net_for(width=4), net_for(width=5)]), "list of modules of one shape"),
        (lambda: PINN(poisson_1d(), net_for(), torch.optim.Adam(net_for().parameters())), "holds no parameter of net"),
        (lambda: PINN(poisson_1d(), net_for(), sampling="random"), "sampling must be"),
        (lambda: PINN(poisson_1d(), net_for(), points=[[2.0]]), "points must lie in the domain"),
        (lambda: PINN(poisson_1d(), net_for(), condition_weights=[1.0, 1.0]), "condition_weights must be"),
        (lambda: PINN(poisson_1d(), net_for(), condition_weights=float("nan")), "condition_weights must be"),
        (lambda: PINN(poisson_1d(), net_for().requires_grad_(False)), "trainable parameter"),
        (lambda: PINN(None, net_for()), "problem must be a Problem"),
        (lambda: PINN(poisson_1d(), net_for(), points=8).train(-1), "steps and lbfgs_steps"),
        (lambda: PINN(poisson_1d(), net_for(), points=8).train(0, lbfgs_steps=-5), "steps and lbfgs_steps"),
        (lambda: PINN(poisson_1d(), [net_for(), net_for(seed=1)]).train(1, lbfgs_steps=5), "single network"),
        (
            lambda: PINN(Problem([(0, 1)], lambda u, x: torch.func.grad(u)(x), lambda x: x[:, 0], lambda x: x[:, 0]), net_for()),
            "must return a number",
        ),
    ],
)
def test_bad_calls_are_named(make, word):
    with pytest.raises(ArgumentError, match=word):
        make()

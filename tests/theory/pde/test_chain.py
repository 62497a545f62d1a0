"""The Laplacian that goes through a chain's layers against the trace of the Hessian."""

import pytest
import torch
from torch import nn

from theodolite.nets import mlp
from theodolite.theory.pde import laplacian
from theodolite.theory.pde.chain import Chain, network_at


def drawn(net, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, dtype=torch.float64, generator=stream) for name, p in net.named_parameters()}


@pytest.mark.parametrize("act", ["tanh", "sin", "gelu", "xtanh"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 7, 1), (2, 9, 8, 1), (3, 5, 5, 5, 1)])
def test_laplacians_of_chains(act, widths):
    net = mlp(widths, act, dtype=torch.float64)
    u = network_at(net, drawn(net))
    assert isinstance(u, Chain)
    x = torch.randn(20, widths[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.func.vmap(lambda at: laplacian(u, at))(x)
    expected = torch.stack([torch.func.hessian(u)(at).trace() for at in x])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()) + 1e-15)


def test_gradients_in_the_parameters_and_twice_over():
    net = mlp((2, 6, 5, 1), "tanh", dtype=torch.float64)
    values, x = drawn(net), torch.tensor([0.3, -0.7], dtype=torch.float64)
    ours = torch.func.grad(lambda p: laplacian(network_at(net, p), x))(values)
    theirs = torch.func.grad(lambda p: torch.func.hessian(network_at(net, p))(x).trace())(values)
    for name in values:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-11, atol=1e-11)
    u = network_at(net, values)
    twice = torch.func.hessian(lambda at: torch.func.hessian(u)(at).trace())(x).trace()
    torch.testing.assert_close(laplacian(lambda at: laplacian(u, at), x), twice, rtol=1e-10, atol=1e-10)


def test_frozen_parameters_and_biases_that_are_not_there():
    net = mlp((2, 6, 1), "tanh", bias=False, dtype=torch.float64)
    u = network_at(net, {"2.weight": torch.ones(1, 6, dtype=torch.float64)})
    x = torch.tensor([0.3, -0.7], dtype=torch.float64)
    torch.testing.assert_close(laplacian(u, x), torch.func.hessian(u)(x).trace(), rtol=1e-12, atol=1e-12)


def test_what_is_no_plain_chain_goes_by_the_hessian():
    shared, hooked = nn.Linear(2, 2), mlp((2, 3, 1), "tanh")
    hooked[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    for net in (
        nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(2, 1)),
        nn.Sequential(nn.Linear(2, 3), nn.Softmax(0), nn.Linear(3, 1)),
        nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), nn.Linear(3, 1)),
        hooked,
    ):
        u, x = network_at(net, dict(net.named_parameters())), torch.tensor([0.3, -0.7])
        assert not isinstance(u, Chain)
        torch.testing.assert_close(laplacian(u, x), torch.func.hessian(u)(x).trace())

"""Merged networks compute the same function, and the certificate bounds the difference."""

import pytest
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.theory.condensation import merge_neurons


def condensed_net(activation, directions=4, each=6, d=3, outputs=2, noise=0.0, seed=0, scaled=True):
    g = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(d, directions * each), activation, nn.Linear(directions * each, outputs)).double()
    u = torch.randn(directions, d + 1, generator=g, dtype=torch.float64).repeat_interleave(each, 0)
    if scaled:
        u = u * torch.rand(len(u), 1, generator=g, dtype=torch.float64).add(0.1)
    u = u + noise * torch.randn(u.shape, generator=g, dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.copy_(u[:, :-1])
        net[0].bias.copy_(u[:, -1])
    return net


def inputs(d=3, seed=1):
    return 3 * torch.randn(500, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(), nn.Identity()])
def test_exact_for_homogeneous_activations(activation):
    net = condensed_net(activation)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    small, certificate = merge_neurons(net, 1e-6)
    assert small[0].out_features == 4
    assert certificate.exact
    assert (certificate.before, certificate.after) == (24, 4)
    x = inputs()
    assert torch.allclose(small(x), net(x), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())  # the model is left as it was


def test_new_neurons_are_balanced():
    small, _ = merge_neurons(condensed_net(nn.ReLU()), 1e-6)
    incoming = torch.cat([small[0].weight, small[0].bias[:, None]], 1).norm(dim=1)
    assert torch.allclose(incoming, small[2].weight.norm(dim=0))


def test_opposite_relu_neurons_stay_apart():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]))
        net[0].bias.zero_()
    assert merge_neurons(net)[0][0].out_features == 2


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.GELU()])
def test_certificate_bounds_the_error(activation):
    net = condensed_net(activation, noise=0.01, scaled=isinstance(activation, nn.ReLU))
    small, certificate = merge_neurons(net, 0.3)
    assert certificate.after < certificate.before
    assert not certificate.exact
    x = inputs()
    size = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1).norm(dim=1)
    error = (small(x) - net(x)).norm(dim=1)
    assert (error <= certificate.error_bound * size).all()
    assert error.max() > 0


def test_other_activations_merge_equal_weights_only():
    net = condensed_net(nn.Tanh())  # parallel, not equal
    assert merge_neurons(net, 1e-6)[0][0].out_features == 24
    same = condensed_net(nn.Tanh(), scaled=False)
    small, certificate = merge_neurons(same, 1e-6)
    assert small[0].out_features == 4
    assert certificate.exact
    assert torch.allclose(small(inputs()), same(inputs()), atol=1e-12)


def test_dead_and_constant_neurons():
    net = condensed_net(nn.Sigmoid(), scaled=False)
    with torch.no_grad():
        net[0].weight[:6], net[0].bias[:6] = 0, 0  # constant ½
        net[2].weight[:, 6:12] = 0  # never read
    small, _ = merge_neurons(net, 1e-9)
    assert small[0].out_features == 2
    assert torch.allclose(small(inputs()), net(inputs()), atol=1e-12)


def test_deep_chain_and_float32():
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU()), nn.Linear(8, 1))
    with torch.no_grad():
        net[0].weight[4:], net[0].bias[4:] = 2 * net[0].weight[:4], 2 * net[0].bias[:4]
        net[2][0].weight[1] = 3 * net[2][0].weight[0]
    small, certificate = merge_neurons(net, 1e-5)
    assert [layer.after for layer in certificate.layers] == [4, 7]
    assert certificate.error_bound is None
    x = torch.randn(100, 3, generator=g)
    assert torch.allclose(small(x), net(x), atol=1e-5)


def test_width_one_and_bad_input():
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    assert merge_neurons(net)[0][0].out_features == 1
    with pytest.raises(ArgumentError, match="tolerance"):
        merge_neurons(net, -1.0)
    with pytest.raises(UnsupportedError, match="Conv1d"):
        merge_neurons(nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Linear(1, 1)))
    with pytest.raises(UnsupportedError, match="no hidden layer"):
        merge_neurons(nn.Sequential(nn.Linear(1, 1)))


def test_equal_neurons_of_an_activation_that_jumps_are_merged_exactly():
    class Sign(nn.Module):
        def forward(self, z):
            return torch.sign(z)

    net = nn.Sequential(nn.Linear(2, 4), Sign(), nn.Linear(4, 1))
    with torch.no_grad():
        net[0].weight[2:] = net[0].weight[:2]
        net[0].bias[2:] = net[0].bias[:2]
    small, certificate = merge_neurons(net, 1e-6)
    assert small[0].out_features == 2
    assert certificate.exact
    assert certificate.error_bound == 0.0

"""The tracer: real modules as graphs that compute the same, with nothing passed through unseen."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from theodolite.core.errors import UnsupportedError
from theodolite.lens import frozen, trace


class Branches(nn.Module):
    """Control flow that depends on data, functional calls, in-place operations, a residual and a concatenation."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(16, 3)

    def forward(self, x):
        h = F.relu(self.a(x), inplace=True)
        if float(x.sum()) > -1e9:
            h = h + torch.tanh(self.b(h))
        h = torch.cat([h, h.sin()], -1)
        h += 1.0
        return self.c(h)


class SelfGated(nn.Module):
    def forward(self, x):
        return x * torch.tanh(x)


class GeluByHand(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3.0))))


def models():
    torch.manual_seed(0)
    yield "mlp", nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(5, 4)
    yield "branches", Branches(), torch.randn(5, 4)
    yield (
        "cnn",
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 3),
        ),
        torch.randn(2, 1, 8, 8),
    )
    yield "transformer", nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)
    yield "gates", nn.Sequential(nn.Linear(4, 4), SelfGated(), nn.Linear(4, 4), GeluByHand()), torch.randn(3, 4)


@pytest.mark.parametrize(("name", "model", "x"), list(models()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_graph_computes_what_the_module_computes(name, model, x):
    model.eval()
    with torch.no_grad():
        expected = model(x)
        graph = trace(model, x)
        torch.testing.assert_close(graph.run(x), expected)
        other = torch.randn_like(x)
        torch.testing.assert_close(graph.run(other), model(other), rtol=1e-5, atol=1e-6)


def test_kinds_and_names_of_a_plain_network():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    graph = trace(net, torch.zeros(4, 2))
    assert [(n.kind, n.name) for n in graph] == [("input", "x0"), ("affine", "0"), ("elementwise", "1"), ("affine", "2")]
    assert graph[1].weight is net[0].weight
    assert graph[1].bias is net[0].bias
    assert graph[2].activation(torch.tensor(0.5)) == torch.tanh(torch.tensor(0.5))
    assert graph.module_outputs["1"].index == 2


def test_handwritten_activations_become_one_elementwise_node():
    for module in (SelfGated(), GeluByHand()):
        graph = trace(nn.Sequential(nn.Linear(3, 3), module), torch.randn(2, 3))
        assert [n.kind for n in graph] == ["input", "affine", "elementwise"]
        x = torch.randn(7)
        torch.testing.assert_close(graph[2].activation(x), module(x))


def test_a_residual_over_weights_is_not_elementwise():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(3, 3)

        def forward(self, x):
            return x + torch.relu(self.w(x))

    assert [n.kind for n in trace(Block(), torch.randn(2, 3))] == ["input", "affine", "elementwise", "add"]


def test_per_channel_factors_are_not_fused():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = nn.Parameter(torch.randn(3))

        def forward(self, x):
            return x * torch.sigmoid(x * self.g)

    assert "multiply" in [n.kind for n in trace(Scaled(), torch.randn(2, 3))]


def test_an_unknown_operation_is_named_not_dropped():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.cumsum(x, -1)

    graph = trace(Odd(), torch.randn(2, 3))
    assert [n.label for n in graph.unknown()] == ["cumsum"]


def test_item_assignment_is_seen():
    class Assign(nn.Module):
        def forward(self, x):
            y = x * 2
            y[:, 0] = 0
            return y

    graph = trace(Assign(), torch.randn(2, 3))
    assert [n.label for n in graph.unknown()] == ["__setitem__"]
    assert graph.outputs[0].index == graph.unknown()[0].index


def test_values_kept_survive_later_in_place_operations():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    x = torch.randn(5, 3)
    graph = trace(net, x, keep=lambda node: node.kind == "affine")
    torch.testing.assert_close(graph.values[1], net[0](x))


def test_torchscript_is_refused_by_name():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.jit.script(nn.Linear(2, 2))

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(UnsupportedError, match="'inner' is TorchScript"):
        trace(Holder(), torch.zeros(1, 2))


def test_hooks_are_gone_after_an_error():
    class Raises(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2)

        def forward(self, x):
            raise ValueError("no")

    model = Raises()
    with pytest.raises(ValueError, match="no"):
        trace(model, torch.zeros(1, 2))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_frozen_restores_everything():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    net[1].eval()
    net[0].weight.grad = torch.ones(3, 3)
    gradient = net[0].weight.grad
    state = {k: v.clone() for k, v in net.state_dict().items()}
    rng = torch.random.get_rng_state()
    with pytest.raises(RuntimeError), frozen(net) as still:
        assert not any(m.training for m in still.modules())
        still.train()
        still(torch.randn(8, 3))
        still[0].register_forward_hook(lambda *a: None)
        net[0].weight.grad = None
        raise RuntimeError
    assert [m.training for m in net] == [True, False, True]
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert net[0].weight.grad is gradient
    assert not net[0]._forward_hooks
    assert torch.equal(rng, torch.random.get_rng_state())


def test_activations_compare_by_function_and_constants():
    net = nn.Sequential(nn.LeakyReLU(0.1), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), nn.Hardtanh(), nn.PReLU(3))
    first, again, other, *_, prelu = (node.activation for node in trace(net, torch.randn(2, 3)) if node.kind == "elementwise")
    assert first == again
    assert hash(first) == hash(again)
    assert first != other
    x = torch.tensor([-2.0, 1.0], dtype=torch.float64)
    assert prelu(x).tolist() == [-0.5, 1.0]  # of another shape and precision: the slopes are all the same
    gelu = nn.Sequential(*(type("Swish", (nn.Module,), {"forward": lambda self, x: x * torch.sigmoid(x)})() for _ in range(2)))
    one, two = (node.activation for node in trace(gelu, torch.randn(2, 3)) if node.kind == "elementwise")
    assert one == two
    assert hash(one) == hash(two)

"""The lens: layers by themselves, any form of data, and the model left exactly as it was found."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from theodolite import Lens
from theodolite.core.errors import ArgumentError, ModelError, UnknownNameError, UnsupportedError
from theodolite.core.needs import NEEDS
from theodolite.nets import ConvResNet, ResidualMLP, mlp


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp([3, 8, 6, 2], "tanh")


def by_hand(net, x):
    first = torch.tanh(net[0](x))
    return first, torch.tanh(net[2](first))


def test_features_are_the_post_activation_outputs(net):
    x = torch.randn(20, 3)
    lens = Lens(net, x)
    assert lens.layers == ("1", "3")
    for name, expected in zip(lens.layers, by_hand(net, x), strict=True):
        torch.testing.assert_close(lens.features[name], expected)
    torch.testing.assert_close(lens.preactivations["1"], net[0](x))
    assert torch.equal(lens.patterns["1"], net[0](x) > 0)
    torch.testing.assert_close(lens.outputs, net(x))


@pytest.mark.parametrize("form", ["tensor", "numpy", "tuple", "dict", "loader", "pairs"])
def test_every_form_of_data(net, form):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)

    x, y = torch.randn(20, 3), torch.randn(20, 2)
    model = Named()
    data = {
        "tensor": x,
        "numpy": x.numpy().astype(np.float64),
        "tuple": (x,),
        "dict": {"x": x},
        "loader": DataLoader(x, batch_size=8),
        "pairs": DataLoader(TensorDataset(x, y), batch_size=8),
    }[form]
    lens = Lens(model, data, None if form in ("loader", "pairs") else y)
    torch.testing.assert_close(next(iter(lens.features.values())), by_hand(net, x)[0])
    if form == "pairs":
        torch.testing.assert_close(lens.show("targets"), y)


def test_a_dict_that_is_no_keywords_is_passed_whole(net):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, batch):
            return self.net(batch["pixels"])

    assert Lens(Whole(), {"pixels": torch.randn(4, 3)}).features["net.1"].shape == (4, 8)


def test_positions_of_convolutions_and_sequences_are_samples():
    images = Lens(nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU()), torch.randn(2, 1, 4, 4))
    assert images.features["1"].shape == (32, 5)
    words = Lens(nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 6), nn.GELU()), torch.randint(10, (3, 7)))
    assert words.features["2"].shape == (21, 6)
    x = torch.randn(2, 1, 4, 4)
    conv = images.model[0]
    torch.testing.assert_close(Lens(images.model, x).features["1"], torch.relu(conv(x)).movedim(1, -1).reshape(-1, 5))


def test_layers_by_glob(net):
    assert Lens(net, torch.randn(4, 3), layers="0").layers == ("0",)
    model = ResidualMLP(3, 5, 4)
    assert len(Lens(model, torch.randn(4, 3), layers="blocks.*").layers) == 3
    with pytest.raises(UnknownNameError, match="unknown layer 'nope'"):
        Lens(net, torch.randn(4, 3), layers=["0", "nope"])


def test_the_model_is_left_exactly_as_it_was_found():
    torch.manual_seed(1)
    model = ConvResNet([4, 8]).train()
    model.blocks[0].eval()
    x, y = torch.randn(6, 1, 8, 8), torch.randint(10, (6,))
    model.head.weight.grad = torch.ones_like(model.head.weight)
    handle = model.register_forward_hook(lambda *a: None)
    modes = [m.training for m in model.modules()]
    state, rng = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    lens = Lens(model, x, y)
    for need in NEEDS:
        for layer in lens.layers:
            try:
                lens.show(need, layer)
            except UnsupportedError:
                continue
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert model.stem.weight.grad is None
    assert torch.equal(rng, torch.random.get_rng_state())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 1
    handle.remove()


def test_also_after_a_forward_that_raises():
    class Raises(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            self.norm(x)
            raise ValueError("broken on purpose")

    model = Raises().train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match=r"raised ValueError when called with \(5, 3\) float32: broken on purpose"):
        Lens(model, torch.randn(5, 3))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_architecture_is_read_off_the_tensors():
    torch.manual_seed(0)
    net = mlp([100, 400, 300, 10], "relu", dtype=torch.float64)
    for module, sigma in ((net[0], 1.5), (net[2], 2.0), (net[4], 1.0)):
        nn.init.normal_(module.weight, std=sigma / module.in_features**0.5)
        nn.init.normal_(module.bias, std=0.3)
    read = Lens(net, torch.randn(4, 100, dtype=torch.float64)).architecture
    assert read.widths == (100, 400, 300, 10)
    assert [layer.activation_name for layer in read.layers] == ["relu", "relu", "linear"]
    np.testing.assert_allclose([layer.sigma_w2 for layer in read.layers], [2.25, 4.0, 1.0], rtol=0.06)
    np.testing.assert_allclose([layer.sigma_b2 for layer in read.layers[:2]], 0.09, rtol=0.25)
    exact = float((net[0].weight.detach() ** 2).mean()) * 100
    assert read.layers[0].sigma_w2 == pytest.approx(exact, rel=1e-12)
    convolution = Lens(nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU()), torch.randn(1, 3, 8, 8)).architecture.layers[0]
    assert (convolution.fan_in, convolution.width) == (75, 8)


def test_gradients_and_products_match_autograd(net):
    net = net.double()
    x, y = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64)
    whole = Lens(net, x, y)
    parts = Lens(net, DataLoader(TensorDataset(x, y), batch_size=5))
    loss = torch.nn.functional.mse_loss(net(x), y)
    expected = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    for lens in (whole, parts):
        for got, want in zip(lens.gradients.values(), expected, strict=True):
            torch.testing.assert_close(got, want.detach(), rtol=1e-10, atol=1e-12)
    flat = torch.cat([g.reshape(-1) for g in expected])
    hessian = torch.stack(
        [torch.cat([h.reshape(-1) for h in torch.autograd.grad(g, list(net.parameters()), retain_graph=True)]) for g in flat]
    )
    v = torch.randn(len(flat), 2, dtype=torch.float64)
    torch.testing.assert_close(whole.hvp(v), hessian @ v, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(parts.hvp(v[:, 0]), hessian @ v[:, 0], rtol=1e-9, atol=1e-11)
    jacobian = whole.jacobian
    row = torch.cat([g.reshape(-1) for g in torch.autograd.grad(net(x)[3, 1], list(net.parameters()))])
    torch.testing.assert_close(jacobian[3, 1], row, rtol=1e-10, atol=1e-12)
    inputs = whole.show("input_jacobian")
    torch.testing.assert_close(inputs[2], torch.func.jacrev(net)(x[2]), rtol=1e-10, atol=1e-12)


def test_weights_and_outgoing_match_the_modules(net):
    lens = Lens(net, torch.randn(4, 3))
    torch.testing.assert_close(lens.show("weights", "3"), torch.cat([net[2].weight, net[2].bias[:, None]], 1).detach())
    torch.testing.assert_close(lens.show("outgoing", "1"), net[2].weight.detach())
    flat = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4, 5))
    outgoing = Lens(flat, torch.randn(2, 1, 4, 4)).show("outgoing", "1")
    assert outgoing.shape == (20, 3)
    torch.testing.assert_close(
        outgoing.norm(dim=0), flat[3].weight.detach().reshape(5, 3, 4).permute(1, 0, 2).reshape(3, -1).norm(dim=1)
    )


def test_a_second_look_sees_the_model_as_it_is_now(net):
    x = torch.randn(10, 3)
    lens = Lens(net, x)
    with torch.no_grad():
        net[0].weight.mul_(2)
    fresh = lens.again()
    torch.testing.assert_close(fresh.features["1"], by_hand(net, x)[0])
    assert not torch.equal(fresh.features["1"], lens.features["1"])
    torch.testing.assert_close(fresh.show("weights", "1")[:, :3], net[0].weight.detach())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.empty(0, 3), None, "at least one sample"),
        (torch.tensor([[1.0, float("nan"), 0.0]]), None, "x must be finite"),
        ("text", None, "x must be a tensor"),
        (torch.randn(4, 3), torch.randn(3, 2), "one entry per sample of x, 4"),
        ([], None, "x must be"),
    ],
)
def test_bad_data_is_named(net, x, y, message):
    with pytest.raises(ArgumentError, match=message):
        Lens(net, x, y)


def test_bad_models_are_named():
    with pytest.raises(ArgumentError, match=r"torch\.nn\.Module, got int"):
        Lens(3, torch.zeros(1, 1))
    with pytest.raises(UnsupportedError, match="no hidden layer was found"):
        Lens(nn.Linear(2, 1), torch.zeros(1, 2))
    with pytest.raises(ModelError, match=r"\(4, 5\) float32"):
        Lens(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.zeros(4, 5))


def test_unknown_needs_and_missing_things_are_named(net):
    lens = Lens(net, torch.randn(4, 3))
    with pytest.raises(UnknownNameError, match="did you mean 'features'"):
        lens.show("feature")
    with pytest.raises(ArgumentError, match="per layer; name one of: 1, 3"):
        lens.show("features")
    with pytest.raises(UnsupportedError, match="needs targets"):
        lens.show("targets")
    with pytest.raises(UnsupportedError, match="before training"):
        lens.show("initial_weights", "1")


def test_a_linear_network_shows_its_hidden_layers():
    lens = Lens(nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 1)), torch.randn(3, 2))
    assert lens.layers == ("0",)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_devices_must_agree(net):
    with pytest.raises(ArgumentError, match="x is on cpu but the model is on cuda"):
        Lens(net.cuda(), torch.randn(4, 3))


def test_devices_are_compared_before_the_model_is_called(net):
    with pytest.raises(ArgumentError, match="x is on meta but the model is on cpu"):
        Lens(net, torch.empty(4, 3, device="meta"))


def test_a_loader_leaves_the_random_state_alone(net):
    loader = DataLoader(TensorDataset(torch.randn(20, 3)), batch_size=8, shuffle=True)
    before = torch.get_rng_state()
    Lens(net, loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_buffer_that_forward_assigns_is_put_back(net):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls = self.calls + 1
            return self.net(x)

    model = Counting()
    buffer = model.calls
    Lens(model, torch.randn(20, 3))
    assert model.calls is buffer
    assert model.calls == 0


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.core, self.head = kind(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.core(x)[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("layers", [None, "core*"])
def test_recurrent_layers_are_observed(kind, layers):
    torch.manual_seed(0)
    model, x = Recurrent(kind), torch.randn(10, 4, 3)
    lens = Lens(model, x, layers=layers)
    assert lens.layers == ("core",)
    torch.testing.assert_close(lens.features["core"], model.core(x)[0].reshape(40, 6))
    with pytest.raises(UnsupportedError, match="no incoming weights"):
        lens.show("weights", "core")


@dataclass
class Result:
    """What published transformers return."""

    logits: torch.Tensor


def test_the_default_loss_takes_the_first_tensor_of_a_structured_output(net):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return Result(self.net(x))

    x, y = torch.randn(20, 3), torch.randint(0, 2, (20,), dtype=torch.int32)
    torch.testing.assert_close(Lens(Wrapped(), x).outputs, net(x))
    found = Lens(Wrapped(), x, y).gradients
    expected = torch.autograd.grad(nn.functional.cross_entropy(net(x), y.long()), list(net.parameters()))
    for gradient, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize(
    ("y", "need", "message"),
    [
        (torch.full((20,), 7), "targets", r"class labels in y must lie in 0\.\.1"),
        (torch.full((20,), 7), "gradients", "loss raised IndexError"),
        (torch.zeros(20), "gradients", "y must match the outputs"),
    ],
)
def test_targets_that_do_not_fit_are_named(net, y, need, message):
    with pytest.raises(ArgumentError, match=message):
        Lens(net, torch.randn(20, 3), y).show(need)


def test_a_parameter_that_is_one_number_has_a_column_of_the_jacobian():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.scale = nn.Linear(2, 3), nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            return torch.tanh(self.hidden(x)) * self.scale

    model, x = Scaled(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    found = Lens(model, x).jacobian
    assert found.shape == (5, 3, 10)
    torch.testing.assert_close(found[:, :, 0], torch.tanh(model.hidden(x)).detach())


def test_attention_has_second_derivatives():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Linear(8, 1))
    x, y = torch.randn(4, 5, 3).double(), torch.randn(4, 5, 1).double()
    lens = Lens(model.double(), x, y)
    v = torch.randn(lens.show("parameters").shape, dtype=torch.float64)
    step, start = 1e-5, lens.show("parameters")
    sides = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * step * v, model.parameters())
        sides.append(torch.cat([g.reshape(-1) for g in Lens(model, x, y).show("gradients").values()]))
    torch.nn.utils.vector_to_parameters(start, model.parameters())
    torch.testing.assert_close(lens.show("hvp")(v), (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-8)


def test_jacobians_of_what_torch_does_not_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.PReLU(3), nn.Flatten(), nn.Linear(48, 2)).double()
    x = torch.randn(3, 1, 6, 6).double()
    lens = Lens(model, x)
    inputs, parameters = lens.show("input_jacobian"), lens.show("jacobian")
    for n in range(3):
        for k in range(2):
            row = x[n : n + 1].clone().requires_grad_()
            found = torch.autograd.grad(model(row)[0, k], [row, *model.parameters()])
            torch.testing.assert_close(inputs[n, k], found[0].reshape(-1))
            torch.testing.assert_close(parameters[n, k], torch.cat([g.reshape(-1) for g in found[1:]]))

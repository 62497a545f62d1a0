"""The tangent-kernel engine against one backward pass per sample and output, for every kind of layer it knows."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from theodolite.core.errors import ArgumentError, UnknownNameError, UnsupportedError
from theodolite.lens.evaluation import evaluation
from theodolite.lens.functional import FunctionalModel, as_inputs
from theodolite.lens.kernel import parameter_jacobian, tangent_kernel
from theodolite.lens.sensitivity import Plan


def slow_jacobian(model, x):
    """(N, K, P) by plain autograd in float64, one output of one sample at a time."""
    model = copy.deepcopy(model).double()
    inputs = tuple(t.double() if t.is_floating_point() else t for t in (x if isinstance(x, tuple) else (x,)))
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for n in range(inputs[0].shape[0]):
        outputs = model(*(t[n : n + 1] for t in inputs)).reshape(-1)
        for value in outputs:
            found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
            rows.append(torch.cat([g.reshape(-1) for g in filled]))
    return torch.stack(rows).reshape(inputs[0].shape[0], -1, sum(p.numel() for p in parameters))


def general_parameters(model, x):
    net = FunctionalModel(model)
    with evaluation():
        return Plan.probe(net, as_inputs(x, "x", torch.float64, net.device)).general


class LanguageModel(nn.Module):
    def __init__(self, tied, batch_first):
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=0)
        self.position = nn.Parameter(torch.randn(1, 6, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.0)
        self.head = nn.Linear(8, 11)
        self.batch_first = batch_first
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        z = self.embedding(tokens) + self.position
        z = self.block(z) if self.batch_first else self.block(z.transpose(0, 1)).transpose(0, 1)
        return self.head(z.mean(1))


class ByHand(nn.Module):
    """Matrix products, scaled and transposed parameters, sums and products; squeezes its output."""

    def __init__(self):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.randn(5, 9)), nn.Parameter(torch.randn(9))
        self.V, self.U = nn.Parameter(torch.randn(2, 9)), nn.Parameter(torch.randn(9, 9))
        self.g, self.c = nn.Parameter(torch.randn(())), nn.Parameter(torch.randn(1, 9))

    def forward(self, x):
        h = torch.tanh(x @ (self.W / math.sqrt(5)) + 0.1 * self.b) * self.c
        h = F.linear(self.b - h, self.U * 0.3) @ self.U.T
        h = torch.addmm(self.b, h, self.U.t())
        return (self.g * F.linear(h, self.V) / 3).squeeze()


class Unstructured(nn.Module):
    """Uses that no factor describes: a recurrent cell, mixed uses, rows shared by all samples, a constant token."""

    def __init__(self):
        super().__init__()
        self.linear, self.shared = nn.Linear(5, 5), nn.Linear(5, 3)
        self.w, self.token = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(1, 1, 5))
        self.cell = nn.LSTM(5, 4, batch_first=True)

    def forward(self, x):
        y = self.linear(x) + torch.einsum("ni,ij->nj", x, self.linear.weight)
        z = torch.cat([self.token.expand(x.shape[0], -1, -1), y[:, None]], 1)
        return self.cell(z)[0][:, -1, :3] * self.shared(self.w) + self.w.sin()[:3]


class PositionMajor(nn.Module):
    """Merges positions and samples in both orders before its linear layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        n, t, _ = x.shape
        h = self.first(x.transpose(0, 1).reshape(t * n, 5)).relu()
        h = self.second(h).tanh().reshape(t, n, 4)
        return self.last(h.transpose(0, 1).reshape(n * t, 4)).reshape(n, t, 2).sum(1)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.last = nn.Bilinear(5, 5, 3), nn.Linear(3, 2)

    def forward(self, x, y):
        return self.last(torch.tanh(self.both(x, y)))


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True, **options)
        self.masks = {}

    def forward(self, x):
        out, weights = self.attention(x, x[:, :2] if not self.masks else x, x[:, :2] if not self.masks else x, **self.masks)
        return out.flatten(1)[:, :3] + weights.sum((1, 2))[:, None]


def shared_linear():
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.ReLU(), layer, nn.Linear(5, 2, bias=False))


def normalized():
    layers = [nn.Linear(5, 8), nn.LayerNorm(8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.RMSNorm(8)]
    model = nn.Sequential(*layers, nn.GroupNorm(2, 8), nn.PReLU(), nn.Linear(8, 2))
    model[3].running_mean.normal_()
    return model.eval()


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, groups=3, padding="same", dilation=2),
        nn.InstanceNorm2d(6, affine=True),
        nn.Tanh(),
        nn.Conv2d(6, 4, (1, 3), padding_mode="circular", padding=(0, 1)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()


def convolutional_3d():
    layers = [nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 2, (1, 3, 2), stride=(1, 2, 1), padding=(1, 0, 1)), nn.Tanh()]
    return nn.Sequential(
        *layers, nn.Flatten(2), nn.Conv1d(2, 3, 5, dilation=3, stride=4, bias=False), nn.Flatten(), nn.Linear(54, 2)
    )


VECTORS, IMAGES, TOKENS = (6, 5), (5, 3, 8, 8), (5, 6)
CASES = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 3)),
        VECTORS,
        set(),
    ),
    "shared linear": (shared_linear, VECTORS, set()),
    "norms": (normalized, VECTORS, {"7.weight"}),
    "conv2d": (convolutional, IMAGES, set()),
    "conv3d": (convolutional_3d, IMAGES, set()),
    "transformer": (lambda: LanguageModel(False, True), TOKENS, set()),
    "tied transformer": (lambda: LanguageModel(True, True), TOKENS, set()),
    "tied, positions first": (lambda: LanguageModel(True, False), TOKENS, set()),
    "by hand": (ByHand, VECTORS, set()),
    "unstructured": (Unstructured, VECTORS, None),
    "merged positions": (PositionMajor, (6, 3, 5), set()),
    "merged, as many positions as probes": (PositionMajor, (4, 3, 5), set()),
    "two inputs": (TwoInputs, (VECTORS, VECTORS), {"both.weight", "both.bias"}),
    "attention": (Attention, (5, 6, 4), set()),
    "attention, separate": (lambda: Attention(kdim=4, vdim=4), (5, 6, 4), set()),
    "attention, extra keys": (lambda: Attention(add_bias_kv=True), (5, 6, 4), None),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 2)),
        VECTORS,
        {"0.parametrizations.weight.original0", "0.parametrizations.weight.original1"},
    ),
}


def make(name):
    build, shape, general = CASES[name]
    torch.manual_seed(0)
    model = build()
    draw = torch.Generator().manual_seed(1)
    if shape == TOKENS:
        return model, torch.randint(0, 11, shape, generator=draw), general
    if isinstance(shape[0], tuple):
        return model, tuple(torch.randn(s, generator=draw) for s in shape), general
    return model, torch.randn(shape, generator=draw), general


def parts(x, index):
    return tuple(t[index] for t in x) if isinstance(x, tuple) else x[index]


@pytest.mark.parametrize("name", CASES)
def test_equals_slow_jacobian(name):
    model, x, general = make(name)
    jacobian = slow_jacobian(model, x)
    expected = torch.einsum("nap,mbp->nmab", jacobian, jacobian)
    scale = expected.abs().max()
    assert (tangent_kernel(model, x) - expected).abs().max() < 1e-12 * scale
    assert (parameter_jacobian(model, x) - jacobian).abs().max() < 1e-12 * jacobian.abs().max()
    others = {"trace": expected.diagonal(dim1=2, dim2=3).sum(-1), "sum": expected.sum((2, 3)), 1: expected[:, :, 1, 1]}
    for outputs, value in others.items():
        found = tangent_kernel(model, x, parts(x, slice(1, None)), outputs=outputs)
        assert (found - value[:, 1:]).abs().max() < 1e-11 * scale
    if general is not None:
        assert general_parameters(model, x) == general


@pytest.mark.parametrize(
    "masks", [{"attn_mask": "causal"}, {"key_padding_mask": "last"}, {"attn_mask": "causal", "key_padding_mask": "last"}]
)
def test_masked_attention(masks):
    torch.manual_seed(2)
    model, x = Attention(), torch.randn(4, 6, 4)
    made = {"causal": torch.ones(6, 6).triu(1).bool(), "last": (torch.arange(6) > 4).repeat(4, 1)}
    masks = {key: made[value] for key, value in masks.items()}
    # A padding mask has one row per sample, so the model is only a function of whole batches of its size.
    jacobian = []
    for n in range(4):
        model.masks = {k: m[:1] if k == "key_padding_mask" else m for k, m in masks.items()}
        jacobian.append(slow_jacobian(model, x[n : n + 1])[0])

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            self.inner.masks = {k: m[: len(x)] if k == "key_padding_mask" else m for k, m in masks.items()}
            return self.inner(x)

    jacobian = torch.stack(jacobian)
    expected = torch.einsum("nap,mbp->nmab", jacobian, jacobian)
    assert (tangent_kernel(Masked(), x) - expected).abs().max() < 1e-12 * expected.abs().max()
    assert general_parameters(Masked(), x) == set()


@pytest.mark.parametrize("name", ["mlp", "conv2d", "tied transformer", "unstructured"])
@pytest.mark.parametrize("outputs", ["full", "trace"])
def test_tiles_do_not_matter(name, outputs):
    model, x, _ = make(name)
    whole = tangent_kernel(model, x, outputs=outputs)
    net = FunctionalModel(model)
    from theodolite.lens.kernel import _Job

    with evaluation():
        inputs = as_inputs(x, "x", torch.float64, net.device)
        plan = Plan.probe(net, inputs)
        for tile in (1, 2, 4):
            again = _Job(plan, inputs, inputs, True, outputs).run(tile)
            assert (again - whole).abs().max() < 1e-13 * whole.abs().max()


def test_many_blocks():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 40)), torch.randn(70, 3)
    jacobian = slow_jacobian(model, x)
    expected = torch.einsum("nap,mbp->nmab", jacobian, jacobian)
    found = tangent_kernel(model, x)
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()
    assert torch.equal(found, found.permute(1, 0, 3, 2))


def test_parameters_are_chosen():
    model, x, _ = make("mlp")
    jacobian = slow_jacobian(model, x)
    last = torch.einsum("nap,mbp->nmab", jacobian[..., -24:], jacobian[..., -24:])
    for choice in ("4", ["4.weight", "4.bias"], [model[4].weight, model[4].bias], lambda name: name.startswith("4")):
        assert torch.allclose(tangent_kernel(model, x, parameters=choice), last, rtol=1e-12)
    model[0].weight.requires_grad_(False)
    left = torch.einsum("nap,mbp->nmab", jacobian[..., 35:], jacobian[..., 35:])
    assert torch.allclose(tangent_kernel(model, x), left, rtol=1e-12)
    with pytest.raises(UnknownNameError, match="unknown parameter"):
        tangent_kernel(model, x, parameters="5")
    with pytest.raises(ArgumentError, match="selects no trainable"):
        tangent_kernel(model, x, parameters="0.weight")


def test_single_samples_and_numpy():
    model, x, _ = make("mlp")
    whole = tangent_kernel(model, x)
    assert torch.allclose(tangent_kernel(model, x[:1]), whole[:1, :1], rtol=1e-12)
    assert torch.allclose(tangent_kernel(model, x[:1], x), whole[:1], rtol=1e-12)
    found = tangent_kernel(model, x.numpy())
    assert isinstance(found, np.ndarray)
    assert np.allclose(found, whole.numpy(), rtol=1e-12)


def test_single_precision():
    model, x, _ = make("mlp")
    whole = tangent_kernel(model, x)
    half = tangent_kernel(model, x, dtype=torch.float32)
    assert half.dtype == torch.float32
    assert (half - whole).abs().max() < 1e-5 * whole.abs().max()


def test_model_is_left_as_found():
    model, x, _ = make("conv2d")
    model[1].weight.grad = torch.ones(6)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        tangent_kernel(model, x)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model[1].weight.grad, torch.ones(6))
    assert model[0].weight.grad is None
    assert not any(m._forward_hooks for m in model.modules())


class Centered(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        z = self.linear(x)
        return z - z.mean(0)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x):
        h = self.first(x).tanh()
        y = self.second(h)
        h += 1.0
        return y + h


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        return self.first(x) if len(x) <= 3 else self.second(self.first.weight.mean() + x)


def test_refusals_name_their_reason():
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    with pytest.raises(UnsupportedError, match="training mode"):
        tangent_kernel(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), x)
    with pytest.raises(UnsupportedError, match="running statistics"):
        tangent_kernel(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval(), x)
    with pytest.raises(UnsupportedError, match="random"):
        tangent_kernel(nn.Sequential(nn.Linear(5, 3), nn.Dropout()), x)
    with pytest.raises(UnsupportedError, match="other samples"):
        tangent_kernel(Centered(), x)
    with pytest.raises(UnsupportedError, match="in place"):
        tangent_kernel(InPlace(), x)
    with pytest.raises(UnsupportedError):
        tangent_kernel(Branching(), x)
    with pytest.raises(UnsupportedError, match="max_norm"):
        tangent_kernel(nn.Sequential(nn.Embedding(5, 3, max_norm=1.0), nn.Flatten()), torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(ArgumentError, match="no trainable"):
        tangent_kernel(nn.Sequential(nn.Linear(5, 3)).requires_grad_(False), x)
    with pytest.raises(ArgumentError, match="no trainable"):
        tangent_kernel(nn.ReLU(), x)
    with pytest.raises(ArgumentError, match="finite"):
        tangent_kernel(nn.Linear(5, 3), x / 0)
    with pytest.raises(ArgumentError, match="meta"):
        tangent_kernel(nn.Linear(5, 3), x.to("meta"))
    with pytest.raises(ArgumentError, match="index"):
        tangent_kernel(nn.Linear(5, 3), x, outputs=3)
    with pytest.raises(ArgumentError, match="'full'"):
        tangent_kernel(nn.Linear(5, 3), x, outputs="all")
    with pytest.raises(ArgumentError, match="samples would fit"):
        tangent_kernel(nn.Linear(5, 3), x, memory=500)

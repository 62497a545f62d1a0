"""Advice fits the layer that it is given for: what it names can be done there, whatever writes and reads the layer."""

import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import TheodoliteError


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.out = kind(3, 24, batch_first=True), nn.Linear(24, 2)

    def forward(self, x):
        return self.out(self.cell(x)[0])


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner, self.end, self.out = nn.Linear(5, 24), nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 2)

    def forward(self, x):
        h = self.first(x)
        return self.out(torch.tanh(h + self.end(torch.tanh(self.inner(h)))))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.out = nn.MultiheadAttention(24, 2, batch_first=True), nn.Linear(24, 2)

    def forward(self, x):
        return self.out(self.attend(x, x, x, need_weights=False)[0])


class Product(nn.Module):
    """Weights that no module holds, stored (in, out), as in some language models."""

    def __init__(self):
        super().__init__()
        self.weight, self.second = nn.Parameter(torch.randn(5, 24) / 5**0.5), nn.Parameter(torch.randn(24, 2))

    def forward(self, x):
        return torch.tanh(x @ self.weight) @ self.second


def chain(*modules):
    return nn.Sequential(*modules)


NETWORKS = {
    "one input": (lambda: chain(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 2)), (60, 1), "1"),
    "one input, no bias": (lambda: chain(nn.Linear(1, 24, bias=False), nn.Tanh(), nn.Linear(24, 2)), (60, 1), "1"),
    "many inputs": (lambda: chain(nn.Linear(30, 24), nn.Tanh(), nn.Linear(24, 2)), (60, 30), "1"),
    "deep": (lambda: chain(nn.Linear(5, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2)), (60, 5), "3"),
    "convolution": (
        lambda: chain(nn.Conv2d(2, 24, 3), nn.ReLU(), nn.Conv2d(24, 4, 3), nn.Flatten(), nn.Linear(16, 2)), (60, 2, 6, 6), "1"),
    "convolution read behind a flatten": (
        lambda: chain(nn.Conv2d(2, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 2)), (60, 2, 6, 6), "1"),
    "depthwise": (
        lambda: chain(nn.Conv2d(24, 24, 3, groups=24), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 2)), (60, 24, 6, 6), "1"),
    "batch norm": (lambda: chain(nn.Linear(5, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Linear(24, 2)), (60, 5), "2"),
    "layer norm": (lambda: chain(nn.Linear(5, 24), nn.LayerNorm(24), nn.Tanh(), nn.Linear(24, 2)), (60, 5), "2"),
    "the norm itself": (lambda: chain(nn.Linear(5, 24), nn.LayerNorm(24), nn.Tanh(), nn.Linear(24, 2)), (60, 5), "1"),
    "LSTM": (lambda: Recurrent(nn.LSTM), (30, 4, 3), "cell"),
    "GRU": (lambda: Recurrent(nn.GRU), (30, 4, 3), "cell"),
    "attention": (Attention, (30, 4, 24), "attend*"),
    "embedding": (lambda: chain(nn.Embedding(40, 24), nn.Tanh(), nn.Linear(24, 2)), 40, "1"),
    "sum of branches": (Sum, (60, 5), "tanh_1"),
    "product": (Product, (60, 5), "tanh"),
}  # fmt: skip
WRITERS = {
    "one input": "linear", "one input, no bias": "linear", "many inputs": "linear", "deep": "linear", "convolution": "convolution",
    "convolution read behind a flatten": "convolution", "depthwise": "grouped convolution", "batch norm": "linear",
    "layer norm": "linear", "the norm itself": "linear", "LSTM": "recurrent", "GRU": "recurrent", "attention": "attention",
    "embedding": "embedding", "sum of branches": "add", "product": "product",
}  # fmt: skip


def built(name, state):
    """The network in a state, inputs, and the layer that is looked at."""
    torch.manual_seed(0)
    make, shape, layer = NETWORKS[name]
    model = make()
    x = torch.arange(40)[:, None].repeat(1, 2) if isinstance(shape, int) else torch.randn(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if state == "alike":
                parameter.mul_(1e-3)
            elif state == "doubled" and parameter.ndim > 1 and parameter.shape[0] >= 24:
                parameter[1::2] = parameter[::2]
            elif state == "huge":
                parameter.mul_(1e6)
    names = td.Lens(model.eval(), x, layers="*").layers
    chosen = (
        [n for n in names if n == layer] or td.Lens(model, x).layers[-1:] if "*" not in layer else td.Lens(model, x).layers[:1]
    )
    return model, x, chosen[0]


QUANTITIES = ["rank.epsilon_rank", "meanfield.correlation", "meanfield.q_length", "meanfield.chi_1"]


@pytest.mark.parametrize("state", ["as made", "alike", "doubled", "huge"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_advice_names_can_be_done_there(name, state):
    model, x, layer = built(name, state)
    lens = td.Lens(model, x, layers=layer)
    role = lens.role(layer)
    assert role.written_by == WRITERS[name]
    writer = lens.layer(layer).incoming
    module = "" if writer is None else lens.graph[writer].module
    for row in td.diagnose(model, x, layers=layer, quantities=QUANTITIES).rows:
        if "rank.prune" in row.advice:
            _, certificate = td.rank.prune(model, x, layers=layer, eps=1e-3)
            assert layer in certificate.kept, row.advice
        if "uniform_density_init_" in row.advice:
            model, x, _ = built(name, state)
            first = next(m for m in model.modules() if isinstance(m, nn.Linear))
            before = first.weight.clone()
            td.rank.uniform_density_init_(model, (-1, 1))
            assert not torch.equal(first.weight, before)
            assert model.get_submodule(module) is first
        if "critical_init_" in row.advice:
            model, x, _ = built(name, state)
            done = td.meanfield.critical_init_(model, x=x)
            assert done.set
            if row.quantity != "meanfield.chi_1" and role.written_by != "add":
                assert module in {r.module for r in done.set}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_that_can_be_cut_is_not_passed_over(name):
    """The other way round: where advice does not name pruning, pruning leaves the layer alone."""
    model, x, layer = built(name, "doubled")
    row = td.diagnose(model, x, layers=layer, quantities="rank.epsilon_rank").rows[0]
    if row.value is None or row.verdict not in ("redundant", "collapsed"):
        pytest.skip(f"doubling the rows leaves this layer {row.verdict}: nothing is to be cut")
    if row.verdict == "redundant" and "rank.prune" not in row.advice:
        try:
            _, certificate = td.rank.prune(model, x, layers=layer, eps=1e-3)
        except TheodoliteError:
            return
        assert layer not in certificate.kept


def test_words_of_each_kind():
    def advice(name, state):
        model, x, layer = built(name, state)
        return td.diagnose(model, x, layers=layer, quantities="rank.epsilon_rank").rows[0].advice

    assert "24 units" in advice("LSTM", "alike")
    assert "a hidden size of about" in advice("LSTM", "alike")
    assert "uniform_density_init_" not in advice("LSTM", "alike")
    assert "24 channels" in advice("convolution", "alike")
    assert "uniform_density_init_" in advice("one input", "alike")
    assert "critical_init_" in advice("many inputs", "alike")
    assert "rank.prune" in advice("convolution", "doubled")
    assert "layer_norm" in advice("layer norm", "alike")


def merged(c):
    """Unit vectors of two dimensions and more whose mean cosine is c."""
    return torch.cat([torch.full((40, 1), c**0.5), (1 - c) ** 0.5 * torch.eye(40)], 1)


@pytest.mark.parametrize(
    ("c", "verdict", "level"),
    [(0.5, "inputs stay apart", "good"), (0.89, "inputs stay apart", "good"), (0.91, "inputs close", "note"),
     (0.997, "inputs close", "note"), (0.9995, "inputs merge", "bad")],
)  # fmt: skip
def test_words_of_a_correlation_fit_its_number(c, verdict, level):
    x = merged(c)
    net = nn.Sequential(nn.Linear(41, 41, bias=False), nn.Tanh(), nn.Linear(41, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(41))
    (row,) = td.diagnose(net, x, quantities="meanfield.correlation")
    assert row.value == pytest.approx(c, abs=1e-4)
    assert (row.verdict, row.judgement.level) == (verdict, level)
    if verdict == "inputs close":
        assert f"{c:.2%}" in row.advice
        assert "close from 90%, merged from 99.9%" in row.advice  # the rule is said
        assert "the data are alike themselves" in row.advice

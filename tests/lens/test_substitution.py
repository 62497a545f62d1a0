"""Modules with several names and tied weights: the numbers are autograd's, and the model is exactly as it was afterwards."""

import copy

import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import TheodoliteError
from theodolite.lens.kernel import parameter_jacobian
from theodolite.lens.substitution import call_with, tensors_of


def twice():
    shared = nn.Linear(4, 4)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 2))


class Listed(nn.Module):
    """One block, with a buffer, under three names of a list."""

    def __init__(self):
        super().__init__()
        block = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3).eval(), nn.Tanh())
        self.blocks = nn.ModuleList([block] * 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Tied(nn.Module):
    """Two modules with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.a.weight = self.b.weight

    def forward(self, x):
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))


MODELS = {"module with two names": twice, "list of one block": Listed, "tied weights": Tied}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(3)
    return MODELS[request.param]()


@pytest.fixture
def data():
    draw = torch.Generator().manual_seed(4)
    return torch.randn(4, 3, generator=draw), torch.randn(4, 2, generator=draw)


@pytest.fixture
def unchanged(model):
    """Asserts that every name holds the very tensor that it held, with its values."""

    def tensors():
        yield from model.named_parameters(remove_duplicate=False)
        yield from model.named_buffers(remove_duplicate=False)

    held = dict(tensors())
    values = {name: tensor.detach().clone() for name, tensor in held.items()}
    state = model.state_dict()

    def check():
        now = dict(tensors())
        assert list(now) == list(held)
        assert all(now[name] is held[name] for name in held)
        assert all(type(p) is nn.Parameter and p.dtype == torch.float32 for p in model.parameters())
        assert all(torch.equal(now[name], values[name]) for name in held)
        model.load_state_dict(state)

    return check


LOOKS = {
    "ntk": lambda m, x, y: td.tangent.ntk(m, x),
    "ntk_vector_product": lambda m, x, y: td.tangent.ntk_vector_product(m, x, y),
    "nngp_features": lambda m, x, y: td.tangent.nngp_features(m, x),
    "pl_ratio": lambda m, x, y: td.tangent.pl_ratio(m, x, y),
    "condition_number": lambda m, x, y: td.tangent.condition_number(m, x).value,
    "extremal_eigenvalues": lambda m, x, y: td.tangent.extremal_eigenvalues(m, x, method="lanczos").largest,
    "hessian_norm": lambda m, x, y: td.tangent.hessian_norm(m, x),
    "hessian_trace": lambda m, x, y: td.tangent.hessian_trace(m, x, y).value,
    "hessian_extremes": lambda m, x, y: td.tangent.hessian_extremes(m, x, y).values,
    "hessian_density": lambda m, x, y: td.tangent.hessian_density(m, x, y, steps=5).density,
    "lazy_scale": lambda m, x, y: td.tangent.lazy_scale(m, x, y),
    "uniform_conditioning": lambda m, x, y: td.tangent.uniform_conditioning(m, x, radius=0.1, samples=1).mu,
    "pl_certificate": lambda m, x, y: td.tangent.pl_certificate(m, x[:2], y[:2], steps=2).mu,
    "linearize": lambda m, x, y: td.tangent.linearize(m)(x).detach(),
    "parameter_jacobian": lambda m, x, y: parameter_jacobian(m, x),
    "jacobian_singular_values": lambda m, x, y: td.meanfield.jacobian_singular_values(m, x),
    "jacobian_spectrum": lambda m, x, y: td.meanfield.jacobian_spectrum(m, x).nodes,
    "gradients": lambda m, x, y: torch.cat([g.reshape(-1) for g in td.Lens(m, x, y).gradients.values()]),
    "jacobian": lambda m, x, y: td.Lens(m, x, y).jacobian,
    "input_jacobian": lambda m, x, y: td.Lens(m, x, y).show("input_jacobian"),
    "hvp": lambda m, x, y: td.Lens(m, x, y).hvp(torch.ones(sum(p.numel() for p in m.parameters()))),
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_model_is_as_it_was(model, data, unchanged, name):
    x, y = data
    outputs = model(x)
    LOOKS[name](model, x, y)
    unchanged()
    assert torch.equal(model(x), outputs)


def test_reports_and_tracking_leave_the_model_as_it_was(model, data, unchanged):
    x, y = data
    td.diagnose(model, x, y)
    unchanged()
    with td.track(model, x, y, quantities=["tangent.pl_ratio", "tangent.kernel_drift"], when=[0, 1]) as run:
        run.step()
    unchanged()
    assert run.data.sizes["step"] == 2
    assert bool(run.data["tangent.pl_ratio"].notnull().all())


def test_numbers_are_those_of_autograd(model, data):
    x, y = (part.double() for part in data)
    plain = copy.deepcopy(model).double()
    parameters = list(plain.parameters())
    rows = [torch.autograd.grad(v, parameters, retain_graph=True) for v in plain(x).reshape(-1)]
    exact = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
    torch.testing.assert_close(parameter_jacobian(model, x).flatten(0, 1), exact, rtol=1e-12, atol=1e-13)
    kernel = td.tangent.ntk(model, x).transpose(1, 2).reshape(8, 8)
    torch.testing.assert_close(kernel, exact @ exact.T, rtol=1e-12, atol=1e-13)
    residual = (plain(x) - y).detach().reshape(-1)
    expected = float(residual @ (kernel @ residual) / (residual @ residual))
    assert td.tangent.pl_ratio(model, x, y) == pytest.approx(expected, rel=1e-12)
    loss = 0.5 * (plain(x) - y).square().sum()
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    hessian = torch.stack([torch.cat([g.reshape(-1) for g in _second(v, parameters)]) for v in gradient])
    products = td.tangent.hessian_trace(model, x, y, products=len(gradient))
    assert products.value == pytest.approx(float(hessian.trace()), rel=1e-10)


def _second(value, parameters):
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def test_the_model_is_as_it_was_after_an_error(model, unchanged):
    wrong = torch.randn(4, 7)
    for look in (td.tangent.ntk, td.tangent.hessian_norm, td.meanfield.jacobian_singular_values, parameter_jacobian):
        with pytest.raises((RuntimeError, TheodoliteError)):
            look(model, wrong)
        unchanged()


def test_a_value_reaches_every_place_of_its_tensor(model, data, unchanged):
    x, _ = data
    values = {n: t + 0.1 if t.is_floating_point() else t for n, t in tensors_of(model).items()}
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in tensors_of(moved).values():
            if tensor.is_floating_point():
                tensor.add_(0.1)
    assert torch.equal(call_with(model, values, (x,)), moved(x))
    unchanged()


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("made_in", ["call", "inputs", "model"])
def test_inference_mode_does_not_change_the_numbers(data, name, made_in):
    torch.manual_seed(5)
    model, (x, y) = twice(), data
    expected = torch.as_tensor(LOOKS[name](model, x, y))
    assert bool((expected != 0).any())
    with torch.inference_mode():
        if made_in == "inputs":
            x, y = x.clone(), y.clone()
        if made_in == "model":
            model = copy.deepcopy(model)
            assert all(p.is_inference() for p in model.parameters())
        found = torch.as_tensor(LOOKS[name](model, x, y))
    assert torch.equal(found, expected)
    if made_in != "call":
        assert torch.equal(torch.as_tensor(LOOKS[name](model, x, y)), expected)


@pytest.mark.parametrize("name", LOOKS)
def test_no_grad_does_not_change_the_numbers(model, data, name):
    expected = torch.as_tensor(LOOKS[name](model, *data))
    with torch.no_grad():
        assert torch.equal(torch.as_tensor(LOOKS[name](model, *data)), expected)


def test_a_report_in_inference_mode_is_the_same(data):
    torch.manual_seed(6)
    model, (x, y) = twice(), data

    def seen():
        report = td.diagnose(model, x, y)
        return [(row.quantity, row.layer, str(row.measured.value)) for row in report.rows], report.skipped

    expected = seen()
    with torch.inference_mode():
        assert seen() == expected
    with torch.no_grad():
        assert seen() == expected

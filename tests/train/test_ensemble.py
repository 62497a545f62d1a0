"""The ensemble against the slow, obvious thing: every member as a module under torch.optim."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnknownNameError
from theodolite.core.seed import child_seed, generator
from theodolite.train import SGD, Adam, Ensemble, Gaussian, MLPSpec
from theodolite.train.functional import StackedModule

TORCH = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    "adam": lambda p, lr: torch.optim.Adam(p, lr),
}
LOSSES = {
    "mse": nn.functional.mse_loss,
    "half_mse": lambda f, y: 0.5 * (f - y).square().sum(1).mean(),
    "cross_entropy": nn.functional.cross_entropy,
    "logistic": lambda f, y: nn.functional.softplus(-y * f).mean(),
    "exponential": lambda f, y: torch.exp(-y * f).mean(),
}


def data(samples, inputs, outputs, loss="mse", seed=0):
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, inputs, generator=stream, dtype=torch.float64)
    y = torch.randn(samples, outputs, generator=stream, dtype=torch.float64)
    if loss == "cross_entropy":
        return x, y.argmax(1)
    return x, y.sign() if loss in ("logistic", "exponential") else y


@pytest.mark.parametrize(
    ("widths", "activation", "bias", "residual", "init", "optimizer", "loss"),
    [
        ((1, 40, 1), "relu", "hidden", False, Gaussian(std=0.3), "sgd", "mse"),
        ((2, 8, 8, 8, 3), "tanh", True, True, "torch", "adam", "cross_entropy"),
        ((2, 8, 8, 1), "gelu", True, False, "ntk", "momentum", "logistic"),
        ((3, 7, 2), torch.atan, False, False, "he", "nesterov", "half_mse"),
        ((5, 6, 1), "xtanh", (False, True), False, "xavier", "adam", "exponential"),
        ((2, 3), "relu", True, False, "lecun", "sgd", "mse"),
        ((1, 9, 9, 1), "sin", True, True, "deterministic", "sgd", "mse"),
        ((2, 9, 1), "silu", True, False, "udi", "sgd", "mse"),
    ],
)
def test_members_train_as_under_torch_optim(widths, activation, bias, residual, init, optimizer, loss):
    spec = MLPSpec(widths, activation, bias=bias, init=init, residual=residual)
    ensemble, (x, y) = Ensemble(spec, 3), data(6, widths[0], widths[-1], loss)
    rates = torch.tensor([0.001, 0.01, 0.02], dtype=torch.float64)
    modules = [ensemble.member(e) for e in range(3)]
    record = ensemble.train(x, y, steps=25, loss=loss, optimizer=optimizer, lr=rates)
    for e, module in enumerate(modules):
        step = TORCH[optimizer](module.parameters(), float(rates[e]))
        for k in range(25):
            value = LOSSES[loss](module(x), y)
            step.zero_grad()
            value.backward()
            step.step()
            assert record.data["loss"].values[e, k] == pytest.approx(value.item(), rel=1e-10)
        assert record.data["train_loss"].values[e, -1] == pytest.approx(LOSSES[loss](module(x), y).item(), rel=1e-10)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(
                ensemble.parameters[name.replace(".linear", "")][e], parameter.detach(), rtol=1e-8, atol=1e-11
            )
        torch.testing.assert_close(ensemble.forward(x)[e], module(x).detach(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("backend", ["eager", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_is_bit_identical_whatever_its_company(backend, dtype):
    spec, (x, y) = MLPSpec((1, 33, 1), "tanh", bias="hidden"), data(4, 1, 1)

    def trained(members):
        ensemble = Ensemble(spec, members, dtype=dtype)
        record = ensemble.train(x, y, steps=30, optimizer="adam", lr=1e-2, backend=backend)
        return ensemble, record.data["loss"].sel(member=6).values

    whole, losses = trained(9)
    for members in ([6], range(5, 8), [3, 6, 22], 7):
        part, alone = trained(members)
        row = part.members.index(6)
        assert all(torch.equal(part.parameters[n][row], whole.parameters[n][6]) for n in whole.parameters)
        assert (alone == losses).all()


def test_minibatches_depend_on_the_member_alone_and_cover_every_epoch():
    spec, (x, y) = MLPSpec((2, 5, 1), "tanh"), data(10, 2, 1)
    many, one = Ensemble(spec, 4), Ensemble(spec, [2])
    for ensemble in (many, one):
        ensemble.train(x, y, steps=23, batch_size=3, lr=0.1)
    assert torch.equal(many.parameters["hidden1.weight"][2], one.parameters["hidden1.weight"][0])
    assert not torch.equal(many.parameters["hidden1.weight"][1], one.parameters["hidden1.weight"][0])


def test_seeds_scales_and_rates_are_per_member():
    spec = MLPSpec((1, 6, 1), "relu")
    ensemble = Ensemble(spec, 3, seed=[7, 7, 8], init_scale=[[1.0, 1.0], [2.0, 3.0], [1.0, 1.0]])
    w, a = ensemble.parameters["hidden1.weight"], ensemble.parameters["output.weight"]
    torch.testing.assert_close(w[1], 2 * w[0])
    torch.testing.assert_close(a[1], 3 * a[0])
    assert not torch.equal(w[0], w[2])
    x, y = data(5, 1, 1)
    before = {name: value.clone() for name, value in ensemble.parameters.items()}
    ensemble.train(x, y, steps=3, lr=torch.tensor([[0.1, 0.0], [0.0, 0.0], [0.0, 0.1]]))
    assert torch.equal(ensemble.parameters["output.weight"][0], before["output.weight"][0])
    assert torch.equal(ensemble.parameters["hidden1.weight"][2], before["hidden1.weight"][2])
    assert all(torch.equal(ensemble.parameters[n][1], before[n][1]) for n in before)
    assert not torch.equal(ensemble.parameters["hidden1.weight"][0], before["hidden1.weight"][0])


@pytest.mark.parametrize("backend", ["eager", "numba"])
def test_divergence_and_convergence_are_per_member(backend):
    spec, (x, y) = MLPSpec((1, 12, 1), "relu", bias="hidden"), data(4, 1, 1)
    rates = torch.tensor([0.05, 1e6, 0.02], dtype=torch.float64)
    together, alone = Ensemble(spec, 3), Ensemble(spec, [2])
    record = together.train(x, y, steps=300, lr=rates, backend=backend, target_loss=1e-12)
    alone.train(x, y, steps=300, lr=0.02, backend=backend, target_loss=1e-12)
    assert record.data["status"].values.tolist() == ["running", "diverged", "running"]
    step = int(record.data["stopped_at"][1])
    assert 0 < step < 300
    losses = record.data["loss"].values[1]
    assert torch.isfinite(torch.tensor(losses[:step])).all()
    assert not torch.isfinite(torch.tensor(losses[step]))
    assert torch.isnan(torch.tensor(record.data["train_loss"].values[1, -1]))
    assert all(torch.equal(together.parameters[n][2], alone.parameters[n][0]) for n in alone.parameters)
    easy = Ensemble(spec, 2).train(x, y, steps=50, lr=0.01, backend=backend, target_loss=1e3)
    assert easy.data["status"].values.tolist() == ["converged"] * 2
    assert easy.data["stopped_at"].values.tolist() == [0, 0]
    assert (easy.data["train_loss"].values == easy.data["train_loss"].values[:, :1]).all()


def test_everybody_may_diverge():
    x, y = data(4, 1, 1)
    record = Ensemble(MLPSpec((1, 5, 1), "relu"), 2).train(x, y, steps=200, lr=1e9)
    assert set(record.data["status"].values) == {"diverged"}


def test_features_weights_and_member_agree():
    spec, (x, _) = MLPSpec((2, 5, 5, 5, 1), "tanh", residual=True), data(7, 2, 1)
    ensemble = Ensemble(spec, 2)
    features, h = ensemble.features(x), x
    for k, layer in enumerate(("hidden1", "hidden2", "hidden3")):
        w, b = ensemble.parameters[f"{layer}.weight"][1], ensemble.parameters[f"{layer}.bias"][1]
        s = torch.tanh(h @ w.T + b)
        h = s if k == 0 else h + s
        torch.testing.assert_close(features[k][1], h)
        assert torch.equal(ensemble.weights(layer)[1], torch.cat([w, b[:, None]], 1))
        assert torch.equal(ensemble.weights(k), ensemble.weights(layer))
    torch.testing.assert_close(ensemble.preactivations(x)[0], x @ ensemble.parameters["hidden1.weight"].transpose(1, 2)
                               + ensemble.parameters["hidden1.bias"][:, None])  # fmt: skip
    torch.testing.assert_close(ensemble.member(-1)(x), ensemble.forward(x)[1])


def test_own_data_for_every_member():
    spec = MLPSpec((2, 4, 1), "tanh")
    x, y = torch.randn(3, 6, 2, dtype=torch.float64), torch.randn(3, 6, 1, dtype=torch.float64)
    together = Ensemble(spec, 3)
    together.train(x, y, steps=5, lr=0.1)
    for e in range(3):
        alone = Ensemble(spec, [e])
        alone.train(x[e], y[e], steps=5, lr=0.1)
        torch.testing.assert_close(alone.parameters["output.weight"][0], together.parameters["output.weight"][e])


def test_save_and_load(tmp_path):
    spec = MLPSpec((1, 4, 1), "relu")
    ensemble = Ensemble(spec, [3, 5], dtype=torch.float32)
    again = Ensemble.load(ensemble.save(tmp_path / "e.pt"), spec)
    assert again.members == (3, 5)
    assert all(torch.equal(again.parameters[n], ensemble.parameters[n]) for n in ensemble.parameters)
    with pytest.raises(RuntimeError, match="another specification"):
        Ensemble.load(tmp_path / "e.pt", MLPSpec((1, 5, 1), "relu"))


def test_from_module_matches_torch_optim_member_by_member():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.Conv1d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3), nn.LayerNorm(3))
    state = copy.deepcopy(module.state_dict())
    x, y = data(6, 2, 3, "cross_entropy")
    for redraw in (False, True):
        ensemble = Ensemble.from_module(module, 3, dtype=torch.float64, redraw=redraw)
        rates = torch.tensor([0.01, 0.02, 0.05])
        modules = [ensemble.member(e) for e in range(3)]
        ensemble.train(x, y, steps=15, loss="cross_entropy", optimizer="momentum", lr=rates)
        for e, one in enumerate(modules):
            step = torch.optim.SGD(one.parameters(), float(rates[e]), momentum=0.9)
            for _ in range(15):
                step.zero_grad()
                nn.functional.cross_entropy(one(x), y).backward()
                step.step()
            for name, parameter in one.named_parameters():
                torch.testing.assert_close(ensemble.parameters[name][e], parameter.detach(), rtol=1e-9, atol=1e-12)
        single = Ensemble.from_module(module, [1], dtype=torch.float64, redraw=redraw)
        single.train(x, y, steps=15, loss="cross_entropy", optimizer="momentum", lr=float(rates[1]))
        assert all(torch.equal(single.parameters[n][0], ensemble.parameters[n][1]) for n in ensemble.parameters)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(Ensemble.from_module(module, 2).parameters["4.weight"][1], module[4].weight)


def test_from_module_without_a_batching_rule():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x):
            return self.out(self.cell(x[:, None, :])[0][:, -1])

    x, y = data(5, 2, 1)
    ensemble = Ensemble.from_module(Recurrent(), 2, dtype=torch.float64, redraw=True)
    module = ensemble.member(1)
    ensemble.train(x, y, steps=4, lr=0.1)
    step = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(4):
        step.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        step.step()
    torch.testing.assert_close(ensemble.parameters["out.weight"][1], module.out.weight.detach())


def test_the_global_random_stream_is_left_alone():
    module, before = nn.Linear(2, 1), torch.random.get_rng_state()
    Ensemble.from_module(module, 2, redraw=True)
    Ensemble(MLPSpec((1, 3, 1)), 2).train(torch.zeros(3, 1), torch.ones(3, 1), steps=3, batch_size=2)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y": torch.full((4, 1), float("nan"))}, ArgumentError, "y must be finite"),
        ({"x": torch.full((4, 1), float("inf"))}, ArgumentError, "x must be finite"),
        ({"x": torch.zeros(4, 2)}, ArgumentError, "x must have shape"),
        ({"y": torch.zeros(3, 1)}, ArgumentError, "y must have shape"),
        ({"steps": -1}, ArgumentError, "steps"),
        ({"lr": [0.1, 0.1, 0.1]}, ArgumentError, "lr must"),
        ({"lr": -0.1}, ArgumentError, "lr must"),
        ({"loss": "msee"}, UnknownNameError, "mse"),
        ({"optimizer": "adamm"}, UnknownNameError, "adam"),
        ({"probes": ["rank.epsilonrank"]}, UnknownNameError, "rank.epsilon_rank"),
        ({"bacth_size": 2}, UnknownNameError, "batch_size"),
        ({"batch_size": 5}, ArgumentError, "batch_size"),
        ({"batch_size": 2, "optimizer": "gd"}, ArgumentError, "all samples"),
        ({"backend": "numpy"}, UnknownNameError, "backend"),
        ({"backend": "cudagraph"}, ArgumentError, "CUDA"),
        ({"loss": "logistic"}, ArgumentError, "±1"),
        ({"loss": "cross_entropy"}, ArgumentError, "class numbers"),
        ({"loss": "logistic", "y": torch.ones(4, 1), "optimizer": "trace_gd"}, ArgumentError, "quadratic"),
    ],
)
def test_bad_input_is_named(change, error, words):
    arguments = {"x": torch.linspace(-1, 1, 4)[:, None], "y": torch.zeros(4, 1), "steps": 2, **change}
    x, y = arguments.pop("x"), arguments.pop("y")
    with pytest.raises(error, match=words):
        Ensemble(MLPSpec((1, 3, 1), "relu"), 2).train(x, y, **arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MLPSpec((3,)), "widths"),
        (lambda: MLPSpec((1, 0, 1)), "widths"),
        (lambda: MLPSpec((1, 2, 1), "rellu"), "relu"),
        (lambda: MLPSpec((1, 2, 1), torch.sum), "elementwise"),
        (lambda: MLPSpec((1, 2, 1), bias="outer"), "bias"),
        (lambda: MLPSpec((1, 2, 1), init="gausian"), "gaussian"),
        (lambda: Ensemble(MLPSpec((1, 2, 1)), 0), "members"),
        (lambda: Ensemble(MLPSpec((1, 2, 1)), [1, 1]), "distinct"),
        (lambda: Ensemble(MLPSpec((1, 2, 1)), 2, seed=[1]), "seed"),
        (lambda: Ensemble(MLPSpec((1, 2, 1)), 2, init_scale=[1.0, 2.0, 3.0]), "init_scale"),
        (lambda: Ensemble(MLPSpec((1, 2, 1)), 2, dtype=torch.float16), "dtype"),
        (lambda: Ensemble(nn.Linear(1, 1), 2), "from_module"),
        (lambda: Ensemble(MLPSpec((1, 2, 1)), 2).member(2), "row"),
        (lambda: Ensemble.from_module(nn.Dropout(0.5), 2), "no parameters"),
        (lambda: Adam(eps=-1.0), "eps"),
        (lambda: SGD(momentum=1.5), "momentum"),
        (lambda: SGD(nesterov=True), "nesterov"),
    ],
)
def test_bad_specifications_are_named(make, words):
    with pytest.raises((ArgumentError, UnknownNameError), match=words):
        make()


class Noisy(nn.Module):
    """Masks that no layer announces, and a buffer that is replaced instead of changed in place."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.register_buffer("average", torch.zeros(3))

    def forward(self, x):
        h = nn.functional.dropout(self.linear(x), 0.3, self.training)
        if self.training:
            self.average = 0.5 * self.average + 0.5 * h.detach().mean(0)
        return h + self.average


def noisy_and_moving():
    return nn.Sequential(Noisy(), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 2))


@pytest.mark.parametrize("batch_size", [None, 4])
def test_dropout_and_running_statistics_match_torch_optim_member_by_member(batch_size):
    module, before = noisy_and_moving(), torch.random.get_rng_state()
    state = copy.deepcopy(module.state_dict())
    x, y = data(8, 2, 2)
    ensemble = Ensemble.from_module(module, 3, dtype=torch.float64, redraw=True)
    members = [ensemble.member(e) for e in range(3)]
    record = ensemble.train(x, y, steps=6, lr=0.1, batch_size=batch_size)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    for e, one in enumerate(members):
        optimizer, losses = torch.optim.SGD(one.parameters(), 0.1), []
        for step in range(6):
            rows = torch.arange(8)
            if batch_size:
                order = torch.randperm(8, generator=generator(0, "batches", e, step // 2))
                rows = order[step % 2 * 4 :][:4]
            torch.manual_seed(child_seed(0, "noise", e, step))
            loss = nn.functional.mse_loss(one(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        torch.random.set_rng_state(before)
        for name, value in one.state_dict().items():
            torch.testing.assert_close(ensemble.member(e).state_dict()[name], value, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(record.data["loss"].values[e, :6], losses, rtol=1e-10)
        # Looks and forward passes are those of the member in eval mode.
        quiet = one.eval()(x).detach()
        torch.testing.assert_close(ensemble.forward(x)[e], quiet)
        np.testing.assert_allclose(record.data["train_loss"].values[e, -1], nn.functional.mse_loss(quiet, y), rtol=1e-10)
    assert int(ensemble.buffers["1.num_batches_tracked"][0]) == 6


def test_members_with_noise_are_the_same_in_any_company_and_after_a_stop(tmp_path):
    module, (x, y) = noisy_and_moving(), data(8, 2, 2)

    def trained(members, **options):
        ensemble = Ensemble.from_module(module, members, dtype=torch.float64, seed=5)
        ensemble.train(x, y, steps=options.pop("steps", 8), lr=0.05, optimizer="adam", **options)
        return {**ensemble.parameters, **ensemble.buffers}

    whole, alone = trained(5), trained([3])
    assert all(torch.equal(alone[name][0], value[3]) for name, value in whole.items())
    assert not torch.equal(whole["0.linear.weight"][0], whole["0.linear.weight"][1])
    ensemble = Ensemble.from_module(module, 5, dtype=torch.float64, seed=5)

    def stop(view):
        if view.step == 5:
            raise KeyboardInterrupt
        return view.outputs[:, 0, 0]

    options = {"schedule": range(9), "checkpoint": tmp_path / "run.pt", "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(x, y, steps=8, lr=0.05, optimizer="adam", probes={"first": stop}, **options)
    again = trained(5, probes={"first": lambda view: view.outputs[:, 0, 0]}, **options)
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_width_one():
    x, y = data(4, 1, 1)
    for optimizer in ("sgd", "adam", "normalized_gd", "trace_gd"):
        record = Ensemble(MLPSpec((1, 1, 1), "tanh"), 2).train(x, y, steps=10, optimizer=optimizer, lr=0.1)
        assert torch.isfinite(torch.tensor(record.data["loss"].values)).all()


@pytest.mark.parametrize(("dtype", "activation", "width"), [("float64", "softplus", 61), ("float32", "relu", 38)])
def test_bits_are_the_same_in_any_company_where_a_step_rounds_differences_away(dtype, activation, width):
    """The output of a mean-field network is divided by its width: a last digit of the gradient seldom reaches the parameters."""
    x = torch.linspace(-1, 1.3, 13)[:, None]
    start = {"dtype": getattr(torch, dtype), "seed": 4}
    lr = torch.linspace(0.001, 0.01, 10)
    # Another activation of the same shapes comes first: what is found out about it must not be taken for the other's.
    Ensemble(MLPSpec((1, width, 1), "identity", init="mean_field"), 2, **start).train(x, torch.cos(4 * x), steps=2)
    spec = MLPSpec((1, width, 1), activation, init="mean_field")
    together = Ensemble(spec, 10, **start)
    curve = together.train(x, torch.cos(4 * x), steps=60, optimizer="momentum", lr=lr).data["loss"].values
    for some in ([3], [7, 2], [5, 6, 7, 8, 9]):
        alone = Ensemble(spec, some, **start)
        record = alone.train(x, torch.cos(4 * x), steps=60, optimizer="momentum", lr=lr[some])
        assert np.array_equal(record.data["loss"].values, curve[some])
        for name, value in alone.parameters.items():
            assert torch.equal(value, together.parameters[name][some])


def test_the_check_of_a_backend_does_not_depend_on_the_members():
    """Steps that blow up tell nothing about a backend: with one member of an enormous rate the others keep their bits."""
    x = torch.linspace(-1, 1, 13)[:, None]
    spec = MLPSpec((1, 59, 1), "softplus", init="deterministic")
    with warnings.catch_warnings():
        warnings.simplefilter("error", TheodoliteWarning)
        both = Ensemble(spec, [3, 4])
        both.train(x, torch.cos(4 * x), steps=30, optimizer="momentum", lr=[3e-2, 1e-6])
        alone = Ensemble(spec, [4])
        alone.train(x, torch.cos(4 * x), steps=30, optimizer="momentum", lr=1e-6)
    for name, value in alone.parameters.items():
        assert torch.equal(value[0], both.parameters[name][1])


@pytest.mark.parametrize(
    ("activation", "rule"),
    [
        (lambda z: (z > 0).to(z.dtype), "differentiable by autograd"),
        (lambda z: z.detach(), "differentiable by autograd"),
        (np.tanh, "function of tensors"),
        (nn.Softmax(-1), "elementwise"),
        (nn.RReLU(), "not random"),
        (nn.PReLU(), "parameters of its own"),
    ],
)
def test_activations_that_cannot_be_trained_are_refused(activation, rule):
    with pytest.raises(ArgumentError, match=rule):
        MLPSpec((1, 4, 1), activation)


def test_a_missing_device_or_number_of_steps_is_named():
    with pytest.raises(ArgumentError, match="device"):
        Ensemble(MLPSpec((1, 4, 1)), 1, device="nowhere")
    with pytest.raises(ArgumentError, match="steps must be a whole number"):
        Ensemble(MLPSpec((1, 4, 1)), 1).train(torch.zeros(2, 1), torch.zeros(2, 1), steps=None)


def test_batch_statistics_are_those_of_all_samples():
    """No set of samples may be cut into blocks, and a single one has no statistics."""
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(9000, 3, generator=generator, dtype=torch.float64)
        * torch.linspace(0.1, 3, 9000, dtype=torch.float64)[:, None]
    )
    y = x.sum(1, keepdim=True)
    module = nn.Sequential(nn.Linear(3, 20), nn.BatchNorm1d(20, track_running_stats=False), nn.ReLU(), nn.Linear(20, 1)).double()
    ensemble = Ensemble.from_module(module, 2)
    data = ensemble.train(x, y, steps=1, lr=0.1).data
    with torch.no_grad():
        before = nn.functional.mse_loss(module(x), y)
        after = nn.functional.mse_loss(ensemble.member(0)(x), y)
    np.testing.assert_allclose(data["loss"].values[0], [before, after], rtol=1e-12)
    np.testing.assert_allclose(data["train_loss"].values[0], [before, after], rtol=1e-12)


def test_modules_without_anything_to_train_are_refused():
    for module in (nn.Linear(2, 1).requires_grad_(False), lambda x: x):
        with pytest.raises(ArgumentError, match="module"):
            Ensemble.from_module(module, 2)


def test_a_module_with_two_names_survives_a_batched_pass():
    block = nn.Linear(4, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(3, 4, dtype=torch.float64), nn.ReLU(), block, nn.ReLU(), block)
    stacked = StackedModule(model, [name for name, _ in model.named_parameters()], [], {})
    values = [
        torch.randn(2, *p.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for p in model.parameters()
    ]
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(1, 5, 3)
    found = stacked.training(values, [], x, [(0, 0), (0, 1)], 0)
    for e in range(2):
        member = stacked.member(dict(zip(stacked.names, [v[e] for v in values], strict=True)), e)
        assert all(isinstance(p, nn.Parameter) for p in member.parameters())
        assert torch.allclose(found[e], member(x[0]), rtol=0, atol=1e-14)

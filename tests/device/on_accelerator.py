"""The engine, the lens and the topics on tensors of an accelerator, against the same on the host (run by `test_accelerator`)."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from accelerator import DEVICE, accelerator

import theodolite as td
from theodolite.core.errors import ArgumentError
from theodolite.train import Adam, Ensemble, MLPSpec

X = torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None]
Y = X**2
INPUTS = torch.randn(48, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def device():
    with accelerator() as found:
        yield found


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2)).double()


def close(found, wanted):
    torch.testing.assert_close(torch.as_tensor(found).cpu(), torch.as_tensor(wanted), rtol=1e-10, atol=1e-12)


def there(*tensors):
    return [t.to(DEVICE) for t in tensors]


def test_the_stand_in_is_strict():
    (x,) = there(INPUTS)
    with pytest.raises(RuntimeError, match="same device"):
        x + INPUTS
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(x)
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(3, device=DEVICE, generator=torch.Generator())


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov", Adam(eps=1e-10), "trace_gd", "normalized_gd"], ids=str)
def test_ensembles_train_as_on_the_host(device, optimizer):
    records = []
    for where in (device, "cpu"):
        ensemble = Ensemble(MLPSpec((1, 7, 5, 1), "tanh"), 4, dtype=torch.float64, device=where)
        probes = ["rank.effective_rank", "condensation.orientation_entropy"]
        record = ensemble.train(X, Y, steps=40, optimizer=optimizer, lr=1e-2, test=(X, Y), probes=probes)
        records.append((ensemble, record.data))
    (ours, data), (theirs, plain) = records
    for name, value in theirs.parameters.items():
        assert ours.parameters[name].device == device
        close(ours.parameters[name], value)
    for name in plain.data_vars:
        if plain[name].dtype.kind == "f":
            np.testing.assert_allclose(data[name].values, plain[name].values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "logistic", "exponential"])
def test_losses_batches_and_data_of_the_device(device, loss):
    y = torch.tensor([0, 1, 2, 0, 1, 2]) if loss == "cross_entropy" else torch.where(X > 0, 1.0, -1.0).double()
    found = []
    for where in (device, torch.device("cpu")):
        ensemble = Ensemble(MLPSpec((1, 7, 3 if y.ndim == 1 else 1), "relu"), 3, dtype=torch.float64, device=where)
        ensemble.train(X.to(where), y.to(where), steps=30, optimizer="adam", loss=loss, batch_size=2)
        found.append(ensemble.parameters)
    for name in found[1]:
        close(found[0][name], found[1][name])


def test_a_run_is_resumed(device, tmp_path):
    def train(steps, **options):
        ensemble = Ensemble(MLPSpec((1, 7, 1), "tanh"), 4, dtype=torch.float64, device=device)
        ensemble.train(X, Y, steps=steps, optimizer="adam", **options)
        return ensemble.parameters

    train(40, checkpoint=tmp_path / "kept")
    for name, value in train(40, checkpoint=tmp_path / "kept").items():
        assert value.device == device
        close(value, train(40)[name].cpu())


def test_modules_of_the_device_are_stacked(device):
    def module():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(1, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1)).double()

    ours, theirs = Ensemble.from_module(module().to(device), 3), Ensemble.from_module(module(), 3)
    for ensemble in (ours, theirs):
        ensemble.train(X, Y, steps=10, optimizer="adam")
    for found, wanted in zip(ours.tensors, theirs.tensors, strict=True):
        close(found, wanted)


def test_quantities_of_features(device):
    (features,) = there(INPUTS)
    for name in ("epsilon_rank", "effective_rank", "stable_rank", "numerical_rank", "participation_ratio", "spectrum"):
        measure = getattr(td.rank, name)
        close(measure(features), measure(INPUTS))


def test_a_diagnosis(device):
    ours, theirs = td.diagnose(network().to(device), INPUTS.to(device)), td.diagnose(network(), INPUTS)
    assert str(ours) == str(theirs)


def test_kernels_and_curvature(device):
    x, y = there(INPUTS[:10], INPUTS[:10, :2].sin())
    close(td.tangent.ntk(network().to(device), x), td.tangent.ntk(network(), x.cpu()))
    close(
        td.tangent.infinite_kernels_of(network().to(device), x).ntk,
        td.tangent.infinite_kernels_of(network(), x.cpu()).ntk,
    )

    def loss(outputs, targets):
        return (outputs - targets).square().mean()

    ours = td.Lens(network().to(device), x, y, loss)
    theirs = td.Lens(network(), x.cpu(), y.cpu(), loss)
    vector = torch.ones_like(theirs.show("parameters"))
    close(ours.show("hvp")(vector.to(device)), theirs.show("hvp")(vector))
    measured = td.tangent.hessian_extremes(network().to(device), x, y, loss=loss, k=2)
    close(measured.values, td.tangent.hessian_extremes(network(), x.cpu(), y.cpu(), loss=loss, k=2).values)
    close(
        td.tangent.extremal_eigenvalues(network().to(device), x).largest,
        td.tangent.extremal_eigenvalues(network(), x.cpu()).largest,
    )


def test_mean_field(device):
    (x,) = there(INPUTS[:3])
    ours, theirs = network().to(device), network()
    for model in (ours, theirs):
        td.meanfield.critical_init_(model, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(found.detach(), wanted.detach())
    assert str(td.meanfield.propagate(ours, x)) == str(td.meanfield.propagate(theirs, x.cpu()))


def test_regions(device):
    def model():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 1)).double()

    ours, domain = model().to(device), td.box(-1, 1, dim=2)
    found, wanted = td.piecewise.regions(ours, domain), td.piecewise.regions(model(), domain)
    assert found.count == wanted.count
    np.testing.assert_array_equal(found.volumes, wanted.volumes)
    points = INPUTS[:5, :2]
    close(td.piecewise.to_shallow(ours, domain)(points), model()(points).detach())
    assert (
        td.piecewise.local_region(ours, points[0].to(device)).distance == td.piecewise.local_region(model(), points[0]).distance
    )


def test_condensation(device):
    weights = INPUTS[:, :2]
    found, wanted = (td.condensation.count_directions(w) for w in (weights.to(device), weights))
    assert found.directions == wanted.directions
    close(found.mass, wanted.mass)
    close(td.condensation.orientation(weights.to(device)), td.condensation.orientation(weights))
    close(td.condensation.cosine_similarity_matrix(weights.to(device)), td.condensation.cosine_similarity_matrix(weights))
    found = td.condensation.predict_directions(X.to(device), Y.to(device), "tanh")
    close(found.vectors, td.condensation.predict_directions(X, Y, "tanh").vectors)


def test_generalization(device):
    y = torch.sign(INPUTS[:, 0] + 0.1)
    x, signs = there(INPUTS, y)
    close(td.generalization.max_margin(x, signs).w, td.generalization.max_margin(INPUTS, y).w)
    close(td.generalization.gradient_flow(x, signs, [1.0, 10.0]).w, td.generalization.gradient_flow(INPUTS, y, [1.0, 10.0]).w)
    ours, theirs = (
        td.generalization.double_descent(f, t, [5, 30]) for f, t in ((x.repeat(1, 8), signs), (INPUTS.repeat(1, 8), y))
    )
    close(ours.train_mse, theirs.train_mse)


def test_tracking(device):
    model, (x,) = network().to(device), there(INPUTS)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    with td.track(model, x, when=[0, 2]) as run:
        for _ in range(2):
            loss = model(x).square().mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step()
            run.step(loss=loss.detach())
    assert run.data["rank.epsilon_rank"].sizes["step"] == 2


def test_models_and_inputs_of_two_devices_are_refused(device):
    with pytest.raises(ArgumentError, match="device|is on"):
        td.Lens(network().to(device), INPUTS)

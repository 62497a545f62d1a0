"""The engine, the lens and the topics on tensors of an accelerator, against the same on the host (run by `test_accelerator`)."""

import functools
import itertools
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


def small(*widths, activation=nn.Tanh, seed=0):
    """A network of these widths on the host, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [layer for n, m in itertools.pairwise(widths) for layer in (nn.Linear(n, m), activation())]
    return nn.Sequential(*layers[:-1]).double()


def same(found, wanted):
    """The numbers of the host, on the device."""
    assert found.device == DEVICE
    close(found, wanted)


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
        record = ensemble.train(X, Y, steps=20, optimizer=optimizer, lr=1e-2, test=(X, Y), probes=probes)
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


def test_members_of_modules_with_noise_and_statistics(device):
    def module():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(1, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Tanh(), nn.Linear(5, 1))

    ours, theirs = (Ensemble.from_module(module().to(w), 2, dtype=torch.float64) for w in (device, "cpu"))
    for ensemble in (ours, theirs):
        ensemble.train(X, Y, steps=6, batch_size=3)
    for found, wanted in zip(ours.member(1).state_dict().values(), theirs.member(1).state_dict().values(), strict=True):
        same(found, wanted)


def test_an_ensemble_is_saved(device, tmp_path):
    spec = MLPSpec((1, 7, 1), "tanh")
    ensemble = Ensemble(spec, 3, device=device)
    file = ensemble.save(tmp_path / "kept")
    for where in (device, torch.device("cpu")):
        for name, value in Ensemble.load(file, spec, device=where).parameters.items():
            assert value.device == where
            close(value, ensemble.parameters[name].cpu())


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


@pytest.mark.parametrize("host", [torch.Tensor.cpu, lambda t: t.cpu().numpy()], ids=["tensor", "array"])
def test_companions_go_to_the_device_of_the_first_argument(device, host):
    x, y, w = INPUTS, INPUTS[:, :1].sin(), torch.rand(48, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    g, c, t = td.generalization, td.condensation, td.tangent
    square = x.mT @ x
    calls = [
        (td.rank.spectrum, x, w),
        (functools.partial(td.rank.loss_lower_bound, beta_norm=2.0), x, y),
        (lambda phi, v: td.rank.loss_lower_bound(phi, y, 2.0, v), x, w),
        (c.amplitude, x, w),
        (c.orientation_entropy, x, w),
        (c.relative_distance, x, x + 1),
        (t.relative_weight_change, w, w + 1),
        (t.kernel_drift, square, square + 1),
        (t.kernel_distance, square, square + x.new_ones(4).diag()),
        (lambda a, b: t.kernel_velocity(a, b, 0.5), square, square + x.new_ones(4).diag()),
        (g.distance_from_init, x, x + 1),
        (g.parameter_distance, w, w + 1),
        (g.angle_to, x, x[0] + 1),
        (lambda a, b: g.margin(a, b, torch.sign(y[:, 0])), x[0], x),
        (g.output_margin, x, x.abs()),
    ]
    for function, first, other in calls:
        same(function(first.to(device), host(other)), function(first, other))
    assert td.pde.relative_error(x[:, 0].to(device), host(w), host(w)) == td.pde.relative_error(x[:, 0], w, w)
    assert td.rank.seed_epsilon_rank(x.to(device), host(y)) == td.rank.seed_epsilon_rank(x, y)
    found = td.meanfield.jacobian_products([(square.to(device), host(w[:4])), (host(square), w[:4].to(device))])
    wanted = td.meanfield.jacobian_products([(square, w[:4]), (square, w[:4])])
    for ours, theirs in zip(found, wanted, strict=True):
        same(ours.matrix, theirs.matrix)


def test_arrays_go_to_the_device_of_the_model(device):
    x, y = INPUTS[:6].numpy(), INPUTS[:6, :2].sin().numpy()
    for function in (td.tangent.ntk, td.tangent.nngp_features):
        close(torch.from_numpy(function(network().to(device), x)), function(network(), INPUTS[:6]))
    found, wanted = (td.tangent.pl_ratio(model, x, y) for model in (network().to(device), network()))
    assert found == pytest.approx(wanted, rel=1e-10)
    ours, theirs = (td.tangent.kernel_regressor(model).fit(x, y).predict(x[:2]) for model in (network().to(device), network()))
    close(ours, theirs)


def test_predicted_kernels_and_training(device):
    (x,) = there(INPUTS[:6])
    y, times = INPUTS[:6, :2].sin(), torch.tensor([1.0, 5.0], dtype=torch.float64)
    settings = {"depth": 2, "activation": "relu", "sigma_w2": 2.0, "sigma_b2": 0.1}
    found, wanted = (td.tangent.infinite_kernels(v, v[:3], **settings) for v in (x, x.cpu()))
    same(found.ntk, wanted.ntk)
    found, wanted = (td.tangent.infinite_kernels_of(m, v) for m, v in ((network().to(device), x), (network(), x.cpu())))
    same(found.nngp, wanted.nngp)
    kernel = wanted.ntk
    found = td.tangent.training_dynamics(kernel.to(device), y.to(device), t=times.to(device), learning_rate=0.1)
    same(found.train, td.tangent.training_dynamics(kernel, y, t=times, learning_rate=0.1).train)


def test_linear_models_and_directional_derivatives(device):
    (x,) = there(INPUTS[:6])
    same(td.tangent.linearize(network().to(device))(x).detach(), td.tangent.linearize(network())(x.cpu()).detach())
    found, wanted = (td.meanfield.lyapunov_spectrum(small(4, 4, 4).to(v.device), v) for v in (x, x.cpu()))
    close(found, wanted)


def test_curvature_over_a_ball_and_on_a_grid(device):
    (x,) = there(INPUTS[:4])
    found, wanted = (td.tangent.uniform_conditioning(small(4, 3, 1).to(v.device), v, radius=0.1, samples=1) for v in (x, x.cpu()))
    assert (found.mu, found.bound) == pytest.approx((wanted.mu, wanted.bound), rel=1e-8)
    grid, y = torch.linspace(-1, 1, 5, dtype=torch.float64), INPUTS[:4, :1]
    density = functools.partial(td.tangent.hessian_density, probes=2, steps=5, deflate=0)
    found, wanted = (
        density(small(4, 3, 1).to(w), x.to(w), y.to(w), grid=grid.to(w), width=0.1).density for w in (device, torch.device("cpu"))
    )
    same(found, wanted)
    norms = [td.tangent.hessian_norm(small(4, 3, 1).to(v.device), v, each=True) for v in (x, x.cpu())]
    same(*norms)


def test_predictions_take_numbers_from_the_device(device):
    m = td.meanfield
    q = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    predictions = [
        lambda v: m.q_map(v, "tanh", 1.5, v),
        lambda v: m.covariance_map(v, v, v / 4, "tanh", 1.5, 0.1),
        lambda v: m.critical_line("tanh", v / 10).sigma_w2,
        lambda v: m.s_max("tanh", v, 5),
        lambda v: m.universality(v).s_max,
        lambda v: m.resnet("tanh", v, depth=3).length,
        lambda v: m.jacobian_density(v, "tanh", 0.5, 3),
        lambda v: m.layers_density(v, [v, v], [v]),
        lambda v: m.layers_moments([v, v], [v]).variance,
        lambda v: td.condensation.coordinates(v, v, 1.0, 100).gamma,
        lambda v: td.condensation.boundary_distance(v, v),
        lambda v: td.condensation.relative_distance_exponent(v, v),
        lambda v: td.rank.approximation_bound(10, 9, 1e-3, v),
        lambda v: td.generalization.gaussian_features_risk(40, v, seen=v),
        lambda v: td.generalization.random_features_risk(v, v, 2, v + 1, tail=0.5).test_mse,
        lambda v: td.tangent.training_dynamics(np.eye(2), np.ones(2), t=v).train,
    ]
    for predict in predictions:
        np.testing.assert_array_equal(predict(q.to(device)), predict(q))


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


def test_points_of_pieces(device):
    found = td.piecewise.regions(small(2, 6, 1, activation=nn.ReLU).to(device), td.box(-1, 1, dim=2))
    points = INPUTS[:5, :2].clamp(-1, 1)
    for function in (found.locate, found, found.to_input, found.domain.to_input):
        np.testing.assert_array_equal(function(points.to(device)), function(points))


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


def test_path_norms(device):
    found, wanted = (td.generalization.path_norm(small(4, 6, 2).to(w), INPUTS[:1]) for w in (device, "cpu"))
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("partition", ["indicator", "smooth"])
def test_random_features_and_their_solutions(device, partition):
    points = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]
    draw = functools.partial(td.pde.RandomFeatures, [(-1, 1)], subdomains=2, count=10, partition=partition)
    features = draw(generator=torch.Generator().manual_seed(0))
    same(features.derivative(points.to(device)), features.derivative(points))
    solve = functools.partial(td.pde.solve_rfm, td.pde.poisson_1d(), features)
    same(solve(points=points.to(device))(points.to(device)), solve(points=points)(points))
    fit = functools.partial(td.pde.fit, lambda x: torch.sin(x[:, 0]), features)
    same(fit(points=points.to(device))(points.to(device)), fit(points=points)(points))


def test_physics_informed_networks(device):
    points = torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
    solvers = []
    for where in (device, torch.device("cpu")):
        condition = td.pde.Condition(lambda u, x: u(x), points[:2].to(where), points[:2, 0].to(where))
        problem = td.pde.Problem([(-1, 1)], td.pde.laplacian, lambda x: torch.sin(x[:, 0]), conditions=[condition])
        solver = td.pde.PINN(problem, small(1, 6, 1).to(where), points=points.to(where))
        solver.train(3)
        solvers.append((solver.losses().detach(), solver(points.to(where))))
        same(
            td.pde.residual(problem, lambda x: torch.sin(x).sum(), points.to(device)),
            torch.zeros(12) - 2 * torch.sin(points[:, 0]),
        )
    for found, wanted in zip(*solvers, strict=True):
        same(found, wanted)


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

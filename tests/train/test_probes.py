"""Probes see all members at once, by name, by need or by function."""

import numpy as np
import pytest
import torch

from theodolite.core.errors import ArgumentError
from theodolite.core.registry import quantity_named
from theodolite.lens import Lens
from theodolite.train import Ensemble, MLPSpec, every

X = torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
Y = torch.sin(3 * X)


def test_quantities_by_name_equal_the_lens_on_every_member():
    ensemble = Ensemble(MLPSpec((1, 6, 6, 1), "tanh"), 3)
    record = ensemble.train(X, Y, steps=10, lr=0.1, schedule=every(5), probes=[("rank.epsilon_rank", {"eps": 1e-6})])
    found = record.data["rank.epsilon_rank"]
    assert found.dims == ("member", "look", "layer")
    assert found["look"].values.tolist() == [0, 5, 10]
    measure = quantity_named("rank.epsilon_rank").function
    for e in range(3):
        lens = Lens(ensemble.member(e), X, Y)
        want = [float(torch.as_tensor(measure(f, lens.show("sample_weights"), eps=1e-6)).double()) if "sample_weights" in
                quantity_named("rank.epsilon_rank").needs else float(measure(f, eps=1e-6)) for f in lens.features.values()]  # fmt: skip
        assert found.values[e, -1].tolist() == want


def test_functions_of_needs_and_of_views():
    ensemble = Ensemble(MLPSpec((1, 6, 4, 1), "tanh"), 2)
    start = {name: value.clone() for name, value in ensemble.parameters.items()}
    probes = {
        "alive": lambda features: (features > 0).double().mean((-2, -1)),
        "moved": lambda weights, initial_weights: (weights - initial_weights).norm(dim=(-2, -1)),
        "size": lambda amplitudes: amplitudes.sum(-1),
        "norm": lambda parameters: parameters.norm(dim=-1),
        "residual": lambda outputs, targets: (outputs - targets).square().mean((-2, -1)),
        "row": lambda view: view.weights("output")[:, 0],
        "steps": lambda view: torch.full((len(view.ensemble),), float(view.step)),
    }
    data = ensemble.train(X, Y, steps=4, lr=0.1, schedule=[2], probes=probes).data
    assert data["alive"].shape == (2, 3, 2)
    assert (data["moved"].values[:, 0] == 0).all()
    w = torch.cat([ensemble.parameters["hidden2.weight"], ensemble.parameters["hidden2.bias"][..., None]], 2)
    w0 = torch.cat([start["hidden2.weight"], start["hidden2.bias"][..., None]], 2)
    np.testing.assert_allclose(data["moved"].values[:, -1, 1], (w - w0).norm(dim=(1, 2)))
    np.testing.assert_allclose(data["residual"], data["train_loss"])
    assert data["row"].shape == (2, 3, 5)
    assert data["steps"].values[0].tolist() == [0, 2, 4]


def test_needs_that_only_a_lens_can_show():
    ensemble = Ensemble(MLPSpec((1, 5, 1), "tanh"), 2)
    data = ensemble.train(X, Y, steps=2, lr=0.1, probes={"slope": lambda input_jacobian: input_jacobian.abs().mean()}).data
    jacobian = torch.func.vmap(torch.func.jacrev(ensemble.member(1)))(X)
    assert data["slope"].values[1, -1] == pytest.approx(float(jacobian.detach().abs().mean()))


def test_probes_do_not_disturb_training_and_miss_those_who_diverged():
    spec = MLPSpec((1, 6, 1), "relu")
    rates = torch.tensor([0.1, 1e8, 0.1])
    watched, alone = Ensemble(spec, 3), Ensemble(spec, 3)
    data = watched.train(X, Y, steps=100, lr=rates, probes=["rank.epsilon_rank"], schedule=every(10)).data
    alone.train(X, Y, steps=100, lr=rates, schedule=every(10))
    assert all(torch.equal(watched.parameters[n][[0, 2]], alone.parameters[n][[0, 2]]) for n in alone.parameters)
    assert np.isnan(data["rank.epsilon_rank"].values[1, -1]).all()
    assert np.isfinite(data["rank.epsilon_rank"].values[[0, 2]]).all()


def test_wrong_probes_are_named():
    ensemble = Ensemble(MLPSpec((1, 6, 1), "relu"), 3)
    for probes, words in (
        ([lambda view: torch.zeros(2)], "one value per member"),
        ({"step": lambda view: torch.zeros(3)}, "taken"),
        ([3], "name of a quantity"),
        ([("rank.epsilon_rank", {"epz": 1})], "no option"),
        ({"a": "rank.epsilon_rank", "b": 4}, "name of a quantity"),
    ):
        with pytest.raises(ArgumentError, match=words):
            ensemble.train(X, Y, steps=1, probes=probes)


def test_quantities_of_layers_of_unequal_width_are_padded():
    ensemble = Ensemble(MLPSpec((2, 6, 4, 1), "relu"), 2)
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    data = ensemble.train(x, x[:, :1], steps=2, schedule=[2], probes=["condensation.amplitude"]).data
    seen = data["condensation.amplitude"].values
    assert seen.shape == (2, 2, 2, 6)
    assert np.isnan(seen[:, :, 1, 4:]).all()
    rows = ensemble.weights(1)
    expected = rows.norm(dim=-1) * ensemble.parameters["output.weight"].norm(dim=1)
    np.testing.assert_allclose(seen[:, -1, 1, :4], expected.numpy(), rtol=1e-12)


def test_quantities_that_do_not_batch_or_need_a_lens_are_measured_member_by_member():
    from theodolite.theory.condensation import count_directions

    ensemble = Ensemble(MLPSpec((2, 6, 4, 1), "tanh"), 2)
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    names = ["condensation.count_directions", "meanfield.chi_1", "meanfield.jacobian_singular_values", "tangent.drift"]
    data = ensemble.train(x, x[:, :1], steps=3, lr=0.1, schedule=[3], probes=names).data
    amplitudes = ensemble.weights(1).norm(dim=-1) * ensemble.parameters["output.weight"].norm(dim=1)
    counts = [count_directions(ensemble.weights(1)[e], amplitudes[e]).directions for e in range(2)]
    assert data["condensation.count_directions"].values[:, -1, 1].tolist() == counts
    assert data["meanfield.chi_1"].shape == (2, 2, 2)
    exact = [torch.autograd.functional.jacobian(ensemble.member(e), x[:1])[0, :, 0].norm() for e in range(2)]
    np.testing.assert_allclose(data["meanfield.jacobian_singular_values"].values[:, -1, 0, 0], exact, rtol=1e-10)
    drift = data["tangent.drift"].values
    assert (drift[:, 0] == 0).all()
    assert (drift[:, 1] > 0).all()


def test_what_does_not_batch_is_measured_with_the_shared_weights_of_the_samples():
    def single(features, sample_weights):
        if features.ndim > 2:
            raise ArgumentError("one member at a time")
        assert sample_weights.shape == (12,)
        return (sample_weights[:, None] * features).sum()

    ensemble = Ensemble(MLPSpec((1, 6, 1), "tanh"), 3)
    found = ensemble.train(X, Y, steps=2, schedule=[2], probes={"mean": single}).data["mean"].values
    np.testing.assert_allclose(found[:, -1, 0], ensemble.features(X)[0].mean(1).sum(-1), rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"fewer samples than neurons, N=4 < n=6"):
        ensemble.train(X[:4], Y[:4], steps=2, probes=["rank.epsilon_rank"])

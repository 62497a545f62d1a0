"""The experiments: against the notebook's literal loop, their warnings, verdicts and figures."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, TheodoliteWarning, UnknownNameError
from theodolite.core.registry import claims, experiment
from theodolite.theory.condensation.experiments import (
    Initial,
    LayerwisePhase,
    MultiplicityTask,
    PhaseDiagram,
    RealData,
    Regimes,
    TwoLayerTraining,
)

ALL = [Initial, LayerwisePhase, MultiplicityTask, PhaseDiagram, RealData, Regimes, TwoLayerTraining]


def notebook_loop(w, b, a, activation, optimizer, lr, epochs, x, y, test):
    """The notebook's loop on given parameters: one optimiser step per epoch; losses before each step and test loss after it."""
    net = nn.Sequential(nn.Linear(1, len(b)), activation, nn.Linear(len(b), 1, bias=False)).double()
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), (w, b, a), strict=True):
            parameter.copy_(value)
    steps = optimizer(net.parameters(), lr=lr)
    losses, tests = [], []
    for epoch in range(epochs + 1):
        loss = nn.functional.mse_loss(net(x), y)
        losses.append(loss.item())
        tests.append(nn.functional.mse_loss(net(test[0]), test[1]).item())
        if epoch < epochs:
            steps.zero_grad()
            loss.backward()
            steps.step()
    return np.array(losses), np.array(tests), net


STACKS = {
    "fused": [
        TwoLayerTraining(t=t, width=30, epochs=220, test_size=9, seeds=(s,), lr=lr) for t, s, lr in ((0.5, 1, 0.01), (1, 2, 0.05))
    ],
    "eager": [
        TwoLayerTraining(t=t, width=33, activation="softplus", optimizer="adam", epochs=25, test_size=9, seeds=s, lr=0.01)
        for t, s in ((0.5, (1, 4)), (1.0, (4,)), (1.5, (1, 2, 3)))
    ],
    "plane": [PhaseDiagram(gamma=g, gamma_prime=p, widths=(32, 64), seeds=(0, 1)) for g in (0.5, 1.5) for p in (-0.5, (0, 0.5))],
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_stacked_cells_are_what_they_are_alone(stack):
    together = type(stack[0]).measure_many(stack)
    assert len({repr(e.shape) for e in stack}) == 1
    for cell, data in zip(stack, together, strict=True):
        assert data.identical(cell.measure())


def test_a_sweep_stacks_cells_of_one_shape(tmp_path, monkeypatch):
    from theodolite.lab import Sweep

    sizes = []
    many = TwoLayerTraining.measure_many.__func__
    monkeypatch.setattr(
        TwoLayerTraining, "measure_many", classmethod(lambda cls, cells: (sizes.append(len(cells)), many(cls, cells))[1])
    )
    sweep = Sweep(
        "condensation.two_layer_training",
        over={"width": [20, 30], "t": [0.5, 1.0, 1.5], "lr": [0.01, 0.05]},
        store=tmp_path / "s",
        tile=6,
        epochs=20,
        test_size=9,
    )
    assert sweep.run().failed == 0
    assert max(sizes) >= 3  # of the six cells of one width in a tile, some were run before to see how long they take
    loaded = sweep.load()
    alone = TwoLayerTraining(t=1.5, width=30, lr=0.05, epochs=20, test_size=9).measure()
    np.testing.assert_array_equal(loaded["loss"].sel(t=1.5, width=30, lr=0.05), alone["loss"])


@pytest.mark.parametrize(
    ("name", "activation", "optimizer", "torch_optimizer", "lr"),
    [("relu", nn.ReLU(), "sgd", torch.optim.SGD, 0.05), ("tanh", nn.Tanh(), "adam", torch.optim.Adam, 1e-3)],
)
def test_two_layer_training_is_the_notebooks_loop(name, activation, optimizer, torch_optimizer, lr):
    run = TwoLayerTraining(
        t=0.6, width=50, activation=name, optimizer=optimizer, lr=lr, epochs=120, seeds=(3, 5), training_size=6, test_size=77
    )
    data = run.run().data
    ensemble, x, y = run.prepare()
    grid = torch.linspace(-1.5, 1.5, 77, dtype=torch.float64)[:, None]
    target = 0.2 * torch.relu(grid - 1 / 3) + 0.2 * torch.relu(-grid - 1 / 3)
    epochs = data.epoch.values
    assert len(epochs) >= 20
    for k in range(2):
        w, b, a = (ensemble.parameters[f"{n}"][k] for n in ("hidden1.weight", "hidden1.bias", "output.weight"))
        losses, tests, net = notebook_loop(w, b, a, activation, torch_optimizer, lr, 120, x, y, (grid, target))
        assert data["loss"].isel(seed=k).values == pytest.approx(losses[epochs], rel=1e-8)
        assert data["test_loss"].isel(seed=k).values == pytest.approx(tests[epochs], rel=1e-8)
        now, start = torch.cat([net[0].weight, net[0].bias[:, None]], 1), torch.cat([w, b[:, None]], 1)
        distance = ((now - start).norm() / start.norm()).item()
        assert float(data["relative_distance"].isel(seed=k, epoch=-1)) == pytest.approx(distance, rel=1e-8)
        rows = now.detach().numpy()
        assert np.sort(data["orientation"].isel(seed=k, snapshot=-1).values) == pytest.approx(
            np.sort(np.arctan2(rows[:, 1], rows[:, 0]))
        )


def test_conventions_of_the_initial_size():
    std = {}
    for convention in ("std", "variance"):
        ensemble, _, _ = TwoLayerTraining(t=1.0, width=2500, convention=convention, seeds=(0,)).prepare()
        std[convention] = [float(p.std()) for p in ensemble.parameters.values()]
    assert std["std"] == pytest.approx([1 / 2500] * 3, rel=0.05)
    assert std["variance"] == pytest.approx([1 / 50] * 3, rel=0.05)


def test_seeds_are_their_own():
    both = TwoLayerTraining(width=20, epochs=30, test_size=20, seeds=(1, 2)).run().data
    alone = TwoLayerTraining(width=20, epochs=30, test_size=20, seeds=(2,)).run().data
    assert np.array_equal(both["loss"].sel(seed=2).values, alone["loss"].sel(seed=2).values)


def test_divergence_is_reported_per_member():
    data = (
        TwoLayerTraining(t=0.0, width=40, activation="xtanh", lr=0.03, epochs=60, seeds=tuple(range(8)), test_size=20).run().data
    )
    diverged = data["status"].values == "diverged"
    assert diverged.any()
    assert not diverged.all()
    assert np.isfinite(data["loss"].isel(epoch=-1).values[~diverged]).all()
    assert np.isnan(data["relative_distance"].isel(epoch=-1).values[diverged]).all()
    assert (data["stopped_at"].values[diverged] >= 0).all()


def test_width_one_and_few_epochs():
    data = TwoLayerTraining(width=1, epochs=3, test_size=5).run().data
    assert data.epoch.values.tolist() == [0, 1, 2, 3]
    assert data.attrs["regime"] == "undefined"


def test_adam_below_its_eps_is_warned_of():
    with pytest.warns(TheodoliteWarning, match="Adam's eps"):
        TwoLayerTraining(t=2, width=200, activation="xtanh", optimizer="adam", lr=1e-6, epochs=5, test_size=5).run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TwoLayerTraining(t=2, width=200, activation="xtanh", optimizer="adam", lr=1e-6, epochs=5, test_size=5, eps=1e-14).run()


def test_float32_under_its_resolution_is_warned_of():
    with pytest.warns(TheodoliteWarning, match="float32 is under its resolution"):
        TwoLayerTraining(t=2, width=200, activation="tanh", epochs=5, test_size=5, dtype="float32").run()


def test_leaving_the_initial_stage_is_warned_of():
    with pytest.warns(TheodoliteWarning, match="left the initial stage"):
        Initial(activations=("tanh",), dimensions=(1,), neurons=20, std=1.0, steps=10, samples=10).run()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (TwoLayerTraining, {"width": 0}, "width must be"),
        (TwoLayerTraining, {"convention": "sd"}, "convention must be"),
        (TwoLayerTraining, {"seeds": ()}, "seeds must be"),
        (TwoLayerTraining, {"boundary": (1, -1)}, "boundary must be"),
        (PhaseDiagram, {"widths": (64,)}, "widths must be"),
        (PhaseDiagram, {"widths": (63, 65)}, "must be even"),
        (PhaseDiagram, {"y": (1.0, float("nan"), 0.0, 0.0)}, "finite"),
        (Regimes, {"lr": (0.1,)}, "one learning rate per t"),
        (RealData, {"lr": (0.1,)}, "one learning rate per"),
        (LayerwisePhase, {"widths": (8,)}, "widths must be"),
        (Initial, {"dimensions": (0,)}, "dimensions must be"),
    ],
)
def test_bad_settings(kind, settings, message):
    with pytest.raises(ArgumentError, match=message):
        kind(**settings)


def test_unknown_activation():
    with pytest.raises(UnknownNameError, match="xtanh"):
        TwoLayerTraining(activation="xtan")


SHRUNK = {
    Initial: {"activations": ("tanh", "xtanh", "relu"), "neurons": 60, "steps": 300, "samples": 30},
    MultiplicityTask: {"dimensions": (1,), "neurons": 80, "steps": 400, "samples": 30, "cell_epochs": 20, "cell_width": 100},
    PhaseDiagram: {"gamma": (0.5, 1.0, 2.0), "gamma_prime": (-0.5, 0.0, 1.0), "widths": (64, 512), "seeds": (0, 1)},
    RealData: {"neurons": 12, "epochs": 250, "train": 100},
    Regimes: {"t": (0.25, 1.0), "lr": (0.005, 0.05), "width": 60, "epochs": 1500, "test_size": 50},
    TwoLayerTraining: {"width": 60, "epochs": 200, "test_size": 50},
    LayerwisePhase: {},
}


@pytest.fixture(scope="module")
def records():
    return {kind: kind.with_settings("small", **SHRUNK[kind]).run() for kind in ALL}


@pytest.mark.slow
def test_names(records):
    expected = {"initial", "layerwise_phase", "multiplicity_task", "phase_diagram", "real_data", "regimes", "two_layer_training"}
    assert {record.name for record in records.values()} == {f"condensation.{name}" for name in expected}
    assert experiment("condensation.phase_diagram") is PhaseDiagram


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_figures_are_drawn_from_saved_records(records, kind, tmp_path):
    record = records[kind]
    record.save(tmp_path / "record")
    figure = type(record).load(tmp_path / "record").figure()
    figure.savefig(tmp_path / "figure.png", dpi=30)
    assert (tmp_path / "figure.png").stat().st_size > 2000


@pytest.mark.slow
def test_every_claim_gives_a_verdict(records):
    checked = {claim.name: claim.check(records[kind].data) for kind in ALL for claim in claims(kind.name)}
    assert len(checked) == 12
    words = {name.partition(".")[2]: verdict.word for name, verdict in checked.items()}
    assert words["regime_signs"] == "holds"
    assert words["directions_predicted"] == "holds"
    assert words["relu_sectors"] == "holds"
    assert words["relu_attractors"] == "undecided"  # no several inputs at this size
    assert words["bound_two_p"] == "holds under"
    assert words["notebook_cell"] == "fails"
    assert words["regimes_ordered"] == "holds"


@pytest.mark.slow
def test_relu_neurons_with_several_inputs_end_at_predicted_attractors():
    data = Initial(activations=("relu",), dimensions=(2,), neurons=200, steps=800, samples=40).measure()
    cell = data.isel(dimension=0, activation=0)
    assert float(cell["explained"]) >= 0.95
    assert int(cell["trained"]) < int(cell["populated"]) <= int(cell["predicted"])  # amplitude hides the slow ones
    (claim,) = [c for c in claims("condensation.initial") if c.name.endswith("relu_attractors")]
    assert claim.check(data).word == "holds under"
    assert claim.check(data.assign(explained=0 * data["explained"] + 0.5)).word == "fails"


@pytest.mark.slow
def test_the_counterexample_is_trained(records):
    data = records[MultiplicityTask].data
    row = data.isel(case=int(np.flatnonzero(data["data_seed"].values == -1)[0]))
    assert int(row["predicted"]) == int(row["trained"]) == 10
    assert int(row["bound"]) == 6


@pytest.mark.slow
def test_claims_can_fail(records):
    """A claim that cannot fail checks nothing."""
    phase = records[PhaseDiagram].data
    verdicts = {c.name: c.check(phase.assign(S_w=-phase["S_w"])).word for c in claims("condensation.phase_diagram")}
    assert verdicts["condensation.regime_signs"] == "fails"
    assert verdicts["condensation.balance_exponents"] == "fails"
    initial = records[Initial].data
    broken = initial.assign(worst_cosine=0.5 * initial["worst_cosine"])
    words = {c.name.partition(".")[2]: c.check(broken).word for c in claims("condensation.initial")}
    assert words == {"directions_predicted": "fails", "relu_sectors": "fails", "relu_attractors": "undecided"}
    regimes = records[Regimes].data
    assert claims("condensation.regimes")[0].check(regimes.isel(t=slice(None, None, -1))).word == "fails"


def test_few_neurons_of_the_linear_regime_are_not_taken_for_condensed_ones():
    """Twenty neurons cannot fill 72 bins: their entropy is low from the start, and tells nothing."""
    record = TwoLayerTraining(
        t=0.7, convention="variance", width=20, epochs=40, test_size=10, seeds=(1, 2), activation="xtanh"
    ).run()
    assert record.data.attrs["regime"] == "linear"
    assert float(record.data["orientation_entropy"].isel(epoch=0).mean()) < 0.8
    (_, verdict), *_ = record.verify()
    assert verdict.word == "undecided"

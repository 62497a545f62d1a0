"""Tracking a user's own loop: looks on schedule, nothing lost, the model as it was."""

import numpy as np
import pytest
import torch

import theodolite as td
from theodolite.core.errors import ArgumentError, StoreError, UnknownNameError
from theodolite.core.record import Record
from theodolite.nets import mlp


def setup():
    torch.manual_seed(0)
    net = mlp([1, 12, 12, 1], "tanh").double()
    x = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None]
    return net, x, torch.optim.Adam(net.parameters(), lr=1e-2)


def loop(run, net, x, optimizer, steps):
    for _ in range(steps):
        loss = ((net(x) - torch.sin(3 * x)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.step(loss=loss.detach())


def test_looks_are_where_the_schedule_says_and_show_the_state_then():
    net, x, optimizer = setup()
    seen = {}
    with td.track(net, x, quantities=["rank.epsilon_rank"], when=[0, 3, 7]) as run:
        for step in range(10):
            seen[step] = [int(td.rank.epsilon_rank(f)) for f in td.Lens(net, x).features.values()]
            loop(run, net, x, optimizer, 1)
    assert run.data.step.values.tolist() == [0, 3, 7, 10]
    for step in (0, 3, 7):
        assert run.data["rank.epsilon_rank"].sel(step=step).values.tolist() == seen[step]
    assert run.data["loss"].sizes == {"loss_step": 10}


@pytest.mark.parametrize("when", [td.every(4), td.log_spaced(5), [0, 8], lambda step: step % 4 == 0])
def test_any_schedule(when):
    net, x, optimizer = setup()
    with td.track(net, x, when=when) as run:
        loop(run, net, x, optimizer, 8)
    assert {0, 8} <= set(run.data.step.values.tolist())


def test_nothing_is_lost_on_an_exception(tmp_path):
    net, x, optimizer = setup()
    with pytest.raises(ZeroDivisionError), td.track(net, x, when=td.every(1), store=tmp_path / "run") as run:
        loop(run, net, x, optimizer, 5)
        raise ZeroDivisionError
    assert run.data.sizes["step"] == 6
    np.testing.assert_array_equal(Record.load(tmp_path / "run").data["loss"], run.data["loss"])


def test_a_keyboard_interrupt_passes_through_after_the_record_is_safe(tmp_path):
    net, x, optimizer = setup()
    with pytest.raises(KeyboardInterrupt), td.track(net, x, when=td.every(1), store=tmp_path / "run") as run:
        loop(run, net, x, optimizer, 3)
        raise KeyboardInterrupt
    assert Record.load(tmp_path / "run").data.sizes["step"] == 4


def test_training_is_not_disturbed():
    def train(tracked):
        net, x, optimizer = setup()
        net.train()
        with td.track(net, x, when=td.every(1)) if tracked else nothing() as run:
            loop(run, net, x, optimizer, 20)
        assert net.training
        return torch.cat([p.reshape(-1) for p in net.parameters()])

    class nothing:
        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def step(self, **scalars):
            pass

    assert torch.equal(train(True), train(False))


def test_what_compares_with_the_start_sees_the_start():
    net, x, optimizer = setup()
    first = net[0].weight.detach().clone(), net[0].bias.detach().clone()
    with td.track(net, x, quantities=["condensation.relative_distance"], when=[0, 5]) as run:
        loop(run, net, x, optimizer, 5)
    before = torch.cat([first[0], first[1][:, None]], 1)
    now = torch.cat([net[0].weight, net[0].bias[:, None]], 1).detach()
    expected = float((now - before).norm() / before.norm())
    assert float(run.data["condensation.relative_distance"].sel(step=5, layer="1")) == pytest.approx(expected, rel=1e-9)
    assert float(run.data["condensation.relative_distance"].sel(step=0, layer="1")) == 0


def test_what_cannot_be_measured_is_nan_with_a_reason():
    net, x, optimizer = setup()
    with td.track(net, x[:4], quantities=["rank.epsilon_rank"], when=[0]) as run:
        loop(run, net, x, optimizer, 1)
    assert run.data["rank.epsilon_rank"].isnull().all()
    assert "fewer samples than neurons" in next(iter(run.reasons.values()))


def test_options_and_plots(tmp_path):
    net, x, optimizer = setup()
    with td.track(net, x, quantities={"rank.epsilon_rank": {"eps": 1e-8}, "rank.stable_rank": {}}, when=td.every(2)) as run:
        loop(run, net, x, optimizer, 6)
    run.plot("rank.epsilon_rank", against="loss").savefig(tmp_path / "a.png")
    run.plot("rank.stable_rank").savefig(tmp_path / "b.png")
    with pytest.raises(UnknownNameError, match="did you mean 'rank.stable_rank'"):
        run.plot("rank.stabel_rank")


def test_misspelt_quantities_and_bad_scalars():
    net, x, _ = setup()
    with pytest.raises(UnknownNameError, match="did you mean 'rank.epsilon_rank'"):
        td.track(net, x, quantities=["rank.epsilon_rnk"])
    with pytest.raises(UnknownNameError, match="did you mean 'eps'"):
        td.track(net, x, quantities={"rank.epsilon_rank": {"epss": 1}})
    with td.track(net, x) as run, pytest.raises(ArgumentError, match="loss must be a number"):
        run.step(loss=torch.ones(2))


def test_an_interrupt_within_a_look_leaves_what_was_recorded(tmp_path, monkeypatch):
    net, x, optimizer = setup()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), td.track(net, x, when=td.every(1), store=tmp_path / "run") as run:
        loop(run, net, x, optimizer, 2)
        monkeypatch.setattr("theodolite.lens.lens.Lens.show", interrupted)
        loop(run, net, x, optimizer, 1)
    data = Record.load(tmp_path / "run").data
    assert data.step.values.tolist() == [0, 1, 2]
    assert data.sizes["loss_step"] == 3


def test_one_quantity_twice_is_refused():
    net, x, _ = setup()
    with pytest.raises(ArgumentError, match="once"):
        td.track(net, x, quantities=[("rank.epsilon_rank", {"eps": 1e-3}), ("rank.epsilon_rank", {"eps": 1e-6})])


def test_a_store_that_holds_other_files_is_refused_before_training(tmp_path):
    net, x, _ = setup()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a record"):
        td.track(net, x, store=tmp_path)


def test_a_second_name_is_kept_as_it_was_asked_for():
    net, x, optimizer = setup()
    with td.track(net, x[:8], quantities=["tangent.drift"], when=[0, 3]) as run:
        loop(run, net, x, optimizer, 3)
    assert float(run.data["tangent.drift"].sel(step=0)) == 0
    assert float(run.data["tangent.drift"].sel(step=3)) > 0


def test_layers_of_one_shape_and_of_several_give_the_same_numbers():
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None]
    for widths in ([1, 12, 12, 1], [1, 12, 9, 1]):
        net = mlp(widths, "tanh").double()
        with td.track(
            net, x, quantities=["rank.epsilon_rank", "rank.stable_rank", "condensation.relative_distance"], when=[0]
        ) as run:
            pass
        lens = td.Lens(net, x)
        for layer in lens.layers:
            assert float(run.data["rank.epsilon_rank"].sel(step=0, layer=layer)) == float(
                td.rank.epsilon_rank(lens.features[layer])
            )
            measured = float(run.data["rank.stable_rank"].sel(step=0, layer=layer))
            assert measured == pytest.approx(float(td.rank.stable_rank(lens.features[layer])), rel=1e-10)
            assert float(run.data["condensation.relative_distance"].sel(step=0, layer=layer)) == 0

"""Experiments at small scale: shapes, determinism, claims, figures."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from theodolite.core.claim import CLAIMS
from theodolite.core.errors import UnknownNameError
from theodolite.core.experiment import EXPERIMENTS
from theodolite.core.record import Record, provenance
from theodolite.theory.pde import claims, experiments, figures

NAMES = (
    "pde.convergence",
    "pde.helmholtz_table",
    "pde.pinn_initialization",
    "pde.pinn_rank",
    "pde.rfm_fit",
    "pde.rfm_vs_elm",
)

#: Settings smaller still than ``small``, for what only has to run.
TINY = {
    "pde.convergence": {"counts": (10, 20), "subdomains": (4,)},
    "pde.helmholtz_table": {"counts": (75,), "seeds": (0,)},
    "pde.pinn_initialization": {"width": 12, "steps": 10, "points": 25, "looks": 2},
    "pde.pinn_rank": {"width": 12, "steps": 20, "points": 16, "every": 10},
    "pde.rfm_fit": {"count": 40, "subdomains": 4, "points": 600},
    "pde.rfm_vs_elm": {"count": 20, "subdomains": 4, "R": (1.0, 10.0), "points": 400},
}


def test_all_experiments_of_the_topic_are_there():
    assert {name for name in EXPERIMENTS if name.startswith("pde.")} == set(NAMES)
    assert set(figures.__all__) == {name.partition(".")[2] for name in NAMES}
    assert {claim.experiment for claim in CLAIMS.values() if claim.name.startswith("pde.")} == set(NAMES)
    assert len(experiments.__all__) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_runs_is_reproducible_and_draws(name, tmp_path):
    experiment = EXPERIMENTS[name].with_settings("small", **TINY[name])
    data = experiment.measure()
    xr.testing.assert_equal(data, experiment.measure())
    record = Record(name, experiment.settings, data, provenance())
    figure = getattr(figures, name.partition(".")[2])(record)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    for claim in CLAIMS.values():
        if claim.experiment == name:
            verdict = claim.check(data)
            assert verdict.evidence
    for variable in data.data_vars.values():
        assert "description" in variable.attrs


@pytest.mark.slow
def test_bandwidth_decides_between_tanh_and_cos():
    data = EXPERIMENTS["pde.rfm_vs_elm"].with_settings("small", count=60, points=800).measure()
    assert claims.rfm_rank_above_elm(data).word == "holds"
    verdict = claims.cos_is_much_worse(data)
    assert verdict.word == "holds under"
    assert "reversed at R in [10.0]" in verdict.condition
    assert claims.tanh_errors_are_alike(data).condition == "bandwidths are matched, R_ELM = m R"
    assert claims.rank_orders_errors(data).word == "fails"
    assert claims.reference_accuracy(data).word == "holds"
    tampered = data.copy(deep=True)
    tampered.error.loc[{"activation": "cos", "R": 10.0, "scheme": "rfm"}] = 1e-3
    assert claims.reference_accuracy(tampered).word == "fails"
    assert claims.cos_is_much_worse(tampered).condition == ""
    tampered.epsilon_rank.loc[{"scheme": "elm"}] = 1000
    assert claims.rfm_rank_above_elm(tampered).word == "fails"


def test_published_table_is_reproduced_at_its_first_row():
    data = EXPERIMENTS["pde.helmholtz_table"].with_settings("small", counts=(75,), seeds=(0, 1, 2)).measure()
    assert claims.published_table(data).word == "holds"
    assert claims.published_table(data.assign(max_error=data.max_error * 1e3)).word == "fails"


def history(rank, loss):
    """A record of `pde.pinn_rank` with given ranks and losses, (seed, step)."""
    rank, loss = np.asarray(rank), np.asarray(loss, dtype=float)
    return xr.Dataset(
        {"epsilon_rank": (("seed", "step", "layer"), np.stack([rank * 0 + 4, rank], axis=-1)), "loss": (("seed", "step"), loss)}
    )


def test_staircase_claims_on_made_up_histories():
    rank, loss = [[2, 4, 4, 8, 8]] * 3, [[100.0, 10.0, 9.0, 1.0, 0.9]] * 3
    assert claims.rank_rises(history(rank, loss)).word == "holds"
    assert claims.loss_falls_where_rank_rises(history(rank, loss)).word == "holds"
    reverse = [[100.0, 99.0, 9.0, 8.9, 0.9]] * 3
    assert claims.loss_falls_where_rank_rises(history(rank, reverse)).word == "fails"
    assert claims.rank_rises(history([[4, 4, 4, 4, 4]] * 3, loss)).word == "fails"
    assert claims.rank_rises(history([[2, 6, 3, 8, 7]] * 3, loss)).word == "holds under"
    assert claims.loss_falls_where_rank_rises(history([[4, 4, 4, 4, 4]] * 3, loss)).word == "undecided"


def test_initialization_claims_on_made_up_histories():
    def record(rank, loss):
        dims = ("frequency", "initialization", "seed", "step")
        shape = (2, 2, 3, 2)
        rank = np.broadcast_to(np.asarray(rank)[..., None, :], shape)
        loss = np.broadcast_to(np.asarray(loss, dtype=float)[..., None, :], shape)
        return xr.Dataset(
            {"epsilon_rank": ((*dims, "layer"), np.stack([rank, rank], -1)), "loss": (dims, loss)},
            coords={"frequency": [1.0, 2.0], "initialization": ["xavier", "uniform density"]},
        )

    data = record([[[2, 20], [12, 21]], [[2, 30], [20, 45]]], [[[9, 1.0], [9, 1.0]], [[9, 1.0], [9, 0.5]]])
    assert claims.uniform_density_starts_higher(data).word == "holds"
    assert claims.uniform_density_ends_lower(data).condition == "frequencies ω in [2.0]"
    assert claims.the_gap_lasts(data).word == "fails"
    assert claims.uniform_density_ends_lower(data.isel(seed=[0])).word == "undecided"
    assert claims.uniform_density_starts_higher(record([[[12, 20], [12, 21]]] * 2, [[[1, 1], [1, 1]]] * 2)).word == "fails"


def test_settings_are_frozen_and_hashed():
    experiment = EXPERIMENTS["pde.rfm_fit"]()
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.R = 2.0
    assert experiment.key != EXPERIMENTS["pde.rfm_fit"](R=2.0).key


@pytest.mark.parametrize("settings", [{"function": "helmholz"}, {"activation": "tanhh"}])
def test_misspelt_settings_are_named(settings):
    with pytest.raises(UnknownNameError, match="did you mean"):
        EXPERIMENTS["pde.rfm_fit"].with_settings("small", **settings).run()

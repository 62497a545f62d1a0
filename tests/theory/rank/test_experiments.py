"""Every experiment at its small scale: it runs, its claims are judged, its figure is drawn, and it repeats itself."""

import numpy as np
import pytest

from theodolite.core.registry import experiments

NAMES = [name for name in experiments() if name.startswith("rank.")]
#: Smaller still, so that the suite stays quick; the small scale of the command line takes longer.
TINY = {
    "rank.staircase": {"steps": 300, "seeds": 3, "optimizers": ("adam",)},
    "rank.layers": {"steps": 200, "seeds": 3, "depth": 3},
    "rank.activations": {"steps": 300, "seeds": 3, "activations": ("tanh", "cos")},
    "rank.deterministic_init": {"steps": 400, "seeds": 3},
    "rank.resnet_vs_mlp": {"steps": 120, "seeds": 2, "conv_steps": 2, "depth": 3},
    "rank.pruning": {"steps": 300, "seeds": 2},
    "rank.tasks": {"steps": 60, "seeds": 2},
    "rank.theorems": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_is_judged_and_drawn(name, tmp_path):
    record = experiments()[name].with_settings("small", **TINY[name]).run()
    verdicts = record.verify()
    assert verdicts
    assert all("could not be carried out" not in verdict.evidence for _, verdict in verdicts)
    path = tmp_path / "figure.png"
    record.figure().savefig(path)
    assert path.stat().st_size > 5000


def test_an_experiment_is_a_function_of_its_settings():
    kind = experiments()["rank.staircase"]
    settings = {"steps": 100, "seeds": 2, "widths": (10,), "optimizers": ("adam",), "depths": (1,)}
    first, second = (kind.with_settings("small", **settings).run().data for _ in range(2))
    np.testing.assert_array_equal(first["loss"], second["loss"])
    np.testing.assert_array_equal(first["rank"], second["rank"])


def test_the_theorems_hold():
    verdicts = experiments()["rank.theorems"].with_settings("small").run().verify()
    assert {claim.name: verdict.word for claim, verdict in verdicts} == {
        "rank.submatrix_lemma": "holds",
        "rank.approximation_theorem": "holds",
        "rank.loss_bound_theorem": "holds",
        "rank.pruning_identity": "holds",
    }


def test_a_deterministic_start_trains_faster():
    data = experiments()["rank.deterministic_init"].with_settings("small", seeds=2, steps=400).run().data
    loss = data["loss"].isel(step=-1, case=0)
    assert float(loss.sel(init="deterministic").max()) < float(loss.sel(init="default").min()) / 10
    start = data["rank"].isel(step=0, case=0)
    assert float(start.sel(init="deterministic").min()) > 3 * float(start.sel(init="default").max())

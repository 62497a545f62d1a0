"""Every experiment at small size: its record, its claims and its figure; and the claims on records that must break them."""

import numpy as np
import pytest
import torch

from theodolite.core.claim import CLAIMS
from theodolite.core.errors import ArgumentError
from theodolite.core.record import Record
from theodolite.theory.generalization import claims, figures
from theodolite.theory.generalization.experiments import (
    DoubleDescentFeatures,
    DoubleDescentNetwork,
    Epochwise,
    ImplicitBias,
    ImplicitBiasOptimizers,
    Memorization,
    NormGrowth,
    RandomLabels,
)
from theodolite.theory.generalization.experiments.classification import corrupted, load
from theodolite.theory.generalization.experiments.implicit_bias import separable_set
from theodolite.theory.generalization.experiments.random_labels import VARIANTS, variant

SMALL = {
    DoubleDescentFeatures: {"samples": 60, "seeds": 1, "kinds": ("fourier", "relu"), "test_samples": 100},
    DoubleDescentNetwork: {"steps": 40},
    Epochwise: {"steps": 40},
    ImplicitBias: {"steps": 2000},
    ImplicitBiasOptimizers: {"steps": 2000},
    RandomLabels: {"steps": 40, "hidden": (32,)},
    NormGrowth: {"steps": 300, "samples": 50},
    Memorization: {},
}


def verdicts(record):
    """Word per claim of this topic about the record's experiment."""
    assert claims.__all__
    return {c.name.partition(".")[2]: c.check(record.data) for c in CLAIMS.values() if c.experiment == record.name}


@pytest.mark.parametrize("experiment", SMALL, ids=lambda e: e.name)
def test_runs_verifies_and_draws(experiment, tmp_path):
    state = torch.get_rng_state()
    record = experiment.with_settings("small", **SMALL[experiment]).run()
    assert torch.equal(state, torch.get_rng_state())
    loaded = Record.load(record.save(tmp_path / "record"))
    found = verdicts(loaded)
    assert found
    assert all(v.evidence for v in found.values())
    figure = getattr(figures, record.name.partition(".")[2])(loaded)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 2000
    again = experiment.with_settings("small", **SMALL[experiment]).run()
    assert again.data.identical(record.data)


def test_a_run_has_no_angle_at_its_start():
    """w = 0 at step 0: not in the direction of the separator, as an angle of 0 would say."""
    one = ImplicitBias.with_settings("small", steps=100, sets=("asymmetric",)).run().data
    many = ImplicitBiasOptimizers.with_settings("small", steps=100, seeds=1).run().data
    for curve in (one["angle"], one["margin_gap"], *(many[n] for n in ("angle_l2", "angle_sup", "margin_l2", "margin_sup"))):
        assert np.isnan(curve.sel(step=0)).all()
        assert np.isfinite(curve.sel(step=slice(1, None))).all()
    known = one["log10_t"] > 2
    for curve in (one["flow_angle"], one["flow_margin_gap"]):
        assert bool((np.isfinite(curve) == known).all())


def test_ratios_in_any_order_and_of_one_width_are_all_measured():
    settings = {"samples": 20, "seeds": 1, "test_samples": 40, "kinds": ("cosine",), "label_noise": (0.0,), "ridges": (0.0,)}
    mixed = DoubleDescentFeatures(ratios=(2.0, 0.975, 1.0, 0.5), **settings).run().data  # 0.975 · 20 rounds to 20
    sorted_ = DoubleDescentFeatures(ratios=(0.5, 1.0, 2.0), **settings).run().data
    for name in ("train_mse", "test_mse", "test_error", "norm", "rank"):
        assert np.isfinite(mixed[name]).all()
        np.testing.assert_allclose(mixed[name].sel(ratio=[0.5, 1.0, 2.0]), sorted_[name], rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(mixed[name].sel(ratio=0.975), mixed[name].sel(ratio=1.0))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"ratios": (0.0, 1.0)}, "ratios N/n must be positive"), ({"label_noise": (1.5,)}, r"must lie in \[0, 1\]")],
)
def test_settings_out_of_range_are_named(change, word):
    with pytest.raises(ArgumentError, match=word):
        DoubleDescentFeatures.with_settings("small", samples=20, seeds=1, test_samples=20, **change).run()


def test_kinds_of_features_are_told_apart_where_their_curves_coincide():
    record = DoubleDescentFeatures.with_settings("small", samples=40, seeds=1, test_samples=60).run()
    for panel in figures.double_descent_features(record).axes[:2]:
        curves = [line for line in panel.lines if not line.get_label().startswith("_")]
        assert len(curves) == record.data.sizes["kind"] > 1
        assert len({line.get_linestyle() for line in curves}) == len(curves)
        widths = [line.get_linewidth() for line in curves]
        assert widths[0] > max(widths[1:])  # the lowest one shows beside those over it


def test_implicit_bias_claims_hold():
    record = ImplicitBias(steps=20_000).run()
    found = verdicts(record)
    assert {n: v.word for n, v in found.items() if n != "real_steps_agree"} == {
        "loss_constant": "holds",
        "residual_limit": "holds",
        "angle_constant": "holds under",
        "mirror_power_law": "holds",
        "margin_gap_constant": "holds",
    }
    wrong = record.data.copy(deep=True)
    wrong["predicted_angle_times_log_t"] = wrong["predicted_angle_times_log_t"] * 1.05
    wrong["predicted_loss_times_t"] = wrong["predicted_loss_times_t"] * (1 + 1e-5)
    wrong["flow_w"] = wrong["flow_w"] + 1e-7
    wrong["predicted_transverse_rate"] = wrong["predicted_transverse_rate"] * 1.2
    broken = verdicts(Record(record.name, {}, wrong, {}))
    assert {broken[n].word for n in ("loss_constant", "residual_limit", "angle_constant", "mirror_power_law")} == {"fails"}


def test_animation_of_the_separator(tmp_path):
    record = ImplicitBias.with_settings("small", steps=500, decades=20).run()
    path = tmp_path / "separator.gif"
    figures.animate_separator(record, path, name="asymmetric", frames=3, seconds=1)
    assert path.stat().st_size > 2000
    with pytest.raises(ValueError, match="name must be one of"):
        figures.animate_separator(record, name="other")


@pytest.mark.slow
def test_feature_claims_hold_and_fail_where_they_should():
    record = DoubleDescentFeatures(samples=120, seeds=5, kinds=("cosine",), test_samples=300, ridges=(0.0, 1.0)).run()
    found = verdicts(record)
    expected = ("peak_at_interpolation", "second_descent_wins", "peak_is_high", "norm_peaks_too", "ridge_removes_the_peak")
    assert {n: found[n].word for n in expected} == dict.fromkeys(expected, "holds")
    flat = record.data.copy(deep=True)
    flat["test_mse"] = flat["test_mse"] * 0 + flat["ratio"]
    broken = verdicts(Record(record.name, {}, flat, {}))
    assert broken["peak_at_interpolation"].word == "fails"
    assert broken["second_descent_wins"].word == "fails"
    assert broken["peak_is_high"].word == "fails"


def test_separable_sets():
    for name in ("mirror", "asymmetric"):
        x, y = separable_set(name)
        assert len(x) == (16 if name == "mirror" else 14)
        assert set(y) == {-1, 1}
    with pytest.raises(LookupError, match="mirror"):
        separable_set("miror")


def test_corrupted_labels_are_nested_and_uniform():
    y = torch.arange(5000) % 10
    some, more = corrupted(y, 0.2, 3), corrupted(y, 0.5, 3)
    assert torch.equal(corrupted(y, 0.0, 3), y)
    changed = some != y
    assert torch.equal(some[changed], more[changed])
    assert 0.15 < float(changed.double().mean()) < 0.21
    assert float(torch.bincount(corrupted(y, 1.0, 3)).double().std()) < 4 * 500**0.5


def test_variants():
    split = load("digits", 100, 50, 0)
    for name in VARIANTS:
        found = variant(split, name, 0)
        assert found.x.shape == split.x.shape
        assert torch.equal(found.y_test, split.y_test)
        assert torch.equal(found.y, split.y) == (name not in ("partial", "random"))
    shuffled, scattered = variant(split, "shuffled_pixels", 0), variant(split, "random_pixels", 0)
    for moved in (shuffled, scattered):
        np.testing.assert_allclose(moved.x.sort(1).values, split.x.sort(1).values)
    order = [int((shuffled.x[:, [j]] == split.x).all(0).nonzero()[0, 0]) for j in (20, 30)]
    np.testing.assert_allclose(shuffled.x_test[:, 20], split.x_test[:, order[0]])
    with pytest.raises(LookupError, match="gaussian"):
        variant(split, "gausian", 0)
    with pytest.raises(LookupError, match="mnist"):
        load("mnit", 10, 10, 0)


def test_experiments_of_one_shape_train_as_one_ensemble():
    small = {"widths": (3,), "samples": 40, "test_samples": 50, "steps": 30}
    first = DoubleDescentNetwork(**small, label_noise=(0.0,), seeds=2, learning_rate=1e-3)
    second = DoubleDescentNetwork(**small, label_noise=(0.2, 0.4), seeds=1, learning_rate=1e-2)
    assert first.shape == second.shape != DoubleDescentNetwork(**{**small, "steps": 31}).shape
    for alone, stacked in zip(
        (first.measure(), second.measure()), DoubleDescentNetwork.measure_many([first, second]), strict=True
    ):
        assert stacked.sizes == alone.sizes
        for name in ("train_mse", "test_mse"):
            np.testing.assert_allclose(stacked[name], alone[name], rtol=1e-4)
        assert (stacked["steps"] == 30).all()


def test_networks_that_interpolate_stop():
    found = DoubleDescentNetwork(widths=(60,), samples=20, test_samples=20, label_noise=(0.0,), seeds=2, steps=4000, target=1e-4)
    data = found.measure()
    assert (data["steps"] < 4000).all()
    assert (data["train_mse"] <= 10 * 1e-4).all()

"""Every experiment at small size: labelled results, slopes in their bands, claims that decide, a figure."""

import numpy as np
import pytest

from theodolite.core.errors import ArgumentError
from theodolite.core.registry import claims, experiment, experiments

NAMES = (
    "concentration",
    "condition_number_vs_width",
    "constancy",
    "exponential_convergence",
    "feature_map",
    "hessian_scaling",
    "infinite_vs_finite",
    "kernel_prior",
    "lazy_training",
    "linearized_training",
    "pl_condition",
    "solution_manifold",
)


@pytest.fixture(scope="module")
def records():
    made = {}

    def get(name):
        if name not in made:
            made[name] = experiment(f"tangent.{name}").with_settings("small").run()
        return made[name]

    return get


def test_all_are_there():
    assert {f"tangent.{n}" for n in NAMES} == {n for n in experiments() if n.startswith("tangent.")}
    assert all(claims(f"tangent.{n}") for n in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_verifies_and_draws(records, name):
    record = records(name)
    for variable in record.data.data_vars.values():
        assert np.isfinite(variable.values.astype(float)).all()
    verdicts = record.verify()
    assert verdicts
    assert all("could not be carried out" not in v.evidence for _, v in verdicts)
    assert record.figure().axes


# band of the fitted slope at the reduced widths of CI
BANDS = {
    ("concentration", "spread"): (-0.65, -0.35),
    ("constancy", "drift"): (-1.6, -0.7),
    ("linearized_training", "gap"): (-1.4, -0.45),
    ("lazy_training", "alpha_weight_change"): (-1.15, -0.8),
    ("feature_map", "gap"): (-1.3, -0.45),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BANDS, ids="-".join)
def test_slopes(records, case):
    name, variable = case
    data, (low, high) = records(name).data, BANDS[case]
    slopes = data[f"{variable}_slope"].values
    assert ((slopes >= low) & (slopes <= high)).all()
    assert (data[f"{variable}_slope_low"].values <= slopes).all()
    assert (slopes <= data[f"{variable}_slope_high"].values).all()


@pytest.mark.slow
def test_hessian_separates_three_ways(records):
    slopes = records("hessian_scaling").data["hessian_norm_slope"]
    linear = slopes.sel(network=["one hidden layer", "two hidden layers"])
    other = slopes.sel(network=["quadratic output", "bottleneck"])
    assert float(linear.max()) < -0.25 < float(other.min())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "claim", "word"),
    [
        ("concentration", "tangent_kernel_is_the_output_covariance", "fails"),
        ("condition_number_vs_width", "condition_number_is_min_over_max", "fails"),
        ("condition_number_vs_width", "hessian_decides_the_condition_number", "fails"),
        ("kernel_prior", "prior_sample_at_the_origin", "fails"),
        ("kernel_prior", "least_norm_interpolant", "holds under"),
        ("pl_condition", "conditioning_gives_pl", "holds"),
        ("exponential_convergence", "loss_falls_exponentially", "holds"),
        ("solution_manifold", "loss_is_not_convex_nearby", "holds under"),
    ],
)
def test_verdicts(records, name, claim, word):
    found = {c.name: v for c, v in records(name).verify()}[f"tangent.{claim}"]
    assert found.word == word, found.evidence


def test_claims_can_fail(records):
    """A claim is a check: spoilt data change its verdict."""
    data = records("kernel_prior").data.copy(deep=True)
    data["least_move"] = data["least_move"] * 1.01
    by_name = {c.name: c for c in claims("tangent.kernel_prior")}
    assert by_name["tangent.least_norm_interpolant"].check(data).word == "fails"
    data["at_origin"] = data["at_origin"] * 0
    assert by_name["tangent.prior_sample_at_the_origin"].check(data).word == "holds under"


def test_a_spread_needs_two_seeds_and_a_slope_two_widths():
    with pytest.raises(ArgumentError, match="seeds must be at least 2"):
        experiment("tangent.concentration").with_settings("small", seeds=1).run()
    record = experiment("tangent.constancy").with_settings("small", widths=(8,), seeds=2, steps=2, activations=("tanh",)).run()
    assert np.isnan(record.data["drift_slope"]).all()
    assert {v.word for _, v in record.verify()} == {"undecided"}


def test_laws_and_bounds_are_drawn_apart(records):
    (axis,) = records("constancy").figure().axes
    styles = {line.get_label(): line.get_linestyle() for line in axis.lines}
    assert styles["−1"] != styles["−1/2 (bound)"]

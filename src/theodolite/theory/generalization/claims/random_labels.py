"""Claims about random labels, norms and memorisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, numbers, undecided

if TYPE_CHECKING:
    import xarray as xr

LABELS = "generalization.random_labels"
GROWTH = "generalization.norm_growth"
MEMORIZATION = "generalization.memorization"


@claim(
    LABELS,
    statement="The same network fits true labels, random labels and destroyed images alike.",
    reference="zhang2017 Table 1",
    tolerance="training error zero at the end in every variant and seed",
)
def everything_is_fitted(data: xr.Dataset) -> Verdict:
    """Final training errors."""
    final = data["train_error"].isel(step=-1).max("seed")
    evidence = "; ".join(f"{v}: {float(final.sel(variant=v)):.3f}" for v in data["variant"].values)
    fitted = (final == 0).values
    if fitted.all():
        return holds(evidence)
    left = ", ".join(data["variant"].values[fitted])
    return holds_under(f"the variant is one of {left}", evidence) if fitted.any() else fails(evidence)


@claim(
    LABELS,
    statement="With random labels the test error is that of chance, although the training error is zero.",
    reference="zhang2017 Table 1",
    tolerance="test error in [0.8, 1]",
)
def random_labels_do_not_generalize(data: xr.Dataset) -> Verdict:
    """Final test error with random labels."""
    if "random" not in data["variant"].values:
        return undecided("the record holds no random labels")
    error = data["test_error"].sel(variant="random").isel(step=-1).values
    evidence = f"test error {numbers(error, 3)}"
    return holds(evidence) if ((error >= 0.8) & (error <= 1)).all() else fails(evidence)


@claim(
    LABELS,
    statement="Fitting random labels takes longer than fitting true ones, but only by a small constant factor.",
    reference="zhang2017 §2, Fig. 1c",
    tolerance="steps to training error zero: between 1 and 20 times as many",
)
def fitting_takes_a_constant_factor(data: xr.Dataset) -> Verdict:
    """Steps to zero training error."""
    steps = data["step"].values
    first = {}
    for name in ("true", "random"):
        if name not in data["variant"].values:
            return undecided(f"the record holds no {name} labels")
        zero = (data["train_error"].sel(variant=name) == 0).values
        if not zero.any(axis=1).all():
            return undecided(f"{name} labels are not fitted in every seed")
        first[name] = float(np.mean(steps[zero.argmax(axis=1)]))
    factor = first["random"] / first["true"]
    evidence = f"true {first['true']:.0f}, random {first['random']:.0f} steps: {factor:.1f} times"
    return holds(evidence) if 1 < factor <= 20 else fails(evidence)


@claim(
    LABELS,
    statement="Networks generalise because training keeps the norm of the weights small: a smaller norm goes with a smaller error.",
    reference="zhang2017 §5 (the explanation it rejects)",
    tolerance="‖θ‖ and ‖θ − θ₀‖ order every pair of variants whose test errors differ by more than 0.1",
)
def small_norm_explains_generalization(data: xr.Dataset) -> Verdict:
    """Pairs of variants that the norms order the wrong way round."""
    error = data["test_error"].isel(step=-1).mean("seed")
    rows = {
        str(v): (
            float(error.sel(variant=v)),
            *(float(data[n].sel(variant=v).mean()) for n in ("frobenius", "distance_from_init")),
        )
        for v in data["variant"].values
    }
    pairs = [(a, b) for a in rows for b in rows if rows[a][0] > rows[b][0] + 0.1]
    wrong = [f"{a} is worse than {b} at a smaller norm" for a, b in pairs if rows[a][1] <= rows[b][1] or rows[a][2] <= rows[b][2]]
    listed = "; ".join(f"{v}: test error {e:.2f}, ‖θ‖ {n:.3g}, moved {m:.3g}" for v, (e, n, m) in rows.items())
    if not pairs:
        return undecided(f"no two variants differ by more than 0.1 in test error: {listed}")
    evidence = f"{len(wrong)} of {len(pairs)} pairs the wrong way round" + (f" ({'; '.join(wrong)})" if wrong else "")
    return fails(f"{evidence}. {listed}") if wrong else holds(f"{evidence}. {listed}")


@claim(
    GROWTH,
    statement="After the labels are fitted the norm of the weights keeps growing, like log t.",
    reference="soudry2018 Table 1",
    tolerance="once the training error is zero the norm grows at every look, by at least 1 % per decade over the last two decades",
)
def norm_grows(data: xr.Dataset) -> Verdict:
    """Growth of the norm after interpolation."""
    fitted = (data["train_error"] == 0).all("seed").values
    if not fitted.any():
        return undecided("the training error never reaches zero")
    start = len(fitted) - int(np.argmin(fitted[::-1])) if not fitted.all() else 0
    norm = data["norm"].mean("seed").values
    if len(norm) - start < 5:
        return undecided("too few looks after the labels are fitted")
    late = norm[start:]
    steps = data["step"].values
    earlier = float(np.interp(np.log(steps[-1] / 100), np.log(np.maximum(steps, 1)), norm))
    per_decade = (norm[-1] / earlier) ** 0.5 - 1
    course = f"‖θ‖ {late[0]:.3f} at step {steps[start]} → {late[-1]:.3f} at {steps[-1]}"
    evidence = f"{course}; {100 * per_decade:.1f} % per decade at the end"
    return holds(evidence) if (np.diff(late) > 0).all() and per_decade >= 0.01 else fails(evidence)


@claim(
    GROWTH,
    statement="The validation loss grows while the validation error does not.",
    reference="soudry2018 Table 1",
    tolerance="final test loss at least 1.1 times its minimum; final test error within 0.01 of its minimum",
)
def validation_loss_misleads(data: xr.Dataset) -> Verdict:
    """Final test loss and error beside their minima over time."""
    loss, error = data["test_loss"].mean("seed"), data["test_error"].mean("seed")
    rise, regret = float(loss[-1] / loss.min()), float(error[-1] - error.min())
    evidence = (
        f"test loss {float(loss.min()):.3f} → {float(loss[-1]):.3f}, test error {float(error.min()):.4f} → {float(error[-1]):.4f}"
    )
    return holds(evidence) if rise >= 1.1 and regret <= 0.01 else fails(evidence)


@claim(
    MEMORIZATION,
    statement="A two-layer ReLU network with 2n + d weights takes any values on any n points.",
    reference="zhang2017 Thm 1",
    tolerance="all labels recovered by rounding, largest error below 1e-6",
)
def construction_is_exact(data: xr.Dataset) -> Verdict:
    """Errors and numbers of weights of the construction."""
    largest, wrong = float(data["largest_error"].max()), float(data["train_error"].max())
    count = bool((data["weights"] == 2 * data["points"] + data.attrs["dimension"]).all())
    evidence = f"largest error {largest:.1e}, labels missed {wrong:g}, 2n + d weights: {count}"
    return holds(evidence) if largest < 1e-6 and wrong == 0 and count else fails(evidence)


@claim(
    MEMORIZATION,
    statement="Fitting says nothing about generalisation: the construction is at chance on test data even with true labels.",
    reference="zhang2017 §4",
    tolerance="mean test error at least 0.75",
)
def construction_does_not_generalize(data: xr.Dataset) -> Verdict:
    """Test error of the construction on true labels."""
    error = data["test_error"].sel(labels="true").mean("seed").values
    evidence = f"test error with true labels {numbers(error, 3)} over n"
    return holds(evidence) if (error >= 0.75).all() else fails(evidence)

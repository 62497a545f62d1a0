"""Claims about double descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, numbers, undecided

if TYPE_CHECKING:
    import xarray as xr

FEATURES = "generalization.double_descent_features"
NETWORK = "generalization.double_descent_network"
EPOCHWISE = "generalization.epochwise"


def _plain(data: xr.Dataset, name: str) -> xr.DataArray:
    """A measured variable without ridge, averaged over seeds, (kind, label_noise, ratio)."""
    return data[name].sel(ridge=0.0).mean("seed")


def _threshold(data: xr.Dataset, kind: str) -> float:
    """The first ratio at which the rank of the features reaches n in every seed."""
    full = (data["rank"].sel(kind=kind) >= data.attrs["samples"]).all("seed").values
    return float(data["ratio"].values[int(full.argmax())]) if full.any() else float("nan")


@claim(
    FEATURES,
    statement="The test error of least squares on random features peaks where the features first interpolate the data, at N = n.",
    reference="belkin2019 Fig. 2",
    tolerance="argmax within [0.975, 1.05] of N/n and within 0.05 of the rank's threshold",
)
def peak_at_interpolation(data: xr.Dataset) -> Verdict:
    """Position of the peak for every kind and level of noise."""
    curves, found, away = _plain(data, "test_mse"), [], []
    for kind in data["kind"].values:
        threshold = _threshold(data, kind)
        for noise in data["label_noise"].values:
            at = float(data["ratio"].values[int(curves.sel(kind=kind, label_noise=noise).values.argmax())])
            found.append(f"{kind}, noise {noise:g}: {at:g} (rank n from {threshold:g})")
            if not (0.975 <= at <= 1.05 and abs(at - threshold) <= 0.05 + 1e-12):
                away.append(f"{kind}, noise {noise:g}: {at:g}")
    evidence = "peak at N/n = " + "; ".join(found)
    if not away:
        return holds(evidence)
    return holds_under("the features are not rank deficient", evidence) if len(away) < len(found) else fails(evidence)


@claim(
    FEATURES,
    statement="Beyond the threshold the test error falls below the best error of the classical regime N < n.",
    reference="belkin2019 Fig. 2",
    tolerance="mean over seeds, clean labels",
)
def second_descent_wins(data: xr.Dataset) -> Verdict:
    """Best error on either side of the threshold."""
    curves = _plain(data, "test_mse").sel(label_noise=min(data["label_noise"].values))
    left, right = curves.where(data["ratio"] < 1, drop=True).min("ratio"), curves.where(data["ratio"] > 1, drop=True).min("ratio")
    evidence = "; ".join(f"{k}: {float(left.sel(kind=k)):.3g} → {float(right.sel(kind=k)):.3g}" for k in data["kind"].values)
    won = (right < left).values
    if won.all():
        return holds(evidence)
    kinds = ", ".join(data["kind"].values[won])
    return holds_under(f"the features are of kind {kinds}", evidence) if won.any() else fails(evidence)


@claim(
    FEATURES,
    statement="The peak is at least ten times the best error of the classical regime, and label noise raises it.",
    reference="belkin2019 Fig. 2",
    tolerance="mean over seeds",
)
def peak_is_high(data: xr.Dataset) -> Verdict:
    """Height of the peak at every level of noise; it goes as 1/σ_min², whose mean over draws is that of a few rare ones."""
    curves = _plain(data, "test_mse")
    height = curves.max("ratio")
    factor = (height / curves.where(data["ratio"] < 1, drop=True).min("ratio")).values
    rising = bool((np.diff(height.values, axis=1) > 0).all())
    single = data["test_mse"].sel(ridge=0.0, label_noise=min(data["label_noise"].values)).max("ratio")
    spread = "; ".join(
        f"{k} {float(v.min()):.3g} to {float(v.max()):.3g}" for k, v in ((k, single.sel(kind=k)) for k in data["kind"].values)
    )
    evidence = (
        f"peak / best left of it: {numbers(factor, 3)} over (kind, noise); noise raises it: {rising}; height over single seeds, "
        f"least noise: {spread}"
    )
    return holds(evidence) if (factor >= 10).all() and rising else fails(evidence)


@claim(
    FEATURES,
    statement="The norm of the coefficients peaks at the threshold together with the test error.",
    reference="belkin2019 Fig. 2",
    tolerance="the same ratio, or its neighbour on the grid",
)
def norm_peaks_too(data: xr.Dataset) -> Verdict:
    """Positions of both peaks."""
    gap = np.abs(_plain(data, "norm").argmax("ratio").values - _plain(data, "test_mse").argmax("ratio").values)
    evidence = f"grid distance of the two peaks over (kind, noise): {gap.tolist()}"
    return holds(evidence) if (gap <= 1).all() else fails(evidence)


@claim(
    FEATURES,
    statement="A ridge penalty removes the peak.",
    reference="hastie2022 §7",
    tolerance="largest error within [0.9, 1.1]·n at most 1.5 times the largest error outside of [0.8, 1.2]·n with N ≥ n/4",
)
def ridge_removes_the_peak(data: xr.Dataset) -> Verdict:
    """The curve at the largest ridge."""
    ridge = float(data["ridge"].max())
    if ridge == 0:
        return undecided("the record has no ridge > 0")
    curves, ratio = data["test_mse"].sel(ridge=ridge).mean("seed"), data["ratio"]
    near = curves.where(abs(ratio - 1) <= 0.1, drop=True).max("ratio")
    away = curves.where((abs(ratio - 1) > 0.2) & (ratio >= 0.25), drop=True).max("ratio")
    factor = (near / away).values
    evidence = f"error near the threshold / away from it at ridge {ridge:g}: between {factor.min():.3f} and {factor.max():.3f}"
    return holds(evidence) if (factor <= 1.5).all() else fails(evidence)


@claim(
    FEATURES,
    statement="The deterministic equivalent of random-feature regression predicts the test error on real images.",
    reference="simon2024 Fig. 1",
    tolerance="within 25 % in the mean over seeds, for |N/n − 1| > 0.04",
)
def theory_predicts_the_curve(data: xr.Dataset) -> Verdict:
    """Ratio of measured and predicted error with clean labels."""
    if "cosine" not in data["kind"].values or 0.0 not in data["label_noise"].values:
        return undecided("the record has no cosine features with clean labels")
    theory = data["theory_test_mse"].sel(kind="cosine")
    measured = data["test_mse"].sel(kind="cosine", label_noise=0.0).mean("seed")
    ratio = (measured / theory).where(abs(data["ratio"] - 1) > 0.04, drop=True)
    if not np.isfinite(ratio).all():
        return undecided("no prediction is made for this data set")
    evidence = f"measured/predicted from {float(ratio.min()):.3f} to {float(ratio.max()):.3f}"
    return holds(evidence) if bool((abs(np.log(ratio)) <= np.log(1.25)).all()) else fails(evidence)


@claim(
    NETWORK,
    statement="The test error of trained two-layer networks peaks near the threshold P = n·K and falls beyond.",
    reference="belkin2019 Fig. 3",
    tolerance="an inner maximum of the mean test MSE with P/(nK) in [0.4, 2.5], 10 % above the least error on either side",
)
def network_peak(data: xr.Dataset) -> Verdict:
    """Inner maximum of the test error over the width, per level of noise."""
    if len(data["width"]) < 5:
        return undecided(f"{len(data['width'])} widths show no curve")
    fraction = data["parameters"].values / data.attrs["threshold"]
    rows, peaked = [], []
    for noise in data["label_noise"].values:
        curve = data["test_mse"].sel(label_noise=noise).mean("seed").values
        inside = [i for i in range(1, len(curve) - 1) if curve[i] >= 1.1 * max(curve[:i].min(), curve[i + 1 :].min())]
        best = max(inside, key=lambda i: curve[i], default=None)
        found = best is not None and 0.4 <= fraction[best] <= 2.5
        where = "no inner peak" if best is None else f"peak {curve[best]:.3g} at P/nK = {fraction[best]:.2f}"
        rows.append(f"noise {noise:g}: {where}, least {curve.min():.3g}, last {curve[-1]:.3g}")
        peaked.append(found)
    evidence = "; ".join(rows)
    if all(peaked):
        return holds(evidence)
    noisy = data["label_noise"].values[np.array(peaked)]
    return holds_under(f"label noise of {', '.join(f'{n:g}' for n in noisy)}", evidence) if any(peaked) else fails(evidence)


@claim(
    NETWORK,
    statement="The networks interpolate beyond the threshold and not below it.",
    reference="belkin2019 Fig. 3",
    tolerance="training MSE below 1e-3 of the targets' energy for P ≥ 2nK, above 1e-2 for P ≤ nK/2",
)
def network_threshold(data: xr.Dataset) -> Verdict:
    """Training error on both sides of P = nK."""
    fraction = data["parameters"] / data.attrs["threshold"]
    train = data["train_mse"].mean("seed")
    above, below = train.where(fraction >= 2, drop=True), train.where(fraction <= 0.5, drop=True)
    if above.size == 0 or below.size == 0:
        return undecided("no widths far on both sides of the threshold")
    noisy = below.sel(label_noise=max(data["label_noise"].values))
    evidence = (
        f"training MSE at most {float(above.max()):.2g} for P ≥ 2nK, at least {float(noisy.min()):.2g} for P ≤ nK/2 (most noise)"
    )
    return holds(evidence) if float(above.max()) < 1e-3 and float(noisy.min()) > 1e-2 else fails(evidence)


@claim(
    EPOCHWISE,
    statement="With label noise the test error falls, rises and falls again during training.",
    reference="nakkiran2020 §5",
    tolerance="a rise of at least 2 % (absolute) after a first minimum, and a later fall of at least 2 %",
)
def second_descent_in_time(data: xr.Dataset) -> Verdict:
    """The largest rise after the first minimum, and the largest fall after that."""
    rows, seen = [], []
    for noise in data["label_noise"].values:
        curve = data["test_error"].sel(label_noise=noise).mean("seed").values
        peak = max(range(len(curve)), key=lambda i: curve[i] - curve[: i + 1].min() if i else 0.0)
        rise, fall = curve[peak] - curve[: peak + 1].min(), curve[peak] - curve[peak:].min()
        rows.append(f"noise {noise:g}: rises by {rise:.3f}, then falls by {fall:.3f}")
        seen.append(rise >= 0.02 and fall >= 0.02)
    evidence = "; ".join(rows)
    if all(seen):
        return holds(evidence)
    levels = ", ".join(f"{n:g}" for n in data["label_noise"].values[np.array(seen)])
    return holds_under(f"label noise of {levels}", evidence) if any(seen) else fails(evidence)


@claim(
    EPOCHWISE,
    statement="Label noise makes long training harmful: the test error at the end exceeds its minimum over time.",
    reference="nakkiran2020 §5",
    tolerance="by more than 2 % (absolute) at the highest noise, and less than that without noise",
)
def early_stopping_helps_with_noise(data: xr.Dataset) -> Verdict:
    """Final error minus the least error, per level of noise."""
    mean = data["test_error"].mean("seed")
    loss = (mean.isel(step=-1) - mean.min("step")).values
    levels = data["label_noise"].values
    evidence = "; ".join(f"noise {n:g}: {v:+.3f}" for n, v in zip(levels, loss, strict=True))
    if levels.max() == 0:
        return undecided("the record has no label noise")
    harmful, harmless = loss[levels.argmax()] > 0.02, levels.min() > 0 or loss[levels.argmin()] <= 0.02
    return holds(evidence) if harmful and harmless else fails(evidence)

"""Claims about residual, recurrent and batch-normalised networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "batchnorm_explodes",
    "finite_batches_explode_faster",
    "gates_set_the_memory",
    "optimal_variance_falls_with_depth",
    "recurrent_growth_is_predicted",
    "relu_residual_networks_explode",
    "residual_gradients_are_predicted",
    "tanh_residual_gradients_grow_subexponentially",
    "tied_weights_do_not_matter",
]


def _exponent(data: xr.Dataset, case: str) -> float:
    """Local exponent of the log growth in the depth, over the last half of the blocks."""
    log = data["log_growth"].sel(case=case).values
    last = len(log) - 1
    return float(np.log(log[last] / log[last // 2]) / np.log(last / (last // 2)))


@claim(
    "meanfield.resnet_gradients",
    statement="Gradients of tanh residual networks grow subexponentially, as exp(A √L)",
    reference="yang2017",
    tolerance="local exponent of the log growth between 0.4 and 0.65",
)
def tanh_residual_gradients_grow_subexponentially(data: xr.Dataset) -> Verdict:
    """Exponent of ln growth ~ L^a for the tanh networks."""
    found = {case: _exponent(data, case) for case in data.case.values.tolist() if case.startswith("tanh")}
    if not found:
        return undecided("the record has no tanh network")
    evidence = "; ".join(f"{case}: ln growth ~ L^{a:.3f}" for case, a in found.items())
    return holds(evidence) if all(0.4 < a < 0.65 for a in found.values()) else fails(evidence)


@claim(
    "meanfield.resnet_gradients",
    statement="Gradients of ReLU residual networks grow exponentially with depth",
    reference="yang2017",
    tolerance="log growth linear in the depth to 1e-9; measured rate within 10 %",
)
def relu_residual_networks_explode(data: xr.Dataset) -> Verdict:
    """Rate per block, by the recursion and by simulation."""
    if "relu frn" not in data.case:
        return undecided("the record has no full ReLU network")
    one, last = data.sel(case="relu frn"), data.sizes["block"] - 1
    rate = one["log_growth"].values[-1] / last
    measured = float(one["measured_log_growth"].isel(block=-1).mean()) / last
    linear = np.allclose(one["log_growth"].values, rate * np.arange(last + 1), rtol=1e-9, atol=1e-9)
    evidence = f"ln growth per block {rate:.4f} by theory, {measured:.4f} measured"
    return holds(evidence) if linear and abs(measured / rate - 1) < 0.1 else fails(evidence)


@claim(
    "meanfield.resnet_gradients",
    statement="The mean-field recursion predicts lengths and gradients of random residual networks",
    reference="yang2017",
    tolerance="length and log growth at the last block within 10 %",
)
def residual_gradients_are_predicted(data: xr.Dataset) -> Verdict:
    """Largest deviation at the last block; for exploding networks that of the logarithm of the length."""
    last = data.isel(block=-1)
    growth = (last["measured_log_growth"].mean("seed") / last["log_growth"] - 1).values
    predicted, found = np.log(last["length"].values), np.log(last["measured_length"].values).mean(-1)
    length = (found - predicted) / np.maximum(1.0, predicted)
    evidence = f"relative deviations: ln growth {np.round(growth, 3).tolist()}, length {np.round(length, 3).tolist()}"
    return holds(evidence) if max(np.abs(growth).max(), np.abs(length).max()) < 0.1 else fails(evidence)


@claim(
    "meanfield.resnet_optimal_variance",
    statement="The best variance of the weights of tanh residual networks falls with the depth, as 1/L",
    reference="yang2017",
    tolerance="fitted exponent between −1.6 and −0.4, over three depths or more whose accuracies differ by more than 0.05",
)
def optimal_variance_falls_with_depth(data: xr.Dataset) -> Verdict:
    """Slope of ln σ_w² against ln L, at the first look and at the last one."""
    first, last = (_best_variances(data.isel(step=look)) for look in (0, -1))
    contour = np.polyfit(np.log(data.depth.values), np.log(data["contour"].values), 1)[0]
    evidence = f"{first.words}; {last.words}; contour of equal gradient growth ~ L^{contour:.2f}"
    if not math.isfinite(first.slope):
        return undecided(evidence)
    good = [-1.6 < look.slope < -0.4 for look in (first, last)]
    if good[0] and not good[1]:
        return holds_under("early in training, before all variances below the best catch up", evidence)
    return holds(evidence) if all(good) else fails(evidence)


@dataclass(frozen=True)
class _Best:
    """Exponent of the best variance over the depth at one look, NaN where too few depths tell, and the sentence that says so."""

    slope: float
    words: str


def _best_variances(data: xr.Dataset) -> _Best:
    """Best σ_w² by depth: mean of ln σ_w², weighted by how far the accuracy is above 0.03 below the best one."""
    accuracy, log_w = data["accuracy"].mean("seed").values, np.log(data.sigma_w2.values)
    tell = np.ptp(accuracy, axis=1) >= 0.05
    depths = data.depth.values[tell]
    weights = [np.maximum(row - row.max() + 0.03, 0.0) for row in accuracy[tell]]
    best = [float(log_w @ w / w.sum()) for w in weights]
    words = f"after {int(data.step)} steps best σ_w² {[float(f'{np.exp(b):.2g}') for b in best]} at depths {depths.tolist()}"
    if len(depths) < 3:
        return _Best(math.nan, f"{words}, too few that depend on σ_w²")
    slope = float(np.polyfit(np.log(depths), best, 1)[0])
    return _Best(slope, f"{words}: σ_w² ~ L^{slope:.2f}")


def _memory_error(data: xr.Dataset, weights: str) -> np.ndarray:
    """Relative error of χ, network by setting."""
    return (data["measured_chi"].sel(weights=weights) / data["chi"] - 1).values


@claim(
    "meanfield.recurrent_memory",
    statement="Mean-field theory predicts the growth of perturbations of recurrent networks with fresh weights",
    reference="chen2018 (LSTM, GRU: gilboa2019)",
    tolerance="χ within 6 %",
)
def recurrent_growth_is_predicted(data: xr.Dataset) -> Verdict:
    """Largest error of χ over all networks and settings."""
    error = np.abs(_memory_error(data, "fresh")).max(1)
    evidence = "largest error of χ: " + ", ".join(f"{n} {e:.1%}" for n, e in zip(data.network.values, error, strict=True))
    return holds(evidence) if error.max() < 0.06 else fails(evidence)


@claim(
    "meanfield.recurrent_memory",
    statement="The theory, made for fresh weights, describes networks whose weights are the same at every step",
    reference="chen2018 (LSTM, GRU: gilboa2019)",
    tolerance="χ within 6 %",
)
def tied_weights_do_not_matter(data: xr.Dataset) -> Verdict:
    """Error of χ with tied weights, network by network."""
    error = _memory_error(data, "tied")
    worst = error[np.arange(len(error)), np.abs(error).argmax(1)]
    words = ", ".join(f"{n} {e:+.1%}" for n, e in zip(data.network.values, worst, strict=True))
    good = [str(n) for n, e in zip(data.network.values, worst, strict=True) if abs(e) < 0.06]
    if len(good) == data.sizes["network"]:
        return holds(f"largest error of χ: {words}")
    if good:
        return holds_under(f"for {' and '.join(good)}; gates driven by a slow state persist", f"largest error of χ: {words}")
    return fails(f"largest error of χ: {words}")


@claim(
    "meanfield.recurrent_memory",
    statement="The bias of the memory gate sets the time scale",
    reference="chen2018",
)
def gates_set_the_memory(data: xr.Dataset) -> Verdict:
    """Measured χ with tied weights increases with the bias in all gated networks."""
    measured = data["measured_chi"].sel(weights="tied", network=["minimal", "lstm", "gru"]).values
    evidence = "measured χ: " + ", ".join(str(np.round(row, 3).tolist()) for row in measured)
    return holds(evidence) if bool((np.diff(measured, axis=1) > 0).all()) else fails(evidence)


@claim(
    "meanfield.batchnorm_gradients",
    statement="Batch normalisation makes gradients explode with depth, whatever the activation",
    reference="yang2019",
    tolerance="measured growth above 1 by two standard errors",
)
def batchnorm_explodes(data: xr.Dataset) -> Verdict:
    """Smallest growth per layer; where it lies below 1, whether it does so in the widest networks too."""
    mean, above = data["measured"].mean("seed"), float(_errors_above_one(data["measured"]).min())
    evidence = (
        f"growth per layer from {float(mean.min()):.3f} to {float(mean.max()):.3f} (theory {float(data['growth'].min()):.3f} to "
        f"{float(data['growth'].max()):.3f}); the smallest lies {above:.1f} standard errors above 1"
    )
    if bool((data["growth"] <= 1).any()):
        return fails(evidence)
    if above < -2:
        wider = data["weakest"].mean("seed")
        evidence += "; by width: " + ", ".join(f"{int(w)}: {float(v):.4f}" for w, v in zip(data["width"], wider, strict=True))
        if float(_errors_above_one(data["weakest"])[-1]) <= 2:
            return fails(evidence)
        return holds_under("widths large beside the batch, since finite width takes from the growth", evidence)
    return holds(evidence) if above > 2 else undecided(evidence)


def _errors_above_one(growth: xr.DataArray) -> xr.DataArray:
    """By how many standard errors of the mean over seeds it lies above 1."""
    return (growth.mean("seed") - 1) / (growth.std("seed", ddof=1) / np.sqrt(growth.sizes["seed"]))


@claim(
    "meanfield.batchnorm_gradients",
    statement="Small batches explode faster: (B − 2)/(B − 3) for linear networks",
    reference="yang2019",
    tolerance="four standard errors and 4 %",
)
def finite_batches_explode_faster(data: xr.Dataset) -> Verdict:
    """Measured against predicted growth at every batch size, and monotony of the prediction."""
    error = np.log(data["measured"].mean("seed") / data["growth"])
    spread = data["measured"].std("seed", ddof=1) / np.sqrt(data.sizes["seed"]) / data["growth"]
    good = bool((np.abs(error) < 0.04 + 4 * spread).all()) and bool((data["growth"].diff("batch") < 0).all())
    evidence = f"largest deviation of the growth from theory {float(np.abs(error).max()):.1%} over {error.size} cases"
    return holds(evidence) if good else fails(evidence)

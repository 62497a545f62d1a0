"""Claims about the implicit bias of gradient descent on separable data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, numbers, undecided

if TYPE_CHECKING:
    import xarray as xr

BIAS = "generalization.implicit_bias"
OPTIMIZERS = "generalization.implicit_bias_optimizers"
LN10 = np.log(10.0)


def _last(data: xr.Dataset, name: str) -> tuple[xr.DataArray, float]:
    """A variable of the flow at its last time, and log t there."""
    return data[name].isel(log10_t=-1), float(data["log10_t"][-1]) * LN10


def _extrapolated(data: xr.Dataset, name: str) -> xr.DataArray:
    """lim (variable · log t), from two times, as the correction falls like 1/log t."""
    first, s1 = data[name].sel(log10_t=data["log10_t"][-1] // 2, method="nearest"), float(data["log10_t"][-1] // 2) * LN10
    last, s2 = _last(data, name)
    return (s2 * last * s2 - s1 * first * s1) / (s2 - s1)


@claim(
    BIAS,
    statement="The loss decays like 1/t, with L·t → ‖ŵ‖²/η.",
    reference="soudry2018 Thm 5",
    tolerance="relative error 1e-6 at the last time",
)
def loss_constant(data: xr.Dataset) -> Verdict:
    """L·t of the flow at the last time against the prediction."""
    last, s = _last(data, "flow_log_loss")
    measured, predicted = np.exp(last.values + s), data["predicted_loss_times_t"].values
    error = np.abs(measured / predicted - 1).max()
    evidence = f"L·t = {numbers(measured, 7)}, predicted {numbers(predicted, 7)}"
    return holds(evidence) if error <= 1e-6 else fails(evidence)


@claim(
    BIAS,
    statement="w(t) − ŵ log t tends to the predicted w̃.",
    reference="soudry2018 Thm 4",
    tolerance="1e-8 at the last time",
)
def residual_limit(data: xr.Dataset) -> Verdict:
    """Distance of w − ŵ log t from w̃ at the last time."""
    last, s = _last(data, "flow_w")
    error = np.linalg.norm((last - s * data["w_hat"] - data["w_tilde"]).values, axis=-1)
    evidence = f"‖w − ŵ log t − w̃‖ = {', '.join(f'{e:.1e}' for e in error)} at t = 1e{float(data['log10_t'][-1]):g}"
    return holds(evidence) if (error <= 1e-8).all() else fails(evidence)


@claim(
    BIAS,
    statement="The angle to the maximum-margin direction decays like 1/log t.",
    reference="soudry2018 Thm 5, Fig. 1",
    tolerance="extrapolated constant within 1 % of the predicted one, which must not be zero",
)
def angle_constant(data: xr.Dataset) -> Verdict:
    """angle · log t per data set."""
    limits, predicted = _extrapolated(data, "flow_angle").values, data["predicted_angle_times_log_t"].values
    names = data["set"].values
    evidence = "; ".join(f"{n}: {m:.6f} (predicted {p:.6f})" for n, m, p in zip(names, limits, predicted, strict=True))
    right = np.abs(limits - predicted) <= 0.01 * np.abs(predicted) + 1e-8
    proper = predicted > 1e-9
    if not right.all():
        return fails(evidence)
    if proper.all():
        return holds(evidence)
    return holds_under("w̃ is not parallel to ŵ (it is on the paper's own Figure 1 data, by their mirror symmetry)", evidence)


@claim(
    BIAS,
    statement="On the mirror-symmetric data of Figure 1 the angle decays like t^(−1/4)/log t, not like 1/log t.",
    reference="soudry2018 Fig. 1",
    tolerance="exponent of angle·‖w‖ within 0.01 of the least transverse eigenvalue, between t = 1e8 and 1e12",
)
def mirror_power_law(data: xr.Dataset) -> Verdict:
    """Slope of log(angle · ‖w‖) against log t."""
    if "mirror" not in data["set"].values:
        return undecided("the record does not hold the mirror-symmetric set")
    one = data.sel(set="mirror")
    w, angle = (one[v].sel(log10_t=[8.0, 12.0], method="nearest").values for v in ("flow_w", "flow_angle"))
    transverse = angle * np.linalg.norm(w, axis=-1)
    slope = float(np.log(transverse[1] / transverse[0]) / (4 * LN10))
    rate = float(one["predicted_transverse_rate"])
    evidence = f"exponent {slope:.4f}, predicted {-rate:.4f}"
    return holds(evidence) if abs(slope + rate) <= 0.01 else fails(evidence)


@claim(
    BIAS,
    statement="The margin gap decays like 1/log t with the predicted constant.",
    reference="soudry2018 Thm 5",
    tolerance="extrapolated constant within 1 %, or below 1e-8 where zero is predicted",
)
def margin_gap_constant(data: xr.Dataset) -> Verdict:
    """gap · log t per data set."""
    limits, predicted = _extrapolated(data, "flow_margin_gap").values, data["predicted_margin_gap_times_log_t"].values
    evidence = "; ".join(
        f"{n}: {m:.6f} (predicted {p:.6f})" for n, m, p in zip(data["set"].values, limits, predicted, strict=True)
    )
    return holds(evidence) if (np.abs(limits - predicted) <= 0.01 * np.abs(predicted) + 1e-8).all() else fails(evidence)


@claim(
    BIAS,
    statement="Gradient descent itself, by the last real step, has L·t at the predicted constant.",
    reference="soudry2018 Fig. 1",
    tolerance="1 %",
)
def real_steps_agree(data: xr.Dataset) -> Verdict:
    """L·t of real gradient descent at the last step."""
    if "gd" not in data["optimizer"].values:
        return undecided("the record holds no plain gradient descent")
    last = data["log_loss"].sel(optimizer="gd").isel(step=-1)
    measured = np.exp(last.values) * float(data["step"][-1])
    ratio = measured / data["predicted_loss_times_t"].values
    evidence = f"measured/predicted = {numbers(ratio, 5)} after {int(data['step'][-1])} steps"
    return holds(evidence) if (np.abs(ratio - 1) <= 0.01).all() else fails(evidence)


@claim(
    OPTIMIZERS,
    statement="Adam does not converge to the maximum ℓ2 margin direction.",
    reference="soudry2018 Fig. 2",
    tolerance="in every seed at least half of its angle at 1 % of the steps is left at the end, and it is above gradient descent's",
)
def adam_goes_elsewhere(data: xr.Dataset) -> Verdict:
    """Final angle of Adam to the ℓ2 separator beside that of gradient descent."""
    angle = data["angle_l2"].sel(optimizer=["gd", "adam"])
    early, late = angle.sel(step=data["step"][-1] // 100, method="nearest"), angle.isel(step=-1)
    gd, adam = late.sel(optimizer="gd").values, late.sel(optimizer="adam").values
    stalls = (adam >= 0.5 * early.sel(optimizer="adam").values) & (adam > gd)
    evidence = f"final angle: gd {numbers(gd, 4)}, adam {numbers(adam, 4)}"
    if stalls.all():
        return holds(evidence)
    return holds_under(f"in {int(stalls.sum())} of {len(stalls)} data sets", evidence) if stalls.any() else fails(evidence)


@claim(
    OPTIMIZERS,
    statement="Adam converges to the maximum ℓ∞ margin.",
    reference="zhang2024adam Thm 1",
    tolerance="ℓ∞ margin above 98 % of the best at the end, and higher than gradient descent's, in every seed",
)
def adam_finds_the_sup_margin(data: xr.Dataset) -> Verdict:
    """Final ℓ∞ margins relative to the best possible."""
    final = data["margin_sup"].isel(step=-1)
    adam, gd = final.sel(optimizer="adam").values, final.sel(optimizer="gd").values
    evidence = f"ℓ∞ margin / best: adam {numbers(adam, 4)}, gd {numbers(gd, 4)}"
    return holds(evidence) if (adam >= 0.98).all() and (adam > gd).all() else fails(evidence)


@claim(
    OPTIMIZERS,
    statement="Momentum and SGD go to the same direction as gradient descent.",
    reference="soudry2018 §2, Fig. 1; nacson2019sgd",
    tolerance="ℓ2 margins at the end within 5 % of gradient descent's, in every seed",
)
def momentum_and_sgd_agree(data: xr.Dataset) -> Verdict:
    """Final ℓ2 margins relative to gradient descent's."""
    final = data["margin_l2"].isel(step=-1)
    names = [n for n in ("momentum", "sgd") if n in data["optimizer"].values]
    ratio = (final.sel(optimizer=names) / final.sel(optimizer="gd")).values
    evidence = f"margin relative to gd's ({', '.join(names)}): {float(ratio.min()):.4f} to {float(ratio.max()):.4f}"
    return holds(evidence) if (np.abs(ratio - 1) <= 0.05).all() else fails(evidence)


@claim(
    OPTIMIZERS,
    statement="Normalised gradient descent reaches the maximum margin faster than gradient descent.",
    reference="nacson2019 Thm 5",
    tolerance="in every seed a smaller final margin gap than gradient descent's",
)
def normalized_is_faster(data: xr.Dataset) -> Verdict:
    """Final margin gaps."""
    gap = 1 - data["margin_l2"].isel(step=-1)
    fast, slow = gap.sel(optimizer="normalized").values, gap.sel(optimizer="gd").values
    evidence = f"1 − margin/maximum: normalised {numbers(fast, 2)}, gd {numbers(slow, 2)}"
    return holds(evidence) if (fast < slow).all() else fails(evidence)

"""Claims about phases, correlations and gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "chaos_decorrelates",
    "covariance_is_not_correlation",
    "critical_information_is_lost_polynomially",
    "depth_scale_of_correlation",
    "gradients_follow_chi",
    "simulation_at_fixed_points",
    "transition_at_chi_one",
]


@claim(
    "meanfield.phase_diagram",
    statement="In the ordered phase c* = 1, in the chaotic phase c* < 1; the boundary is χ₁ = 1",
    reference="poole2016",
    tolerance="exact on the grid",
)
def transition_at_chi_one(data: xr.Dataset) -> Verdict:
    """c* < 1 exactly where χ₁ > 1."""
    chaotic, split = data["chi_1"] > 1 + 1e-12, data["c_star"] < 1 - 1e-12
    wrong = int((chaotic != split).where(np.isfinite(data["c_star"]), False).sum())
    evidence = f"{wrong} of {data['chi_1'].size} grid points disagree; {int(chaotic.sum())} are chaotic"
    return holds(evidence) if wrong == 0 else fails(evidence)


@claim(
    "meanfield.phase_diagram",
    statement="Random networks of finite width settle at q* and c*",
    reference="poole2016 Fig. 1",
    tolerance="one network per probe: q within 25 %, c within 0.3",
)
def simulation_at_fixed_points(data: xr.Dataset) -> Verdict:
    """Measured lengths and correlations at the probes."""
    q = np.abs(data["measured_q"] / data["probe_q_star"] - 1)
    c = np.abs(data["measured_c"] - data["probe_c_star"])
    evidence = f"largest deviations: q {float(q.max()):.1%}, c {float(c.max()):.3f} at {data.sizes['probe']} probes"
    return holds(evidence) if float(q.max()) < 0.25 and float(c.max()) < 0.3 else fails(evidence)


@claim(
    "meanfield.correlation_flow",
    statement="The correlation of two inputs ends up at 1 in the ordered phase and at a number smaller than 1 in the chaotic phase",
    reference="poole2016",
)
def chaos_decorrelates(data: xr.Dataset) -> Verdict:
    """Fixed correlations on both sides of criticality, by simulation too."""
    last = data["simulated"].isel(layer=-1).mean("seed")
    low, high = data.factor.values < 1, data.factor.values > 1
    ordered, chaotic = last[low], last[high]
    evidence = (
        f"simulated c at the last layer: ordered {np.round(ordered.values, 3).tolist()}, "
        f"chaotic {np.round(chaotic.values, 3).tolist()}; "
        f"theory {np.round(data['c_star'].values, 3).tolist()}"
    )
    return holds(evidence) if bool((ordered > 0.99).all() and (chaotic < 0.98).all()) else fails(evidence)


@claim(
    "meanfield.correlation_flow",
    statement="|c − c*| falls as exp(−l/ξ_c) away from criticality",
    reference="schoenholz2017 Eq. 10",
    tolerance="fitted rate within 5 % of 1/ξ_c",
)
def depth_scale_of_correlation(data: xr.Dataset) -> Verdict:
    """Slope of log|c_l − c*| by the recursion, over the window above rounding."""
    words, good = [], True
    for factor in data.factor.values[data.factor.values != 1]:
        here = data.sel(factor=factor)
        gap = np.abs(here["c"].values - float(here["c_star"]))
        window = np.flatnonzero((gap < 1e-2) & (gap > 1e-10))
        if len(window) < 4:
            return undecided(f"the flow at factor {factor} has too few layers between 1e-10 and 1e-2")
        rate = -np.polyfit(window, np.log(gap[window]), 1)[0]
        ratio = rate * float(here["xi_c"])
        words.append(f"σ_w²/critical = {factor:g}: rate × ξ_c = {ratio:.4f}")
        good &= abs(ratio - 1) < 0.05
    evidence = "; ".join(words)
    return holds(evidence) if good else fails(evidence)


@claim(
    "meanfield.correlation_flow",
    statement="On the critical line information is lost at a polynomial speed",
    reference="hayou2019",
    tolerance="local exponent within 10 % of 1 (smooth) or 2 (kinked)",
)
def critical_information_is_lost_polynomially(data: xr.Dataset) -> Verdict:
    """Local exponent of 1 − c_l over the last half of the layers."""
    gap = 1 - data["c"].sel(factor=1.0).values
    n = len(gap) - 1
    exponent = -np.log(gap[n] / gap[n // 2]) / np.log(n / (n // 2))
    expected = int(data["law_exponent"])
    evidence = f"1 − c ~ l^−{exponent:.3f} between layers {n // 2} and {n}; theory l^−{expected}"
    return holds(evidence) if abs(exponent / expected - 1) < 0.2 else undecided(evidence + " is reached at greater depth")


@claim(
    "meanfield.correlation_flow",
    statement="The correlation between two inputs is E[z_a z_b] = q_ab",
    reference="poole2016 Eq. 4",
)
def covariance_is_not_correlation(data: xr.Dataset) -> Verdict:
    """The correlation of an input with itself is 1; E[z_a z_a] is q, which is not 1 except by accident."""
    own = data["own_product"].mean("seed")
    evidence = (
        f"of one input with itself E[z_a z_a] = {np.round(own.values, 3).tolist()} at the {data.sizes['factor']} points, where a "
        "correlation is 1: it is a covariance, and the correlation is q_ab/√(q_aa q_bb)"
    )
    return fails(evidence) if float(np.abs(own - 1).max()) > 0.1 else undecided(evidence)


@claim(
    "meanfield.gradient_flow",
    statement="Squared gradients change by χ₁ per layer: they vanish in the ordered phase and explode in the chaotic phase",
    reference="schoenholz2017 Eq. 17",
    tolerance="fitted rate within 0.03 of ln χ₁ per layer",
)
def gradients_follow_chi(data: xr.Dataset) -> Verdict:
    """Slope of log ‖∂E/∂W_l‖² against L − l, averaged over networks."""
    mean = np.log(data["gradient"].values).mean(data["gradient"].dims.index("seed"))
    layer = data.layer.values
    words, good = [], True
    for i, factor in enumerate(data.factor.values):
        rate = -np.polyfit(layer[2:-2], mean[i][2:-2], 1)[0]
        theory = float(np.log(data["chi_1"][i]))
        words.append(f"{factor:g}: {rate:+.4f} (theory {theory:+.4f})")
        good &= abs(rate - theory) < 0.03 + 5.0 / float(data["width"])
    evidence = "rate of ln‖∂E/∂W‖² per layer at σ_w²/critical = " + ", ".join(words)
    return holds_under("width well above depth", evidence) if good else fails(evidence)

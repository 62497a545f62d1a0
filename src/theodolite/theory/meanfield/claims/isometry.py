"""Claims about the spectrum of the input–output Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "density_of_free_probability",
    "hard_tanh_orthogonal_is_closest",
    "relu_never_gives_isometry",
    "spectrum_is_a_semicircle",
    "variance_is_linear_in_depth",
    "variance_is_one_over_width",
]


@claim(
    "meanfield.jacobian_spectrum",
    statement="The spectrum of JJᵀ follows the free-probability density",
    reference="pennington2017 Fig. 1",
    tolerance="distribution functions differ by less than 0.06 (widest network, all seeds pooled)",
)
def density_of_free_probability(data: xr.Dataset) -> Verdict:
    """Kolmogorov distance between the upper tail masses of theory and simulation, shallowest depth."""
    worst, where = 0.0, ""
    here = data.isel(depth=0, width=-1)
    for net in data.net.values:
        for kind in data.weights.values:
            one = here.sel(net=net, weights=kind)
            seen = one["eigenvalues"].values.ravel()
            seen = seen[np.isfinite(seen)]
            lam, density = one["lam"].values, one["density"].values
            step = lam[1] - lam[0]
            above = np.cumsum(density[::-1])[::-1] * step
            start = len(lam) // 20
            gap = max(abs(above[i] - density[i] * step / 2 - (seen > lam[i]).mean()) for i in range(start, len(lam)))
            if float(one["edge"]) > 0 and gap > worst and not _has_top_atom(one):
                worst, where = gap, f"{net}, {kind}"
    evidence = f"largest difference of the tail masses {worst:.3f} ({where})"
    return holds(evidence) if worst < 0.06 else fails(evidence)


def _has_top_atom(one: xr.Dataset) -> bool:
    """Whether theory puts an atom on the upper edge: the continuous part and the atom at 0 then leave mass over."""
    step = float(one["lam"][1] - one["lam"][0])
    return bool(float(one["density"].sum()) * step + float(one["atom"]) < 0.9 and "hardtanh" in str(one.net.values))


@claim(
    "meanfield.jacobian_spectrum",
    statement="The distribution of the singular values of the Jacobian is a semicircle",
    reference="pennington2017",
)
def spectrum_is_a_semicircle(data: xr.Dataset) -> Verdict:
    """A quarter circle of singular values means Marchenko–Pastur in λ: variance 1, edge 4."""
    edges = data["edge"]
    text = ", ".join(f"{net} {kind} L={int(d)}: {float(edges.sel(net=net, weights=kind, depth=d)):.2f}"
                     for net in data.net.values[:2] for kind in data.weights.values for d in (data.depth.values[-1],))  # fmt: skip
    largest = data["eigenvalues"].isel(width=-1).max("unit").mean("seed")
    off = float(np.abs(largest - 4).max())
    evidence = (
        "a (quarter) circle law has its edge at s² = 4 for every depth, activation and kind of weights; measured edges lie between "
        f"{float(largest.min()):.2f} and {float(largest.max()):.2f} (theory, N → ∞: {text}). Only one square "
        "Gaussian layer without activation gives it; otherwise the shapes are Fuss–Catalan, Bernoulli or smooth universality laws"
    )
    return fails(evidence) if off > 0.5 else undecided(evidence)


@claim(
    "meanfield.jacobian_spectrum",
    statement="The mean of the spectrum is 1 and its variance 1/N",
    reference="pennington2018 Eq. 21",
)
def variance_is_one_over_width(data: xr.Dataset) -> Verdict:
    """Measured variance against 1/N and against L (μ₂/μ₁² − 1 − s₁)."""
    here = data.isel(width=-1, depth=0)
    width = int(data.width[-1])
    measured = here["eigenvalues"].var("unit").mean("seed")
    ratio = float((measured * width).max())
    theory = np.round(here["variance"].values, 3).tolist()
    evidence = (
        f"the mean is 1 at criticality, but N × variance reaches {ratio:.1f} at N = {width}: the variance is "
        f"{np.round(measured.values, 3).tolist()} (theory {theory}), which depends on depth and not on N"
    )
    return fails(evidence) if ratio > 3 else undecided(evidence)


@claim(
    "meanfield.jacobian_spectrum",
    statement="At criticality the variance of the spectrum grows linearly with depth",
    reference="pennington2018 Eq. 21",
    tolerance="within 40 % of theory (heavy tails), shallowest depth",
)
def variance_is_linear_in_depth(data: xr.Dataset) -> Verdict:
    """Theory's linearity, and simulation at the shallowest depth."""
    per_layer = data["variance"] / data["depth"]
    linear = float((per_layer.max("depth") - per_layer.min("depth")).max())
    here = data.isel(depth=0, width=-1)
    ratio = (here["eigenvalues"].var("unit").mean("seed") / here["variance"]).where(here["variance"] > 0.05)
    evidence = (
        f"simulated over predicted variance {float(ratio.min()):.2f} … {float(ratio.max()):.2f} at depth {int(data.depth[0])}"
    )
    return holds(evidence) if linear < 1e-9 and float(np.abs(ratio - 1).max()) < 0.4 else fails(evidence)


@claim(
    "meanfield.jacobian_spectrum",
    statement="Hard tanh with orthogonal initialisation can be closer to dynamical isometry",
    reference="pennington2017",
)
def hard_tanh_orthogonal_is_closest(data: xr.Dataset) -> Verdict:
    """Edges at the greatest depth."""
    hard = [n for n in data.net.values if str(n).startswith("hardtanh")]
    if not hard:
        return undecided("no hard tanh among the nets")
    deepest = data["edge"].isel(depth=-1)
    orthogonal, gaussian = (float(deepest.sel(net=hard[0], weights=k)) for k in ("orthogonal", "gaussian"))
    evidence = f"{hard[0]}, L = {int(data.depth[-1])}: largest s² {orthogonal:.3g} orthogonal, {gaussian:.3g} Gaussian"
    return holds_under("q* is small (σ_b² → 0, σ_w² → 1⁺)", evidence) if orthogonal < 0.5 * gaussian else fails(evidence)


@claim(
    "meanfield.jacobian_spectrum",
    statement="ReLU networks cannot achieve dynamical isometry, with orthogonal weights either",
    reference="pennington2017",
)
def relu_never_gives_isometry(data: xr.Dataset) -> Verdict:
    """The edge L^L/(L−1)^{L−1} grows like e·L."""
    relu = [n for n in data.net.values if str(n).startswith("relu")]
    if not relu:
        return undecided("no ReLU among the nets")
    edges = data["edge"].sel(net=relu[0], weights="orthogonal")
    evidence = "largest s² / depth: " + ", ".join(
        f"L = {int(d)}: {float(e) / int(d):.3f}" for d, e in zip(data.depth, edges, strict=True)
    )
    return holds(evidence + " (→ e)") if bool((edges / data["depth"] > 2).all()) else fails(evidence)

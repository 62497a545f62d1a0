"""Claims about residual networks and about pruning."""

from __future__ import annotations

import numpy as np
import xarray as xr

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

__all__ = ["bound_is_useful", "interpolation_wins", "resnet_delays_rank"]


@claim(
    "rank.resnet_vs_mlp",
    statement="Skip connections delay the rise of the ε-rank: early in training a residual network stays at low rank.",
    reference="he2016",
    tolerance="over the first quarter of training, median last-layer rank; decided when both measures of rank agree",
)
def resnet_delays_rank(data: xr.Dataset) -> Verdict:
    """Median last-layer rank in the first quarter of training, residual against plain, absolute and relative to λ_1."""
    if data.sizes["seed"] < 5:
        return undecided(f"five seeds are needed, got {data.sizes['seed']}")
    early = data.isel(layer=-1, step=slice(1, max(2, data.sizes["step"] // 4)))
    parts, later = [], []
    for name, about in (("rank", "absolute"), ("relative_rank", "relative to λ_1")):
        plain = float(early[name].sel(net="plain").median())
        residual = float(early[name].sel(net="residual").median())
        later.append(residual < plain)
        parts.append(f"{about}: plain {plain:.0f}, residual {residual:.0f}")
    evidence = f"median rank of the last layer in the first quarter of training, {data.sizes['seed']} seeds: " + "; ".join(parts)
    if all(later):
        return holds(evidence)
    if any(later):
        return holds_under("rank is counted " + ("absolutely" if later[0] else "relative to λ_1"), evidence)
    return fails(evidence)


@claim(
    "rank.resnet_vs_mlp",
    statement="A residual network reaches a lower loss than the plain network of the same layers in the same number of steps.",
    reference="he2016 §4.1",
    tolerance="median over seeds, dense networks",
)
def resnet_trains_better(data: xr.Dataset) -> Verdict:
    """Final losses of the dense networks."""
    loss = data["loss"].isel(step=-1)
    plain, residual = loss.sel(net="plain").values, loss.sel(net="residual").values
    evidence = f"final loss, medians over {len(plain)} seeds: plain {np.median(plain):.1e}, residual {np.median(residual):.1e}"
    return holds(evidence) if np.median(residual) < np.median(plain) else fails(evidence)


@claim(
    "rank.pruning",
    statement="A network of n neurons with ε-rank p is well approximated by p of them.",
    reference="yang2024 Cor. 3.6",
    tolerance="interpolative pruning to the ε-rank changes the output by less than 10 % in every seed, for every ε ≤ 1e-3",
)
def interpolation_wins(data: xr.Dataset) -> Verdict:
    """Errors of interpolative pruning beside those of dropping neurons without it."""
    here = data.where(data.eps <= 1e-3 * (1 + 1e-9), drop=True)
    ours, dropped = here["error"].sel(pruner="interpolation"), here["error"].sel(pruner="magnitude")
    per_eps = "; ".join(
        f"ε = {float(e):g}: {float(here['kept'].sel(eps=e).median()):.0f} neurons, {float(ours.sel(eps=e).median()):.1e} "
        f"(magnitude without refit {float(dropped.sel(eps=e).median()):.1e})"
        for e in here.eps
    )
    evidence = f"median relative change of the output over {data.sizes['seed']} seeds: {per_eps}"
    if float(ours.max()) >= 0.1:
        return fails(evidence)
    return holds_under("the kept neurons' weights are refitted", evidence) if float(dropped.min()) > 0.1 else holds(evidence)


@claim(
    "rank.pruning",
    statement="The bound √(ε(1 + p(n − p)))‖β‖ of Theorem 3.2 says how much pruning costs.",
    reference="yang2024 Thm 3.2",
    tolerance="a bound is useful when it is below 1 and within a factor of ten of the error",
)
def bound_is_useful(data: xr.Dataset) -> Verdict:
    """Bound over error: it always holds; how loose is it?"""
    error = data["error"].sel(pruner="interpolation")
    # Errors below the rounding of the features measure nothing.
    seen = error > 1e-10
    looseness = (data["theorem_bound"] / error).where(seen)
    violated = bool((data["bound"] < error * (1 - 1e-8)).where(seen, False).any())
    largest = float(data["theorem_bound"].max())
    evidence = (
        f"theorem's bound over measured error: median {float(looseness.median()):.0f}×, "
        f"range {float(looseness.min()):.0f}–{float(looseness.max()):.0f}×; largest bound {largest:.2g} (vacuous above 1)"
    )
    if violated:
        return fails("the certificate's bound is below the error: " + evidence)
    if largest > 1 or float(looseness.median()) > 10:
        return holds_under("it is read as an inequality: it is never violated, but too loose to predict the error", evidence)
    return holds(evidence)

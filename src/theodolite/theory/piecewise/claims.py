"""Statements of the literature about linear regions and shallow forms, as checks on records."""

from __future__ import annotations

import numpy as np
import xarray as xr

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

__all__ = [
    "attributions_are_exact",
    "deep_networks_are_shallow",
    "few_regions_at_initialisation",
    "iterated_tent_doubles",
    "literal_reading_is_identical",
    "maximum_is_far_from_typical",
    "regions_during_training_stay_few",
    "sampled_patterns_saturate",
    "shallow_form_is_larger",
]

#: Rounding allowed to the float64 network: ulps of the propagated magnitude, per layer.
ULPS = 16


@claim(
    "piecewise.shallow_equivalence",
    statement="Every deep ReLU network can be rewritten as a functionally identical three-layer network with extended-real weights",
    reference="villani2023",
    tolerance="proved over ℚ; in float64 within 16 ulps per layer of the propagated magnitude",
)
def deep_networks_are_shallow(data: xr.Dataset) -> Verdict:
    """Equality on the whole square for every network, by certificate; the literal form is judged by `literal_reading_is_identical`."""
    proved, total = int(data["proved"].sum()), data["proved"].size
    worst = float(data["worst"].sel(mode="exact").max())
    allowed = ULPS * int(data.attrs["layers"])
    evidence = (
        f"{proved} of {total} networks proved equal over ℚ ({int(data['vertices'].sum())} vertices of {int(data['count'].sum())} "
        f"regions); in float64 at most {worst:.1f} ulps of the propagated magnitude, {allowed} allowed"
    )
    return holds(evidence) if proved == total and worst <= allowed else fails(evidence)


@claim(
    "piecewise.boundary_pitfalls",
    statement="With closed half-spaces read literally, exactly one row of the selector vanishes at every input",
    reference="villani2023",
    tolerance="exact counts on a dyadic grid",
)
def literal_reading_is_identical(data: xr.Dataset) -> Verdict:
    """Regions that answer at the grid's points."""
    paper = data["matches"].sel(mode="paper")
    several = int((paper > 1).sum())
    error = float(data["error"].sel(mode="paper").max())
    rest = float(data["error"].sel(mode="exact").max())
    evidence = (
        f"{several} of {paper.size} dyadic grid points lie on facets and are counted {int(paper.max())} times at most (error up to "
        f"{error:.3g}); taking the first matching region leaves {rest:.1e}; in plain IEEE arithmetic "
        f"{100 * float(data['ieee_nan'].mean()):.0f} % of the points are NaN"
    )
    if not several:
        return undecided(evidence)
    return holds_under("the input lies in the interior of a region", evidence)


@claim(
    "piecewise.region_growth",
    statement="At random initialisation the number of activation regions on a large cube is about N^d / d!, whatever the depth",
    reference="hanin2019activation",
    tolerance="mean ratio to N^d / d! between 0.7 and 1.3 at the largest width of every depth",
)
def few_regions_at_initialisation(data: xr.Dataset) -> Verdict:
    """Mean ratio count / (N^d / d!) at the largest width."""
    ratio = (data["count"].mean("seed") / data["expected"]).isel(width=-1)
    evidence = "; ".join(
        f"d = {int(d)}: "
        + ", ".join(f"{float(v):.2f} (depth {int(depth)})" for v, depth in zip(ratio.sel(dim=d), data["depth"], strict=True))
        for d in data["dim"]
    )
    return holds(evidence) if bool(((ratio > 0.7) & (ratio < 1.3)).all()) else fails(evidence)


@claim(
    "piecewise.region_growth",
    statement="Depth can multiply the number of regions: the maximum over weights grows exponentially with depth",
    reference="montufar2014",
    tolerance="counts stay below the upper bound; the lower bound of the maximum exceeds typical counts at the largest depth and width",
)
def maximum_is_far_from_typical(data: xr.Dataset) -> Verdict:
    """Typical counts between nothing and the bounds of the maximum."""
    below = bool((data["count"] <= data["upper"]).all())
    corner = data.isel(depth=-1, width=-1, dim=-1)
    typical, reachable = float(corner["count"].mean()), float(corner["lower"])
    evidence = (
        f"all counts are below the upper bound: {below}; at depth {int(corner['depth'])}, width {int(corner['width'])}, d = "
        f"{int(corner['dim'])} some weights have at least {reachable:.3g} regions, random ones {typical:.0f} on average"
    )
    if not below:
        return fails(evidence)
    if reachable <= typical:
        return undecided(evidence)
    return holds_under("the weights are constructed for it; at random initialisation depth adds like width", evidence)


@claim(
    "piecewise.tent_map",
    statement="k layers of two neurons make 2^k linear pieces",
    reference="telgarsky2015",
    tolerance="exact",
)
def iterated_tent_doubles(data: xr.Dataset) -> Verdict:
    """Pieces against 2^k."""
    times, pieces = data["times"].values, data["pieces"].values
    right = bool((pieces == 2.0**times).all())
    evidence = f"pieces {', '.join(str(int(p)) for p in pieces[:6])}, … for k = 1 to {int(times[-1])}; equal to 2^k: {right}"
    return holds(evidence) if right else fails(evidence)


@claim(
    "piecewise.regions_during_training",
    statement="Training does not make the number of regions exponential: it stays of the order of N^d / d!",
    reference="hanin2019complexity",
    tolerance="at most 2 N^d / d! at all times",
)
def regions_during_training_stay_few(data: xr.Dataset) -> Verdict:
    """Largest count on the square during training."""
    largest, expected = int(data["count"].max()), float(data.attrs["expected"])
    evidence = (
        f"{int(data['count'][0])} regions at the start, {int(data['count'][-1])} at the end, at most {largest}; N²/2 = {expected:.0f}; "
        f"loss {float(data['loss'][0]):.3g} → {float(data['loss'][-1]):.3g}"
    )
    return holds(evidence) if largest <= 2 * expected else fails(evidence)


@claim(
    "piecewise.local_linear_models",
    statement="In the region of an input the network is a linear model, so that its weights are an exact attribution",
    reference="sudjianto2020",
    tolerance="1e-10 on the logits",
)
def attributions_are_exact(data: xr.Dataset) -> Verdict:
    """|A x + b − network(x)|, and the size of the region in which that holds."""
    gap, distance = float(data["gap"].max()), data["distance"].values
    evidence = (
        f"largest gap {gap:.1e} over {data.sizes['sample']} images; but the region ends at a distance of {np.median(distance):.2g} "
        f"(median), from {distance.min():.1g} to {distance.max():.1g}"
    )
    return holds(evidence) if gap < 1e-10 else fails(evidence)


@claim(
    "piecewise.local_linear_models",
    statement="The number of patterns that samples visit measures the number of regions",
    reference="hanin2019complexity",
    tolerance="fewer than half of the samples have a region of their own",
)
def sampled_patterns_saturate(data: xr.Dataset) -> Verdict:
    """Distinct patterns among the training images."""
    visited, samples = int(data["visited"]), int(data.attrs["train"])
    evidence = f"{samples} images visit {visited} regions"
    return fails(evidence + ": the count says how many images there are") if 2 * visited > samples else undecided(evidence)


@claim(
    "piecewise.blow_up",
    statement="The shallow form is a white box, not a smaller network",
    reference="villani2023",
    tolerance="its parameters exceed the deep network's at every width",
)
def shallow_form_is_larger(data: xr.Dataset) -> Verdict:
    """Dense parameters of both, and the sparse selector."""
    ratio = (data["dense"] / data["deep"]).mean("seed")
    sparse = (data["entries"] / data["count"]).mean()
    evidence = (
        "dense parameters, shallow over deep: "
        + ", ".join(f"{float(r):.3g} at width {int(w)}" for r, w in zip(ratio, data["width"], strict=True))
        + f"; {float(sparse):.1f} selector entries per region when stored sparsely"
    )
    return holds(evidence) if bool((ratio > 1).all()) else fails(evidence)

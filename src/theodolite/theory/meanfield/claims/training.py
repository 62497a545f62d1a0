"""Claims about trained networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "critical_init_trains_deep_tanh",
    "delta_orthogonal_keeps_the_signal",
    "isometry_is_sufficient",
    "orthogonal_trains_faster",
    "ten_thousand_layers",
    "trainable_up_to_six_scales",
]

#: Ten classes: a network that has learned nothing is right once in ten.
CHANCE = 0.1


@claim(
    "meanfield.trainability",
    statement="Networks are trainable up to a depth of about 6 ξ_c",
    reference="schoenholz2017 Fig. 5",
    tolerance="points beyond 2 × 6ξ_c at chance, within half of it trained; nine of ten",
)
def trainable_up_to_six_scales(data: xr.Dataset) -> Verdict:
    """Accuracy on both sides of the predicted boundary."""
    bound = 6 * data["xi_c"]
    inside, outside = data["depth"] < 0.5 * bound, data["depth"] > 2 * bound
    trained = data["accuracy"] > 3 * CHANCE
    inner = float((trained & inside).sum() / max(1, int(inside.sum())))
    outer = float((trained & outside).sum() / max(1, int(outside.sum())))
    counts = int(inside.sum()), int(outside.sum())
    evidence = f"trained within half the bound: {inner:.0%} of {counts[0]}; beyond twice the bound: {outer:.0%} of {counts[1]}"
    if not int(outside.sum()) or not int(inside.sum()):
        return undecided(evidence)
    if inner >= 0.9 and outer <= 0.1:
        return holds(evidence)
    return (
        holds_under("this width and number of steps, as an order of magnitude", evidence)
        if inner > 2 * outer
        else fails(evidence)
    )


@claim(
    "meanfield.critical_init",
    statement="A deep tanh network trains from critical initialisation where torch's default does not",
    reference="schoenholz2017",
    tolerance="best learning rate; median over seeds above 50 %, default below 20 %",
)
def critical_init_trains_deep_tanh(data: xr.Dataset) -> Verdict:
    """Median accuracies at each initialisation's best learning rate."""
    best = data["accuracy"].median("seed").max("lr")
    words = ", ".join(f"{i}: {float(best.sel(init=i)):.1%}" for i in data.init.values)
    evidence = f"depth {data.attrs['depth']}, {data.sizes['seed']} seeds, {data.sizes['step']} steps: {words}"
    default, critical = float(best.sel(init="torch default")), float(best.sel(init="critical orthogonal"))
    if default < 2 * CHANCE and critical > 0.5:
        return holds(evidence)
    return undecided(evidence + "; more steps are needed") if default < 2 * CHANCE else fails(evidence)


@claim(
    "meanfield.dynamical_isometry_training",
    statement="Orthogonal initialisation close to isometry trains faster than Gaussian",
    reference="pennington2017 Fig. 5",
    tolerance="mean loss over training, best learning rate",
)
def orthogonal_trains_faster(data: xr.Dataset) -> Verdict:
    """Mean loss over the run, at the smallest q."""
    mean = data["loss"].isel(q=0).mean("step").median("seed").min("lr")
    o, g = float(mean.sel(weights="orthogonal")), float(mean.sel(weights="gaussian"))
    evidence = f"mean loss over training at q = {float(data.q[0]):.3g}: orthogonal {o:.3f}, Gaussian {g:.3f}"
    if not np.isfinite([o, g]).all():
        return undecided(evidence)
    return holds(evidence) if o < g else fails(evidence)


@claim(
    "meanfield.dynamical_isometry_training",
    statement="That the singular values of the Jacobian are 1 is a sufficient condition for the network to work well",
    reference="pennington2017",
)
def isometry_is_sufficient(data: xr.Dataset) -> Verdict:
    """Not sufficient if one spectrum has two outcomes; not necessary if a wider spectrum does as well."""
    variance = float(data["variance"].sel(weights="orthogonal").isel(q=0))
    median = data["accuracy"].median("seed")
    closest = median.sel(weights="orthogonal").isel(q=0)
    by_rate = dict(zip(data.lr.values.tolist(), closest.values.round(3).tolist(), strict=True))
    wider = median.where(data["variance"] > 2 * variance).max()
    evidence = (
        f"spectral variance {variance:.3g} (orthogonal, q = {float(data.q[0]):.3g}), accuracy after {data.sizes['step']} steps by "
        f"learning rate: {by_rate}; best accuracy with at least twice that variance: {float(wider):.3f}"
    )
    if float(closest.min()) < 0.8 * float(closest.max()):
        also = ", and not necessary either" if float(wider) >= 0.95 * float(closest.max()) else ""
        return fails(f"not sufficient: the learning rate decides{also}; {evidence}")
    return undecided(evidence + "; more learning rates are needed")


@claim(
    "meanfield.delta_orthogonal",
    statement="Delta-orthogonal kernels keep signal and gradient through thousands of layers of a plain tanh CNN",
    reference="xiao2018",
    tolerance="length and gradient within a factor of ten over the whole depth; loss falls",
)
def delta_orthogonal_keeps_the_signal(data: xr.Dataset) -> Verdict:
    """Ranges over depth."""
    words, ranges = [], {}
    for kind in data.kernel.values:
        one = data.sel(kernel=kind)
        ranges[str(kind)] = [float(np.log10(one[v].max() / max(float(one[v].min()), 1e-300))) for v in ("length", "gradient")]
        words.append(f"{kind}: length over {ranges[str(kind)][0]:.1f} and gradient over {ranges[str(kind)][1]:.1f} decades")
    loss = data["loss"].sel(kernel="delta-orthogonal").values
    evidence = f"{data.attrs['depth']} layers; {'; '.join(words)}; loss {loss[0]:.3f} → {loss[-1]:.3f}"
    return holds(evidence) if max(ranges["delta-orthogonal"]) < 1 and loss[-1] < loss[0] else fails(evidence)


@claim(
    "meanfield.delta_orthogonal",
    statement="A CNN of 10,000 layers can be trained",
    reference="xiao2018",
)
def ten_thousand_layers(data: xr.Dataset) -> Verdict:
    """Only a record of that depth can decide."""
    depth, loss = int(data.attrs["depth"]), data["loss"].sel(kernel="delta-orthogonal").values
    evidence = f"depth {depth}: loss {loss[0]:.3f} → {loss[-1]:.3f} in {len(loss) - 1} steps"
    if depth < 10_000:
        return undecided(evidence + "; this record is shallower than the claim")
    return holds_under("takes training steps; not trained to the end here", evidence) if loss[-1] < loss[0] else fails(evidence)

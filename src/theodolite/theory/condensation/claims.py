"""Statements of the condensation papers, checked on the records of this topic's experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "balance_exponents",
    "bound_two_p",
    "condensed_runs_condense",
    "critical_boundary",
    "digits_condense",
    "directions_predicted",
    "layers_differ",
    "notebook_cell",
    "regime_signs",
    "regimes_ordered",
    "relu_attractors",
    "relu_sectors",
]


@claim(
    "condensation.phase_diagram",
    statement="RD → 0 with width in the linear regime and → ∞ in the condensed one: S_w has the sign of the theory.",
    reference="luo2021 Thm 1, 2",
    tolerance="cells at distance at least 0.25 from the boundary",
)
def regime_signs(data: xr.Dataset) -> Verdict:
    """Sign of S_w against the theorem."""
    distance, slope = data["boundary_distance"].values, data["S_w"].values
    far = np.abs(distance) >= 0.25
    if not far.any():
        return undecided("no cell lies 0.25 or more from the boundary")
    wrong = int((np.sign(slope[far]) != np.sign(distance[far])).sum())
    evidence = (
        f"{int(far.sum()) - wrong} of {int(far.sum())} cells agree; {len(data.seed)} seeds, widths {data.width.values.tolist()}"
    )
    return fails(evidence) if wrong else holds(evidence)


@claim(
    "condensation.phase_diagram",
    statement="On the boundary {γ = 1, γ′ ≤ 0} ∪ {γ′ = γ − 1, γ ≥ 1} the distance neither vanishes nor grows: S_w ≈ 0.",
    reference="luo2021 Fig. 3",
    tolerance="|S_w| < 0.1, mean over at least eight seeds",
)
def critical_boundary(data: xr.Dataset) -> Verdict:
    """Size of S_w on the boundary."""
    on = np.abs(data["boundary_distance"].values) < 1e-9
    if not on.any():
        return undecided("no cell lies on the boundary")
    worst = float(np.abs(data["S_w"].values[on]).max())
    evidence = f"largest |S_w| on the boundary is {worst:.3f} in {int(on.sum())} cells, {len(data.seed)} seeds"
    if worst < 0.1:
        return holds(evidence)
    return fails(evidence) if len(data.seed) >= 8 else undecided(evidence + "; eight seeds are needed")


@claim(
    "condensation.phase_diagram",
    statement="S_w equals the exponent of the leading-order balance: γ − 1, 2(γ − 1 − γ′), (γ − 1 − γ′)/2, … by region.",
    reference="luo2021",
    tolerance="0.2 in every cell",
)
def balance_exponents(data: xr.Dataset) -> Verdict:
    """S_w against this package's balance argument."""
    error = np.abs(data["S_w"].values - data["exponent"].values)
    evidence = f"mean |S_w − S| = {error.mean():.3f}, largest {error.max():.3f} over {error.size} cells"
    if error.max() <= 0.2:
        return holds(evidence)
    share = float((error <= 0.2).mean())
    return (
        holds_under(f"the cell is not close to a change of region ({share:.0%} of the cells)", evidence)
        if share > 0.8
        else fails(evidence)
    )


@claim(
    "condensation.layerwise_phase",
    statement="The layers of one network may be in different regimes.",
    reference="zhou2022threelayer",
    tolerance="slopes of two layers of opposite sign, each beyond 0.1",
)
def layers_differ(data: xr.Dataset) -> Verdict:
    """Signs of S_w by layer."""
    slope = data["S_w"].transpose("layer", ...).values
    slope = slope.reshape(len(slope), -1)  # (layer, cell)
    mixed = (slope.max(0) > 0.1) & (slope.min(0) < -0.1)
    evidence = f"signs differ between layers in {int(mixed.sum())} of {mixed.size} cells; widths {data.width.values.tolist()}"
    return holds(evidence) if mixed.any() else fails(evidence)


@claim(
    "condensation.initial",
    statement="Neurons condense on the extrema of Φ_p(u) = mean y (u·x)^p, predicted from the data alone.",
    reference="zhou2022 Thm 1, 2",
    tolerance="cosine of every trained direction to a prediction at least 0.98, max |w·x| ≤ 0.3",
)
def directions_predicted(data: xr.Dataset) -> Verdict:
    """Trained directions against predicted ones, smooth activations."""
    smooth = data["multiplicity"].values > 0
    valid = smooth & (data["largest_preactivation"].values <= 0.3) & np.isfinite(data["worst_cosine"].values)
    if not valid.any():
        return undecided("no smooth activation stayed in the initial stage")
    worst = data["worst_cosine"].values[valid]
    equal = data["trained"].values[valid] == data["predicted"].values[valid]
    evidence = f"least cosine {worst.min():.4f}; counts agree in {int(equal.sum())} of {int(valid.sum())} cases"
    if worst.min() >= 0.98 and equal.all():
        return holds(evidence)
    if worst.min() >= 0.98:
        return holds_under("every basin is large enough to be populated and counted", evidence)
    return fails(evidence)


@claim(
    "condensation.initial",
    statement="ReLU neurons align with the extrema of G(u) = mean y relu(u·x), found by activation sectors.",
    reference="maennel2018",
    tolerance="cosine at least 0.98, one-dimensional inputs",
)
def relu_sectors(data: xr.Dataset) -> Verdict:
    """Sector formula against training."""
    if "relu" not in data.activation.values or 1 not in data.dimension.values:
        return undecided("the record holds no ReLU network with one-dimensional input")
    cell = data.sel(activation="relu", dimension=1)
    worst, seen, known = float(cell["worst_cosine"]), int(cell["trained"]), int(cell["predicted"])
    evidence = f"{seen} directions trained, {known} predicted, least cosine {worst:.4f}"
    return holds(evidence) if worst >= 0.98 and seen == known else fails(evidence)


@claim(
    "condensation.initial",
    statement="In several dimensions, too, ReLU neurons gather at the attractors of G(u) = mean y relu(u·x), and show all of them.",
    reference="maennel2018",
    tolerance="95 % of the neurons that see data within cosine 0.98 of a prediction; as many directions by amplitude as predicted",
)
def relu_attractors(data: xr.Dataset) -> Verdict:
    """Attractors of the ReLU field against training, by neurons and by amplitude."""
    higher = [d for d in data.dimension.values if d > 1]
    if "relu" not in data.activation.values or not higher:
        return undecided("the record holds no ReLU network with several inputs")
    cells = data.sel(activation="relu", dimension=higher)
    explained, known = cells["explained"].values, cells["predicted"].values
    evidence = "; ".join(
        f"d = {d}: {e:.1%} of the neurons, at {p} of {k} predicted orientations, {t} counted by amplitude"
        for d, e, p, k, t in zip(higher, explained, cells["populated"].values, known, cells["trained"].values, strict=True)
    )
    if not (explained >= 0.95).all():
        return fails(evidence)
    if (cells["trained"].values == known).all():
        return holds(evidence)
    return holds_under("every neuron counts alike; by amplitude the attractors that grow fastest hide the others", evidence)


@claim(
    "condensation.multiplicity_task",
    statement="The maximal number of condensed orientations at the initial stage is twice the multiplicity, 2p.",
    reference="zhou2022 Sec. 4",
    tolerance="growing orientations of the direction field, confirmed by training",
)
def bound_two_p(data: xr.Dataset) -> Verdict:
    """The bound 2p, with its counterexample."""
    count, bound, trained = data["predicted"].values, data["bound"].values, data["trained"].values
    proven = data["status"].values != "false in general"
    kept = bool((count[proven] <= bound[proven]).all())
    broken = np.flatnonzero((count > bound) & (trained > bound))
    fewer = int((count < bound).sum())
    evidence = f"at most 2p in all {int(proven.sum())} cases with p ≤ 2 or d = 1; fewer than 2p in {fewer} of {len(count)} cases"
    if not kept:
        return fails("exceeded where it is proven: " + str(count[proven].tolist()))
    if len(broken):
        worst = broken[0]
        shown = (
            f"p = {int(data['p'][worst])}, d = {int(data['dimension'][worst])}: {count[worst]} orientations predicted and "
            f"{trained[worst]} trained, against 2p = {bound[worst]}; "
        )
        return holds_under("p ≤ 2 or one-dimensional inputs; for p ≥ 3, d ≥ 2 it is not a bound", shown + evidence)
    return holds(evidence)


@claim(
    "condensation.multiplicity_task",
    statement="The notebook's cell (t = 2, Adam of rate 1e-6, four points) shows the number of directions for x tanh x and x² tanh x.",
    reference="zhou2022",
    tolerance="gradients above Adam's eps, and weights that move",
)
def notebook_cell(data: xr.Dataset) -> Verdict:
    """Why the notebook's own cell cannot show the relation."""
    if "cell_gradient" not in data:
        return undecided("the record was made without the notebook's cell (cell_epochs = 0)")
    gradient, moved = data["cell_gradient"].sel(cell_p=[2, 3]).values, data["cell_movement"].sel(cell_p=[2, 3]).values
    evidence = (
        f"median gradients {gradient[0]:.1e} (p = 2) and {gradient[1]:.1e} (p = 3) against eps = 1e-8; the weights move by "
        f"{moved[0]:.1%} and {moved[1]:.1e}; for p = 2 theory predicts {int(data['cell_predicted'].sel(cell_p=2))} directions there"
    )
    return fails(evidence) if (gradient < data.attrs["cell_eps"]).all() else holds(evidence)


@claim(
    "condensation.regimes",
    statement="The larger the exponent t of the initialisation, the farther the weights move: linear, critical, condensed.",
    reference="luo2021 Fig. 1",
    tolerance="relative distance below 0.1 where γ < 1, above 1 where γ > 1, at the end",
)
def regimes_ordered(data: xr.Dataset) -> Verdict:
    """Distances by regime."""
    end = data["relative_distance"].isel(epoch=-1).mean("seed").values
    kind = data["regime"].values
    small, large = end[kind == "linear"], end[kind == "condensed"]
    evidence = ", ".join(f"t = {t:g}: {r:.3g}" for t, r in zip(data.t.values, end, strict=True))
    if not np.isfinite(end).all():
        return undecided("some network diverged: " + evidence)
    good = (small < 0.1).all() and (large > 1).all() and (np.diff(end) > 0).all()
    return holds(evidence) if good else fails(evidence)


@claim(
    "condensation.two_layer_training",
    statement="In the condensed regime the orientations of the neurons concentrate: their entropy falls.",
    reference="luo2021 Fig. 1",
    tolerance="entropy at the end below 0.5 (condensed) or above 0.8 (linear)",
)
def condensed_runs_condense(data: xr.Dataset) -> Verdict:
    """Entropy at the end of one run."""
    entropy = data["orientation_entropy"].mean("seed").values
    start, end, kind = float(entropy[0]), float(entropy[-1]), data.attrs["regime"]
    evidence = (
        f"γ = {data.attrs['gamma']:.2f} ({kind}): entropy {start:.3f} at the start, {end:.3f} at epoch {int(data.epoch[-1])}"
    )
    if not np.isfinite(end) or kind in ("critical", "undefined"):
        return undecided(evidence)
    if kind == "linear":
        if start <= 0.8:
            return undecided(evidence + "; so few neurons cannot spread over all orientations")
        return holds(evidence) if end > 0.8 else fails(evidence)
    loss = data["loss"].mean("seed").values
    if end >= 0.5 and loss[-1] > 0.5 * loss[0]:
        return undecided(evidence + "; training has not left the plateau of the start")
    return holds(evidence) if end < 0.5 else fails(evidence)


@claim(
    "condensation.real_data",
    statement="From a small initialisation the first layer of a classifier condenses on few lines before the loss falls.",
    reference="zhou2022 Fig. 1",
    tolerance="share of the amplitude along the predicted line above 0.9 when the loss has fallen by 1 %",
)
def digits_condense(data: xr.Dataset) -> Verdict:
    """Alignment with the predicted line on digits, by size of the initialisation."""
    near = [
        float(part["cosine_to_line"].sel(look=int(part["map_epoch"].isel(map=0))))
        for part in (data.isel(std=k) for k in range(len(data["std"])))
    ]
    stds = data["std"].values
    evidence = "mean |cos| to the predicted line: " + ", ".join(f"{c:.3f} (std {s:g})" for c, s in zip(near, stds, strict=True))
    good = np.array(near) > 0.9
    if not good.any():
        return fails(evidence)
    limit = stds[good].max()
    return (
        holds(evidence) if limit >= 1e-3 else holds_under(f"the initial standard deviation is at most about {limit:g}", evidence)
    )

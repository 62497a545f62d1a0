"""Claims about ε-rank along training: staircase, layers, activations, initialisation, tasks."""

from __future__ import annotations

import numpy as np
import xarray as xr

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

__all__ = ["drops_with_rises", "plateau_contrast"]

#: Steps after which networks of the default size have reached a plateau.
LONG = 4000


def drops_with_rises(rank: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """Mean fall of log loss per look where the rank rises, and where it stays; (…, step) arrays, NaN where there is no such look."""
    rises = np.diff(rank, axis=-1) > 0
    fall = -np.diff(np.log(loss), axis=-1)
    up = fall[rises].mean() if rises.any() else np.nan
    flat = fall[~rises].mean() if (~rises).any() else np.nan
    return float(up), float(flat)


def plateau_contrast(data: xr.Dataset) -> np.ndarray:
    """Per network: ratio of the two falls of `drops_with_rises`; dimensions other than ``step`` are networks."""
    rank = data["rank"].transpose(..., "step").values.reshape(-1, data.sizes["step"])
    loss = data["loss"].transpose(..., "step").values.reshape(-1, data.sizes["step"])
    falls = [drops_with_rises(r, v) for r, v in zip(rank, loss, strict=True)]
    return np.array([up / flat if flat > 0 else np.inf for up, flat in falls])


@claim(
    "rank.staircase",
    statement="The ε-rank of the last hidden layer starts low under random initialisation and rises during training.",
    reference="yang2024 Ex. 2.6",
    tolerance="every network must end above where it starts; at most 5 % of looks may show a fall",
)
def rank_rises(data: xr.Dataset) -> Verdict:
    """Start and end of the rank, and the share of looks at which it falls."""
    rank = data["rank"].transpose(..., "step").values.reshape(-1, data.sizes["step"])
    start, end = rank[:, 0], rank[:, -1]
    falls = float((np.diff(rank, axis=-1) < 0).mean())
    evidence = (
        f"start {start.min():.0f}–{start.max():.0f}, end {end.min():.0f}–{end.max():.0f} over {len(rank)} networks; "
        f"{falls:.1%} of looks show a fall"
    )
    if (end > start).all() and falls <= 0.05:
        return holds(evidence)
    return fails(evidence)


@claim(
    "rank.staircase",
    statement="The loss falls in a staircase: it drops where the ε-rank rises and rests where the rank rests.",
    reference="yang2024 §2",
    tolerance="mean fall of log loss per look at least twice as large where the rank rises, median over networks",
)
def loss_falls_where_rank_rises(data: xr.Dataset) -> Verdict:
    """Contrast between looks with a rise of the rank and looks without."""
    if data.step[-1] < LONG:
        return undecided(f"{int(data.step[-1])} steps are too few for the loss to reach a plateau; {LONG} are needed")
    contrast = plateau_contrast(data)
    finite = contrast[~np.isnan(contrast)]
    if len(finite) < 5:
        return undecided(f"only {len(finite)} networks show both rises and rests; five are needed")
    evidence = (
        f"the mean fall of log loss per look is {np.median(finite):.1f}× larger where the rank rises "
        f"(median of {len(finite)} networks, range {finite.min():.1f}–{finite.max():.1f})"
    )
    return holds(evidence) if np.median(finite) >= 2 else fails(evidence)


@claim(
    "rank.staircase",
    statement="The phenomenon needs plain gradient descent instead of Adam to be seen.",
    reference="yang2024 Ex. 2.6",
    tolerance="the claim fails when Adam alone shows rises with a contrast of at least 2",
)
def staircase_needs_sgd(data: xr.Dataset) -> Verdict:
    """The source notes exchange Adam for SGD; is that needed?"""
    names = [str(o) for o in data.optimizer.values]
    if "adam" not in names or "sgd" not in names:
        return undecided(f"both optimisers are needed, got {', '.join(names)}")
    if data.step[-1] < LONG:
        return undecided(f"{int(data.step[-1])} steps are too few for the loss to reach a plateau; {LONG} are needed")
    contrast = {o: np.nanmedian(plateau_contrast(data.sel(optimizer=[o]))) for o in ("adam", "sgd")}
    evidence = f"contrast between rises and rests: Adam {contrast['adam']:.1f}×, SGD {contrast['sgd']:.1f}×"
    return fails(evidence + "; both show the staircase") if contrast["adam"] >= 2 else holds(evidence)


@claim(
    "rank.layers",
    statement="The ε-rank of a hidden layer is higher than that of the layer before it.",
    reference="yang2024 abstract v3",
    tolerance="medians over seeds must not decrease with the layer's index",
)
def rank_grows_with_layer(data: xr.Dataset) -> Verdict:
    """Medians over seeds, before and after training."""
    before = data["rank"].isel(step=0).median("seed").values
    after = data["rank"].isel(step=-1).median("seed").values
    evidence = f"medians over {data.sizes['seed']} seeds, layer by layer: before training {_list(before)}, after {_list(after)}"
    grows_before, grows_after = bool((np.diff(before) >= 0).all()), bool((np.diff(after) >= 0).all())
    if grows_before and grows_after:
        return holds(evidence)
    if grows_after:
        return holds_under("the network has been trained from a random initialisation", evidence)
    return fails(evidence)


@claim(
    "rank.activations",
    statement="The staircase appears with ReLU, ELU, cosine and tanh activations alike.",
    reference="yang2024 Ex. 2.6",
    tolerance="for each activation every network ends above its start; Spearman correlation of rank and log loss below −0.3",
)
def every_activation_climbs(data: xr.Dataset) -> Verdict:
    """Ranks at both ends, and rank correlation with the loss, per activation."""
    from scipy.stats import spearmanr

    parts, good = [], True
    for name in data.activation.values:
        rank = data["rank"].sel(activation=name).transpose("seed", "step").values
        loss = data["loss"].sel(activation=name).transpose("seed", "step").values
        rho = [float(spearmanr(r, np.log(v)).statistic) for r, v in zip(rank, loss, strict=True) if np.ptp(r) > 0]
        good &= bool((rank[:, -1] > rank[:, 0]).all()) and max(rho, default=0.0) < -0.3
        parts.append(f"{name} {np.median(rank[:, 0]):.0f} → {np.median(rank[:, -1]):.0f} (Spearman {np.median(rho):.2f})")
    evidence = "; ".join(parts)
    return holds(evidence) if good else fails(evidence)


@claim(
    "rank.deterministic_init",
    statement="A deterministic first layer starts at a high ε-rank and trains faster to a lower loss than random initialisation.",
    reference="yang2024 Ex. 4.1",
    tolerance="for every case: higher initial rank and lower final loss in every seed than the best random one",
)
def deterministic_start_wins(data: xr.Dataset) -> Verdict:
    """Initial ranks and final losses per case."""
    good, parts = True, []
    for case in data.case.values:
        here = data.sel(case=case)
        start = here["rank"].isel(step=0)
        loss = here["loss"].isel(step=-1)
        wins = float(loss.sel(init="deterministic").max()) < float(loss.sel(init="default").min())
        higher = float(start.sel(init="deterministic").min()) > float(start.sel(init="default").max())
        good &= wins and higher
        rank = {init: float(start.sel(init=init).median()) for init in ("default", "deterministic")}
        parts.append(
            f"{case}: initial rank {rank['default']:.0f} → {rank['deterministic']:.0f}, "
            f"final loss {float(loss.sel(init='default').median()):.1e} → {float(loss.sel(init='deterministic').median()):.1e}"
        )
    return holds("; ".join(parts)) if good else fails("; ".join(parts))


@claim(
    "rank.deterministic_init",
    statement="The higher the ε-rank, the lower the loss.",
    reference="yang2024 Rem. 3.5",
    tolerance="fails when, in every case, the initialisation of highest initial and final rank ends at a higher loss than another",
)
def more_rank_means_lower_loss(data: xr.Dataset) -> Verdict:
    """The theorem makes rank necessary, not sufficient: a saturated first layer has more rank and more loss."""
    parts, against = [], True
    for case in data.case.values:
        here = data.sel(case=case, init=["deterministic", "saturated"])
        rank = here["rank"].isel(step=-1).median("seed")
        loss = here["loss"].isel(step=-1).median("seed")
        against &= float(rank.sel(init="saturated")) > float(rank.sel(init="deterministic"))
        against &= float(loss.sel(init="saturated")) > float(loss.sel(init="deterministic"))
        even, sharp = ((float(rank.sel(init=i)), float(loss.sel(init=i))) for i in ("deterministic", "saturated"))
        parts.append(
            f"{case}: final rank {even[0]:.0f} with loss {even[1]:.1e} against {sharp[0]:.0f} with {sharp[1]:.1e} (saturated)"
        )
    evidence = "; ".join(parts) + f"; medians over {data.sizes['seed']} seeds"
    return fails(evidence) if against else undecided(evidence)


@claim(
    "rank.tasks",
    statement="The growth of ε-rank during training is not special to function fitting: it appears in regression and classification.",
    reference="yang2024 Rem. 3.4",
    tolerance="per task, the last layer's rank ends above its start in every seed",
)
def rank_rises_in_other_tasks(data: xr.Dataset) -> Verdict:
    """Ranks at both ends, per task and layer."""
    parts, risen = [], {}
    for task in data.task.values:
        rank = data["rank"].sel(task=task).transpose("seed", "step", "layer").values
        risen[str(task)] = bool((rank[:, -1, -1] > rank[:, 0, -1]).all())
        parts.append(f"{task}: last layer {np.median(rank[:, 0, -1]):.0f} → {np.median(rank[:, -1, -1]):.0f}")
    evidence = "; ".join(parts) + f"; medians over {data.sizes['seed']} seeds"
    if all(risen.values()):
        return holds(evidence)
    if any(risen.values()):
        return holds_under("the task is " + " or ".join(t for t, ok in risen.items() if ok), evidence)
    return fails(evidence)


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{v:.0f}" for v in values)

"""Statements of the literature on random features and physics-informed networks, as checks on records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided

if TYPE_CHECKING:
    import xarray as xr


def _worst(data: xr.Dataset, **where: object) -> float:
    return float(data.error.sel(**where).max())


@claim(
    "pde.rfm_vs_elm",
    statement="The ε-rank of the random feature method is clearly higher than that of the extreme learning machine.",
    reference="yang2024 §4.2",
)
def rfm_rank_above_elm(data: xr.Dataset) -> Verdict:
    """In every function, activation, bandwidth, seed and ε, against both extreme learning machines."""
    ours = data.epsilon_rank.sel(scheme="rfm")
    others = data.epsilon_rank.sel(scheme=["elm", "elm matched"])
    above = others < ours
    ratio = ours / others
    total, won = above.size, int(above.sum())
    evidence = f"{won} of {total} comparisons; ratio of ranks {float(ratio.min()):.2f} to {float(ratio.max()):.1f}"
    if won == total:
        return holds(evidence)
    saturated = int(data.sizes["R"])
    where = sorted({float(r) for r in data.R.values if not bool(above.sel(R=r).all())})
    return holds_under(f"R below {min(where):g}", evidence) if len(where) < saturated else fails(evidence)


@claim(
    "pde.rfm_vs_elm",
    statement="With tanh, the errors of the random feature method and of the extreme learning machine are about the same.",
    reference="yang2024 §4.2",
    tolerance="a factor of 100 between the geometric means over seeds",
)
def tanh_errors_are_alike(data: xr.Dataset) -> Verdict:
    """At equal R, and at matched bandwidth."""
    log = np.log10(data.error.sel(activation="tanh")).mean("seed")
    equal = abs(log.sel(scheme="elm") - log.sel(scheme="rfm"))
    matched = abs(log.sel(scheme="elm matched") - log.sel(scheme="rfm"))
    evidence = (
        f"the errors differ by at most 10^{float(equal.max()):.1f} at equal R and by at most 10^{float(matched.max()):.1f} when the "
        "extreme learning machine has m R"
    )
    if float(equal.max()) <= 2:
        return holds(evidence)
    if float(matched.max()) <= 2:
        return holds_under("bandwidths are matched, R_ELM = m R", evidence)
    inside = [float(r) for r in matched.R.values if float(matched.sel(R=r).max()) <= 2]
    if inside:
        return holds_under(f"bandwidths are matched, R_ELM = m R, with R in {inside}", evidence)
    return fails(evidence)


@claim(
    "pde.rfm_vs_elm",
    statement="With cos instead of tanh the errors become very large, that of the extreme learning machine far larger.",
    reference="yang2024 §4.2",
    tolerance="a factor of 100 of tanh's error at the same R, geometric means over seeds, every function",
)
def cos_is_much_worse(data: xr.Dataset) -> Verdict:
    """A bandwidth effect: at which R it is so, and at which it is the other way round."""
    log = np.log10(data.error).mean("seed")
    gap = (log.sel(activation="cos") - log.sel(activation="tanh")).sel(scheme="rfm")
    worse = [float(r) for r in gap.R.values if float(gap.sel(R=r).min()) > 2]
    better = [float(r) for r in gap.R.values if float(gap.sel(R=r).max()) < 0]
    best = {name: 10 ** float(log.sel(activation=name, scheme="rfm").min("R").max()) for name in ("tanh", "cos")}
    elm = (log.sel(scheme=["elm", "elm matched"]) - log.sel(scheme="rfm")).sel(activation="cos")
    evidence = (
        f"cos is 100 times worse than tanh at R in {worse}, and better at R in {better}; with the best R of each, errors are at most "
        f"{best['cos']:.1e} for cos and {best['tanh']:.1e} for tanh; with cos the extreme learning machine is off the random feature "
        f"method by factors 10^{float(elm.min()):.1f} to 10^{float(elm.max()):.1f}"
    )
    if worse and not better:
        return holds(evidence) if len(worse) == gap.sizes["R"] else holds_under(f"R in {worse}", evidence)
    if worse:
        return holds_under(f"a small bandwidth, R in {worse}; it is a bandwidth effect, reversed at R in {better}", evidence)
    return fails(evidence)


@claim(
    "pde.rfm_vs_elm",
    statement="Features of higher ε-rank give the smaller error.",
    reference="yang2024 Thm 3.3",
    tolerance="every pair of activations and schemes at one function, R and seed",
)
def rank_orders_errors(data: xr.Dataset) -> Verdict:
    """The theorem makes ε-rank necessary for a small error, not sufficient."""
    order = ("function", "R", "seed", "activation", "scheme")
    pairs = data.sizes["activation"] * data.sizes["scheme"]
    ranks = data.epsilon_rank.isel(eps=0).transpose(*order).values.reshape(-1, pairs)
    errors = data.error.transpose(*order).values.reshape(-1, pairs)
    higher = ranks[:, :, None] > ranks[:, None, :]
    smaller = errors[:, :, None] < errors[:, None, :]
    total, agree = int(higher.sum()), int((higher & smaller).sum())
    evidence = f"the features of higher ε-rank have the smaller error in {agree} of {total} pairs"
    return holds(evidence) if agree == total else fails(evidence)


@claim(
    "pde.rfm_vs_elm",
    statement="On the Helmholtz function 9 × 100 features reach 1e-7 with tanh, R = 1, and 1e-11 with cos, R = 10.",
    reference="yang2024 §4.2",
)
def reference_accuracy(data: xr.Dataset) -> Verdict:
    """The two reference accuracies, every seed."""
    if "helmholtz" not in data.function.values or not {1.0, 10.0} <= set(data.R.values.tolist()):
        return undecided("the record holds no Helmholtz function at R = 1 and R = 10")
    tanh = _worst(data, function="helmholtz", activation="tanh", R=1.0, scheme="rfm")
    cos = _worst(data, function="helmholtz", activation="cos", R=10.0, scheme="rfm")
    evidence = f"relative L² errors {tanh:.1e} (tanh, R = 1) and {cos:.1e} (cos, R = 10), worst of {data.sizes['seed']} seeds"
    return holds(evidence) if tanh <= 1e-7 and cos <= 1e-11 else fails(evidence)


@claim(
    "pde.rfm_fit",
    statement="Both methods fit the function to a pointwise error that cannot be seen in the picture.",
    reference="yang2024 §4.2",
    tolerance="1e-6 everywhere",
)
def fits_coincide(data: xr.Dataset) -> Verdict:
    """Greatest pointwise error of both."""
    worst = data.pointwise_error.max("x")
    evidence = ", ".join(f"{name}: {float(worst.sel(scheme=name)):.1e}" for name in worst.scheme.values)
    return holds(evidence) if float(worst.max()) < 1e-6 else fails(evidence)


@claim(
    "pde.pinn_initialization",
    statement="Uniform-density initialisation starts a physics-informed network at a higher ε-rank than Xavier's.",
    reference="yang2024 Ex. 4.2",
)
def uniform_density_starts_higher(data: xr.Dataset) -> Verdict:
    """Last hidden layer, every seed and frequency."""
    first = data.epsilon_rank.isel(step=0, layer=-1)
    xavier, uniform = first.sel(initialization="xavier"), first.sel(initialization="uniform density")
    evidence = (
        f"initial ε-rank {int(xavier.min())} to {int(xavier.max())} (Xavier), {int(uniform.min())} to {int(uniform.max())} "
        f"(uniform density) over {first.sizes['seed']} seeds"
    )
    return holds(evidence) if bool((uniform > xavier).all()) else fails(evidence)


@claim(
    "pde.pinn_initialization",
    statement="Uniform-density initialisation ends at a smaller loss than Xavier's.",
    reference="yang2024 Ex. 4.2",
    tolerance="all seeds of one below all seeds of the other",
)
def uniform_density_ends_lower(data: xr.Dataset) -> Verdict:
    """Final loss per frequency; with disjoint ranges only."""
    if data.sizes["seed"] < 3:
        return undecided(f"only {data.sizes['seed']} seeds")
    parts, lower = [], []
    for frequency in data.frequency.values:
        last = data.loss.isel(step=-1).sel(frequency=frequency)
        xavier, uniform = last.sel(initialization="xavier"), last.sel(initialization="uniform density")
        parts.append(
            f"ω = {frequency:g}: {float(uniform.min()):.2g} to {float(uniform.max()):.2g} against {float(xavier.min()):.2g} to "
            f"{float(xavier.max()):.2g}"
        )
        if float(uniform.max()) < float(xavier.min()):
            lower.append(float(frequency))
    evidence = "final loss, uniform density against Xavier; " + "; ".join(parts)
    if len(lower) == data.sizes["frequency"]:
        return holds(evidence)
    return holds_under(f"frequencies ω in {lower}", evidence) if lower else fails(evidence)


@claim(
    "pde.pinn_initialization",
    statement="The gap in ε-rank between the initialisations lasts.",
    reference="yang2024 Ex. 4.2",
    tolerance="final medians differ by less than a quarter of the initial gap: closed",
)
def the_gap_lasts(data: xr.Dataset) -> Verdict:
    """Medians over seeds of the last layer's ε-rank, first and last look."""
    if data.sizes["seed"] < 3:
        return undecided(f"only {data.sizes['seed']} seeds")
    median = data.epsilon_rank.isel(layer=-1).median("seed")
    gap = median.sel(initialization="uniform density") - median.sel(initialization="xavier")
    start, end = gap.isel(step=0), gap.isel(step=-1)
    evidence = "gap of the medians, first → last look: " + ", ".join(
        f"ω = {f:g}: {float(start.sel(frequency=f)):g} → {float(end.sel(frequency=f)):g}" for f in data.frequency.values
    )
    return holds(evidence) if bool((end > 0.25 * start).all()) else fails(evidence)


def _steps_up(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Change of the last layer's ε-rank and drop of the log-loss between looks, (seed, looks − 1)."""
    rank = data.epsilon_rank.isel(layer=-1).transpose("seed", "step").values
    log = np.log(data.loss.transpose("seed", "step").values)
    return np.diff(rank, axis=1), -np.diff(log, axis=1)


@claim(
    "pde.pinn_rank",
    statement="While a physics-informed network is trained, the ε-rank of its last hidden layer rises step by step.",
    reference="yang2024 Remark 3.4",
    tolerance="every seed ends at least 1.5 times as high as it starts; at most 10 % of the intervals go down",
)
def rank_rises(data: xr.Dataset) -> Verdict:
    """First and last ε-rank, and how often it falls."""
    rank = data.epsilon_rank.isel(layer=-1).transpose("seed", "step").values
    down = float((np.diff(rank, axis=1) < 0).mean())
    evidence = (
        f"ε-rank {rank[:, 0].min()} to {rank[:, 0].max()} at the start, {rank[:, -1].min()} to {rank[:, -1].max()} at the end; "
        f"{100 * down:.1f} % of the intervals go down"
    )
    if not (rank[:, -1] >= 1.5 * rank[:, 0]).all():
        return fails(evidence)
    return holds(evidence) if down <= 0.1 else holds_under("falls in between are allowed for", evidence)


@claim(
    "pde.pinn_rank",
    statement="The residual loss falls where the ε-rank rises: a staircase.",
    reference="yang2024 Remark 3.4",
    tolerance="mean drop of the log-loss in intervals of rising rank above that in intervals of constant rank, every seed",
)
def loss_falls_where_rank_rises(data: xr.Dataset) -> Verdict:
    """Mean drops of the log-loss."""
    change, drop = _steps_up(data)
    pairs = [(d[c > 0].mean(), d[c == 0].mean()) for c, d in zip(change, drop, strict=True) if (c > 0).any() and (c == 0).any()]
    if len(pairs) < len(change) or len(pairs) < 3:
        return undecided(f"{len(pairs)} of {len(change)} seeds have both kinds of intervals; at least three are needed")
    rising, flat = np.array(pairs).T
    evidence = f"mean drop of log-loss per look {rising.mean():.3f} where the rank rises, {flat.mean():.3f} where it is constant"
    return holds(evidence) if bool((rising > flat).all()) else fails(evidence)


@claim(
    "pde.convergence",
    statement="The error of the random feature method falls exponentially with the number of features per subdomain.",
    reference="chen2022rfm",
    tolerance="log error against J above the floor of rounding (1e-9): correlation below −0.9 for every m and partition",
)
def converges_exponentially(data: xr.Dataset) -> Verdict:
    """Correlation of log error and J, until rounding takes over."""
    log = np.log10(data.error).mean("seed")
    worst, rates = -1.0, []
    for partition in data.partition.values:
        for m in data.subdomains.values:
            line = log.sel(partition=partition, subdomains=m)
            above = line.values > -9
            above[: int(np.argmin(above)) if not above.all() else len(above)] = True
            if above.sum() < 3:
                continue
            x, y = data["count"].values[above], line.values[above]
            worst = max(worst, float(np.corrcoef(x, y)[0, 1]))
            rates.append(-float(np.polyfit(x, y, 1)[0]))
    if len(rates) < 2:
        return undecided("fewer than two curves have three points above rounding")
    evidence = f"{len(rates)} curves: correlation at worst {worst:.3f}, {min(rates):.3f} to {max(rates):.3f} digits per feature"
    return holds(evidence) if worst < -0.9 else fails(evidence)


@claim(
    "pde.convergence",
    statement="More subdomains of the same number of features give the smaller error.",
    reference="chen2022rfm",
    tolerance="geometric means over seeds, while above the floor of rounding (1e-9)",
)
def subdomains_help(data: xr.Dataset) -> Verdict:
    """Every doubling of m, at every J and partition."""
    log = np.log10(data.error).mean("seed").transpose("subdomains", ...).values
    before, after = log[:-1], log[1:]
    counted = before > -9
    if not counted.any():
        return undecided("all errors are at the floor of rounding")
    won, total = int((after < before)[counted].sum()), int(counted.sum())
    evidence = f"{won} of {total} refinements lower the error"
    return (
        holds(evidence) if won == total else holds_under("most refinements", evidence) if won > 0.8 * total else fails(evidence)
    )


@claim(
    "pde.helmholtz_table",
    statement="The published greatest errors of the local extreme learning machine are reproduced.",
    reference="dong2021locelm",
    tolerance="the median over draws is at most ten times the greater of the two published numbers",
)
def published_table(data: xr.Dataset) -> Verdict:
    """Median greatest error beside the published numbers."""
    known = data.sel(count=[c for c in data["count"].values if bool(np.isfinite(data.published.sel(count=c)).all())])
    if not known.sizes["count"]:
        return undecided("no published number for these counts")
    ours, theirs = known.max_error.median("seed"), known.published.max("source")
    evidence = "; ".join(
        f"M = {int(c)}: {float(ours.sel(count=c)):.1e} against "
        + " and ".join(f"{float(v):.1e}" for v in known.published.sel(count=c).values)
        for c in known["count"].values
    )
    return holds(evidence) if bool((ours <= 10 * theirs).all()) else fails(evidence)

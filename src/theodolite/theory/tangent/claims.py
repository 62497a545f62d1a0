"""What the literature and the lecture notes say of tangent kernels, checked on the records of the experiments."""

from __future__ import annotations

import numpy as np
import xarray as xr

from theodolite.core.claim import Verdict, claim, fails, holds, holds_under, undecided


def _slopes(data: xr.Dataset, name: str, along: str, low: float, high: float) -> tuple[bool, str]:
    """Whether every fitted slope lies in the band, and the slopes in words."""
    fits = data[f"{name}_slope"]
    parts = []
    for value in data[along].values if along in fits.dims else [None]:
        at = {} if value is None else {along: value}
        s, a, b = (float(data[f"{name}_slope{end}"].sel(at)) for end in ("", "_low", "_high"))
        parts.append(f"{'' if value is None else f'{value}: '}{s:.3f} [{a:.3f}, {b:.3f}]")
    inside = bool(((fits >= low) & (fits <= high)).all())
    return inside, f"slope {', '.join(parts)}; band [{low}, {high}]"


@claim(
    "tangent.concentration",
    statement="the tangent kernel at initialisation becomes deterministic as the width grows; its spread falls as m^(-1/2)",
    reference="jacot2018 Thm 1",
    tolerance="slope in [-0.65, -0.38]",
)
def kernel_concentrates(data: xr.Dataset) -> Verdict:
    """Slope −1/2 of the relative standard deviation, for every activation."""
    inside, words = _slopes(data, "spread", "activation", -0.65, -0.38)
    return holds(words) if inside else fails(words)


@claim(
    "tangent.concentration",
    statement="the limit is the kernel of the recursion Θ^{l+1} = K^{l+1} + σ_w² E[φ′φ′] Θ^l",
    reference="jacot2018 Thm 1",
    tolerance="bias within four standard errors of the mean kernel at the largest width",
)
def limit_is_the_recursion(data: xr.Dataset) -> Verdict:
    """The mean kernel's distance from the recursion against its standard error."""
    error = data["spread"].isel(width=-1) / data.sizes["seed"] ** 0.5
    bias = data["bias"].isel(width=-1)
    words = ", ".join(
        f"{a}: {float(b):.3f} (standard error {float(e):.3f})"
        for a, b, e in zip(data["activation"].values, bias, error, strict=True)
    )
    return (
        holds(f"‖mean K − Θ∞‖/‖Θ∞‖ = {words}")
        if bool((bias < 4 * error + 1e-12).all())
        else fails(f"‖mean K − Θ∞‖/‖Θ∞‖ = {words}")
    )


@claim(
    "tangent.concentration",
    statement="K_NTK(x, x′) = E_θ[f(θ, x) f(θ, x′)]",
    reference="jacot2018",
    tolerance="relative Frobenius distance",
)
def tangent_kernel_is_the_output_covariance(data: xr.Dataset) -> Verdict:
    """E f f′ is compared with both kernels: it is the NNGP's, and stays away from the NTK."""
    to_ntk, to_nngp = data["covariance_to_ntk"].isel(width=-1), data["covariance_to_nngp"].isel(width=-1)
    words = "; ".join(
        f"{a}: E f f′ is {float(t):.2f} (relative) away from the NTK and {float(n):.3f} from the NNGP"
        for a, t, n in zip(data["activation"].values, to_ntk, to_nngp, strict=True)
    )
    if bool((to_ntk < 3 * to_nngp).any()):
        return undecided(words)
    return fails(f"{words}; the formula is the NNGP kernel's, the tangent kernel is Σ_p ∂_p f(x) ∂_p f(x′)")


@claim(
    "tangent.constancy",
    statement="in the limit the tangent kernel stays fixed during training",
    reference="jacot2018 Thm 2",
    tolerance="drift falls with width, slope below -0.5",
)
def kernel_stays_fixed(data: xr.Dataset) -> Verdict:
    """The drift vanishes with width, while the loss does fall."""
    inside, words = _slopes(data, "drift", "activation", -2.0, -0.5)
    last = data["drift"].isel(width=-1).mean("seed")
    trained = float(data["loss_ratio"].max())
    words += (
        f"; at m = {int(data['width'][-1])} the drift is {', '.join(f'{float(v):.3f}' for v in last)}; L_T/L_0 ≤ {trained:.1e}"
    )
    if trained > 0.1:
        return undecided(words + "; the networks were not trained far enough")
    return holds_under("width → ∞; at finite width the kernel moves", words) if inside else fails(words)


@claim(
    "tangent.constancy",
    statement="the kernel changes by an amount of order m^(-1/2) during training",
    reference="lee2019 Thm 2.1",
    tolerance="slope in [-0.65, -0.35] for the order itself",
)
def drift_is_of_order_root_width(data: xr.Dataset) -> Verdict:
    """m^(-1/2) is an upper bound that is not attained: the measured order is 1/m."""
    inside, words = _slopes(data, "drift", "activation", -0.65, -0.35)
    if inside:
        return holds(words)
    steeper = bool((data["drift_slope_high"] < -0.5).all())
    return holds_under("it is read as an upper bound; the measured order is near 1/m", words) if steeper else undecided(words)


@claim(
    "tangent.lazy_training",
    statement="the relative weight change vanishes with width: as m^(-1/2) with one hidden layer, as 1/m with two",
    reference="lee2019 Thm 2.1",
    tolerance="slopes within 0.25 of -1/2 and -1",
)
def weights_hardly_move(data: xr.Dataset) -> Verdict:
    """‖θ₀‖ grows as √m with one hidden layer and as m with two, while ‖θ_T − θ_0‖ stays of order one."""
    _, words = _slopes(data, "weight_change", "hidden", -2, 0)
    slopes = data["weight_change_slope"]
    right = all(abs(float(slopes.sel(hidden=h)) - s) < 0.25 for h, s in ((1, -0.5), (2, -1.0)))
    return holds(words) if right else fails(words)


@claim(
    "tangent.lazy_training",
    statement="training becomes lazy at any width when the output is scaled by α: weights move by O(1/α)",
    reference="chizat2019 Thm 2.2",
    tolerance="slope in [-1.15, -0.8]",
)
def scale_makes_lazy(data: xr.Dataset) -> Verdict:
    """Slope −1 of the weight change in α."""
    inside, words = _slopes(data, "alpha_weight_change", "none", -1.15, -0.8)
    return holds(words) if inside else fails(words)


@claim(
    "tangent.linearized_training",
    statement="the outputs stay within O(m^(-1/2)) of the linearised model's during all of training",
    reference="lee2019 Thm 2.1",
    tolerance="slope at most -0.4",
)
def training_is_linear(data: xr.Dataset) -> Verdict:
    """The gap falls at least as fast as the bound."""
    inside, words = _slopes(data, "gap", "activation", -2.0, -0.4)
    return holds(words) if inside else fails(words)


@claim(
    "tangent.exponential_convergence",
    statement="gradient descent converges exponentially: L_t ≤ (1 − η λ_min)^t L_0 with λ_min the least along the path",
    reference="liu2022 Thm 6",
    tolerance="at every step, relative 1e-9",
)
def loss_falls_exponentially(data: xr.Dataset) -> Verdict:
    """The bound with the smallest eigenvalue met, at every step."""
    least = (data["learning_rate"] * data["lambda_min"].min("look")).clip(0, 1)
    bound = (1 - least) ** data["step"] * data["loss"].isel(step=0)
    worst = float((data["loss"] / bound).max())
    words = f"largest L_t / bound = {worst:.4f} over {data['loss'].size} points"
    return holds(words) if worst <= 1 + 1e-9 else fails(words)


@claim(
    "tangent.exponential_convergence",
    statement="the rate is that of the kernel at initialisation, (1 − η λ_min(K_0))^(2t)",
    reference="lee2019",
    tolerance="slopes of log L within 15 %",
)
def rate_is_the_initial_kernels(data: xr.Dataset) -> Verdict:
    """Tail slope against prediction; before the tail, larger eigenvalues still matter and the fall is faster."""
    ratio = data["tail_slope"] / data["predicted_slope"]
    words = f"measured / predicted slope between {float(ratio.min()):.2f} and {float(ratio.max()):.2f}"
    if bool((abs(ratio - 1) < 0.15).all()):
        return holds(words)
    linear = float(abs(np.log(data["loss"].isel(step=-1) / data["linear_loss"].isel(step=-1))).max())
    return holds_under(
        "t is beyond the time at which all but the smallest eigenvalue have died out, and the width is large",
        f"{words}; the linearised closed form, with all eigenvalues, is off by at most a factor {np.exp(linear):.2g}",
    )


@claim(
    "tangent.hessian_scaling",
    statement="the Hessian of a wide network with linear output has norm Õ(m^(-1/2))",
    reference="liu2020 Thm 3.2",
    tolerance="slope in [-0.65, -0.3]",
)
def hessian_vanishes(data: xr.Dataset) -> Verdict:
    """Slopes of the two networks with linear output."""
    linear = data.sel(network=["one hidden layer", "two hidden layers"])
    inside, words = _slopes(linear, "hessian_norm", "network", -0.65, -0.3)
    return holds_under("the logarithm in Õ is kept: the slope stays above −1/2", words) if inside else fails(words)


@claim(
    "tangent.hessian_scaling",
    statement="with a non-linear output or a bottleneck layer the Hessian does not vanish, so that the kernel is not constant",
    reference="liu2020 Thm 5.1, 5.2",
    tolerance="slope above -0.25 and separated from the linear output's",
)
def hessian_stays(data: xr.Dataset) -> Verdict:
    """Slopes of the two networks whose Hessian is of order one."""
    other = data.sel(network=["quadratic output", "bottleneck"])
    _, words = _slopes(other, "hessian_norm", "network", -1, 1)
    highest = float(data["hessian_norm_slope"].sel(network=["one hidden layer", "two hidden layers"]).max())
    lowest = float(other["hessian_norm_slope"].min())
    return holds(words) if lowest > max(-0.25, highest) else undecided(f"{words}; linear outputs reach {highest:.3f}")


@claim(
    "tangent.pl_condition",
    statement="½‖∇L‖² ≥ λ_min(K) L: uniform conditioning gives the PL condition for the square loss",
    reference="liu2022 Thm 1",
    tolerance="at every point of the path, relative 1e-8 where the loss exceeds rounding",
)
def conditioning_gives_pl(data: xr.Dataset) -> Verdict:
    """The ratio lies between the extreme eigenvalues at each point."""
    alive = data["loss"] > 1e-22 * data["loss"].isel(step=0)
    low = float((data["ratio"] / data["lambda_min"]).where(alive).min())
    high = float((data["ratio"] / data["lambda_max"]).where(alive).max())
    words = f"ratio/λ_min ≥ {low:.4f}, ratio/λ_max ≤ {high:.4f} over {int(alive.sum())} points"
    return holds(words) if low >= 1 - 1e-8 and high <= 1 + 1e-8 else fails(words)


@claim(
    "tangent.pl_condition",
    statement="the loss of a network satisfies the PL condition",
    reference="liu2022",
    tolerance="λ_min(K) > 0 on the whole path",
)
def networks_satisfy_pl(data: xr.Dataset) -> Verdict:
    """It needs λ_min(K) > 0 on the set that training visits, which narrow networks do not guarantee."""
    least = data["lambda_min"].min(("seed", "step"))
    words = ", ".join(f"m = {int(m)}: least λ_min {float(v):.3g}" for m, v in zip(data["width"], least, strict=True))
    if bool((least > 0).all()):
        return holds_under("it is read on the set that training visits, with the constant λ_min(K) there", words)
    return fails(words)


@claim(
    "tangent.condition_number_vs_width",
    statement="the condition number is the ratio of the smallest to the largest eigenvalue of the tangent kernel",
    reference="liu2022 Def. 3",
)
def condition_number_is_min_over_max(data: xr.Dataset) -> Verdict:
    """As written in lecture notes; the paper's is λ_max/λ_min, which is ≥ 1 and whose growth slows convergence."""
    kappa = float(data["kappa"].isel(width=-1).median())
    return fails(
        f"κ = λ_max/λ_min (sup over inf on a ball) is meant: {kappa:.3g} at the largest width; the inverse, {1 / kappa:.3g}, would "
        "have fast convergence at large values of a number that is at most 1"
    )


@claim(
    "tangent.condition_number_vs_width",
    statement="the norm of the Hessian bounds the condition number, and wide networks have a better one",
    reference="liu2022 Thm 5",
)
def hessian_decides_the_condition_number(data: xr.Dataset) -> Verdict:
    """The Hessian keeps falling with width while κ settles at the infinite kernel's value, which the data decide."""
    smooth = data["kappa_smooth"].median("seed")
    limit = float(data["kappa_smooth_infinite"])
    slope, low, high = (float(v) for v in data["hessian_slope"])
    words = (
        f"‖∇²f‖ falls with slope {slope:.2f} [{low:.2f}, {high:.2f}] while the median κ goes from {float(smooth[0]):.3g} to "
        f"{float(smooth[-1]):.3g} and the infinite kernel has {limit:.3g}"
    )
    if bool((np.diff(np.log(smooth.values)) < 0).mean() < 0.5):
        return undecided(words)
    return fails(
        f"{words}: a small Hessian norm keeps κ near its value at initialisation, it does not bound it; that value tends to the "
        "infinite kernel's, which depends on the inputs and the architecture"
    )


@claim(
    "tangent.solution_manifold",
    statement="solutions of N equations in P > N unknowns form a manifold of dimension P − N, tangent to the Jacobian's kernel",
    reference="liu2022",
    tolerance="change along the tangent at most 5 % of that across it",
)
def solutions_form_a_manifold(data: xr.Dataset) -> Verdict:
    """Rank of the Jacobian at the solutions found, and the outputs' change along and across its kernel."""
    reached = float(data["loss"].max())
    ratio = float((data["change_along"] / data["change_across"]).max())
    ranks = sorted({int(v) for v in data["rank"].values.ravel()})
    words = f"ranks {ranks}, loss ≤ {reached:.1e}, change along / across ≤ {ratio:.3f}"
    if reached > 1e-6:
        return undecided(words + "; no solution was reached")
    return holds_under("J has full rank N at the solution", words) if len(ranks) == 1 and ratio < 0.05 else fails(words)


@claim(
    "tangent.solution_manifold",
    statement="the loss of an over-parameterised system is non-convex near every solution",
    reference="liu2022 Prop. 3",
    tolerance="a negative Hessian eigenvalue at a nearby point, for every network",
)
def loss_is_not_convex_nearby(data: xr.Dataset) -> Verdict:
    """Smallest Hessian eigenvalue at a point near each solution, and in the toy picture."""
    values = data["lambda_min"].mean("seed")
    words = ", ".join(f"m = {int(m)}: {float(v):.1e}" for m, v in zip(data["width"], values, strict=True))
    toy = float(data["curved_convexity"].where(data["curved_loss"] < 0.05).min())
    words = f"smallest eigenvalue of ∇²L near the solution: {words}; toy system {toy:.2g}"
    if bool((data["lambda_min"] < 0).all()) and toy < 0:
        return holds_under("the system is non-linear: w₁ + w₂ = 1 has a convex loss with a line of solutions", words)
    return undecided(words)


@claim(
    "tangent.kernel_prior",
    statement="training from initialisation implies an L2 prior: of all interpolants the one nearest to θ₀ is found",
    reference="jacot2018",
    tolerance="norm within 1e-6 of √(yᵀK⁻¹y), below all others",
)
def least_norm_interpolant(data: xr.Dataset) -> Verdict:
    """The move of the linearised network is the least possible."""
    move, least, others = float(data["least_move"]), float(data["predicted_move"]), float(data["other_moves"].min())
    words = f"‖θ_T − θ_0‖ = {move:.8f}, √(yᵀK⁻¹y) = {least:.8f}, other interpolants ≥ {others:.4f}"
    right = abs(move - least) < 1e-6 * least and least < others
    return holds_under("the kernel is constant and the initial output is subtracted", words) if right else fails(words)


@claim(
    "tangent.kernel_prior",
    statement="the kernel carries a weak prior sample at (0, 0)",
    reference="jacot2018",
    tolerance="prediction at 0 for targets 1",
)
def prior_sample_at_the_origin(data: xr.Dataset) -> Verdict:
    """Exact without biases, where f(0) = 0 always; with biases the prediction at 0 follows the data."""
    pairs = {float(b): float(v) for b, v in zip(data["sigma_b2"], data["at_origin"], strict=True)}
    words = ", ".join(f"σ_b² = {b:g}: f(0) = {v:.3f}" for b, v in pairs.items())
    biased = [v for b, v in pairs.items() if b > 0]
    if biased and max(biased) > 0.5:
        return fails(f"{words} for targets 1: only the bias-free network has f(0) = 0, by homogeneity and not by a prior sample")
    return holds_under("there are no biases", words)


@claim(
    "tangent.feature_map",
    statement="the infinitely wide network is a linear model with feature map φ(x) = ∂f(x; θ₀)/∂θ",
    reference="jacot2018",
    tolerance="φφᵀ = Θ and equal predictions to 1e-9; network to model with slope below -0.4",
)
def network_is_linear_in_its_features(data: xr.Dataset) -> Verdict:
    """Feature model and kernel regression agree exactly; the network approaches them with width."""
    exact = max(float(data["identity_error"].max()), float(data["model_error"].max()))
    inside, words = _slopes(data, "gap", "none", -2.0, -0.4)
    words = f"feature model against kernel ≤ {exact:.1e}; network against model: {words}"
    if exact > 1e-9 or not inside:
        return fails(words)
    return holds_under("width → ∞; the feature map is that of the initial parameters", words)


@claim(
    "tangent.infinite_vs_finite",
    statement="finite networks approach the accuracy of the infinite-width kernel as they widen",
    reference="lee2019",
    tolerance="within four standard errors of a share at the largest width and size",
)
def finite_networks_approach_the_kernel(data: xr.Dataset) -> Verdict:
    """Accuracies at the largest training size."""
    last = data.isel(size=-1)
    target = float(last["infinite_ntk_timed"].mean())
    found = last["trained"].mean("seed")
    words = ", ".join(f"m = {int(m)}: {float(v):.3f}" for m, v in zip(data["width"], found, strict=True))
    ends = ", ".join(f"{n} {float(last[f'infinite_{n.lower()}'].mean()):.3f}" for n in ("NTK", "NNGP"))
    words = f"after equal steps: infinite NTK {target:.3f}, trained {words}; at t = ∞: {ends}"
    gaps = abs(found - target)
    near = float(gaps[-1]) < 4 * (target * (1 - target) / data.attrs["tests"]) ** 0.5
    if near:
        return holds(words)
    return undecided(words) if float(gaps[-1]) < float(gaps[0]) else fails(words)

"""Figures of the tangent-kernel experiments, drawn from records alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from theodolite.core.record import Record
from theodolite.draw.style import COLORS, MUTED, legend_below, sequence, style, ticks_at
from theodolite.draw.style import figure as new_figure

__all__ = [
    "concentration",
    "condition_number_vs_width",
    "constancy",
    "exponential_convergence",
    "feature_map",
    "hessian_scaling",
    "infinite_vs_finite",
    "kernel_prior",
    "lazy_training",
    "linearized_training",
    "pl_condition",
    "solution_manifold",
]


@contextmanager
def _axes(rows: int = 1, columns: int = 1, **options: Any) -> Iterator[tuple[Any, Any]]:
    with style():
        drawn, axes = new_figure(rows, columns, **options)
        yield drawn, axes


def _law(axis: Any, x: Any, values: Any, label: str, color: str) -> None:
    """Seeds as points and their mean as a line, on logarithmic axes; ``values`` is (x, seed)."""
    x, values = np.asarray(x, dtype=float), np.asarray(values, dtype=float)
    axis.loglog(np.repeat(x, values.shape[1]), values.ravel(), ".", color=color, alpha=0.35, markersize=4)
    axis.loglog(x, values.mean(1), "o-", color=color, label=label)
    ticks_at(axis, x)


def _guide(axis: Any, x: Any, start: float, slope: float, words: str) -> None:
    """A line of the theory's slope through ``start`` at the first x: dashed for a law, dotted for a bound."""
    x = np.asarray(x, dtype=float)
    line = ":" if "bound" in words else "--"
    axis.loglog(x, start * (x / x[0]) ** slope, line, color=MUTED, linewidth=1.2, label=words)
    ticks_at(axis, x)


def _slope(data: Any, name: str, **at: Any) -> str:
    s, low, high = (float(data[f"{name}_slope{end}"].sel(at)) for end in ("", "_low", "_high"))
    return f"slope {s:.2f} [{low:.2f}, {high:.2f}]"


def concentration(record: Record) -> Any:
    """Spread of the kernel over seeds, and what the outputs' covariance converges to."""
    data = record.data
    with _axes(1, 2) as (drawn, axes):
        for color, activation in zip(COLORS, data["activation"].values, strict=False):
            at = data.sel(activation=activation)
            _law(axes[0], data["width"], at["deviation"], f"{activation}: {_slope(data, 'spread', activation=activation)}", color)
            axes[1].loglog(data["width"], at["covariance_to_nngp"], "o-", color=color, label=f"{activation}: to the NNGP")
            axes[1].loglog(data["width"], at["covariance_to_ntk"], "s--", color=color, label=f"{activation}: to the NTK")
        _guide(axes[0], data["width"], 0.8 * float(data["spread"].isel(width=0).min()), -0.5, "−1/2")
        axes[0].set(title="The kernel concentrates", xlabel="width m", ylabel="‖K − mean K‖ / ‖mean K‖")
        ticks_at(axes[1], data["width"].values)
        axes[1].set(title="E[f f′] is the NNGP, not the NTK", xlabel="width m", ylabel="relative distance of E[f f′]")
        for axis in axes:
            legend_below(axis)
        return drawn


def constancy(record: Record) -> Any:
    """Drift of the kernel during training against width."""
    data = record.data
    with _axes() as (drawn, axis):
        for color, activation in zip(COLORS, data["activation"].values, strict=False):
            _law(
                axis,
                data["width"],
                data["drift"].sel(activation=activation),
                f"{activation}: {_slope(data, 'drift', activation=activation)}",
                color,
            )
        start = float(data["drift"].isel(width=0).mean("seed").min())
        _guide(axis, data["width"], 0.7 * start, -1.0, "−1")
        _guide(axis, data["width"], 1.6 * start, -0.5, "−1/2 (bound)")
        axis.set(title="The kernel's drift falls as 1/m", xlabel="width m", ylabel="‖K_T − K_0‖ / ‖K_0‖")
        legend_below(axis)
        return drawn


def lazy_training(record: Record) -> Any:
    """Relative weight change against width and against the scale of the output."""
    data = record.data
    with _axes(1, 2) as (drawn, axes):
        for color, hidden in zip(COLORS, data["hidden"].values, strict=False):
            words = f"{hidden} hidden: {_slope(data, 'weight_change', hidden=hidden)}"
            _law(axes[0], data["width"], data["weight_change"].sel(hidden=hidden), words, color)
        axes[0].set(title="Weights move less in wide networks", xlabel="width m", ylabel="‖θ_T − θ_0‖ / ‖θ_0‖")
        _law(axes[1], data["alpha"], data["alpha_weight_change"], f"weights: {_slope(data, 'alpha_weight_change')}", COLORS[0])
        _law(axes[1], data["alpha"], data["alpha_drift"], "kernel", COLORS[1])
        _guide(axes[1], data["alpha"], 0.6 * float(data["alpha_weight_change"].isel(alpha=0).mean()), -1.0, "−1")
        axes[1].set(title="… and at a large output scale", xlabel="scale α", ylabel="relative change")
        for axis in axes:
            legend_below(axis)
        return drawn


def linearized_training(record: Record) -> Any:
    """Distance from the linearised model: largest over time against width, and along time."""
    data = record.data
    with _axes(1, 2) as (drawn, axes):
        for color, activation in zip(COLORS, data["activation"].values, strict=False):
            _law(
                axes[0],
                data["width"],
                data["gap"].sel(activation=activation),
                f"{activation}: {_slope(data, 'gap', activation=activation)}",
                color,
            )
        _guide(axes[0], data["width"], 1.4 * float(data["gap"].isel(width=0).mean()), -0.5, "−1/2 (bound)")
        axes[0].set(title="Training approaches its linearisation", xlabel="width m", ylabel="sup over t of RMS(f − f_lin)")
        last = data.isel(activation=-1)
        for shade, width in zip(sequence(data.sizes["width"]), data["width"].values, strict=True):
            axes[1].plot(data["step"].values[1:], last["distance"].sel(width=width)[1:], color=shade, label=f"m = {width}")
        axes[1].set(
            title=f"Along training ({last['activation'].values!s})",
            xlabel="step",
            ylabel="RMS(f − f_lin)",
            xscale="log",
            yscale="log",
        )
        for axis in axes:
            legend_below(axis)
        return drawn


def exponential_convergence(record: Record) -> Any:
    """Loss of networks and of their linearisations, with the bound of the smallest eigenvalue."""
    data = record.data.isel(width=-1)
    activations = data["activation"].values
    with _axes(1, len(activations), squeeze=False) as (drawn, axes):
        for axis, activation in zip(axes[0], activations, strict=True):
            at = data.sel(activation=activation)
            for e in range(at.sizes["seed"]):
                rate = float(at["learning_rate"][e] * at["lambda_min"].min("look")[e])
                words = {"network": "-", "linearised": ":", "bound (1 − ηλ_min)^t": "--"}
                curves = (at["loss"][e], at["linear_loss"][e], (1 - rate) ** at["step"] * float(at["loss"][e, 0]))
                for (label, line), curve in zip(words.items(), curves, strict=True):
                    axis.semilogy(
                        at["step"], curve, line, color=COLORS[e % len(COLORS)], linewidth=1.3, label=label if e == 0 else None
                    )
            axis.set(title=f"{activation}, m = {int(data['width'])}", xlabel="step", ylabel="½‖f − y‖²")
            legend_below(axis)
        return drawn


def pl_condition(record: Record) -> Any:
    """PL ratio along training, within the band of the kernel's eigenvalues."""
    data = record.data
    count = data.sizes["width"]
    with _axes(1, count, width=3.2, squeeze=False, sharey=True) as (drawn, axes):
        for axis, width in zip(axes[0], data["width"].values, strict=True):
            at = data.sel(width=width)
            alive = at["loss"] > 1e-22 * at["loss"].isel(step=0)
            steps = np.maximum(at["step"].values, 0.5)
            axis.fill_between(
                steps, at["lambda_min"].min("seed"), at["lambda_max"].max("seed"), color=MUTED, alpha=0.15, label="[λ_min, λ_max]"
            )
            for e in range(at.sizes["seed"]):
                axis.plot(
                    steps,
                    at["lambda_min"][e],
                    "--",
                    color=COLORS[e % len(COLORS)],
                    linewidth=1,
                    label="λ_min(K)" if e == 0 else None,
                )
                axis.plot(
                    steps, at["ratio"][e].where(alive[e]), color=COLORS[e % len(COLORS)], label="½‖∇L‖²/L" if e == 0 else None
                )
            axis.set(title=f"m = {width}", xlabel="step", xscale="log", yscale="log")
        axes[0][0].set_ylabel("PL ratio and eigenvalues")
        legend_below(axes[0][0], columns=3)
        return drawn


def condition_number_vs_width(record: Record) -> Any:
    """κ against width with the infinite kernel's value, and the Hessian norm that keeps falling."""
    data = record.data
    with _axes(1, 2) as (drawn, axes):
        pairs = (
            ("kappa", "kappa_infinite", record.settings["activation"]),
            ("kappa_smooth", "kappa_smooth_infinite", record.settings["hessian_activation"]),
        )
        for color, (name, limit, words) in zip(COLORS, pairs, strict=False):
            values = data[name].values
            axes[0].loglog(np.repeat(data["width"].values, values.shape[1]), values.ravel(), ".", color=color, alpha=0.35)
            axes[0].loglog(data["width"], np.median(values, 1), "o-", color=color, label=f"{words}, median")
            axes[0].axhline(float(data[limit]), color=color, linestyle="--", linewidth=1, label=f"{words}, m = ∞")
        ticks_at(axes[0], data["width"].values)
        top = max(float(data[name].median("seed").max()) for name, _, _ in pairs)
        axes[0].set_ylim(top=30 * top)  # a narrow network's kernel can be singular
        axes[0].set(title="κ settles at the infinite kernel's", xlabel="width m", ylabel="κ = λ_max / λ_min")
        slope, low, high = (float(v) for v in data["hessian_slope"])
        _law(axes[1], data["width"], data["hessian_norm"], f"slope {slope:.2f} [{low:.2f}, {high:.2f}]", COLORS[2])
        axes[1].set(title="… while the Hessian keeps falling", xlabel="width m", ylabel="‖∇²f‖")
        for axis in axes:
            legend_below(axis)
        return drawn


def hessian_scaling(record: Record) -> Any:
    """Hessian norm against width in the four networks."""
    data = record.data
    with _axes(width=5.4, height=3.8) as (drawn, axis):
        for color, network in zip(COLORS, data["network"].values, strict=False):
            words = f"{network}: {_slope(data, 'hessian_norm', network=network)}"
            _law(axis, data["width"], data["hessian_norm"].sel(network=network), words, color)
        _guide(axis, data["width"], 0.8 * float(data["hessian_norm"].isel(width=0).mean("seed").min()), -0.5, "−1/2")
        axis.set(title="When the output's Hessian vanishes", xlabel="width m", ylabel="‖∇²f‖")
        legend_below(axis)
        return drawn


def solution_manifold(record: Record) -> Any:
    """The toy landscapes with their solution sets, and non-convexity near the solutions of networks."""
    data = record.data
    with _axes(1, 3) as (drawn, axes):
        for axis, name, title in (
            (axes[0], "straight_loss", "Linear: w₁ + w₂ = 1"),
            (axes[1], "curved_loss", "Non-linear: w₁ w₂ = 1"),
        ):
            levels = np.sqrt(2 * data[name].values.T)
            image = axis.contourf(data["w1"], data["w2"], np.minimum(levels, 4), levels=16, cmap="viridis_r")
            axis.contour(data["w1"], data["w2"], levels, levels=[0.03], colors=COLORS[1], linewidths=2)
            axis.set(title=title, xlabel="w₁", ylabel="w₂", aspect="equal")
            axis.grid(False)
            drawn.colorbar(image, ax=axis, label="|f − y|", shrink=0.8)
        axes[1].contour(
            data["w1"], data["w2"], data["curved_convexity"].values.T, levels=[0.0], colors="white", linestyles="--", linewidths=1
        )
        width = np.repeat(data["width"].values, data.sizes["seed"])
        axes[2].loglog(width, np.maximum(-data["lambda_min"].values.ravel(), 1e-16), "o", color=COLORS[0])
        ticks_at(axes[2], data["width"].values)
        axes[2].set(title="Non-convex near every solution", xlabel="width m", ylabel="−λ_min(∇²L) beside the solution")
        return drawn


def kernel_prior(record: Record) -> Any:
    """Kernel regression of constant targets with several bias variances, and lengths of interpolants."""
    data = record.data
    with _axes(1, 2) as (drawn, axes):
        for shade, b in zip(sequence(data.sizes["sigma_b2"]), data["sigma_b2"].values, strict=True):
            axes[0].plot(data["x"], data["prediction"].sel(sigma_b2=b), color=shade, label=f"σ_b² = {b:g}")
        axes[0].plot(data["train_x"], np.ones(data.sizes["sample"]), "o", color=COLORS[1], label="data")
        axes[0].plot([0], [0], "x", color=MUTED, markersize=8, label="(0, 0)")
        axes[0].set(title="No datum at the origin", xlabel="x", ylabel="prediction")
        axes[1].hist(data["other_moves"], bins=8, color=COLORS[0], label="other interpolants")
        axes[1].axvline(float(data["predicted_move"]), color=COLORS[1], label="√(yᵀK⁻¹y)")
        axes[1].axvline(float(data["least_move"]), color=COLORS[2], linestyle=":", linewidth=2.4, label="gradient descent")
        axes[1].margins(x=0.08)  # the least move is at the edge of all
        axes[1].set(title="The least move is found", xlabel="‖θ − θ_0‖", ylabel="interpolants")
        for axis in axes:
            legend_below(axis)
        return drawn


def feature_map(record: Record) -> Any:
    """Distance of trained networks from the linear model on their initial features."""
    data = record.data
    with _axes() as (drawn, axis):
        _law(axis, data["width"], data["gap"], f"network − linear model: {_slope(data, 'gap')}", COLORS[0])
        _law(axis, data["width"], np.maximum(data["model_error"], 1e-17), "linear model − kernel regression", COLORS[2])
        axis.set(title="A wide network is linear in ∂f/∂θ", xlabel="width m", ylabel="difference at test inputs")
        legend_below(axis)
        return drawn


def infinite_vs_finite(record: Record) -> Any:
    """Accuracy on digits against training size."""
    data = record.data
    with _axes(width=5.4, height=3.8) as (drawn, axis):
        axis.plot(data["size"], data["infinite_ntk"].mean("seed"), "o-", color=COLORS[0], label="infinite NTK, t = ∞")
        axis.plot(data["size"], data["infinite_ntk_timed"].mean("seed"), "o--", color=COLORS[0], label="infinite NTK, same steps")
        axis.plot(data["size"], data["infinite_nngp"].mean("seed"), "s-", color=COLORS[5], label="infinite NNGP, t = ∞")
        for color, width in zip(sequence(data.sizes["width"], "plasma"), data["width"].values, strict=True):
            at = data.sel(width=width)
            axis.plot(data["size"], at["trained"].mean("seed"), "o--", color=color, linewidth=1.2, label=f"trained, m = {width}")
            axis.plot(
                data["size"],
                at["empirical_ntk"].mean("seed"),
                ":",
                color=color,
                linewidth=1.4,
                label=f"its kernel at start, m = {width}",
            )
        axis.set(title="Digits: kernels and networks", xlabel="training digits", ylabel="test accuracy", xscale="log")
        ticks_at(axis, data["size"].values)
        legend_below(axis, columns=2)
        return drawn
